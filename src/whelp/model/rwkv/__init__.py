"""RWKV, generations 4 to 7: a family a file (`rwkv7.py`), above what they share (`shared.py`).

A layer's memory is a formula by itself, in PyTorch: `delta_rule.py` of RWKV-7, `linear_attention.py` of RWKV-6 and RWKV-5,
`decayed_average.py` of RWKV-4. `kernels.py` chooses the code that runs it. `recurrent_state.py` is what a model remembers of a text.
"""
