"""A checkpoint is whole or not there, and MODEL finds the right folder."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from whelp.artifacts.checkpoint import (
    LAST,
    TrainerState,
    find_checkpoints,
    find_model_folder,
    find_newest_whole,
    keep_newest,
    point_last,
    read_model_folder,
    read_trainer_state,
    save_checkpoint,
    step_name,
)
from whelp.artifacts.manifest import NAME, Manifest, read_manifest, write_manifest
from whelp.base.errors import ArtifactError
from whelp.base.files import read_json, write_json

WEIGHTS = {"wte.weight": torch.arange(6.0).reshape(2, 3), "head.weight": torch.ones(2, 2, dtype=torch.bfloat16)}


def save_tokenizer(folder: Path) -> None:
    """Stand in for a vocabulary."""
    (folder / "tokenizer.json").write_text("{}")


def save(run: Path, step: int, *, trainer: bool = True, shift: float = 0.0) -> Path:
    """Save the checkpoint of one step."""
    folder = run / step_name(step)
    state = TrainerState({"step": step, "rows_read": 8 * step}, {"exp_avg": torch.full((3,), float(step))}) if trainer else None
    save_checkpoint(
        folder,
        config={"model_type": "gpt2", "n_layer": 2},
        weights={name: tensor + shift for name, tensor in WEIGHTS.items()},
        save_tokenizer=save_tokenizer,
        generation={"eos_token_id": 1},
        trainer=state,
        counts={"step": step},
    )
    return folder


def steps(run: Path) -> list[str]:
    """Names of all checkpoints, half ones too."""
    return sorted(path.name for path in run.iterdir())


def test_round_trip(tmp_path: Path) -> None:
    """Config, weights (types too), tokenizer, counters and optimizer state come back."""
    folder = save(tmp_path, 12)
    assert folder.name == "step-00000012"
    config, weights = read_model_folder(folder)
    assert config == {"model_type": "gpt2", "n_layer": 2}
    assert weights.keys() == WEIGHTS.keys()
    assert all(weights[name].dtype == tensor.dtype and torch.equal(weights[name], tensor) for name, tensor in WEIGHTS.items())
    state = read_trainer_state(folder)
    assert state.counters == {"step": 12, "rows_read": 96}
    assert torch.equal(state.tensors["exp_avg"], torch.full((3,), 12.0))
    assert read_json(folder / "generation_config.json") == {"eos_token_id": 1}
    assert (folder / "tokenizer.json").is_file()


def test_every_file_is_in_the_manifest(tmp_path: Path) -> None:
    """The manifest names every file, and there is no pickle among them."""
    folder = save(tmp_path, 1)
    files = sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file() and path.name != NAME)
    manifest = read_manifest(folder, "checkpoint")
    assert sorted(manifest.files) == files
    assert manifest.counts == {"step": 1}
    assert {Path(name).suffix for name in files} == {".json", ".safetensors"}


def test_weights_that_are_views(tmp_path: Path) -> None:
    """A transposed tensor is saved as what it shows."""
    view = torch.arange(6.0).reshape(2, 3).t()
    arguments = {"config": {}, "save_tokenizer": save_tokenizer, "generation": {}, "trainer": None, "counts": {}}
    save_checkpoint(tmp_path / "m", weights={"w": view}, **arguments)
    assert torch.equal(read_model_folder(tmp_path / "m")[1]["w"], view)


def test_weights_alone(tmp_path: Path) -> None:
    """Without a trainer state there is nothing to resume from, and that is said."""
    folder = save(tmp_path, 1, trainer=False)
    with pytest.raises(ArtifactError, match=r"holds no trainer/ folder, but expected a checkpoint of `whelp train`"):
        read_trainer_state(folder)


@pytest.mark.parametrize("error", [RuntimeError("no"), KeyboardInterrupt()])
def test_failed_save_leaves_nothing(tmp_path: Path, error: BaseException) -> None:
    """A save that fails on the way leaves what was there, no more and no less."""
    save(tmp_path, 1)

    def fail(folder: Path) -> None:
        raise error

    for step in (1, 2):
        with pytest.raises(type(error)):
            save_checkpoint(
                tmp_path / step_name(step),
                config={},
                weights=WEIGHTS,
                save_tokenizer=fail,
                generation={},
                trainer=None,
                counts={},
            )
    assert steps(tmp_path) == [step_name(1)]
    assert find_newest_whole(tmp_path) == tmp_path / step_name(1)


def test_saving_again_replaces(tmp_path: Path) -> None:
    """A resumed run writes the same step over the old one."""
    save(tmp_path, 1)
    folder = save(tmp_path, 1, shift=1.0)
    assert torch.equal(read_model_folder(folder)[1]["wte.weight"], WEIGHTS["wte.weight"] + 1)
    assert steps(tmp_path) == [step_name(1)]


def test_last_is_a_link(tmp_path: Path) -> None:
    """`last` points to a neighbour by name, so that a moved run still works; it moves in one step."""
    run = tmp_path / "run"
    for step in (1, 2):
        point_last(save(run, step))
        assert (run / LAST).resolve() == (run / step_name(step)).resolve()
    moved = run.rename(tmp_path / "moved")
    assert read_json(moved / LAST / "trainer" / "state.json")["step"] == 2
    assert steps(moved) == [LAST, step_name(1), step_name(2)]


def test_keep_newest(tmp_path: Path) -> None:
    """All but the newest go, and so does what a killed save left."""
    for step in (2, 9, 10, 100):
        save(tmp_path, step)
    (tmp_path / ".step-00000101.tmp").mkdir()
    (tmp_path / "notes").mkdir()
    keep_newest(tmp_path, 2, kept=[tmp_path / step_name(9)])
    assert steps(tmp_path) == ["notes", step_name(9), step_name(10), step_name(100)]
    keep_newest(tmp_path, 2)
    assert steps(tmp_path) == ["notes", step_name(10), step_name(100)]
    keep_newest(tmp_path, 5)
    assert steps(tmp_path) == ["notes", step_name(10), step_name(100)]


def test_find_checkpoints(tmp_path: Path) -> None:
    """Finished ones, oldest first; a folder without a manifest is none, and a missing place holds none."""
    for step in (10, 9):
        save(tmp_path, step)
    (tmp_path / step_name(11)).mkdir()
    assert [path.name for path in find_checkpoints(tmp_path)] == [step_name(9), step_name(10)]
    assert find_checkpoints(tmp_path / "gone") == []
    assert find_newest_whole(tmp_path / "gone") is None


@pytest.mark.parametrize("damage", ["flipped byte", "cut off", "file gone", "manifest broken", "manifest gone"])
def test_damaged_newest_falls_back(tmp_path: Path, caplog: pytest.LogCaptureFixture, damage: str) -> None:
    """A damaged checkpoint is named in a warning and passed over for the one before it."""
    save(tmp_path, 1)
    newest = save(tmp_path, 2)
    weights = newest / "model.safetensors"
    data = weights.read_bytes()
    if damage == "flipped byte":
        weights.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    elif damage == "cut off":
        weights.write_bytes(data[:-1])
    elif damage == "file gone":
        weights.unlink()
    elif damage == "manifest broken":
        (newest / NAME).write_text('{"kind": ')
    else:
        (newest / NAME).unlink()
    with caplog.at_level("WARNING", logger="whelp"):
        assert find_newest_whole(tmp_path) == tmp_path / step_name(1)
    assert len(caplog.messages) == 1
    assert f"{newest} is damaged (" in caplog.messages[0]
    assert "going back to the checkpoint before it" in caplog.messages[0]


def test_all_damaged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """When none is whole there is none, and each is named; a whole one needs no warning."""
    folder = save(tmp_path, 1)
    with caplog.at_level("WARNING", logger="whelp"):
        assert find_newest_whole(tmp_path) == folder
        assert caplog.messages == []
        (folder / "config.json").write_text("[]")
        assert find_newest_whole(tmp_path) is None
    (message,) = caplog.messages
    assert message.endswith("is damaged (config.json: has 2 bytes); there is none before it: training begins anew")


# --- model folders ---


def test_pickle_is_refused(tmp_path: Path) -> None:
    """Weights that are only there as a pickle are not loaded."""
    write_json(tmp_path / "config.json", {})
    torch.save({"w": torch.ones(1)}, tmp_path / "pytorch_model.bin")
    message = r"its weights are a pickle \(\*\.bin\), which can run code, but expected model\.safetensors\. Save it with"
    with pytest.raises(ArtifactError, match=message):
        read_model_folder(tmp_path)


def test_no_weights(tmp_path: Path) -> None:
    """A config alone is no model."""
    write_json(tmp_path / "config.json", {})
    with pytest.raises(ArtifactError, match=r"it has no weights, but expected model\.safetensors"):
        read_model_folder(tmp_path)


def test_sharded_weights(tmp_path: Path) -> None:
    """A model in several files is read as one."""
    write_json(tmp_path / "config.json", {"a": 1})
    for index, (name, tensor) in enumerate(WEIGHTS.items()):
        save_file({name: tensor}, tmp_path / f"model-{index + 1:05d}-of-00002.safetensors")
    _, weights = read_model_folder(tmp_path)
    assert weights.keys() == WEIGHTS.keys()


def test_damaged_model_folder(tmp_path: Path) -> None:
    """Broken weights or a broken config are named."""
    write_json(tmp_path / "config.json", {})
    (tmp_path / "model.safetensors").write_bytes(b"nothing like it")
    with pytest.raises(ArtifactError, match=r"model\.safetensors: is damaged \(.*\), but expected safetensors"):
        read_model_folder(tmp_path)
    for content in ("{", "5"):
        (tmp_path / "config.json").write_text(content)
        with pytest.raises(ArtifactError, match=r"config\.json: is damaged \(.*\), but expected a JSON object"):
            read_model_folder(tmp_path)


def test_find_model_folder(tmp_path: Path) -> None:
    """A run, its checkpoints, one checkpoint, what `demo` makes, and a folder from elsewhere all name a model."""
    run = tmp_path / "demo" / "run"
    first = save(run / "checkpoints", 1)
    second = save(run / "checkpoints", 2)
    assert find_model_folder(run) == second  # no `last` yet: the newest
    point_last(first)
    for path in (run, run / "checkpoints", tmp_path / "demo", run / "checkpoints" / LAST):
        assert find_model_folder(path).resolve() == first.resolve()
    assert find_model_folder(second) == second
    shutil.rmtree(first)  # `last` points to nothing now
    assert find_model_folder(run) == second
    write_json(tmp_path / "config.json", {})
    assert find_model_folder(tmp_path) == tmp_path


def test_a_misspelled_run_is_told_of_the_others(tmp_path: Path) -> None:
    """The latest first, also one inside a folder of the demo."""
    for name, seconds in (("old", 1), ("demo/run", 3), ("new", 2)):
        save(tmp_path / name / "checkpoints", 1)
        os.utime(tmp_path / name, (seconds, seconds))
    with pytest.raises(ArtifactError, match=r"there is no such folder, .*Latest runs there: .*demo/run, .*new, .*old\.$"):
        find_model_folder(tmp_path / "gone")
    with pytest.raises(ArtifactError, match=r"Check the spelling\.$"):
        find_model_folder(tmp_path / "nowhere" / "gone")


def test_a_checkpoint_that_is_gone_is_told_of_the_others(tmp_path: Path) -> None:
    """Runs keep their newest ones, so an early step is soon not there any more."""
    for step in (75, 76):
        save(tmp_path / "run" / "checkpoints", step)
    with pytest.raises(ArtifactError, match=r"There are step-00000075, step-00000076: runs keep their newest ones\.$"):
        find_model_folder(tmp_path / "run" / "checkpoints" / "step-00000060")


def test_find_model_folder_says_what_is_there(tmp_path: Path) -> None:
    """What is no model is named for what it is."""
    with pytest.raises(ArtifactError, match=r"gone: there is no such folder, but expected a run, a checkpoint or"):
        find_model_folder(tmp_path / "gone")
    with pytest.raises(ArtifactError, match=r"holds no config\.json and no checkpoints, but expected a model"):
        find_model_folder(tmp_path)
    (tmp_path / "file").write_text("x")
    with pytest.raises(ArtifactError, match=r"file: is a file, but expected the folder of a model"):
        find_model_folder(tmp_path / "file")
    (tmp_path / "ckpt.pt").write_text("x")
    with pytest.raises(ArtifactError, match=r"is a pickle, which can run code and is never opened, but expected the folder"):
        find_model_folder(tmp_path / "ckpt.pt")
    write_json(tmp_path / "plan.json", {})
    with pytest.raises(ArtifactError, match=r"this run has no checkpoint yet, .*Run the same `whelp train` again"):
        find_model_folder(tmp_path)
    write_manifest(tmp_path, Manifest(kind="token_store"))
    with pytest.raises(ArtifactError, match=r"is a token store, but expected a model\. Train one with `whelp train`"):
        find_model_folder(tmp_path)
