"""How good a vocabulary is: for a corpus (`corpus.py`), for a few telling words (`probes.py`), for one text, stage by stage (`stages.py`).

A vocabulary to measure with writes every text, and counts what it does not know: `tolerant.py`.
"""
