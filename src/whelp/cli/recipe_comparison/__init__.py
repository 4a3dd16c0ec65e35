"""The parts of `whelp compare-recipes`."""
