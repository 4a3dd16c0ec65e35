"""The rules, one file for each or for a family: `apply(texts)` answers, for every text, keep or a reason.

To add one: its numbers in `curate/config.py`, a class with `apply` here, its line in `curate/pipeline.py`.
"""
