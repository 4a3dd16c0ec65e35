"""Runs one program under limits: `python -I _sandboxed.py PROGRAM LIMITS_JSON`, one JSON object on standard output.

A file of its own, of the standard library alone: it is started anew for every program. The process that is started only
watches. It forks the one that gives up what it may do and then runs the program; when that has ended, or its time is over,
everything that still descends from it is killed.

What is given up for good, where the system allows it (the result says what was):
    limits      CPU time, memory, size of a file, open files, core dumps (setrlimit)
    seccomp     Linux on x86-64 and arm64: no sockets (so no network), no further processes (threads may be), no signals
                to others, no looking into others
    landlock    Linux from 5.13 on: no file outside the program's folder is written, made, renamed or removed

Numbers of system calls and of instructions are those of the Linux headers (asm/unistd.h, linux/seccomp.h, linux/bpf_common.h,
linux/landlock.h).
"""

from __future__ import annotations

import ctypes
import json
import os
import platform
import select
import signal
import struct
import sys
import time
from typing import Any

_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER, _PR_SET_NO_NEW_PRIVS, _PR_SET_SECCOMP = 1, 36, 38, 22
_EPERM, _ENOSYS = 1, 38
_CLONE_THREAD = 0x10000
# name: (x86-64, arm64); None where a machine does not have it. All fail as if forbidden.
_FORBIDDEN: dict[str, tuple[int | None, int | None]] = {
    "socket": (41, 198),
    "socketpair": (53, 199),
    "connect": (42, 203),
    "io_uring_setup": (425, 425),  # which opens sockets, too
    "fork": (57, None),
    "vfork": (58, None),
    "kill": (62, 129),
    "tkill": (200, 130),
    "tgkill": (234, 131),
    "rt_sigqueueinfo": (129, 138),
    "rt_tgsigqueueinfo": (297, 240),
    "pidfd_open": (434, 434),
    "pidfd_send_signal": (424, 424),
    "ptrace": (101, 117),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "setsid": (112, 157),
    "setpgid": (109, 154),
    "mount": (165, 40),
    "umount2": (166, 39),
    "unshare": (272, 97),
    "setns": (308, 268),
    "bpf": (321, 280),
    "keyctl": (250, 219),
    "reboot": (169, 142),
    "setpriority": (141, 140),
}
_CLONE, _CLONE3 = (56, 220), (435, 435)
_PRLIMIT = (302, 261)
_MACHINES = {"x86_64": (0, 0xC000003E), "aarch64": (1, 0xC00000B7)}
_LANDLOCK_WRITES = 0b1111111110010  # of ABI 1: write a file, remove, and make what there is to make
_LANDLOCK_REFER, _LANDLOCK_TRUNCATE = 1 << 13, 1 << 14


def main() -> None:
    """Watch one program."""
    program, limits = sys.argv[1], json.loads(sys.argv[2])
    libc = ctypes.CDLL(None, use_errno=True)
    if sys.platform == "linux":
        libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)  # whoever loses its parent below becomes ours
        libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
    signal.signal(signal.SIGTERM, lambda *_: _give_up_watching(child))
    reading, writing = os.pipe()
    watcher = os.getpid()
    child = os.fork()
    if child == 0:
        os.close(reading)
        os.setsid()
        if sys.platform == "linux":
            libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != watcher:
            os._exit(1)
        _run(program, limits, libc, writing)
    os.close(writing)
    said, is_over_time = _listen(reading, time.monotonic() + limits["timeout_seconds"])
    _kill_all(child)
    _, status = os.waitpid(child, 0)
    result = said or {}
    if "reason" not in result:
        result["reason"] = "timeout" if is_over_time else _explain(status)
    print(json.dumps(result))


def _give_up_watching(child: int) -> None:
    _kill_all(child)
    os._exit(1)


def _listen(reading: int, deadline: float) -> tuple[dict[str, Any] | None, bool]:
    """What the program's process has to say: its protection, then its end; and whether its time was over before."""
    data = b""
    while (left := deadline - time.monotonic()) > 0:
        if not select.select([reading], [], [], left)[0]:
            break
        chunk = os.read(reading, 4096)
        if not chunk:
            return _merge(data), False
        data += chunk
        if data.count(b"\n") >= 2:
            return _merge(data), False
    return _merge(data), True


def _merge(data: bytes) -> dict[str, Any]:
    merged: dict[str, Any] = {}
    for line in data.splitlines()[:2]:
        try:
            merged |= json.loads(line)
        except (ValueError, TypeError):
            continue
    return merged


def _explain(status: int) -> str:
    """Why a process ended that said nothing."""
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        return "timeout" if number == signal.SIGXCPU else f"killed by {signal.Signals(number).name}"
    return f"ended early with exit code {os.WEXITSTATUS(status)}"


def _kill_all(child: int) -> None:
    """Kill the program's process group, and whatever of it has left the group, until nothing is left."""
    _kill(child, is_group=True)
    for _ in range(1000):
        found = [process for process in _list_descendants(os.getpid()) if process != child]
        if not found:
            return
        for process in found:
            _kill(process)
        for process in found:
            try:
                os.waitpid(process, os.WNOHANG)
            except OSError:
                continue
        time.sleep(0.001)


def _kill(process: int, *, is_group: bool = False) -> None:
    try:
        (os.killpg if is_group else os.kill)(process, signal.SIGKILL)
    except OSError:
        return


def _list_descendants(process: int) -> list[int]:
    """Of Linux; elsewhere a process group is all there is to hold on to."""
    try:
        with open(f"/proc/{process}/task/{process}/children") as file:
            children = [int(word) for word in file.read().split()]
    except OSError:
        return []
    return [below for child in children for below in (child, *_list_descendants(child))]


def _run(program: str, limits: dict[str, Any], libc: Any, writing: int) -> None:
    """Give up what a program does not need, then run it; never returns."""
    with open(program, encoding="utf-8") as file:
        source = file.read()
    nowhere = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(nowhere, stream)
    _say(writing, {"protections": _give_up(limits, libc)})
    try:
        exec(compile(source, "program", "exec"), {"__name__": "program"})
        reason = "passed"
    except MemoryError:
        reason = "out of memory"
    except BaseException as error:  # also of SystemExit: a program that leaves early has not passed
        reason = f"{type(error).__name__}: {error}"[:200]
    _say(writing, {"reason": reason})
    os._exit(0)


def _say(writing: int, value: dict[str, Any]) -> None:
    os.write(writing, json.dumps(value).encode() + b"\n")


def _give_up(limits: dict[str, Any], libc: Any) -> list[str]:
    import resource

    megabyte = 1 << 20
    seconds = max(1, int(limits["timeout_seconds"] + 0.999))
    wanted = {
        "RLIMIT_CPU": seconds,
        "RLIMIT_AS": limits["memory_megabytes"] * megabyte,
        "RLIMIT_FSIZE": limits["file_megabytes"] * megabyte,
        "RLIMIT_NOFILE": 64,
        "RLIMIT_CORE": 0,
    }
    for name, value in wanted.items():
        try:
            # time that is over is told by a signal of its own; whoever does not listen to it is killed a second later
            most = value + 1 if name == "RLIMIT_CPU" else value
            resource.setrlimit(getattr(resource, name), (value, most))
        except (AttributeError, ValueError, OSError):  # of macOS: memory cannot be limited so
            continue
    given = ["limits"]
    if sys.platform != "linux":
        return given
    if libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0:
        if _landlock(libc):
            given.append("landlock")
        if _seccomp(libc):
            given.append("seccomp")
    if "seccomp" not in given:
        resource.setrlimit(resource.RLIMIT_NPROC, (0, 0))
    return given


def _landlock(libc: Any) -> bool:
    """From now on, write below the current folder only."""
    create, add, restrict = 444, 445, 446
    abi = libc.syscall(create, None, 0, 1)
    if abi < 1:
        return False
    handled = _LANDLOCK_WRITES | (_LANDLOCK_REFER if abi >= 2 else 0) | (_LANDLOCK_TRUNCATE if abi >= 3 else 0)
    rules = libc.syscall(create, struct.pack("Q", handled), 8, 0)
    if rules < 0:
        return False
    for path, allowed in ((".", handled), (os.devnull, handled & (2 | _LANDLOCK_TRUNCATE))):
        place = os.open(path, os.O_PATH)
        if libc.syscall(add, rules, 1, struct.pack("=Qi", allowed, place), 0):
            return False
        os.close(place)
    done = libc.syscall(restrict, rules, 0) == 0
    os.close(rules)
    return bool(done)


def _seccomp(libc: Any) -> bool:
    """From now on, forbidden system calls fail."""
    if platform.machine() not in _MACHINES or sys.maxsize < 1 << 32:
        return False
    column, architecture = _MACHINES[platform.machine()]
    forbidden = [number for numbers in _FORBIDDEN.values() if (number := numbers[column]) is not None]
    code = make_filter(architecture, forbidden, _CLONE[column], _CLONE3[column], _PRLIMIT[column])
    buffer = ctypes.create_string_buffer(code)
    program = struct.pack("HxxxxxxP", len(code) // 8, ctypes.addressof(buffer))
    return bool(libc.prctl(_PR_SET_SECCOMP, 2, program, 0, 0) == 0)


def make_filter(architecture: int, forbidden: list[int], clone: int, clone3: int, prlimit: int) -> bytes:
    """A program of the kernel's packet filter that judges a system call.

    `forbidden` fail, `clone` without a thread's flag fails, `clone3` does not exist (then C libraries use `clone`),
    `prlimit` of another process fails; calls of another architecture kill.
    """
    load, equal, greater, bits, answer = 0x20, 0x15, 0x35, 0x45, 0x06
    allow, refuse, missing, kill = 0x7FFF0000, 0x00050000 | _EPERM, 0x00050000 | _ENOSYS, 0x80000000
    lines = [
        (load, 0, 0, 4),  # the architecture
        (equal, 1, 0, architecture),
        (answer, 0, 0, kill),
        (load, 0, 0, 0),  # the number of the call
        (greater, 0, 1, 0x40000000),  # x32, a third way in
        (answer, 0, 0, refuse),
    ]
    for number in forbidden:
        lines += [(equal, 0, 1, number), (answer, 0, 0, refuse)]
    lines += [(equal, 0, 1, clone3), (answer, 0, 0, missing)]
    lines += [
        (equal, 0, 4, clone),
        (load, 0, 0, 16),
        (bits, 1, 0, _CLONE_THREAD),
        (answer, 0, 0, refuse),
        (answer, 0, 0, allow),
    ]
    lines += [(equal, 0, 3, prlimit), (load, 0, 0, 16), (equal, 1, 0, 0), (answer, 0, 0, refuse)]
    lines += [(answer, 0, 0, allow)]
    return b"".join(struct.pack("HBBI", *line) for line in lines)


if __name__ == "__main__":
    main()
