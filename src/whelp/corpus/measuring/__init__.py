"""What is in a corpus: one pass over Arrow batches, in memory that does not grow with the text.

    meter = CorpusMeter(["a", "b"])
    meter.add(texts, places, groups)        # as often as there are batches
    meter.finish()

Start reading in `meter.py`. Each question has a file: `words.py` (words and n-grams), `lengths.py`, `languages.py`,
`licences.py`, `reference.py` (what is more or less frequent than elsewhere). `tally.py` counts what repeats, `hashes.py` tells
texts apart.
"""
