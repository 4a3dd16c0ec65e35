"""`train.track`: a run's records for tools outside. `metrics.jsonl` is the record; this reads it as it grows and passes it on."""

from __future__ import annotations

import contextlib
import functools
import html
import importlib
import json
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from whelp.artifacts.run_folder import RunFolder
from whelp.base.config import to_dict
from whelp.base.errors import MissingExtraError, TrainingError, say_first_line
from whelp.base.log import log
from whelp.cli.training.events import Rewound

if TYPE_CHECKING:
    from whelp.cli.recipe import Recipe

Event = TypeVar("Event")
_GROUPS = {"test_": "test/", "ema_test_": "test/ema_", "": "train/"}  # of the names of values

_NO_VALUES = {"step", "first_row", "rows", "rows_checksum"}  # numbers that are no measures


class Tracker(Protocol):
    """A tool that shows runs."""

    def write_values(self, step: int, values: Mapping[str, float]) -> None:
        """Numbers at a step, by name: train/loss, test/nats_per_token, ..."""

    def write_text(self, step: int, name: str, text: str) -> None:
        """A sample at a step."""

    def close(self) -> None:
        """All has been said."""


def iter_tracked(events: Iterator[Event], recipe: Recipe, out: Path) -> Iterator[Event]:
    """Pass the events of a run on; after each, hand new records to the tools that `train.track` names.

    A run that goes on hands over the records from where it goes on. A tool that fails later gets no more, which is said: the run has all.

    Raises:
        MissingExtraError: Before anything is trained, when a tool is not installed.
        TrainingError: Likewise, when a tool cannot begin.
    """
    if not recipe.train.track:
        yield from events
        return
    modules = {name: _find(name) for name in dict.fromkeys(recipe.train.track)}
    run = RunFolder(out)
    trackers: dict[str, Tracker] = {}
    has_begun = False
    metrics, samples = _Tail(run.metrics), _Tail(run.samples)
    try:
        for event in events:
            if not has_begun:  # the first event is the plan: the folder is there, and records after a checkpoint are gone
                has_begun, resumed = True, int(getattr(event, "resumed_step", 0))
                for name, module in modules.items():
                    trackers[name] = _open(name, module, out, recipe, resumed)
                if resumed:
                    metrics.skip()
                    samples.skip()
            if isinstance(event, Rewound):  # steps were forgotten; what is left has been handed over
                metrics.skip()
                samples.skip()
            _hand_over(trackers, metrics, samples)
            yield event
        _hand_over(trackers, metrics, samples)
    finally:
        for opened, tracker in list(trackers.items()):
            _tell(trackers, opened, tracker.close)


def _open(name: str, module: Any, out: Path, recipe: Recipe, resumed_step: int) -> Tracker:
    """Let a tool begin; whatever it raises, its user can mend."""
    try:
        with _quiet():
            return _TRACKERS[name](module, out, recipe, resumed_step)
    except Exception as error:
        offline = ", set WANDB_MODE=offline" if name == "wandb" else ""
        advice = f"Mend that{offline}, or take it out of train.track; the same command goes on."
        raise TrainingError(f"train.track: {name}", f"it cannot begin ({say_first_line(error)})", "", advice) from None


def _tell(trackers: dict[str, Tracker], name: str, act: Callable[[], None]) -> None:
    """Let a tool do something; one that fails is left out from then on, so that it ends no run."""
    try:
        with _quiet():
            act()
    except Exception as error:
        del trackers[name]
        log.warning(
            "train.track: %s failed (%s), and gets no more of this run; metrics.jsonl has all", name, say_first_line(error)
        )


def _quiet() -> contextlib.redirect_stdout[Any]:
    """Standard output is for results alone; some tools greet there."""
    return contextlib.redirect_stdout(sys.stderr)


def _hand_over(trackers: dict[str, Tracker], metrics: _Tail, samples: _Tail) -> None:
    records, texts = list(metrics.read()), list(samples.read())

    def write(tracker: Tracker) -> None:
        for record in records:
            tracker.write_values(record["step"], _name_values(record))
        for record in texts:
            tracker.write_text(record["step"], f"sample: {record['prompt']}", record["prompt"] + record["text"])

    if records or texts:
        for name, tracker in list(trackers.items()):
            _tell(trackers, name, functools.partial(write, tracker))


def _name_values(record: Mapping[str, Any]) -> dict[str, float]:
    """{'step': 2, 'loss': 3.5, 'test_perplexity': 9.0} -> {'train/loss': 3.5, 'test/perplexity': 9.0}"""
    values = {}
    for name, value in record.items():
        if name not in _NO_VALUES and isinstance(value, (int, float)):
            start = next(start for start in _GROUPS if name.startswith(start))
            values[_GROUPS[start] + name.removeprefix(start)] = float(value)
    return values


class _Tail:
    """The records that were added to a file since it was read last."""

    def __init__(self, path: Path) -> None:
        self._path, self._place = path, 0

    def skip(self) -> None:
        """Leave out what is there now."""
        self._place = self._path.stat().st_size if self._path.is_file() else 0

    def read(self) -> Iterator[dict[str, Any]]:
        """Whole new lines."""
        if not self._path.is_file() or self._path.stat().st_size == self._place:
            return
        with open(self._path, "rb") as file:
            file.seek(self._place)
            for line in file:
                if not line.endswith(b"\n"):
                    return
                self._place += len(line)
                yield json.loads(line)


def _find(name: str) -> Any:
    module, package = {"tensorboard": ("torch.utils.tensorboard", "tensorboard")}.get(name, (name, name))
    try:
        return importlib.import_module(module)
    except ImportError:
        raise MissingExtraError(f"train.track: {name}", package, "tracking") from None


def _name(out: Path) -> tuple[str, str]:
    """A project and a run: the last two folders of the path."""
    place = out.resolve()
    return place.parent.name or "whelp", place.name


class _TensorBoard:
    """Event files in RUN/tensorboard; steps that are trained again replace those of before."""

    def __init__(self, module: Any, out: Path, recipe: Recipe, resumed_step: int) -> None:
        self._writer = module.SummaryWriter(str(out / "tensorboard"), purge_step=resumed_step + 1 if resumed_step else None)
        self._writer.add_text("recipe", f"```yaml\n{recipe.to_yaml()}```", resumed_step)

    def write_values(self, step: int, values: Mapping[str, float]) -> None:
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)

    def write_text(self, step: int, name: str, text: str) -> None:
        self._writer.add_text(name, f"```text\n{text}\n```", step)

    def close(self) -> None:
        self._writer.close()


class _Wandb:
    """A run of Weights & Biases with files in RUN/wandb; WANDB_MODE=offline keeps it here."""

    def __init__(self, module: Any, out: Path, recipe: Recipe, resumed_step: int) -> None:
        project, name = _name(out)
        id_file = out / "wandb-id.txt"
        identity = id_file.read_text(encoding="ascii") if id_file.is_file() else None
        self._module = module
        self._run = module.init(
            project=project, name=name, dir=str(out), config=to_dict(recipe), id=identity, resume="allow" if identity else None
        )
        self._run.define_metric("*", step_metric="step")
        id_file.write_text(self._run.id, encoding="ascii")

    def write_values(self, step: int, values: Mapping[str, float]) -> None:
        self._run.log({"step": step, **values})

    def write_text(self, step: int, name: str, text: str) -> None:
        self._run.log({"step": step, name: self._module.Html(f"<pre>{html.escape(text)}</pre>")})

    def close(self) -> None:
        self._run.finish()


class _Trackio:
    """A run of trackio, in its own folder on this machine (TRACKIO_DIR)."""

    def __init__(self, module: Any, out: Path, recipe: Recipe, resumed_step: int) -> None:
        project, name = _name(out)
        self._run = module.init(
            project=project, name=name, config=to_dict(recipe), resume="allow" if resumed_step else "never", embed=False
        )
        self._module = module

    def write_values(self, step: int, values: Mapping[str, float]) -> None:
        self._run.log(dict(values), step=step)

    def write_text(self, step: int, name: str, text: str) -> None:
        self._run.log({name: self._module.Markdown(f"```text\n{text}\n```")}, step=step)

    def close(self) -> None:
        self._run.finish()


_TRACKERS: dict[str, Callable[[Any, Path, Recipe, int], Tracker]] = {
    "tensorboard": _TensorBoard,
    "wandb": _Wandb,
    "trackio": _Trackio,
}
