"""The parts of `whelp push`."""
