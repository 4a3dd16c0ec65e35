"""Which of how many processes this one is: what a launcher said in the environment. No torch here."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass

from whelp.base.errors import PlanError

MEETING_FILE = "WHELP_MEETING_FILE"  # set by our own launcher: no port that another program could take first
FILE_MEETING = "file://"  # how the address of such a file begins
TORCHRUN = "TORCHELASTIC_RUN_ID"  # set by torchrun

# rank, number of processes, rank on this machine, processes on this machine: ours and torchrun's, Slurm's, Open MPI's
_NAMES = (
    ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE"),
    ("SLURM_PROCID", "SLURM_STEP_NUM_TASKS", "SLURM_LOCALID", "SLURM_STEP_TASKS_PER_NODE"),
    ("OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_LOCAL_RANK", "OMPI_COMM_WORLD_LOCAL_SIZE"),
)
_FIRST_PORT, _NUM_PORTS = 20_000, 10_000  # below those that systems give to whoever asks for any


@dataclass(frozen=True, kw_only=True)
class ProcessRank:
    """Number `rank` of `num_processes`; number `local_rank` of the `num_local_processes` on this machine."""

    rank: int = 0
    num_processes: int = 1
    local_rank: int = 0
    num_local_processes: int = 1
    meeting: str = "env://"  # where the processes find each other, as torch has it: a file, an address, or MASTER_ADDR
    num_restarts: int = 0  # how often the launcher has started all processes anew, to meet at the same place
    may_see_one_gpu: bool = False  # whether the launcher can show each process a GPU of its own alone (Slurm, Open MPI)

    @property
    def is_first(self) -> bool:
        """Whether this process logs, samples and writes."""
        return self.rank == 0

    def choose_gpu(self, num_gpus: int) -> int:
        """The number of this process's GPU among those that it sees."""
        return 0 if self.may_see_one_gpu and num_gpus == 1 else self.local_rank


def find_process_rank(environment: Mapping[str, str] = os.environ) -> ProcessRank:
    """What a launcher said that this process is; the first of one without a launcher.

    Raises:
        PlanError: When the variables contradict each other, or do not say where the processes meet.
    """
    names = next((names for names in _NAMES if names[0] in environment and names[1] in environment), None)
    if names is None:
        return ProcessRank()
    rank_name, size_name, local_rank_name, local_size_name = names
    try:
        rank, size = int(environment[rank_name]), int(environment[size_name])
        local_rank = int(environment.get(local_rank_name, rank))
        is_slurm = rank_name.startswith("SLURM")
        local_size = _count_tasks_here(environment, size) if is_slurm else int(environment.get(local_size_name, size))
    except (ValueError, IndexError):
        found = ", ".join(f"{name}={environment[name]}" for name in names if name in environment)
        raise PlanError("the launcher", found, "whole numbers", "Correct its variables.") from None
    if size == 1:
        return ProcessRank()
    if not (0 <= rank < size and 0 <= local_rank < local_size <= size):
        raise PlanError(
            "the launcher",
            f"it calls this process number {rank} of {size}, and {local_rank} of {local_size} on this machine",
            "numbers below those counts",
            f"Correct {', '.join(names)}.",
        )
    meeting = _find_meeting(environment)
    if meeting is None:
        missing = [name for name in ("MASTER_ADDR", "MASTER_PORT") if not environment.get(name)]
        raise PlanError(
            "the launcher",
            f"{rank_name} and {size_name} are set, but not {' and '.join(missing)}",
            "an address and a port where the processes meet",
            f"Set {' and '.join(missing)}, start with torchrun, or unset {rank_name}.",
        )
    return ProcessRank(
        rank=rank,
        num_processes=size,
        local_rank=local_rank,
        num_local_processes=local_size,
        meeting=meeting,
        num_restarts=_count_restarts(environment),
        may_see_one_gpu=rank_name != "RANK",
    )


def count_tasks_left_out(environment: Mapping[str, str] = os.environ) -> int:
    """How many tasks Slurm was asked for where this process is the only one: a batch script that starts it without `srun`."""
    asked = environment.get("SLURM_NTASKS", "")
    is_started = any(names[0] in environment and names[1] in environment for names in _NAMES)
    return int(asked) if "SLURM_JOB_ID" in environment and not is_started and asked.isdigit() and int(asked) > 1 else 0


def _find_meeting(environment: Mapping[str, str]) -> str | None:
    """Where the processes meet, as an address for torch; None when nothing says it."""
    if MEETING_FILE in environment:
        return f"{FILE_MEETING}{environment[MEETING_FILE]}"
    address, port = environment.get("MASTER_ADDR"), environment.get("MASTER_PORT")
    if address and port:
        return "env://"
    hosts, job = environment.get("SLURM_STEP_NODELIST"), environment.get("SLURM_JOB_ID", "")
    if "RANK" in environment or not hosts or not job.isdigit():
        return None
    step = environment.get("SLURM_STEP_ID", "")
    own_port = _FIRST_PORT + (int(job) + int(step if step.isdigit() else 0)) % _NUM_PORTS  # two jobs of one machine differ
    return f"tcp://{address or _name_first_host(hosts)}:{port or own_port}"


def _count_restarts(environment: Mapping[str, str]) -> int:
    """Torchrun's, where it starts the processes of one machine; several of them count differently, and meet at another place."""
    count = environment.get("TORCHELASTIC_RESTART_COUNT", "")
    return int(count) if count.isdigit() and environment.get("GROUP_WORLD_SIZE") == "1" else 0


def _count_tasks_here(environment: Mapping[str, str], size: int) -> int:
    """Slurm's processes on this machine; its list has an entry for each.   '4(x2),3' on node 2 -> 3"""
    counts = environment.get("SLURM_STEP_TASKS_PER_NODE")
    if counts is None:
        return min(size, int(environment.get("SLURM_NTASKS_PER_NODE", size)))  # of the job: a step may have fewer
    here: list[int] = []
    for entry in counts.split(","):
        count, _, times = entry.rstrip(")").partition("(x")
        here += [int(count)] * int(times or 1)
    return here[int(environment.get("SLURM_NODEID", 0))]


def _name_first_host(hosts: str) -> str:
    """The first of Slurm's list of hosts.   'gpu[07-09,12],login' -> 'gpu07'"""
    first = re.split(r",(?![^\[]*\])", hosts)[0]
    return re.sub(r"\[(\w+)[^\]]*\]", r"\1", first)
