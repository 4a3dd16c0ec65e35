"""Targets: the ids that a row is to predict, one token later than what it reads."""

IGNORED = -100  # a target that is not trained: a pad, a masked piece; the framework's own sign for it
