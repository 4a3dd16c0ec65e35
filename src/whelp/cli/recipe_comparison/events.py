"""What `whelp compare-recipes` tells while it works, and what it found.

Between these come the events of `whelp curate` and `whelp prepare`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from whelp.base.result_repr import ResultRepr

if TYPE_CHECKING:
    from whelp.cli.held_out_texts import HeldOutTexts
    from whelp.evaluate.paired_differences import PairedDifference


@dataclass(frozen=True, kw_only=True)
class CurvePoint:
    """The runs of a recipe after some steps: bits per byte of a sample of the held-out texts, of each seed.

    `seen_tokens` (that were targets) and `training_minutes` are means over seeds.
    """

    step: int
    seen_tokens: int
    training_minutes: float
    by_seed: list[float]


@dataclass(frozen=True, kw_only=True)
class ComparedSide:
    """One recipe: its data, its model, what the runs saw of it, and what they came to.

    `bits_per_byte` is the mean over seeds, `by_seed` has each; `sources` the mean on each held-out source. `training_minutes`
    is the mean over seeds, without evaluations and checkpoints; `curve` has the points that all seeds have.
    """

    name: str
    folder: str
    vocab_size: int
    num_documents: int
    num_tokens: int
    bytes_per_token: float
    num_parameters: int
    num_steps: int
    seen_tokens: int
    compute_flops: float  # of one run's training
    seen_bytes: int
    num_epochs: float
    training_minutes: float | None
    bits_per_byte: float
    by_seed: list[float]
    sources: dict[str, float]
    num_documents_curated: int | None  # what `whelp curate` read, where the recipe has a section curate
    curve: list[CurvePoint]


@dataclass(frozen=True, kw_only=True)
class HeldOutSource:
    """What all were measured on, of one source."""

    name: str
    num_texts: int
    num_bytes: int


@dataclass(frozen=True, kw_only=True)
class Example:
    """The beginning of a held-out text, and how many bits a byte of it the side needs more than the baseline."""

    source: str
    text: str
    difference: float


@dataclass(frozen=True, kw_only=True)
class DataDifference:
    """One side against the baseline: on all held-out texts, on each source, and the texts that differ most."""

    name: str
    baseline: str
    whole: PairedDifference
    sources: dict[str, PairedDifference]
    examples: list[Example]


@dataclass(frozen=True, kw_only=True)
class RecipeComparison(ResultRepr):
    """What `whelp compare-recipes` found. `skipped` counts held-out texts by reason.

    `differences` are those of each recipe to the first, then, where all pairs were asked for, those of the others to each other.
    """

    folder: str
    html: str
    seeds: list[int]
    equal: str
    confidence: float
    held_out: list[HeldOutSource]
    skipped: dict[str, int]
    sides: list[ComparedSide]
    differences: list[DataDifference]
    options: dict[str, list[Any]]
    notes: list[str]

    def _repr_html_(self) -> str:
        from whelp.cli.screens.result_tables import make_html
        from whelp.cli.screens.show_compare_recipes import print_recipe_comparison

        return make_html(print_recipe_comparison, self)


@dataclass(frozen=True, kw_only=True)
class SideStarted:
    """The data of one recipe is made ready."""

    name: str


@dataclass(frozen=True, kw_only=True)
class RunsPlanned:
    """How many runs there are and how many are done, the steps of each recipe, how long the rest takes, the texts to measure on."""

    num_runs: int
    num_done: int
    num_jobs: int
    num_steps: list[int]
    seconds_left: float | None
    held_out: HeldOutTexts


@dataclass(frozen=True, kw_only=True)
class RunStarted:
    """One run begins, or goes on."""

    name: str
    seed: int
    number: int


@dataclass(frozen=True, kw_only=True)
class RunAdvanced:
    """How far a run is, `share` of it, and what it does, in words."""

    number: int
    doing: str
    share: float


@dataclass(frozen=True, kw_only=True)
class RunMeasured:
    """One run is trained and measured."""

    name: str
    seed: int
    number: int
    bits_per_byte: float
    is_reused: bool
