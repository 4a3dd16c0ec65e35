"""Which of how many processes this one is: what a launcher said in the environment. No torch here."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass

from whelp.base.errors import PlanError

MEETING_FILE = "WHELP_MEETING_FILE"  # set by our own launcher: no port that another program could take first

# rank, number of processes, rank on this machine, processes on this machine: ours and torchrun's, Slurm's, Open MPI's
_NAMES = (
    ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE"),
    ("SLURM_PROCID", "SLURM_STEP_NUM_TASKS", "SLURM_LOCALID", "SLURM_NTASKS_PER_NODE"),
    ("OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_LOCAL_RANK", "OMPI_COMM_WORLD_LOCAL_SIZE"),
)


@dataclass(frozen=True, kw_only=True)
class Place:
    """Number `rank` of `size` processes; number `local_rank` of the `local_size` on this machine."""

    rank: int = 0
    size: int = 1
    local_rank: int = 0
    local_size: int = 1
    meeting_file: str | None = None  # where the processes find each other, when it is not at MASTER_ADDR and MASTER_PORT

    @property
    def is_first(self) -> bool:
        """Whether this process logs, samples and writes."""
        return self.rank == 0


def find_place(environment: Mapping[str, str] = os.environ) -> Place:
    """The place that a launcher gave this process; the first of one without a launcher.

    Raises:
        PlanError: When the variables contradict each other, or do not say where the processes meet.
    """
    names = next((names for names in _NAMES if names[0] in environment and names[1] in environment), None)
    if names is None:
        return Place()
    rank_name, size_name, local_rank_name, local_size_name = names
    try:
        rank, size = int(environment[rank_name]), int(environment[size_name])
        local_rank = int(environment.get(local_rank_name, rank))
        local_size = int(environment.get(local_size_name, size))
    except ValueError:
        found = ", ".join(f"{name}={environment[name]}" for name in names if name in environment)
        raise PlanError("the launcher", found, "whole numbers", "Correct its variables.") from None
    if size == 1:
        return Place()
    if not (0 <= rank < size and 0 <= local_rank < local_size <= size):
        raise PlanError(
            "the launcher",
            f"it calls this process number {rank} of {size}, and {local_rank} of {local_size} on this machine",
            "numbers below those counts",
            f"Correct {', '.join(names)}.",
        )
    meeting_file = environment.get(MEETING_FILE)
    missing = [name for name in ("MASTER_ADDR", "MASTER_PORT") if not environment.get(name)]
    if missing and meeting_file is None:
        raise PlanError(
            "the launcher",
            f"{rank_name} and {size_name} are set, but not {' and '.join(missing)}",
            "an address and a port where the processes meet",
            f"Set {' and '.join(missing)}, start with torchrun, or unset {rank_name}.",
        )
    return Place(rank=rank, size=size, local_rank=local_rank, local_size=local_size, meeting_file=meeting_file)
