"""What a launcher says in the environment, and what is wrong with it."""

from __future__ import annotations

import pytest

from whelp.base.errors import PlanError
from whelp.train.process_rank import ProcessRank, count_tasks_left_out, find_process_rank

MEETING = {"MASTER_ADDR": "10.0.0.1", "MASTER_PORT": "29500"}
TORCHRUN = {"RANK": "5", "WORLD_SIZE": "8", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "4"}
SLURM = {
    "SLURM_PROCID": "5",
    "SLURM_STEP_NUM_TASKS": "8",
    "SLURM_LOCALID": "1",
    "SLURM_NODEID": "1",
    "SLURM_STEP_TASKS_PER_NODE": "4(x2)",
}
SLURM_JOB = {"SLURM_JOB_ID": "1234567", "SLURM_STEP_ID": "2", "SLURM_STEP_NODELIST": "gpu[07-09,12],login"}
OPEN_MPI = {
    "OMPI_COMM_WORLD_RANK": "5",
    "OMPI_COMM_WORLD_SIZE": "8",
    "OMPI_COMM_WORLD_LOCAL_RANK": "1",
    "OMPI_COMM_WORLD_LOCAL_SIZE": "4",
}


@pytest.mark.parametrize("variables", [TORCHRUN, SLURM, OPEN_MPI])
def test_launchers(variables: dict[str, str]) -> None:
    """torchrun, Slurm's srun and Open MPI's mpirun say the same in their own words."""
    process = find_process_rank(variables | MEETING)
    assert process == ProcessRank(
        rank=5, num_processes=8, local_rank=1, num_local_processes=4, may_see_one_gpu=variables is not TORCHRUN
    )
    assert not process.is_first


def test_our_own_launcher() -> None:
    """Processes of one machine meet at a file; no address is needed."""
    process = find_process_rank({**TORCHRUN, "WHELP_MEETING_FILE": "/tmp/meeting"})
    assert (process.rank, process.num_processes, process.meeting) == (5, 8, "file:///tmp/meeting")


@pytest.mark.parametrize(
    ("hosts", "first"),
    [("gpu[07-09,12],login", "gpu07"), ("login,gpu[1-2]", "login"), ("rack[1-2]gpu[3-4]-ib,x", "rack1gpu3-ib"), ("one", "one")],
)
def test_srun_alone(hosts: str, first: str) -> None:
    """Slurm says which machine is the first; the port follows from the job and its step, so that two do not meet."""
    process = find_process_rank(SLURM | SLURM_JOB | {"SLURM_STEP_NODELIST": hosts})
    assert process.meeting == f"tcp://{first}:24569"
    given = find_process_rank(SLURM | SLURM_JOB | {"SLURM_STEP_NODELIST": hosts, "MASTER_PORT": "29500"})
    assert given.meeting == f"tcp://{first}:29500"
    assert find_process_rank(SLURM | SLURM_JOB | MEETING).meeting == "env://"


@pytest.mark.parametrize(
    ("variables", "local_size"),
    [
        ({"SLURM_STEP_TASKS_PER_NODE": "3(x2),2"}, 3),
        ({"SLURM_STEP_TASKS_PER_NODE": "3(x2),2", "SLURM_NODEID": "2"}, 2),
        ({"SLURM_STEP_TASKS_PER_NODE": "8", "SLURM_NODEID": "0"}, 8),
        ({"SLURM_NTASKS_PER_NODE": "16"}, 4),  # of the job: this step has its own
    ],
)
def test_tasks_of_one_machine(variables: dict[str, str], local_size: int) -> None:
    """Slurm's machines may have different numbers of tasks, and a step may have fewer than the job."""
    assert find_process_rank(SLURM | SLURM_JOB | variables).num_local_processes == local_size


def test_a_gpu_for_each() -> None:
    """Slurm can show every process one GPU, number 0; torchrun shows them all of the machine."""
    assert [find_process_rank(names | MEETING).choose_gpu(count) for names in (SLURM, TORCHRUN) for count in (1, 4)] == [
        0,
        1,
        1,
        1,
    ]


def test_a_batch_script_without_srun() -> None:
    """Slurm was asked for several tasks, and nobody has started them; one that was started with srun or torchrun is no such."""
    batch = {"SLURM_JOB_ID": "1", "SLURM_PROCID": "0", "SLURM_NTASKS": "8"}
    found = [
        count_tasks_left_out(variables) for variables in (batch, batch | {"SLURM_NTASKS": "1"}, batch | SLURM, batch | TORCHRUN)
    ]
    assert found == [8, 0, 0, 0]


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
    assert find_process_rank(variables) == ProcessRank()


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        (TORCHRUN, "RANK and WORLD_SIZE are set, but not MASTER_ADDR and MASTER_PORT, but expected an address and a port"),
        (MEETING | SLURM | {"SLURM_NODEID": "2"}, r"SLURM_STEP_TASKS_PER_NODE=4\(x2\), but expected whole numbers"),
        (SLURM | {"MASTER_ADDR": "a"}, "SLURM_PROCID and SLURM_STEP_NUM_TASKS are set, but not MASTER_PORT"),
        (MEETING | TORCHRUN | {"RANK": "8"}, "it calls this process number 8 of 8, and 1 of 4 on this machine"),
        (MEETING | TORCHRUN | {"WORLD_SIZE": "many"}, "RANK=5, WORLD_SIZE=many.* but expected whole numbers"),
    ],
)
def test_a_launcher_that_contradicts_itself(variables: dict[str, str], message: str) -> None:
    """What is missing or wrong is named."""
    with pytest.raises(PlanError, match=message):
        find_process_rank(variables)
