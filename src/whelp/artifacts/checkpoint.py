"""A checkpoint is a Hugging Face model folder plus `trainer/`, what training needs to go on.

    step-00001000/config.json, model.safetensors, generation_config.json, tokenizer.json, ...
    step-00001000/ema/                        another model folder: averaged weights, where asked for
    step-00001000/trainer/state.json          counters
    step-00001000/trainer/optimizer.safetensors   of a divided model, one file of each process (checkpoint_parts.py)
    step-00001000/manifest.json               written last

It is written under a temporary name, synced, then renamed. Nothing here is a pickle, and none is ever loaded.
"""

from __future__ import annotations

import math
import os
import re
import shutil
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from whelp.artifacts.checkpoint_parts import SavedTensors, find_state_files, write_tensors
from whelp.artifacts.manifest import Manifest, describe_files, find_damage, find_kind, read_manifest, write_manifest
from whelp.base.errors import ArtifactError, say_first_line
from whelp.base.files import atomic_folder, read_json, write_json
from whelp.base.links import follow_link, point_link
from whelp.base.log import log

if TYPE_CHECKING:
    import torch

LAST, BEST, AVERAGE = "last", "best", "ema"
_WEIGHTS, _CONFIG, _OPTIMIZER, _STATE = (
    "model.safetensors",
    "config.json",
    "trainer/optimizer.safetensors",
    "trainer/state.json",
)
_PICKLES = (".pt", ".pth", ".bin", ".ckpt", ".pkl")  # of weights, as other programs write them
_DAMAGED = "damaged-"
_STEP_NAME = re.compile(r"step-\d{8,}")


@dataclass(frozen=True)
class TrainerState:
    """What training needs, besides the weights, to go on as if it had never stopped."""

    counters: dict[str, Any]
    tensors: Mapping[str, torch.Tensor]


def step_name(step: int) -> str:
    """12 -> 'step-00000012'"""
    return f"step-{step:08d}"


def save_checkpoint(
    folder: Path,
    *,
    config: Mapping[str, Any],
    weights: Mapping[str, torch.Tensor],
    save_tokenizer: Callable[[Path], None],
    generation: Mapping[str, Any],
    trainer: TrainerState | None,
    counts: Mapping[str, Any],
    average: Mapping[str, torch.Tensor] | None = None,
) -> None:
    """Write a whole checkpoint at `folder`, or nothing.

    Args:
        config: Contents of the Hugging Face `config.json`.
        weights: State dict under Hugging Face names.
        save_tokenizer: Writes the tokenizer's files into the folder it is given.
        generation: Contents of `generation_config.json`.
        trainer: State to resume from; None for weights alone.
        counts: Numbers worth knowing without opening the weights (step, loss, ...).
        average: Averaged weights, for a model folder `ema/` inside.
    """
    with atomic_folder(folder) as temporary:
        write_contents(temporary, config, weights, save_tokenizer, generation, trainer, average)
        names = sorted(path.relative_to(temporary).as_posix() for path in temporary.rglob("*") if path.is_file())
        write_manifest(temporary, Manifest(kind="checkpoint", counts=dict(counts), files=describe_files(temporary, names)))


def write_contents(
    place: Path,
    config: Mapping[str, Any],
    weights: Mapping[str, torch.Tensor],
    save_tokenizer: Callable[[Path], None],
    generation: Mapping[str, Any],
    trainer: TrainerState | None,
    average: Mapping[str, torch.Tensor] | None = None,
) -> None:
    """Write all of a checkpoint but its manifest; of a trainer without tensors the counters alone."""
    for folder, state in ((place, weights), (place / AVERAGE, average)):
        if state is not None:
            folder.mkdir(exist_ok=True)
            write_json(folder / _CONFIG, dict(config))
            write_json(folder / "generation_config.json", dict(generation))
            write_tensors(folder / _WEIGHTS, state, {"format": "pt"})
            save_tokenizer(folder)
    if trainer is not None:
        (place / "trainer").mkdir(exist_ok=True)
        write_json(place / _STATE, trainer.counters)
        if trainer.tensors:
            write_tensors(place / _OPTIMIZER, trainer.tensors)


def point_last(checkpoint: Path, name: str = LAST) -> None:
    """Make `last` (or another name) beside `checkpoint` lead to it, in one step (`base/links.py`)."""
    link = checkpoint.parent / name
    _set_copy_aside(link)
    point_link(link, checkpoint.name)


def find_checkpoints(folder: Path) -> list[Path]:
    """Finished checkpoints below `folder`, oldest first."""
    return [path for path in _find_steps(folder) if find_kind(path) == "checkpoint"]


def _find_steps(folder: Path) -> list[Path]:
    """All that has the name of a checkpoint, oldest first; a copy that somebody made beside it has another name, and is theirs."""
    return sorted((path for path in folder.glob("step-*") if _STEP_NAME.fullmatch(path.name)), key=read_step)


def read_step(checkpoint: Path) -> int:
    """The step in a checkpoint's name.   step-00000012 -> 12"""
    return int(checkpoint.name.removeprefix("step-"))


def find_finished_step(folder: Path) -> int | None:
    """The step of the newest checkpoint below `folder`, where its run had nothing left to train; None with any other."""
    for path in reversed(_find_steps(folder)):
        try:
            counts = read_manifest(path, "checkpoint").counts
        except (ArtifactError, OSError):
            continue  # half written, damaged, or deleted at this moment
        return read_step(path) if counts.get("is_finished") else None
    return None


def find_newest_whole(folder: Path) -> Path | None:
    """The newest checkpoint whose every byte is what was written; damaged ones are named and passed over."""
    paths = _find_steps(folder)
    while paths:
        path = paths.pop()
        try:
            damaged = find_damage(path, read_manifest(path, "checkpoint"))
        except ArtifactError as error:
            damaged = [f"{Path(error.where).name}: {error.found}"]
        except PermissionError:
            raise  # it may be whole
        except OSError as error:
            damaged = [f"{Path(str(error.filename)).name}: {error.strerror}"]
        if not damaged:
            return path
        next_step = "going back to the checkpoint before it" if paths else "there is none before it: training begins anew"
        log.warning("%s is damaged (%s); %s", path, ", ".join(damaged), next_step)
    return None


def set_damaged_aside(folder: Path, newest: Path | None) -> None:
    """Rename what was damaged after `newest`, all of it when there is none: it must not push out whole checkpoints by its number."""
    for path in _find_steps(folder):
        if newest is None or read_step(path) > read_step(newest):
            aside = path.with_name(f"{_DAMAGED}{path.name}")
            shutil.rmtree(aside, ignore_errors=True)
            os.rename(path, aside)
            log.warning("%s is called %s now, and goes once training has come as far again", path, aside.name)


def unfold_links(folder: Path) -> None:
    """Make of `last` and `best` what they were before a copy followed the links (scp -r, cp -L): no folders of their own."""
    for name in (LAST, BEST):
        copy = folder / name
        if copy.is_symlink() or not copy.is_dir():
            continue
        try:
            original = folder / step_name(int(read_manifest(copy, "checkpoint").counts["step"]))
        except (ArtifactError, KeyError, ValueError, TypeError):
            continue  # whoever points the link anew will set it aside
        if not original.exists():
            os.rename(copy, original)


def _set_copy_aside(link: Path) -> None:
    """A folder that stands where a link belongs is a copy of a checkpoint that is there, too."""
    if link.is_dir() and not link.is_symlink():
        aside = link.with_name(f"copied-{link.name}")
        shutil.rmtree(aside, ignore_errors=True)
        os.rename(link, aside)
        log.warning("%s was a folder, not a link, as some ways to copy make it; it is called %s now", link, aside.name)


def find_best(folder: Path) -> Path | None:
    """The checkpoint of the lowest test loss, the earlier of equal ones; only those evaluated at their own step count."""
    found = []
    for path in find_checkpoints(folder):
        counts = read_json(path / "manifest.json")["counts"]
        loss = counts.get("test_nats_per_token")
        if loss is not None and math.isfinite(loss) and counts.get("evaluated_step") == counts.get("step"):
            found.append((loss, path))
    return min(found)[1] if found else None


def keep_newest(folder: Path, num_kept: int, *, every_steps: int | None = None, kept: Collection[Path] = ()) -> None:
    """Delete all but the newest `num_kept` checkpoints, whatever a killed run left half-written or half-deleted, and what was
    damaged and is there again.

    Args:
        every_steps: Those of a multiple of so many steps stay, too.
        kept: These stay, too.
    """
    whole = find_checkpoints(folder)
    for path in whole[: -num_kept or None]:
        is_regular = every_steps is not None and read_step(path) % every_steps == 0
        if not is_regular and path not in kept:
            os.rename(path, path.with_name(f".{path.name}.old"))  # from here on it is no checkpoint, however deleting ends
    for path in folder.glob(f"{_DAMAGED}step-*"):
        if whole and path.name.removeprefix(_DAMAGED) <= whole[-1].name:
            shutil.rmtree(path, ignore_errors=True)
    for path in folder.glob(".step-*"):
        shutil.rmtree(path, ignore_errors=True)


def read_trainer_state(checkpoint: Path) -> TrainerState:
    """Read what training needs to go on.

    Raises:
        ArtifactError: When the checkpoint holds weights alone.
    """
    if not (checkpoint / _STATE).is_file():
        raise ArtifactError(checkpoint, "it holds no trainer/ folder", "a checkpoint of `whelp train`", "Choose another.")
    return TrainerState(read_json(checkpoint / _STATE), SavedTensors(find_state_files(checkpoint)))


def find_model_folder(path: Path) -> Path:
    """The model folder that MODEL means: a checkpoint, any Hugging Face folder, or of a run the best checkpoint, where it keeps
    that (`keep_best`), else the last.

    Raises:
        ArtifactError: When nothing there is a model; it says what is there instead.
    """
    path = follow_link(path)
    if not path.exists():
        steps = find_checkpoints(path.parent)
        there = f" There are {', '.join(step.name for step in steps)}: runs keep their newest ones." if steps else ""
        advice = f"Check the spelling.{there or _say_runs(path.parent)}"
        raise ArtifactError(path, "there is no such folder", "a run, a checkpoint or a Hugging Face model folder", advice)
    if (path / _CONFIG).is_file():
        return path
    for checkpoints in _list_checkpoint_folders(path):
        for link in (BEST, LAST):
            if (follow_link(checkpoints / link) / _CONFIG).is_file():
                return follow_link(checkpoints / link).resolve()
        found = find_checkpoints(checkpoints)
        if found:
            return found[-1]
    kind = find_kind(path)
    if kind == "token_store":
        raise ArtifactError(path, "is a token store", "a model", "Train one with `whelp train`.")
    if (path / "plan.json").is_file():
        raise ArtifactError(
            path, "this run has no checkpoint yet", "at least one", "Run the same `whelp train` again: it goes on."
        )
    if path.is_file():
        what = "a pickle, which can run code and is never opened" if path.suffix in _PICKLES else "a file"
        advice = "Give the folder: a run, or what `save_pretrained(folder)` of transformers writes."
        raise ArtifactError(path, f"is {what}", "the folder of a model: config.json and model.safetensors", advice)
    advice = f"Give a run folder of `whelp train`.{_say_runs(path)}"
    raise ArtifactError(path, "holds no config.json and no checkpoints", "a model", advice)


def _list_checkpoint_folders(path: Path) -> list[Path]:
    """Where the checkpoints of a run may lie: in the run, in that of a demo's folder, or in their own folder."""
    return [path / "checkpoints", path / "run" / "checkpoints", path]


def choose_model_folder(path: Path) -> Path:
    """What `find_model_folder` finds, saying which checkpoint of a run it is where that is not the last.

    Raises:
        ArtifactError: When nothing there is a model.
    """
    folder = find_model_folder(path)
    if folder != follow_link(path):
        links = [place / LAST for place in _list_checkpoint_folders(path)]
        last = next((link for link in links if (follow_link(link) / _CONFIG).is_file()), folder)
        if follow_link(last).resolve() != folder:
            note = "%s: step %d, whose test loss is the lowest (checkpoints/best); the last, step %d, is %s"
            log.info(note, path, read_step(folder), read_step(follow_link(last).resolve()), last)
    return folder


def _say_runs(folder: Path) -> str:
    """The latest runs in a folder, for somebody who misspelled one."""
    found = [place.parent for pattern in ("*/checkpoints", "*/run/checkpoints") for place in folder.glob(pattern)]
    latest = sorted(found, key=lambda run: run.stat().st_mtime, reverse=True)[:3]
    return f" Latest runs there: {', '.join(map(str, latest))}." if latest else ""


def read_model_config(folder: Path) -> dict[str, Any]:
    """Read the `config.json` of a model folder.

    Raises:
        ArtifactError: When it is damaged.
    """
    try:
        return dict(read_json(folder / _CONFIG))
    except (ValueError, TypeError) as error:
        raise ArtifactError(
            folder / _CONFIG, f"is damaged ({say_first_line(error)})", "a JSON object", "Copy it again, or use another."
        ) from None


def find_weight_files(folder: Path) -> list[str]:
    """Names of the safetensors files of a model folder.

    Raises:
        ArtifactError: When there are none, or only a pickle.
    """
    names = [_WEIGHTS] if (folder / _WEIGHTS).is_file() else sorted(path.name for path in folder.glob("*.safetensors"))
    if not names:
        found = "its weights are a pickle (*.bin), which can run code" if list(folder.glob("*.bin")) else "it has no weights"
        raise ArtifactError(folder, found, _WEIGHTS, "Save it with `save_pretrained(folder)`, which writes safetensors.")
    return names


def read_model_folder(folder: Path) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    """Read `config.json` and the weights of a Hugging Face model folder (safetensors only, sharded or not).

    Raises:
        ArtifactError: When weights are missing or only a pickle is there.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    config = read_model_config(folder)
    names = find_weight_files(folder)
    weights: dict[str, torch.Tensor] = {}
    for name in names:
        try:
            weights.update(load_file(folder / name))
        except SafetensorError as error:
            raise ArtifactError(
                folder / name, f"is damaged ({say_first_line(error)})", "safetensors", "Copy it again, or use another."
            ) from None
    return config, weights
