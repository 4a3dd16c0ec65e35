"""What the processes of a run tell each other when they have met: what each sees, and how many share a machine's cores."""

from __future__ import annotations

import hashlib
import json
import socket
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from whelp.base.errors import PlanError
from whelp.base.machine import find_cores
from whelp.train.process_group import ProcessGroup

_PATIENCE_SECONDS = 30.0  # a network disk may take so long to show one machine what another has written


def check_alike(processes: ProcessGroup, seen: Mapping[str, Any]) -> None:
    """Refuse processes that do not see the same things: each would train on what it has, or wait for the others for ever.

    Args:
        seen: What must be the same, by its name; plain values.

    Raises:
        PlanError: In every process, naming one that differs from the first, its machine, and in what.
    """
    seen = json.loads(json.dumps(dict(seen)))  # as it travels
    expected = processes.share(seen)
    differs = [f"{name} is {seen.get(name)!r}, not {value!r}" for name, value in expected.items() if seen.get(name) != value]
    first, *others = processes.gather({"machine": socket.gethostname(), "differs": differs})
    for number, other in enumerate(others, start=2):
        if other["differs"]:
            raise PlanError(
                f"process {number} of {processes.size}, on {other['machine']}",
                "; ".join(other["differs"][:4]),
                f"what process 1 has, on {first['machine']}",
                "All processes need the same recipe, token store and versions.",
            )


def check_shared(processes: ProcessGroup, path: Path) -> None:
    """Refuse processes that do not see a file of the run folder that the first has written.

    Raises:
        PlanError: In every process, naming one that does not see it, and its machine.
    """
    expected, deadline = processes.share(_find_checksum(path)), time.monotonic() + _PATIENCE_SECONDS
    while (found := _find_checksum(path)) != expected and time.monotonic() < deadline:
        time.sleep(0.2)
    first, *others = processes.gather({"machine": socket.gethostname(), "sees": found == expected})
    for number, other in enumerate(others, start=2):
        if not other["sees"]:
            raise PlanError(
                f"process {number} of {processes.size}, on {other['machine']}",
                f"it does not see {path} as process 1 has written it, on {first['machine']}",
                "a run folder that all machines share",
                "Choose an --out on a disk of the network.",
            )


def check_own_gpus(processes: ProcessGroup, gpu: str) -> None:
    """Refuse two processes of one machine that see the same GPU (its identifier) as their only one.

    Raises:
        PlanError: In every process, naming the two.
    """
    seen: dict[tuple[str, str], int] = {}
    for number, (machine, name) in enumerate(processes.gather([socket.gethostname(), gpu]), start=1):
        other = seen.setdefault((machine, name), number)
        if other != number:
            raise PlanError(
                f"processes {other} and {number} of {processes.size}, on {machine}",
                "both see one GPU, and no other",
                "a GPU for each",
                "Ask for more GPUs, start fewer processes, or use train.device=cpu.",
            )


def share_cores(processes: ProcessGroup) -> int:
    """How many cores each process may keep busy: the fewest that any has to itself.

    Processes of one machine divide the cores that they have in common: all of them, or none where each is bound to its own.
    """
    entries: list[tuple[str, frozenset[int]]]
    entries = [(machine, frozenset(cores)) for machine, cores in processes.gather([socket.gethostname(), find_cores()])]
    shares = [
        len(own) // sum(machine == other and not own.isdisjoint(cores) for other, cores in entries) for machine, own in entries
    ]
    return max(1, min(shares))


def _find_checksum(path: Path) -> str | None:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError:
        return None
