"""A run of `whelp train`: what it is made of, its events, its checks, saving and signals."""
