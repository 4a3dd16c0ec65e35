"""What anybody may use, and what knows none of our nouns.

errors (the tree of what a user can mend) · config (strict dataclasses from YAML) · files (whole or not there) ·
hashing (fingerprints) · seeds (randomness by purpose) · log · processes (many at once) · limited_process (what strangers
wrote is read in one of its own, which can be ended) · machine (cores, memory).
"""
