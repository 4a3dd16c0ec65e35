"""`whelp inspect --step`: the rows that a step of a run has read."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import whelp as package
from whelp.artifacts.run_folder import RunFolder, iter_records
from whelp.artifacts.token_store import open_store
from whelp.cli.inspect import choose_packing, open_split
from whelp.cli.step_rows import StepRows

from .helpers import Project, Whelp
from .stores import SMALL, Documents, make_store, random_documents

PLANS = [
    ["pack.plan=concat"],
    ["pack.plan=concat", "pack.last=carry", "pack.isolate_documents=true"],
    ["pack.plan=stream"],
    ["pack.plan=stream", "pack.isolate_documents=true"],
    ["pack.plan=best_fit"],
    ["pack.plan=none"],
]


@pytest.fixture(scope="module")
def documents() -> Documents:
    return random_documents(60, SMALL)


@pytest.fixture(scope="module")
def store(documents: Documents, tmp_path_factory: pytest.TempPathFactory) -> Path:
    splits = {"train": documents, "test": random_documents(3, SMALL, seed=1)}
    return make_store(tmp_path_factory.mktemp("step") / "store", SMALL, splits)


@pytest.mark.parametrize("plan", PLANS, ids=" ".join)
def test_rows_are_those_that_training_reads(plan: list[str], store: Path, documents: Documents) -> None:
    """Over the end of an epoch: ids, targets, and pieces that are pieces of their documents."""
    rows = open_split(store, "train", choose_packing(None, [*plan, "pack.context_tokens=16"])).packed
    (packed,) = rows.parts
    for number in range(2 * len(packed) + 3):
        view, read = rows.look_in_order(None, number, seed=5), packed.read(number, 1, seed=5)
        width = read.ids.shape[1]
        assert view.ids[:width].tolist() == read.ids[0].tolist(), number
        assert view.targets[:width].tolist() == read.targets[0].tolist(), number
        pieces = [documents[piece.document][piece.start : piece.start + piece.length] for piece in view.pieces]
        assert view.ids[~view.is_padding].tolist() == [token for piece in pieces for token in piece], number


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A run over two sources whose batches grow, that wrote down which rows it read."""
    folder = tmp_path_factory.mktemp("mixed")
    for name in ("a", "b"):
        (folder / f"{name}.txt").write_text("\n\n".join(f"{name} {number} of many" for number in range(90)))
    recipe: dict[str, Any] = {
        "data": {
            "tokenizer": {"learn": "chars"},
            "mixture": [{"source": str(folder / "a.txt")}, {"source": str(folder / "b.txt"), "weight": 2}],
        },
        "pack": {"context_tokens": 16, "plan": "none"},
        "model": {"n_layer": 1, "n_head": 1, "n_embd": 8},
        "train": {
            "num_steps": 12,
            "batch_tokens": 128,
            "first_batch_tokens": 32,
            "batch_ramp_share": 0.5,
            "record_rows": True,
            "threads": 1,
            "learning_rate": 1e-3,
        },
    }
    package.prepare(recipe, out=folder / "store")
    package.train(recipe, store=folder / "store", out=folder / "run")
    return Project(folder)


def test_the_plan_knows_what_the_run_wrote_down(mixed: Project, tmp_path: Path) -> None:
    """Number of the first row and count of each step, also where batches grow."""
    run = RunFolder(Path(shutil.copytree(mixed.run, tmp_path / "run")))
    written = [record for record in iter_records(run.metrics) if "first_row" in record]
    assert len({record["rows"] for record in written}) == 3
    records = [
        {name: value for name, value in one.items() if name not in ("first_row", "rows")} for one in iter_records(run.metrics)
    ]
    run.metrics.write_text("".join(json.dumps(record) + "\n" for record in records))
    store = open_store(mixed.store)
    for record in written:
        found = StepRows(run.folder, store, record["step"])
        assert (found.first_row, found.num_rows) == (record["first_row"], record["rows"])


def test_rows_of_a_mixture(mixed: Project) -> None:
    """Those that its order gives, of both sources."""
    from whelp.base.seeds import make_seed
    from whelp.cli.source_rows import mix_rows

    opened = open_split(mixed.store, "train", choose_packing(mixed.run, []), run=mixed.run, step=9)
    assert opened.step is not None
    views = opened.step.look(opened.packed)
    order = mix_rows(opened.packed.by_source, opened.step.recipe, opened.step.plan)
    read = order.read(opened.step.first_row, opened.step.num_rows, make_seed(0, "rows"))
    for view, ids in zip(views, read.ids, strict=True):
        inside = view.ids[~view.is_padding]
        assert np.array_equal(inside, ids[: len(inside)])
    assert {opened.packed.name_source(view.row) for view in views} == {"a", "b"}


def test_after_a_spike_the_rows_go_on_behind_it(mixed: Project, tmp_path: Path) -> None:
    """A run that was rewound left rows out."""
    run = RunFolder(Path(shutil.copytree(mixed.run, tmp_path / "run")))
    event = {"step": 10, "rewound_from": 12, "spike_loss": 9.0, "skipped_rows": [60, 76]}
    steps = [{"step": step, "loss": 1.0} for step in range(1, 13)]
    run.metrics.write_text("".join(json.dumps(record) + "\n" for record in [*steps[:10], event, *steps[10:]]))
    store = open_store(mixed.store)
    assert [StepRows(run.folder, store, step).first_row for step in (11, 12)] == [76, 84]
    assert StepRows(run.folder, store, 10).first_row < 60


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--step", "99", "--recipe", "RUN"], "has no step 99; its steps are 1 to 12"),
        (["--step", "3"], "a step is one of a run. Give the run folder, too: --recipe RUN"),
        (["--step", "3", "--recipe", "project"], "a step is one of a run"),
        (["--step", "3", "--recipe", "RUN", "--split", "test"], "a run reads the split train, and not test"),
        (["--step", "3", "--recipe", "RUN", "--plan", "concat"], "other values of pack show rows that it has not read"),
        (["--step", "3", "--recipe", "RUN", "--rows", "50"], "'50' names no row; the step has 2 (0 to 1)"),
    ],
)
def test_a_step_that_cannot_be_shown(whelp: Whelp, mixed: Project, arguments: list[str], said: str) -> None:
    """Each is said with the way out."""
    outcome = whelp("inspect", mixed.store, *[str(mixed.run) if word == "RUN" else word for word in arguments])
    assert outcome.code == 1
    assert said in outcome.said


def test_another_store_than_that_of_the_run(whelp: Whelp, mixed: Project, store: Path) -> None:
    """Its rows are none that the run read."""
    outcome = whelp("inspect", store, "--step", "1", "--recipe", mixed.run)
    assert outcome.code == 1
    assert "was not trained on" in outcome.said


def test_the_command_shows_the_rows(whelp: Whelp, mixed: Project) -> None:
    """As many as the step read; `--file` chooses among them."""
    shown = whelp("inspect", mixed.store, "--recipe", mixed.run, "--step", "9", "--rows", "0:99", "--json").json["rows"]
    assert len(shown) == 8
    of_a = whelp(
        "inspect", mixed.store, "--recipe", mixed.run, "--step", "9", "--rows", "0:99", "--file", "a.txt", "--json"
    ).json["rows"]
    assert of_a == [row for row in shown if row["source"] == "a"]
