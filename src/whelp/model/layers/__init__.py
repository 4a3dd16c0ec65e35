"""What families are made of: attention, positions, norms, activations, and the head with its loss.

Written in PyTorch, with backward passes by hand where the framework's takes more time or memory.
"""
