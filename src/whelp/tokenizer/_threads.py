"""How many threads encode at once."""

from __future__ import annotations

import os

from whelp.base.machine import count_cores


def count_threads() -> int:
    """$RAYON_NUM_THREADS, as the encoders written in Rust take it, else one for each core that this process may use."""
    asked = os.environ.get("RAYON_NUM_THREADS", "")
    return int(asked) if asked.isdigit() and int(asked) else count_cores()
