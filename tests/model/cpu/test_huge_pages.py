"""Large pages change where weights lie, never what they are."""

from pathlib import Path

import pytest
import torch

from whelp.model.cpu.huge_pages import HUGE_BYTES, ask_for_huge_pages, move_to_huge_pages

_ENABLED = Path("/sys/kernel/mm/transparent_hugepage/enabled")


def test_values_stay():
    """Of tensors large and small, before and after they are written, in oneDNN's order and on no device."""
    weights = [torch.randn(700, 1024), torch.randn(3), torch.randn(9, 5, device="meta")]
    copies = [weight.clone() for weight in weights]
    ask_for_huge_pages(weights)
    move_to_huge_pages(weights)
    assert all(torch.equal(weight, copy) for weight, copy in zip(weights[:2], copies, strict=False))
    if torch.backends.mkldnn.is_available():
        packed = weights[0].to_mkldnn()
        move_to_huge_pages([packed])
        assert torch.equal(packed.to_dense(), copies[0])


@pytest.mark.skipif(
    not _ENABLED.exists() or "[never]" in _ENABLED.read_text(),
    reason="this system has no large pages: run it on Linux with them",
)
def test_large_pages_come():
    """Under memory that was asked for before it was written."""
    before = _count_huge_bytes()
    weight = torch.empty(16 * HUGE_BYTES // 4)
    ask_for_huge_pages([weight])
    weight.fill_(1.0)
    if _count_huge_bytes() == before:
        pytest.skip("this system has no large pages to give: run it with more free memory")
    assert _count_huge_bytes() - before >= 8 * HUGE_BYTES


def _count_huge_bytes():
    lines = Path("/proc/self/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("AnonHugePages"))
