"""How much memory a cluster or a container leaves a process."""

from __future__ import annotations

from pathlib import Path

from whelp.base.machine import count_cores, count_free_bytes, find_allowances, find_cores


def write(group: Path, **files: object) -> None:
    """The files of a control group; `__` is a dot."""
    group.mkdir(parents=True, exist_ok=True)
    for name, value in files.items():
        (group / name.replace("__", ".")).write_text(f"{value}\n")


def test_limits_of_control_groups(tmp_path: Path) -> None:
    """Each limit on the way up counts, and what is kept of files is no use that stays; without limits there is none to heed."""
    groups, own = tmp_path / "groups", tmp_path / "own"
    own.write_text("0::/job/step\n")
    write(groups / "job" / "step", memory__max="max", memory__current=10, memory__stat="anon 5")
    write(groups / "job", memory__max=1000, memory__current=700, memory__stat="anon 300\ninactive_file 250\nactive_file 50")
    assert find_allowances(groups, own) == [600]
    own.write_text("9:cpu:/\n4:memory:/job\n0::/\n")
    counts = "total_inactive_file 1\ntotal_active_file 2"
    write(groups / "memory" / "job", memory__limit_in_bytes=50, memory__usage_in_bytes=20, memory__stat=counts)
    write(groups / "memory", memory__limit_in_bytes=10, memory__usage_in_bytes=20, memory__stat=counts)
    assert find_allowances(groups, own) == [33, 0]
    assert find_allowances(groups, tmp_path / "missing") == []


def test_this_machine() -> None:
    """Cores have numbers, and there is room in memory; 0 stands for a system that does not say."""
    assert count_cores() == len(set(find_cores())) > 0
    assert count_free_bytes() >= 0
