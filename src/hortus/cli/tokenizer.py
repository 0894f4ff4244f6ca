"""`hortus tokenizer`: train one on a corpus, measure one, show what one makes of a text."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import cyclopts
from cyclopts import Parameter

from hortus.tokenizer.config import TokenizerConfig

if TYPE_CHECKING:
    from hortus.tokenizer.tokenizer import Tokenizer

__all__ = ["app", "encode", "report", "train"]

app = cyclopts.App(name="tokenizer", help="Train, measure and use tokenizers.")
DEFAULTS = TokenizerConfig()
Json = Annotated[bool, Parameter(name="--json", negative=())]


@app.command
def train(
    corpus: Path,
    *,
    output: Path,
    vocab_size: int = DEFAULTS.vocab_size,
    min_frequency: int = DEFAULTS.min_frequency,
    alpha: float = DEFAULTS.alpha,
    code_share: float = DEFAULTS.code_share,
    max_training_bytes: int = DEFAULTS.max_training_bytes,
    json: Json = False,
) -> None:
    """Train a byte-level BPE tokenizer on the training documents of a corpus.

    Parameters
    ----------
    corpus
        What `hortus corpus build` wrote.
    output
        Folder for tokenizer.json and its settings.
    vocab_size
        Entries, the 256 bytes and four special tokens among them.
    min_frequency
        Merge no pair that is seen less often.
    alpha
        Exponent of the shares over languages: 1 natural, 0 all equal.
    code_share
        Largest share of code.
    max_training_bytes
        Bytes of text to train on.
    json
        Print one JSON object.
    """
    from hortus.tokenizer.documents import documents_file, training_texts
    from hortus.tokenizer.train import train_tokenizer

    config = replace(
        DEFAULTS,
        vocab_size=vocab_size,
        min_frequency=min_frequency,
        alpha=alpha,
        code_share=code_share,
        max_training_bytes=max_training_bytes,
    )
    texts = training_texts(documents_file(corpus), config)
    print(f"training on {sum(map(len, texts.values())):,} documents", file=sys.stderr)
    tokenizer = train_tokenizer((text for part in texts.values() for text in part), config)
    tokenizer.save(output)
    if json:
        _print({"folder": str(output), "vocab_size": tokenizer.vocab_size, "languages": sorted(texts)})
    else:
        print(f"{tokenizer.vocab_size} entries, {len(texts)} languages: {output}")


@app.command
def report(tokenizer: str, *, corpus: Path, monolingual: bool = True, json: Json = False) -> None:
    """Fertility and bytes per token on the held-out documents of a corpus, by language.

    Parameters
    ----------
    tokenizer
        Folder or hub id with a tokenizer.json, or the file.
    corpus
        What `hortus corpus build` wrote.
    monolingual
        Train a tokenizer for each large language to compare with (the paper's accept rule).
    json
        Print one JSON object.
    """
    from hortus.tokenizer.documents import documents_file, held_out_texts, training_texts
    from hortus.tokenizer.report import compare_monolingual, fit_table, measure

    path = documents_file(corpus)
    loaded = _load(tokenizer)
    config = replace(DEFAULTS, vocab_size=max(DEFAULTS.vocab_size, loaded.vocab_size))
    held_out = held_out_texts(path, config)
    fits = measure(loaded, held_out)
    if monolingual:
        fits = compare_monolingual(fits, training_texts(path, config), held_out, config)
    if not json:
        from hortus.cli.corpus import print_table

        print_table(fit_table(fits))
        return
    rows = [
        {
            **asdict(fit),
            "fertility": fit.fertility,
            "bytes_per_token": fit.bytes_per_token,
            "accepted": fit.accepted,
        }
        for fit in fits
    ]
    _print({"tokenizer": tokenizer, "vocab_size": loaded.vocab_size, "languages": rows})


@app.command
def encode(
    tokenizer: str,
    text: Annotated[str, Parameter(allow_leading_hyphen=True)],
    *,
    special: Annotated[bool, Parameter(negative=())] = False,
    json: Json = False,
) -> None:
    """Show the tokens of a text.

    Parameters
    ----------
    tokenizer
        Folder or hub id with a tokenizer.json, or the file.
    text
        The text; - reads standard input.
    special
        Read special tokens spelled out in the text as those tokens.
    json
        Print one JSON object.
    """
    loaded = _load(tokenizer)
    ids = loaded.encode(sys.stdin.read() if text == "-" else text, parse_special=special)
    pieces = [loaded.decode([index], skip_special=False) for index in ids]
    if json:
        _print({"ids": ids, "pieces": pieces, "tokens": [loaded.token(index) for index in ids]})
    else:
        print(" ".join(map(str, ids)))
        print("|".join(pieces))


def _load(name: str) -> Tokenizer:
    from hortus.artifact import resolve_folder
    from hortus.tokenizer.tokenizer import Tokenizer

    return Tokenizer.load(name if Path(name).is_file() else resolve_folder(name))


def _print(value: dict[str, object]) -> None:
    print(json.dumps(value, ensure_ascii=False))
