"""What runs on a CPU in place of the framework's own: attention of short rows, steps of decoding, products of a few rows and of 8 bits.

`decode_step.py` is the step of our families; its products are of `few_rows.py`. Weights lie on large pages (`huge_pages.py`).
"""
