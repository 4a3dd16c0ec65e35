"""Text to ids: large_string arrays in, flat ids and offsets out. `vocabulary.py` opens what is here; nobody else does.

`engines.py` has the encoders, `greedy.py` the one of RWKV's World. `choose.py` takes the fastest that agrees with the reference, and wraps
it: documents in pieces on all threads (`pieces.py`), long ones in parts (`long_texts.py`), words remembered (`wordwise.py`), letters that
only one of the two knows (`new_letters.py`), Unicode's normal forms (`normalizing.py`).
"""
