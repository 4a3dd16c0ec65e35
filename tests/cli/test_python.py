"""Calls from Python: what they say while they work, what they leave as it was, how their results are shown."""

from __future__ import annotations

import contextlib
import io
import logging
import pydoc
import re
import sys
import types
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from rich.console import Console

import whelp as package
from whelp.base import files
from whelp.base.errors import ArtifactError, BusyError, ConfigError, PlanError, TrainingError, WhelpError
from whelp.base.last_event import run_to_end
from whelp.base.machine import count_cores
from whelp.cli.screens import show
from whelp.cli.screens.live_panel import LivePanel
from whelp.cli.screens.notebook_drawing import NotebookLive
from whelp.cli.train import iter_train
from whelp.cli.training.events import Finished, Planned
from whelp.tokenizer import LearnConfig
from whelp.train import StepReport

from .helpers import Project, Whelp, make_project


@pytest.fixture
def ready(tmp_path: Path) -> Project:
    """A store of one's own, and no run yet."""
    project = make_project(tmp_path / "project")
    package.prepare(project.recipe, out=project.store)
    return project


@pytest.fixture
def shown() -> Iterator[None]:
    """As somebody who asks for it."""
    package.show_progress(True)
    yield
    package.show_progress(None)


@pytest.fixture
def notebook(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """As in a notebook: what its outputs show, at each change."""
    drawn: list[str] = []

    class ZMQInteractiveShell:
        pass

    class Shell(ZMQInteractiveShell):  # Google Colab's
        pass

    class Output:
        def update(self, thing: object) -> None:
            drawn.append(repr(thing))

    def display(thing: object, *, display_id: bool) -> Output:
        assert display_id
        drawn.append(repr(thing))
        return Output()

    fakes: dict[str, Any] = {
        "IPython": types.SimpleNamespace(get_ipython=Shell),
        "IPython.display": types.SimpleNamespace(display=display),
    }
    for name, fake in fakes.items():
        monkeypatch.setitem(sys.modules, name, fake)
    return drawn


def test_scripts_are_told_nothing(ready: Project, capfd: pytest.CaptureFixture[str]) -> None:
    """A call in a script gives its result and is silent."""
    capfd.readouterr()
    package.train(ready.recipe, store=ready.store, out=ready.run)
    assert capfd.readouterr() == ("", "")


def test_who_asks_is_told(ready: Project, shown: None, capsys: pytest.CaptureFixture[str]) -> None:
    """With `show_progress(True)` a call says what its command says, notes too; logging is as it was afterwards."""
    log = logging.getLogger("whelp")
    root, before = list(logging.root.handlers), (list(log.handlers), log.level)
    logging.root.handlers.clear()  # as in a program that has set up none; pytest has
    try:
        package.train(ready.recipe, store=ready.store, out=ready.run)
    finally:
        logging.root.handlers[:] = root
    said = capsys.readouterr().err
    for word in ("parameters", "100%", "nats/token", "note  "):
        assert word in said, said
    assert (log.handlers, log.level) == before


def test_work_that_counts_nothing_shows_a_sign_of_life(
    made: Project, small_store: Path, tmp_path: Path, shown: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Vocabularies that are learned, models and stores that are written; silent where nobody looks on."""
    (tmp_path / "rows.txt").write_text("the cat sat on the mat\n\n" * 30)
    terminal = io.StringIO()
    monkeypatch.setattr(show, "console", Console(file=terminal, force_terminal=True, width=100))

    def work(folder: Path) -> Iterator[str]:
        package.train_tokenizer(tmp_path / "rows.txt", out=folder / "tokenizer", learn=LearnConfig(vocab_size=320))
        yield from drain(terminal)
        package.export(made.run, out=folder / "model")
        yield from drain(terminal)
        package.export_store(small_store, format="nanogpt", out=folder / "ids")
        yield from drain(terminal)

    learned, model, ids = work(tmp_path / "seen")
    assert "learning" in learned
    assert "writing" in model
    assert "writing" in ids
    package.show_progress(False)
    assert list(work(tmp_path / "unseen")) == ["", "", ""]


@pytest.mark.parametrize(
    ("words", "sign"),
    [
        (("tokenizer", "train", "--source", "rows.txt", "--vocab-size", "320", "--out", "tokenizer"), "learning"),
        (("export", "STORE", "--format", "nanogpt", "--out", "ids"), "writing"),
    ],
)
def test_commands_show_the_same(
    whelp: Whelp, small_store: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], sign: str
) -> None:
    """As their calls do."""
    Path("rows.txt").write_text("the cat sat on the mat\n\n" * 30)
    terminal = io.StringIO()
    monkeypatch.setattr(show, "console", Console(file=terminal, force_terminal=True, width=100))
    whelp(*(str(small_store) if word == "STORE" else word for word in words))
    assert sign in terminal.getvalue()


def drain(terminal: io.StringIO) -> Iterator[str]:
    """What was drawn since the last time."""
    yield terminal.getvalue()
    terminal.seek(0)
    terminal.truncate()


def test_who_asks_is_told_of_several_processes(ready: Project, shown: None, capfd: pytest.CaptureFixture[str]) -> None:
    """As of one: the first of them speaks for all."""
    package.train(ready.recipe, store=ready.store, out=ready.run, nproc=2)
    said = capfd.readouterr().err
    for word in ("parameters", "2 processes", "100%", "nats/token"):
        assert word in said, said


def test_a_notebook_shows_a_run_in_one_output(ready: Project, notebook: list[str]) -> None:
    """The panel is one output that changes in place, and stands at the end of the run."""
    package.train(ready.recipe, store=ready.store, out=ready.run)
    assert len(notebook) >= 2
    assert "starting" in notebook[0]
    assert "100%" in notebook[-1]
    assert "step 4" in notebook[-1]


Call = Callable[[Project, Path], object]
COUNTED: dict[str, Call] = {
    "prepare": lambda project, out: package.prepare(project.recipe, out=out),
    "curate": lambda project, out: package.curate(project.recipe, overrides=["curate.preset=none"], out=out),
    "append": lambda project, out: package.append(project.corpus, out=out.with_suffix(".txt")),
}


@pytest.mark.parametrize("name", COUNTED)
def test_a_notebook_shows_what_is_counted_in_one_output(
    ready: Project, tmp_path: Path, notebook: list[str], name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """A bar that changes in place, full at the end; a finished result counts nothing, and has none."""
    COUNTED[name](ready, tmp_path / "out")
    assert len(notebook) >= 2
    assert notebook[-1].split()[:2] == [name, "━" * 24]
    assert notebook[-1] == notebook[-1].rstrip()
    assert "━" not in "".join(capsys.readouterr())
    notebook.clear()
    COUNTED[name](ready, tmp_path / "out")
    assert notebook == []


def test_a_bar_of_a_notebook_that_fails_stays_where_it_was(notebook: list[str]) -> None:
    """It says how far the work came; and it is drawn no more."""
    with contextlib.suppress(KeyboardInterrupt), show.bar("prepare") as advance:
        advance(1, 4, "6 documents, " + "many words " * 20)
        raise KeyboardInterrupt
    assert notebook[-1].startswith("prepare ━━━━━━ ")
    assert notebook[-1].endswith("words")  # all of them
    drawn = list(notebook)
    advance(2, 4, "")
    assert notebook == drawn


def test_several_bars_of_a_notebook_are_one_output(notebook: list[str]) -> None:
    """A line for each, in the order in which they begin."""
    with show.progress_bars() as update:
        update("writing", 1, 2)
        update("running", 1, 3)
    assert [line.split()[0] for line in notebook[-1].splitlines()] == ["writing", "running"]


def test_a_panel_of_a_notebook_is_escaped(notebook: list[str]) -> None:
    """Facts are text, whatever signs they have."""
    panel = LivePanel("train")
    panel.facts = ["<b>loss</b>"]
    html = NotebookLive(panel)._repr_html_()
    assert re.match('<pre style="[^"]*font-family:monospace">train', html)
    assert "&lt;b&gt;loss&lt;/b&gt;" in html


def test_training_leaves_torch_as_it_was(ready: Project) -> None:
    """Threads, precision and random numbers belong to the process, which goes on with other work."""
    precision = torch.get_float32_matmul_precision()
    torch.set_num_threads(2)
    torch.set_float32_matmul_precision("medium")
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    try:
        overrides = ["model.dropout=0.1", "model.family=gpt2", "train.threads=1"]
        package.train(ready.recipe, store=ready.store, out=ready.run, overrides=overrides)
        assert torch.get_num_threads() == 2
        assert torch.get_float32_matmul_precision() == "medium"
        assert torch.equal(torch.rand(3), expected)
    finally:
        torch.set_num_threads(1)
        torch.set_float32_matmul_precision(precision)


def test_a_loop_that_was_left_early_is_named(ready: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its events hold the run until they are closed; then the run goes on."""
    monkeypatch.setattr(files, "_PATIENCE_SECONDS", 0.0)
    events = iter_train(package.load_recipe(ready.recipe), ready.store, ready.run)
    for event in events:
        if isinstance(event, StepReport) and event.step == 2:
            break
    with pytest.raises(ArtifactError, match=r"run: this program is writing into it already.*`events\.close\(\)`"):
        package.train(ready.recipe, store=ready.store, out=ready.run)
    events.close()
    assert package.train(ready.recipe, store=ready.store, out=ready.run).step == 4


def test_two_threads_train_at_once(ready: Project, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """The second does in a process of its own, with the errors and the numbers that it gives alone, and says nothing."""
    recipe = package.load_recipe(ready.recipe)
    alone = package.train(recipe, store=ready.store, out=ready.folder / "alone")
    capfd.readouterr()
    events = iter_train(recipe, ready.store, ready.run)
    assert isinstance(next(events), Planned)
    with ThreadPoolExecutor(1) as pool:
        second = pool.submit(package.train, recipe, store=ready.store, out=ready.folder / "other").result()
        failed = pool.submit(package.train, recipe, store=tmp_path / "nowhere", out=ready.folder / "failed")
        with pytest.raises(ArtifactError, match=r"nowhere: there is no such folder, but expected a token store") as caught:
            failed.result()
        assert caught.value.__context__ is None
    first = run_to_end(events, Finished).result
    assert first.nats_per_token == second.nats_per_token == alone.nats_per_token
    assert capfd.readouterr() == ("", "")


def test_events_of_two_threads_do_not_mix(ready: Project) -> None:
    """Those of a second training are refused before it makes its folder, and are there once the first has ended."""
    recipe = package.load_recipe(ready.recipe)
    events = iter_train(recipe, ready.store, ready.run)
    assert isinstance(next(events), Planned)
    other = ready.folder / "other"

    def train_other() -> Finished:
        return run_to_end(iter_train(recipe, ready.store, other), Finished)

    with ThreadPoolExecutor(1) as pool:
        with pytest.raises(BusyError, match="another thread of this process"):
            pool.submit(train_other).result()
        assert not other.exists()
        run_to_end(events, Finished)
        assert pool.submit(train_other).result().result.is_finished


def test_an_interrupt_between_two_events_lets_go(ready: Project, shown: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C while something is drawn: the traceback that is kept does not keep the run."""

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    from whelp.cli.screens import show_training

    with monkeypatch.context() as patch:
        patch.setattr(show_training.TrainingView, "_on_stepreport", interrupt)
        with pytest.raises(KeyboardInterrupt) as kept:
            package.train(ready.recipe, store=ready.store, out=ready.run)
    assert package.train(ready.recipe, store=ready.store, out=ready.run).step == 4
    assert kept.value is not None


def test_a_store_that_stands_is_reused(ready: Project) -> None:
    """The call says so, as the command does."""
    assert package.prepare(ready.recipe, out=ready.store).is_reused


def test_a_failure_of_several_processes_says_why(ready: Project, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """The message is in the error, for in a notebook nobody sees what other processes write."""
    with pytest.raises(TrainingError, match=r"process \d of 2: .*nowhere: there is no such folder, but expected a token store"):
        package.train(ready.recipe, store=tmp_path / "nowhere", out=ready.run, nproc=2)
    assert capfd.readouterr().err == ""


def test_several_processes_tell_a_notebook(
    ready: Project, shown: None, notebook: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A cell shows what the first says, which it would not by itself; the reason of a failure is in the error, too."""
    package.train(ready.recipe, store=ready.store, out=ready.run, nproc=2)
    assert "step 4:" in capsys.readouterr().err
    with pytest.raises(TrainingError, match="nowhere: there is no such folder"):
        package.train(ready.recipe, store=tmp_path / "nowhere", out=ready.folder / "other", nproc=2)


def test_several_processes_pass_their_warnings_on(ready: Project, caplog: pytest.LogCaptureFixture) -> None:
    """A script that hears of nothing else hears of those, as with one process."""
    caplog.clear()
    overrides = [f"train.threads={count_cores() + 1}"]
    package.train(ready.recipe, store=ready.store, out=ready.run, overrides=overrides, nproc=2)
    (record,) = caplog.records
    assert record.getMessage().startswith(f"train.threads is {count_cores() + 1}, and there are ")


def test_results_are_shown_short(made: Project) -> None:
    """A line for a prompt, a table for a notebook; numbers are there, long lists are counted."""
    report = package.report_tokenizer([str(made.store)], corpus=made.corpus)
    assert len(repr(report)) < 1000
    assert "bytes a token" in report._repr_html_()
    loss = package.evaluate(made.run, store=made.store)
    assert f"perplexity={loss.perplexity!r}" in repr(loss)
    assert "<th" in loss._repr_html_()
    (row,) = package.inspect(made.store, rows="0", context_tokens=64)
    assert "more]" in repr(row)
    assert "&lt;" in replace(row, text="<b>")._repr_html_()
    assert "vocab_size: 300" in package.load_recipe(made.recipe)._repr_html_()


def test_tables_of_notebooks_print_nothing(made: Project, capsys: pytest.CaptureFixture[str]) -> None:
    """They are made by what prints the tables of the terminal."""
    compared = package.compare([made.run, made.run], prompts=["<fox>"], max_tokens=4)
    html = compared._repr_html_()
    assert "&lt;fox&gt;" in html
    assert html.startswith("<pre")
    assert "bits/byte" in package.report([made.run], out=made.folder / "page.html")._repr_html_()
    assert capsys.readouterr() == ("", "")


def test_help_on_a_room_begins_with_its_call() -> None:
    """`help(whelp.train)`: the signature, the command, then the room."""
    text = pydoc.render_doc(package.train, renderer=pydoc.plaintext)
    call, room = text.index("The same call again goes on"), text.index("Packed rows and a model in")
    assert text.index("whelp.train(recipe") < call < room
    assert repr(package.train).startswith("<the room whelp.train, and the call whelp.train(recipe")


def test_paths_are_as_good_as_texts(ready: Project, tmp_path: Path) -> None:
    """Wherever a file or a folder is named, also inside a recipe."""
    corpus = ready.corpus
    values = {"data": {"source": corpus, "tokenizer": ready.store}}
    assert package.load_recipe(values).data.source == str(corpus)
    assert package.load_recipe({"data": {"source": [corpus]}}).data.source == [str(corpus)]
    assert package.train_tokenizer(corpus, out=tmp_path / "tok").num_bytes > 0
    assert package.guide_tokenizer(corpus=corpus, n_embd=32, sizes=[300]).rows
    assert package.report_tokenizer(ready.store, corpus=corpus).vocabularies
    with pytest.raises(PlanError, match="clean: no document is kept of 24"):  # and not that a path cannot be read
        package.curate({}, source=corpus, out=tmp_path / "clean")
    assert package.trace(corpus, ready.folder).source == str(corpus)
    assert package.init(out=tmp_path / "model", family="gpt2", n_embd=64, n_layer=1, vocab_size=ready.store).has_tokenizer


def test_one_thing_need_not_be_a_list(made: Project, tmp_path: Path) -> None:
    """A text is no sequence of letters."""
    assert package.compare(made.run, prompts="The fox", max_tokens=2).prompts == ["The fox"]
    assert len(package.report(made.run, out=tmp_path / "page.html").runs) == 1
    assert package.load_recipe(made.recipe, "train.seed=7").train.seed == 7
    assert package.report_tokenizer(str(made.store), corpus=str(made.corpus), texts="lazy").vocabularies[0].texts
    assert package.inspect(made.store, rows=1, context_tokens=16)[0].row == 1
    assert list(package.export_store(made.store, format="nanogpt", out=tmp_path / "ids", splits="train").splits) == ["train"]


def test_wrong_arguments_are_named(made: Project, tmp_path: Path) -> None:
    """What a script may hand over by mistake is said in our words, before anything is made."""
    out, run = tmp_path / "out", made.run
    calls: dict[str, Callable[[], object]] = {
        "recipe: it is a NoneType, but expected a file of YAML": lambda: package.prepare(None, out=out),  # type: ignore[arg-type]
        "recipe: it is a list, but expected a file of YAML": lambda: package.load_recipe([made.recipe]),  # type: ignore[arg-type]
        "overrides: they are a mapping, but expected texts of the form section.field=value": lambda: package.load_recipe(
            made.recipe,
            {"train.seed": 1},  # type: ignore[arg-type]
        ),
        "overrides: None is no text of the form section.field=value": lambda: package.load_recipe(made.recipe, None),  # type: ignore[arg-type]
        "workers: is 0, but expected a whole number, at least 1": lambda: package.prepare(made.recipe, out=out, workers=0),
        "workers: is '2', but expected": lambda: package.curate(made.recipe, out=out, workers="2"),  # type: ignore[arg-type]
        "nproc: is 0, but expected": lambda: package.train(made.recipe, store=made.store, out=out, nproc=0),
        "num_rows: is 0, but expected": lambda: package.evaluate(run, store=made.store, num_rows=0),
        "rows: rows stand in for data.source, but a source is given": lambda: package.curate(
            source=made.corpus, rows=["a"], out=out
        ),
        "the path: is a PrepareResult, but expected a text or a path. Give its field `folder`.": lambda: package.inspect(
            package.prepare(made.recipe, out=made.store),  # type: ignore[arg-type]
        ),
        "the prompt: is a list of texts, but expected a text. Give one;": lambda: package.generate(run, ["a"]),  # type: ignore[arg-type]
        "the prompt: is a int, but expected a text": lambda: package.generate(run, 5),  # type: ignore[arg-type]
        "the message: is a int, but expected a text": lambda: package.chat(run).ask(5),  # type: ignore[arg-type]
    }
    for message, call in calls.items():
        with pytest.raises(WhelpError, match=re.escape(message)):
            call()
    assert not out.exists()


def test_numbers_of_numpy_and_torch_are_numbers(made: Project) -> None:
    """As loops over settings give them; a recipe holds plain ones."""
    assert package.evaluate(made.run, store=made.store, num_rows=np.int64(1)).num_rows == 1  # type: ignore[arg-type]
    values = {"num_steps": np.int64(5), "learning_rate": np.float32(0.5), "compile": np.bool_(False), "seed": torch.tensor(3)}
    recipe = package.load_recipe({"train": values})
    assert (recipe.train.num_steps, recipe.train.learning_rate, recipe.train.seed) == (5, 0.5, 3)
    assert package.load_recipe(types.MappingProxyType({"train": {"seed": 3}})).train.seed == 3
    assert "num_steps: 5\n" in recipe.to_yaml()


def test_rows_need_no_recipe_to_be_curated(tmp_path: Path) -> None:
    """As a source needs none."""
    rows = ["A text of some length, which no rule drops."] * 2
    curated = package.curate(rows=rows, out=tmp_path / "clean", overrides="curate.preset=none")
    assert curated.ledger["documents_in"] == 2


def test_what_is_learned_may_be_a_mapping(made: Project, tmp_path: Path) -> None:
    """As in a recipe."""
    assert package.train_tokenizer(made.corpus, out=tmp_path / "tok", learn={"vocab_size": 320}).vocab_size == 320
    with pytest.raises(ConfigError, match="learn: unknown key vocab"):
        package.train_tokenizer(made.corpus, out=tmp_path / "other", learn={"vocab": 320})
