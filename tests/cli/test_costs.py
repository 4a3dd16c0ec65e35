"""What a run will cost, as it is said before, against what it came to."""

from __future__ import annotations

from pathlib import Path

import pytest

from .helpers import Project, Whelp


def count_bytes(folder: Path) -> int:
    """Bytes of the weights and of the optimizer's state."""
    return sum(path.stat().st_size for path in folder.rglob("*.safetensors"))


@pytest.mark.parametrize("options", [["train.optimizer=muon"], ["train.optimizer=adamw", "train.ema_decay=0.9"]])
def test_room_of_checkpoints(whelp: Whelp, made: Project, options: list[str]) -> None:
    """Within a few percent of the files that the run writes, whichever optimizer; as many as are kept, and one."""
    asked = ["train", made.recipe, *options, "train.save_every_steps=1", "--store", made.store]
    costs = whelp(*asked, "--dry-run", "--json").json["costs"]
    assert costs["price"] is None
    assert costs["num_checkpoints"] == 3
    assert costs["disk_bytes"] == 3 * costs["checkpoint_bytes"]
    assert whelp(*asked, "--out", "run").code == 0
    files = count_bytes(Path("run/checkpoints/step-00000004"))
    headers = 16_384  # names and shapes, which weigh something beside so small a model
    assert costs["checkpoint_bytes"] < files < costs["checkpoint_bytes"] + headers


def test_price(whelp: Whelp, made: Project) -> None:
    """The price of an hour, for the time that the plan says; asked for without a plan, it is wrong usage."""
    asked = ["train", made.recipe, "train.minutes=90", "train.num_steps=null", "--store", made.store, "--price-per-hour", "2"]
    assert whelp(*asked, "--dry-run", "--json").json["costs"]["price"] == pytest.approx(3.0)
    shown = whelp(*asked, "--dry-run").said
    assert "about 3.00, of the time above" in shown
    assert "checkpoints of" in shown
    wrong = whelp(*asked, "--out", "run")
    assert (wrong.code, "is for --dry-run" in wrong.said) == (2, True)
