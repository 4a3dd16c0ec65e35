"""Start a command as several processes of this machine, watch them, and end them together.

Each is told its rank in the environment, as torchrun does it, so that clusters can start the same command themselves.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import IO, Any

from whelp.base.counts import say_duration
from whelp.base.errors import PlanError, TrainingError, WhelpError
from whelp.base.files import read_json
from whelp.base.interactive import is_notebook
from whelp.base.log import log
from whelp.base.machine import count_cores
from whelp.cli.training.launched_process import ERROR_FILE, LAUNCHER, LOST
from whelp.cli.training.signals import is_hangup_ignored
from whelp.train.process_rank import MEETING_FILE, find_process_rank

COMMAND = "from whelp.cli.main import main; main()"
_INTERRUPTED = 130
_GO_ON = "The last checkpoint stands; the same command goes on from there."
_OTHERS_ENDED = f"The others were ended. {_GO_ON}"
_GRACE_SECONDS = 10.0  # for the others to notice by themselves that one is gone, and to say what they have to say
_LEAST_STOP_SECONDS = 5.0  # a busy machine may hold this process up as long
_STOP_SECONDS = 600.0  # for all to end once one has stopped as asked
_NOTE = "note  "  # as `screens.show.say_note` begins a line
_TAIL_LINES = 8  # of what a process said last
_WHY_KILLED = {
    getattr(signal, name, None): why
    for name, why in {
        "SIGKILL": "as the system does when memory runs out",
        "SIGBUS": "as it happens when a file of the token store is cut short, or its disk is gone",
    }.items()
}
_STOPS = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]
_REQUESTS = [signal.SIGUSR1] if hasattr(signal, "SIGUSR1") else []


class FirstProcessError(TrainingError):
    """The process that speaks for all has failed, and has said why on standard error; `code` is its exit code."""

    def __init__(self, num_processes: int, code: int) -> None:
        self.code = code
        super().__init__(f"process 1 of {num_processes}", f"it ended with exit code {code}; its message stands above")


def launch(arguments: Sequence[str], num_processes: int, *, code: str = COMMAND, is_heard: bool = True) -> str:
    """Run `python -c CODE ARGUMENTS` as several processes; return what the first wrote on standard output.

    Signals to this process reach all of them, and a Ctrl-Z stops all until this one goes on. When one fails, the others are ended.

    Args:
        is_heard: What the first says goes to standard error, in a notebook into the cell. Without it, what it noted goes to the log
            in the end; and of a failure, the last of what it said is part of the error.

    Raises:
        TrainingError: When a process failed; it says which, and how.
        WhelpError: That of a process which is the only one and not heard, as it raised it.
        KeyboardInterrupt: When they stopped because they were asked to.
    """
    if find_process_rank().num_processes > 1:
        raise PlanError("--nproc", "a launcher has started several processes already", "one of the two", "Leave --nproc out.")
    with tempfile.TemporaryDirectory(prefix="whelp-") as folder:
        said = [Path(folder) / f"stderr-{rank}" for rank in range(num_processes)]
        output, error_file = Path(folder) / "stdout", Path(folder) / "error.json"
        is_relayed = is_heard and is_notebook()  # it shows nothing of what other processes write
        is_heard = is_heard and not is_relayed
        with contextlib.ExitStack() as stack:
            children: list[subprocess.Popen[bytes]] = []
            with _forwarding(children, _STOPS) as forwarded:
                try:
                    for rank in range(num_processes):
                        streams: dict[str, IO[bytes] | int | None] = {"stdout": subprocess.DEVNULL}
                        if rank == 0:
                            streams["stdout"] = stack.enter_context(open(output, "wb"))
                        if rank == 0 and is_heard:
                            streams["stderr"] = _own_stderr()
                        else:
                            streams["stderr"] = stack.enter_context(open(said[rank], "wb"))
                        environment = _environment(rank, num_processes, Path(folder) / "meeting")
                        environment |= {} if num_processes > 1 else {ERROR_FILE: str(error_file)}
                        children.append(
                            subprocess.Popen(
                                [sys.executable, "-c", code, *arguments],
                                env=environment,
                                stdin=subprocess.DEVNULL,
                                start_new_session=True,  # a Ctrl-C is forwarded once, not sent twice
                                **streams,  # type: ignore[call-overload]  # streams by name
                            )
                        )
                        for number in forwarded:  # it came before this process was there
                            _pass_on(children[-1], number)
                    # not before: who is started while one is ignored, ignores it, too
                    with (
                        _forwarding(children, _REQUESTS),
                        _stopping_together(children),
                        _relaying(said[0], is_relayed) as relay,
                    ):
                        failed, stopped_seconds = _watch(children, forwarded, relay)
                finally:
                    for child in children:
                        if child.poll() is None:
                            child.kill()
                        child.wait()
        codes = [child.returncode for child in children]
        stopped = {0, _INTERRUPTED, *(-number for number in forwarded)}  # asked so early that nothing was there to stop
        is_insisted_on = _count_stops(forwarded) > 1
        if any(codes) and (is_insisted_on or all(code in stopped for code in codes)):
            raise KeyboardInterrupt
        if failed and not is_heard and error_file.exists():
            raise WhelpError.from_values(read_json(error_file))
        if failed:
            _explain(failed, codes, said, is_first_heard=is_heard, stopped_seconds=stopped_seconds)
        if not is_heard and not is_relayed:
            for line in said[0].read_text(encoding="utf-8", errors="replace").splitlines():
                log.warning("%s", line.removeprefix(_NOTE).strip())
        return output.read_text(encoding="utf-8")


@contextlib.contextmanager
def _relaying(said: Path, is_wanted: bool) -> Iterator[Callable[[], object]]:
    """Gives what writes to standard error the lines that a process has written to a file since."""
    if not is_wanted:
        yield lambda: None
        return
    with open(said, encoding="utf-8", errors="replace") as file:

        def relay() -> None:
            text = file.read()
            if text:
                sys.stderr.write(text)

        yield relay
        relay()


def _own_stderr() -> int | None:
    """Where this process's messages go; None (inherited) where it is no file."""
    try:
        return sys.stderr.fileno()
    except (OSError, ValueError, AttributeError):
        return None


def _environment(rank: int, num_processes: int, meeting_file: Path) -> dict[str, str]:
    import whelp

    ranks = {"RANK": rank, "WORLD_SIZE": num_processes, "LOCAL_RANK": rank, "LOCAL_WORLD_SIZE": num_processes}
    meeting = {MEETING_FILE: str(meeting_file), LAUNCHER: str(os.getpid())}
    defaults = {
        "OMP_NUM_THREADS": str(max(1, count_cores() // num_processes)),
        "TORCH_NCCL_ASYNC_ERROR_HANDLING": "1",
        "TORCH_CPP_LOG_LEVEL": "ERROR",
    }
    paths = [str(Path(whelp.__file__).parents[1]), os.environ.get("PYTHONPATH", "")]
    given = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))}
    return defaults | given | {name: str(value) for name, value in ranks.items()} | meeting


@contextlib.contextmanager
def _forwarding(children: Sequence[subprocess.Popen[bytes]], numbers: Sequence[int]) -> Iterator[list[int]]:
    """Pass signals on; gives those that were, in their order."""
    forwarded: list[int] = []

    def forward(number: int, frame: Any) -> None:
        forwarded.append(number)
        for child in children:
            if child.poll() is None:
                _pass_on(child, number)

    before = {}
    if threading.current_thread() is threading.main_thread():
        heard = [number for number in numbers if not is_hangup_ignored(signal.Signals(number).name)]
        before = {number: signal.signal(number, forward) for number in heard}
    try:
        yield forwarded
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def _stopping_together(children: Sequence[subprocess.Popen[bytes]]) -> Iterator[None]:
    """Inside, a Ctrl-Z stops the processes as well, whose sessions a terminal does not know; they go on when this one does."""
    number = getattr(signal, "SIGTSTP", None)
    if (
        number is None
        or threading.current_thread() is not threading.main_thread()
        or signal.getsignal(number) == signal.SIG_IGN
    ):
        yield
        return

    def send_all(what: int) -> None:
        for child in children:
            if child.poll() is None:
                child.send_signal(what)

    def stop(_: int, __: Any) -> None:
        send_all(signal.SIGSTOP)
        signal.signal(number, before)
        os.kill(os.getpid(), number)  # what it does by itself: nothing, where no shell could let it go on
        signal.signal(number, stop)
        send_all(signal.SIGCONT)

    before = signal.signal(number, stop)
    try:
        yield
    finally:
        signal.signal(number, before)


def _pass_on(child: subprocess.Popen[bytes], number: int) -> None:
    """Send a signal to a child; a console of Windows tells all its processes of a Ctrl-C by itself."""
    if sys.platform != "win32" or number != signal.SIGINT:
        child.send_signal(number)


def _count_stops(forwarded: Sequence[int]) -> int:
    return sum(number in _STOPS for number in forwarded)


def _watch(
    children: Sequence[subprocess.Popen[bytes]], forwarded: Sequence[int], relay: Callable[[], object]
) -> tuple[list[int], float]:
    """Wait for all; return the numbers of those that failed, in the order in which they did, and the longest stop of this process.

    Asked to stop for the second time, it waits a moment only: one that hears nobody any more, or waits for such a one, does not
    stop by itself. The third time it does not wait at all.
    """
    failed: list[int] = []
    deadline = float("inf")
    looked, longest = time.monotonic(), 0.0
    while any(child.poll() is None for child in children) and time.monotonic() < deadline:
        for rank, child in enumerate(children):
            code = child.poll()
            if code not in (None, 0) and rank not in failed:
                failed.append(rank)
                grace = _STOP_SECONDS if code == _INTERRUPTED else _GRACE_SECONDS
                deadline = min(deadline, time.monotonic() + grace)
        num_stops = _count_stops(forwarded)
        if num_stops > 1:
            deadline = min(deadline, time.monotonic() + (_GRACE_SECONDS if num_stops == 2 else 0.0))
        relay()
        time.sleep(0.02)
        longest, looked = max(longest, time.monotonic() - looked), time.monotonic()
    failed += [rank for rank, child in enumerate(children) if child.poll() not in (None, 0) and rank not in failed]
    return failed, longest if longest >= _LEAST_STOP_SECONDS else 0.0


def _explain(
    failed: list[int], codes: list[int], said: list[Path], *, is_first_heard: bool = True, stopped_seconds: float = 0.0
) -> None:
    """Say which process failed first of its own: one that only lost another is not to blame."""
    count = len(codes)
    own = [rank for rank in failed if codes[rank] != LOST]
    own.sort(key=lambda rank: (codes[rank] > 0, rank))  # killed ones first; of equal errors, that of the first has been read
    silent = [rank for rank in range(count) if rank not in failed]
    if not own and len(silent) == 1:
        found = "it did not answer for as long as train.timeout_minutes says, and was ended"
        raise TrainingError(f"process {silent[0] + 1} of {count}", found, "", _OTHERS_ENDED)
    if not own:
        found = "they lost each other: one did not answer in time (train.timeout_minutes)"
        if stopped_seconds:
            found = f"they were stopped for {say_duration(stopped_seconds)} (Ctrl-Z, a suspended job), and lost each other: "
            found += "that may happen after a stop longer than train.timeout_minutes"
        raise TrainingError(f"{count} processes", found, "", _GO_ON)
    cause, code = own[0], codes[own[0]]
    is_heard = cause == 0 and is_first_heard
    if is_heard and code > 0:
        raise FirstProcessError(count, code)
    text = "" if is_heard else said[cause].read_text(encoding="utf-8", errors="replace")
    tail = "\n".join(text.strip().splitlines()[-_TAIL_LINES:]).removeprefix("error: ").rstrip(".")
    how = f"it was killed by {signal.Signals(-code).name}" if code < 0 else f"it ended with exit code {code}"
    if -code in _WHY_KILLED:
        how += f", {_WHY_KILLED[-code]}"
    whose = f"process {cause + 1} of {count}" if count > 1 else "training in a process of its own"
    raise TrainingError(whose, how + (f", and said: {tail}" if tail else ""), "", _OTHERS_ENDED if count > 1 else _GO_ON)
