"""What runs on a GPU in place of the framework's own: kernels in Triton, products by cuBLASLt, recorded steps of decoding.

`block.py` is GPT-2's block, made of `norm.py`, `linear.py`, `feed_forward.py` and `document_attention.py`; `block_eight_bits.py` its
backward pass with factors of 8 bits (`eight_bits.py`). `cross_entropy.py` is the head with its loss. Where Triton is missing
(`triton_support.py`) most of these files cannot be imported, and whoever has a use for them asks first. Each is compared with PyTorch on
the GPU at hand before it is trusted; `warm_up.py` does so while a model is built.
"""
