"""docs/clusters.md: its scripts run, its `srun` and `torchrun` start a run, and processes leave with who started them."""

from __future__ import annotations

import contextlib
import os
import random
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

import whelp
from waiting import wait_until
from whelp.artifacts.checkpoint import find_checkpoints

from .helpers import Project, make_project
from .processes import SECONDS, find_children, find_children_of, is_running, wait_for

PAGE = Path(whelp.__file__).parents[2] / "docs" / "clusters.md"
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="clusters are of Linux: run the tests there")

# what Slurm does: as many tasks as the job has, each told its place; signals go to all, and the highest exit code is that of all
_SRUN = """#!PYTHON
import os, signal, subprocess, sys
tasks, nodes, command = int(os.environ["SLURM_NTASKS"]), int(os.environ["SLURM_NNODES"]), sys.argv[1:]
while command[0].startswith("--"):
    command.pop(0)
children = []
for number in (signal.SIGTERM, signal.SIGUSR1):
    signal.signal(number, lambda number, frame: [child.send_signal(number) for child in children if child.poll() is None])
for rank in range(tasks):
    node, local = divmod(rank, tasks // nodes)
    place = {"PROCID": rank, "STEP_NUM_TASKS": tasks, "LOCALID": local, "NODEID": node, "STEP_ID": 0}
    place |= {"STEP_TASKS_PER_NODE": f"{tasks // nodes}(x{nodes})", "STEP_NODELIST": "localhost,127.0.0.[1-9]"}
    children.append(subprocess.Popen(command, env=os.environ | {f"SLURM_{name}": str(value) for name, value in place.items()}))
codes = [child.wait() for child in children]
sys.exit(max(code if code >= 0 else 128 - code for code in codes))
"""
_PROGRAM = "#!PYTHON\nfrom whelp.cli.main import main\nmain()\n"
_REQUEUE = '#!/bin/bash\necho "$@" >> requeued\n'


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A project with its store, and beside it the commands of a cluster and an environment to activate."""
    train = {"num_steps": 100_000, "evaluate_every_steps": 100_000, "save_every_steps": 3, "timeout_minutes": 1.0}
    project = make_project(tmp_path_factory.mktemp("cluster"), train=train, data={"test_split": 0.3})
    whelp.prepare(project.recipe, out=project.store)
    (project.folder / "venv" / "bin").mkdir(parents=True)
    (project.folder / "venv" / "bin" / "activate").write_text("")
    programs = {
        "whelp": _PROGRAM,
        "srun": _SRUN,
        "scontrol": _REQUEUE,
        "torchrun": "#!PYTHON\nfrom torch.distributed.run import main\nmain()\n",
    }
    for name, text in programs.items():
        path = project.folder / "bin" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text.replace("PYTHON", sys.executable))
        path.chmod(0o755)
    return project


@pytest.fixture
def environment(prepared: Project) -> dict[str, str]:
    """This checkout, one thread each, and the commands of a cluster."""
    paths = {
        "PYTHONPATH": str(Path(whelp.__file__).parents[1]),
        "PATH": f"{prepared.folder / 'bin'}{os.pathsep}{os.environ['PATH']}",
    }
    return os.environ | paths | {"OMP_NUM_THREADS": "1"}


@pytest.fixture
def started() -> Iterator[list[subprocess.Popen[str]]]:
    """Processes that end with the test, and theirs."""
    processes: list[subprocess.Popen[str]] = []
    yield processes
    for process in processes:
        for child in find_children(process):
            with contextlib.suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)
        process.kill()
        process.communicate()


def find_block(beginning: str) -> str:
    """The page's block of bash that begins so."""
    blocks = re.findall(r"```bash\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    return next(block for block in blocks if block.startswith(beginning))


def start(command: list[str], folder: Path, environment: dict[str, str]) -> subprocess.Popen[str]:
    """Start a command whose messages we read."""
    pipe = subprocess.PIPE
    return subprocess.Popen(command, cwd=folder, env=environment, stdout=pipe, stderr=pipe, text=True)


def find_free_port() -> int:
    """A port that nobody listens at, of those that systems give to nobody who does not name them: it stays free."""
    while True:
        port = random.SystemRandom().randrange(20_010, 30_000)
        with socket.socket() as free, contextlib.suppress(OSError):
            free.bind(("127.0.0.1", port))
            return port


def set_steps(project: Project, num_steps: int) -> None:
    """Another length of the run."""
    recipe = yaml.safe_load(project.recipe.read_text(encoding="utf-8"))
    recipe["train"]["num_steps"] = num_steps
    project.recipe.write_text(yaml.safe_dump(recipe), encoding="utf-8")


def test_the_batch_script(prepared: Project, environment: dict[str, str], started: list[subprocess.Popen[str]]) -> None:
    """Two machines: before the time is up all save, and the job is sent once more; that one ends, and is not sent again."""
    script, run, requeued = find_block("#!/bin/bash"), prepared.folder / "run", prepared.folder / "requeued"
    asked = dict(re.findall(r"^#SBATCH --([a-z-]+)=(\S+)", script, re.MULTILINE))
    assert (asked["nodes"], asked["signal"], asked["ntasks-per-node"], asked["gpus-per-node"]) == ("2", "TERM@300", "8", "8")
    (prepared.folder / "train.sbatch").write_text(script)
    job = {"SLURM_JOB_ID": "4711", "SLURM_NTASKS": "2", "SLURM_NNODES": "2", "SLURM_CPUS_PER_TASK": asked["cpus-per-task"]}
    job["SLURM_JOB_ID"] = str(find_free_port() - 20_000)  # from which the port follows
    process = start(["bash", "train.sbatch"], prepared.folder, environment | job)
    started.append(process)
    wait_for(lambda: find_checkpoints(run / "checkpoints"), process)
    (srun,) = find_children(process)
    os.kill(srun, signal.SIGTERM)
    _, said = process.communicate(timeout=SECONDS)
    assert process.returncode == 130, said
    assert said.count("interrupted; what was finished is kept") == 1, "one speaks for all"
    assert requeued.read_text() == f"requeue {job['SLURM_JOB_ID']}\n"
    step = int(find_checkpoints(run / "checkpoints")[-1].name.partition("-")[2])
    set_steps(prepared, step + 2)
    again = subprocess.run(["bash", "train.sbatch"], cwd=prepared.folder, env=environment | job, capture_output=True, text=True)
    assert again.returncode == 0, again.stderr
    assert f"going on from step {step}" in " ".join(again.stderr.split())
    assert "finished   step" in again.stderr
    assert requeued.read_text().count("requeue") == 1


def test_two_agents_of_torchrun(prepared: Project, environment: dict[str, str], started: list[subprocess.Popen[str]]) -> None:
    """The page's line, once for each machine; both end well."""
    set_steps(prepared, 3)
    line = find_block("torchrun").replace("--nproc-per-node 8", "--nproc-per-node 1").replace("--out run", "--out by-torchrun")
    line = line.replace("node1:29500", f"127.0.0.1:{find_free_port()} --local-addr 127.0.0.1")  # its own name may lead nowhere
    started += [start(["bash", "-c", line], prepared.folder, environment) for _ in range(2)]
    said = [process.communicate(timeout=SECONDS)[1] for process in started]
    assert [process.returncode for process in started] == [0, 0], said
    assert sum("finished   step 3" in text for text in said) == 1
    assert (prepared.folder / "by-torchrun" / "checkpoints" / "step-00000003").is_dir()


def test_torchrun_starts_anew(
    prepared: Project, environment: dict[str, str], started: list[subprocess.Popen[str]], tmp_path: Path
) -> None:
    """One process is killed: all begin again where the last checkpoint is, and meet each other instead of those before."""
    set_steps(prepared, 100_000)
    run = tmp_path / "run"
    process = start_torchrun(prepared, run, environment, "--max-restarts", "1", "-m", "whelp")
    started.append(process)
    wait_for(lambda: find_checkpoints(run / "checkpoints"), process)
    before = find_children(process)
    os.kill(before[1], signal.SIGKILL)
    wait_for(lambda: not set(before) & set(find_children(process)), process)
    (newest, *_) = reversed(find_checkpoints(run / "checkpoints"))
    wait_for(lambda: find_checkpoints(run / "checkpoints")[-1].name > newest.name, process)
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate(timeout=SECONDS)
    assert "going on from step" in " ".join(said.split())
    assert "is saved" in said


def start_torchrun(project: Project, run: Path, environment: dict[str, str], *arguments: str) -> subprocess.Popen[str]:
    """Two processes of one torchrun, which is told in its last arguments what to start."""
    command = [
        str(project.folder / "bin" / "torchrun"),
        "--nproc-per-node",
        "2",
        "--master-port",
        str(find_free_port()),
        *arguments,
    ]
    command += ["train", str(project.recipe), "--store", str(project.store), "--out", str(run)]
    return start(command, project.folder, environment)


def test_torchrun_is_killed(
    prepared: Project, environment: dict[str, str], started: list[subprocess.Popen[str]], tmp_path: Path
) -> None:
    """Its processes leave as well, and need not be its children: here each has a script between."""
    set_steps(prepared, 100_000)
    run = tmp_path / "run"
    process = start_torchrun(prepared, run, environment, "--no-python", "bash", "-c", 'whelp "$@"; true', "a script")
    started.append(process)
    wait_for(lambda: find_checkpoints(run / "checkpoints"), process)
    own = [child for script in find_children(process) for child in find_children_of(script)]
    assert len(own) == 2
    process.kill()
    wait_until(lambda: not any(map(is_running, own)))  # else they train on without torchrun
