"""The steps of a corpus pipeline, one file each; `pipeline.py` has the table of their names."""
