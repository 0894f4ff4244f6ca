"""`python -m hortus` is the command `hortus`."""

from hortus.cli import main

main()
