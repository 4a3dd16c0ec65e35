"""The line of a run that people watch."""

from __future__ import annotations

import io
import logging
import sys
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from rich.console import Console

from whelp.cli.screens import show, show_file_work, show_training
from whelp.train.device import measure_ceiling


def make_report(step: int) -> Any:
    """What the loop yields after a step."""
    values: dict[str, Any] = {"step": step, "loss": 4.0 / step, "num_tokens": 500, "seconds": 0.5, "share_done": step / 4}
    return SimpleNamespace(**values, is_last=step == 4)


@pytest.mark.parametrize("ceiling", [0.0, 1e6])
def test_the_line_of_a_run(ceiling: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """Step, loss and its curve, speed, memory, time left; with a known ceiling, how near the model comes to it."""
    said = io.StringIO()
    monkeypatch.setattr(show, "console", Console(file=said, width=200))
    view = show_training.TrainingView()
    view.planned = SimpleNamespace(plan=SimpleNamespace(device="cpu", num_steps=4, budget_seconds=None), resumed_step=0)
    view._ceiling, view._token_flops = ceiling, 250
    for step in range(1, 5):
        view._on_stepreport(make_report(step))
    line = said.getvalue()
    assert "step 4" in line
    assert "█" in line
    assert "1,000 tokens/s" in line
    assert ("MFU 25%" in line) == bool(ceiling)
    assert "MB" in line or "GB" in line
    assert "0 s left" in line


def test_the_ceiling_is_a_speed() -> None:
    """Of plain products; more of it than nothing, and no more than any machine has."""
    found = measure_ceiling(torch.device("cpu"), torch.float32, size=128, num_products=2)
    assert 1e6 < found < 1e16


def test_time_left_counts_from_the_first_step(monkeypatch: pytest.MonkeyPatch) -> None:
    """What came before the first step (the plan, an evaluation) says nothing about the steps to come."""
    now = [0.0]
    monkeypatch.setattr(show.time, "monotonic", lambda: now[0])
    said = io.StringIO()
    monkeypatch.setattr(show, "console", Console(file=said, width=40))
    view = show_training.TrainingView()
    view.planned = SimpleNamespace(plan=SimpleNamespace(device="cpu", num_steps=4, budget_seconds=None), resumed_step=0)
    now[0] = 100.0
    view.show(type("StepReport", (), vars(make_report(1)))())
    assert "2 s left" in said.getvalue()  # three more steps of half a second
    assert said.getvalue().count("\n") == 1  # however narrow a log is


def test_numbers_of_a_comparison() -> None:
    """Whole numbers stay whole, large ones lose digits that nobody reads."""
    numbers = [1234567, 3.14159, 430.3345, None]
    assert [show._describe_number(number) for number in numbers] == ["1,234,567", "3.1416", "430.3", ""]


@pytest.mark.parametrize("width", [200, 80, 60, 40])
def test_a_terminal_shows_all_of_it(width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """However narrow: each number is whole, on one line, and none is left out; a wide terminal needs one line only."""
    said = io.StringIO()
    terminal = Console(file=said, width=width, force_terminal=True, color_system=None, highlight=False)
    monkeypatch.setattr(show, "console", terminal)
    view = show_training.TrainingView()
    plan = SimpleNamespace(device="cpu", num_steps=4, budget_seconds=None)
    view.planned = SimpleNamespace(plan=plan, resumed_step=0)
    view._ceiling, view._token_flops, view.test = 1e6, 250, "test 1.897"
    view._live = show_training.TerminalLive(view._panel, console=terminal, auto_refresh=False)
    for step in range(1, 5):
        view._on_stepreport(make_report(step))
    facts = list(view._panel.facts)
    assert [fact.split()[0] for fact in facts[:3]] == ["step", "loss", "test"]
    assert {"1,000 tokens/s", "MFU 25%", "0 s left"} <= set(facts)
    terminal.print(view._panel)
    lines = said.getvalue().splitlines()
    assert all(len(line) <= width for line in lines)
    assert [fact for fact in facts if not any(fact in line for line in lines)] == []
    assert "100%" in lines[0]
    assert (len(lines) == 1) == (width == 200)


def test_what_was_not_judged_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    """With dropout, losses of other numbers of processes are free: the verdict does not hide it."""
    from whelp.cli.verify_resume import ResumeCheck, VerifyResult

    def say(losses: str) -> str:
        check = ResumeCheck(
            name="killed",
            num_processes=[1, 2],
            same_rows=True,
            losses=losses,
            largest_difference=0.06,
            same_bits=False,
            holds=True,
        )
        show_training.show_verify_result(VerifyResult(num_steps=8, tolerance=1e-3, device="cpu", checks=[check], holds=True))
        return capsys.readouterr().out.splitlines()[-1]

    assert say("close") == "8 steps on cpu: runs of this recipe go on exactly"
    assert say("free").endswith("losses of other numbers of processes were not judged, as each draws its own dropout")


def test_no_time_is_guessed_before_any_byte_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    """Within the first file only what was counted is said; after it, speed and the time that is left, too."""
    said: list[str] = []
    monkeypatch.setattr(show, "say", lambda text, **_: said.append(text))
    monkeypatch.setattr(show, "LINE_SECONDS", -1)
    with show_file_work.bar_of_bytes("convert") as advance:
        advance(0, 1000, "600 rows")
        advance(500, 1000, "900 rows")
    assert "0%  600 rows[" in said[0]
    assert "50%  900 rows, " in said[1]
    assert " left" in said[1]


def make_terminal(width: int, **options: Any) -> Console:
    """One that keeps what it is told, without colours."""
    return Console(file=io.StringIO(), width=width, color_system=None, highlight=False, emoji=False, **options)


def read(terminal: Console) -> list[str]:
    """The lines that it has been told."""
    assert isinstance(terminal.file, io.StringIO)
    return terminal.file.getvalue().splitlines()


@pytest.mark.parametrize("width", [80, 40])
def test_long_lines_go_on_below_themselves(monkeypatch: pytest.MonkeyPatch, width: int) -> None:
    """Beside their label, as far as the terminal is wide; what is to be copied stays in one line, and nothing is made a picture."""
    monkeypatch.setattr(show, "console", make_terminal(width))
    words = "a sentence of :bug: words " * 6
    show.say(f"[bold]store[/]      {words}")
    show.say(f"[yellow]note[/]  {words}")
    show.say(f"           [dim]{words}[/]")
    show.say(f"[dim]step 7    [/] [green]first\n           \n           {words}[/]")
    lines = read(show.console)
    assert max(map(len, lines)) <= width
    assert [line for line in lines if line != line.rstrip()] == []
    heads = ("store      a", "note  a", "           a", "step 7     first")
    begins = [place for place, line in enumerate(lines) if line.startswith(heads)]
    assert begins[0] == 0
    margins = [
        line[: len(line) - len(line.lstrip())] for line in lines if not line.startswith(("store", "note", "step")) and line
    ]
    assert {len(margin) for margin in margins} == {11, 6}
    assert " ".join(" ".join(lines).split()).count("a sentence of :bug: words") == 24
    assert "" in lines  # of the text of a model
    show.say(f"[bold]finished[/]   {words}", wraps=False)
    assert read(show.console)[-1] == f"finished   {words}".rstrip()
    show.say(f"[yellow]note[/]  it is in {'/folder-of-a-run' * 6}, whole")
    assert any(line.strip() == f"{'/folder-of-a-run' * 6}," for line in read(show.console))


@pytest.mark.parametrize("is_terminal", [True, False])
def test_notes_hang_on_a_terminal(monkeypatch: pytest.MonkeyPatch, is_terminal: bool) -> None:
    """In a file each is one line, so that a search for its words finds it."""
    monkeypatch.setattr(show, "console", make_terminal(40, force_terminal=is_terminal))
    words = "a note of [several] words " * 4
    show.say_note(logging.makeLogRecord({"msg": words}))
    lines = read(show.console)
    assert " ".join(" ".join(lines).split()) == f"note {words}".rstrip()
    assert [line[:6] for line in lines] == (["note  ", *[" " * 6] * (len(lines) - 1)] if is_terminal else ["note  "])
    assert len(lines) == (4 if is_terminal else 1)


def test_texts_of_blank_lines_take_little_room() -> None:
    """A model that has learned little else."""
    assert show.squeeze("def a():\n\n\n  \n\n    pass\n\n\n") == "def a():\n\n    pass"
    assert show.squeeze("a\n\nb\nc") == "a\n\nb\nc"


@pytest.mark.parametrize("term", ["dumb", "xterm"])
def test_a_dumb_terminal_gets_lines(monkeypatch: pytest.MonkeyPatch, term: str) -> None:
    """Nothing can move there: it is told now and then, as a file is."""
    terminal = make_terminal(80, force_terminal=True, _environ={"TERM": term})
    monkeypatch.setattr(show, "console", terminal)
    monkeypatch.setattr(show, "LINE_SECONDS", -1)
    events = [
        SimpleNamespace(num_documents=3, num_bytes=500, last_file=0),
        SimpleNamespace(num_documents=3, num_bytes=500, last_file=0),
    ]
    assert list(show.track(events, [1_000], "prepare")) == events
    lines = [line for line in read(terminal) if line.startswith("prepare     50%  3 documents, ")]
    assert len(lines) == (term == "dumb")
    view = show_training.TrainingView()
    monkeypatch.setattr(show_training, "console", terminal)
    monkeypatch.setattr(show_training, "show_plan", lambda *_: None)
    plan = SimpleNamespace(device="cpu", num_steps=4, budget_seconds=None)
    view._on_planned(SimpleNamespace(plan=plan, ledger={}, resumed_step=0))
    view.close()
    assert ("starting" in "".join(read(terminal))) == (term == "xterm")


def test_curves_where_there_are_no_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """A sign for each value, in any encoding."""
    assert show.sparkline([3, 2, 1]) == "█▅▁"
    monkeypatch.setattr(sys, "stderr", io.TextIOWrapper(io.BytesIO(), encoding="latin-1"))
    assert show.sparkline([3, 2, 1]) == "#=_"


def test_the_next_command_can_be_copied(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whole, and quoted for a shell, however narrow the terminal is."""
    monkeypatch.setattr(show, "console", make_terminal(40))
    show.say_next("train", "recipe.yaml", "data.custom_text_key=Text (lang)", "--store", "my store", "--out", "run")
    words = "whelp train recipe.yaml 'data.custom_text_key=Text (lang)' --store 'my store' --out run"
    assert read(show.console) == [f"next       {words}"]
