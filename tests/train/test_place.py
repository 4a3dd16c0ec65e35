"""What a launcher says in the environment, and what is wrong with it."""

from __future__ import annotations

import pytest

from whelp.base.errors import PlanError
from whelp.train.place import Place, find_place

MEETING = {"MASTER_ADDR": "10.0.0.1", "MASTER_PORT": "29500"}
TORCHRUN = {"RANK": "5", "WORLD_SIZE": "8", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "4"}
SLURM = {"SLURM_PROCID": "5", "SLURM_STEP_NUM_TASKS": "8", "SLURM_LOCALID": "1", "SLURM_NTASKS_PER_NODE": "4"}
OPEN_MPI = {
    "OMPI_COMM_WORLD_RANK": "5",
    "OMPI_COMM_WORLD_SIZE": "8",
    "OMPI_COMM_WORLD_LOCAL_RANK": "1",
    "OMPI_COMM_WORLD_LOCAL_SIZE": "4",
}


@pytest.mark.parametrize("variables", [TORCHRUN, SLURM, OPEN_MPI])
def test_launchers(variables: dict[str, str]) -> None:
    """torchrun, Slurm's srun and Open MPI's mpirun say the same in their own words."""
    place = find_place(variables | MEETING)
    assert place == Place(rank=5, size=8, local_rank=1, local_size=4)
    assert not place.is_first


def test_our_own_launcher() -> None:
    """Processes of one machine meet at a file; no address is needed."""
    place = find_place({**TORCHRUN, "WHELP_MEETING_FILE": "/tmp/meeting"})
    assert (place.rank, place.size, place.meeting_file) == (5, 8, "/tmp/meeting")


@pytest.mark.parametrize(
    "variables",
    [
        {},
        {"RANK": "0", "WORLD_SIZE": "1"},
        {"SLURM_PROCID": "0", "SLURM_NTASKS": "8"},  # a batch script of Slurm, which started no processes
        {"MASTER_ADDR": "10.0.0.1"},
    ],
)
def test_alone(variables: dict[str, str]) -> None:
    """Without a launcher, or with one process, there is nobody to meet."""
    assert find_place(variables) == Place()


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        (TORCHRUN, "RANK and WORLD_SIZE are set, but not MASTER_ADDR and MASTER_PORT, but expected an address and a port"),
        (SLURM | {"MASTER_ADDR": "a"}, "SLURM_PROCID and SLURM_STEP_NUM_TASKS are set, but not MASTER_PORT"),
        (MEETING | TORCHRUN | {"RANK": "8"}, "it calls this process number 8 of 8, and 1 of 4 on this machine"),
        (MEETING | TORCHRUN | {"WORLD_SIZE": "many"}, "RANK=5, WORLD_SIZE=many.* but expected whole numbers"),
    ],
)
def test_a_launcher_that_contradicts_itself(variables: dict[str, str], message: str) -> None:
    """What is missing or wrong is named."""
    with pytest.raises(PlanError, match=message):
        find_place(variables)
