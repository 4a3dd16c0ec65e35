"""The parts of `whelp export`."""
