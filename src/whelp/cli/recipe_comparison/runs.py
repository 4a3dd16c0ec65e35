"""One run of `whelp compare-recipes`: trained, and measured on the held-out texts on its way and at its end.

All that comes of it lies in its folder, so that a run that was done before, by whichever process, need not be done again.
"""

from __future__ import annotations

import contextlib
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from whelp.artifacts.checkpoint import AVERAGE, find_newest_whole, step_name
from whelp.artifacts.run_folder import RunFolder, iter_records
from whelp.base.errors import PlanError, TrainingError
from whelp.cli.evaluations import iter_kept, save_evaluation
from whelp.cli.held_out_texts import EncodedTexts
from whelp.cli.recipe import Recipe
from whelp.cli.recipe_comparison.events import RunAdvanced
from whelp.cli.recipe_comparison.settle import name_side

_KIND = "texts"
_MEASURED_AT_ONCE = 64  # texts
_TRAINING_SHARE = 0.97  # of a run; the rest measures

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class TextIds:
    """Held-out texts, by their fingerprint, in the ids of a recipe's vocabulary."""

    fingerprint: str
    encoded: EncodedTexts

    @property
    def asked(self) -> dict[str, Any]:
        """What is asked of a checkpoint."""
        return {"texts": self.fingerprint}


@dataclass(frozen=True, kw_only=True)
class ComparedRun:
    """One run: `texts` are measured at its end, `sample`, some of them, at each of its checkpoints."""

    number: int
    name: str
    seed: int
    recipe: Recipe
    store: Path
    folder: Path
    num_steps: int
    texts: TextIds
    sample: TextIds

    def is_trained(self) -> bool:
        """Whether its last checkpoint is there."""
        newest = find_newest_whole(RunFolder(self.folder).checkpoints)
        return newest is not None and newest.name == step_name(self.num_steps)

    def read_losses(self) -> Floats | None:
        """Nats of each text after the last step; None before they were measured."""
        return dict(_iter_losses(self.folder, self.texts)).get(self.num_steps)


@dataclass(frozen=True)
class Course:
    """A run on its way: at each of some steps the tokens and the minutes trained, and the nats of each text of the sample."""

    tokens: dict[int, float]
    minutes: dict[int, float]
    nats: dict[int, Floats]


def iter_run(run: ComparedRun) -> Generator[RunAdvanced]:
    """Train the run, or what is left of it, and measure it.

    Raises:
        TrainingError, PlanError: As `whelp train` does, naming the run.
    """
    from whelp.cli.train import iter_train
    from whelp.cli.training.events import Saved
    from whelp.train import StepReport

    if not run.is_trained():
        newest = find_newest_whole(RunFolder(run.folder).checkpoints)
        if newest is not None:  # it may have been killed between writing and measuring it
            yield from _iter_measured(run, newest, run.sample, share=0.0)
        share = 0.0
        try:
            with contextlib.closing(iter_train(run.recipe, run.store, run.folder)) as events:
                for event in events:
                    if isinstance(event, StepReport):
                        share = _TRAINING_SHARE * event.share_done
                        yield RunAdvanced(number=run.number, doing=f"step {event.step:,}", share=share)
                    elif isinstance(event, Saved):
                        yield from _iter_measured(run, event.path, run.sample, share=share)
        except (TrainingError, PlanError) as error:
            raise name_side(error, str(run.folder)) from None
    last = RunFolder(run.folder).checkpoints / step_name(run.num_steps)
    for texts in (run.sample, run.texts):
        yield from _iter_measured(run, last, texts, share=_TRAINING_SHARE)


def _iter_measured(run: ComparedRun, checkpoint: Path, texts: TextIds, *, share: float) -> Iterator[RunAdvanced]:
    """Measure a checkpoint, or its averaged weights where it has such, text by text; kept beside the others, and not done twice."""
    import torch

    from whelp.cli.generate import load_model
    from whelp.evaluate.text_loss import measure_texts

    step = int(checkpoint.name.removeprefix("step-"))
    if step % (run.recipe.train.save_every_steps or 1) and step != run.num_steps:
        return  # one that is kept for a longer run to go on from
    if step in dict(_iter_losses(run.folder, texts)):
        return
    model = checkpoint / AVERAGE if (checkpoint / AVERAGE).is_dir() else checkpoint
    before, loaded = torch.get_num_threads(), load_model(model, run.recipe.train.device)
    torch.set_num_threads(run.recipe.train.threads or before)
    ids = texts.encoded.split()
    nats = np.zeros(len(ids))
    order = np.argsort([-len(one) for one in ids], kind="stable")  # texts of about one length side by side
    try:
        for first in range(0, len(order), _MEASURED_AT_ONCE):
            yield RunAdvanced(number=run.number, doing=f"measuring {first:,} of {len(order):,} texts", share=share)
            piece = order[first : first + _MEASURED_AT_ONCE]
            nats[piece] = measure_texts(
                loaded.model,
                [ids[number] for number in piece],
                first_id=loaded.vocabulary.eos_id,
                context_tokens=loaded.model.context_tokens,
                vocab_size=loaded.vocabulary.size,
                device=loaded.device,
            )
    finally:
        torch.set_num_threads(before)
    save_evaluation(model, _KIND, texts.asked, {"nats": nats.tolist()})


def _iter_losses(run: Path, texts: TextIds) -> Iterator[tuple[int, Floats]]:
    for step, kept in iter_kept(RunFolder(run), _KIND, texts.asked):
        yield step, np.array(kept["nats"])


def read_course(run: ComparedRun) -> Course:
    """What a run's records and evaluations say of its way; only steps of which both do."""
    records = [record for record in iter_records(RunFolder(run.folder).metrics) if "training_seconds" in record]
    nats = dict(_iter_losses(run.folder, run.sample)) if records else {}
    steps = [record["step"] for record in records]

    def read(name: str) -> dict[int, float]:
        values = [record[name] for record in records]
        return {step: float(np.interp(step, [0, *steps], [0, *values])) for step in nats}

    return Course(
        tokens=read("tokens"),
        minutes={step: seconds / 60 for step, seconds in read("training_seconds").items()},
        nats=nats,
    )
