"""Pools of fresh processes: what they get of the environment, and what stays as it was here."""

from __future__ import annotations

import os

import pytest

from whelp.base.processes import ProcessPool


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (None, "glibc.malloc.hugetlb=1"),
        ("glibc.malloc.check=0", "glibc.malloc.check=0:glibc.malloc.hugetlb=1"),
        ("glibc.malloc.hugetlb=0", "glibc.malloc.hugetlb=0"),
    ],
)
def test_huge_pages_are_asked_for_in_the_processes_alone(
    given: str | None, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beside what a user has set, unless it is set already; the caller's environment stays."""
    if given is None:
        monkeypatch.delenv("GLIBC_TUNABLES", raising=False)
    else:
        monkeypatch.setenv("GLIBC_TUNABLES", given)
    with ProcessPool(1, huge_pages=True) as pool:
        assert pool.submit(os.getenv, "GLIBC_TUNABLES").result(60) == expected
        assert os.environ.get("GLIBC_TUNABLES") == given
    with ProcessPool(1) as pool:
        assert pool.submit(os.getenv, "GLIBC_TUNABLES").result(60) == given
