"""`whelp report`: pages about runs, from the terminal."""

from __future__ import annotations

from pathlib import Path

import whelp as package

from .helpers import Project, Whelp, said_once


def test_one_run(whelp: Whelp, made: Project, tmp_path: Path) -> None:
    """The page goes where it is asked for; the numbers are those of the run."""
    outcome = whelp("report", made.run, "--out", "pages/one.html", "--json")
    assert outcome.stderr == ""
    result = outcome.json
    assert result["html"] == "pages/one.html"
    assert "<h2>Where the tokens go</h2>" in (tmp_path / "pages" / "one.html").read_text(encoding="utf-8")
    (run,) = result["runs"]
    assert run["step"] == 4
    assert run["test_nats_per_token"] > 0
    assert result["differences"] == {}


def test_two_runs(whelp: Whelp, made: Project, tmp_path: Path) -> None:
    """Runs are named by what tells them apart; what differs in their recipes is said, and nothing else."""
    other = whelp("train", made.recipe, "train.learning_rate=2e-2", "--store", made.store, "--out", "other")
    assert other.code == 0
    shown = whelp("report", made.run, "other")
    assert "train.learning_rate: 0.01, 0.02" in shown.text
    assert "page: report.html" in shown.said
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "■\u00a0other" in page
    result = package.report([made.run, "other"], out=tmp_path / "again.html")
    assert [run["name"] for run in result.runs] == ["run", "other"]
    assert list(result.differences) == ["train.learning_rate"]
    assert result.warnings == []


def test_runs_of_different_stores(whelp: Whelp, made: Project) -> None:
    """Their losses are of different texts: that is said, in words and in the result."""
    assert whelp("prepare", made.recipe, "data.test_split=0.3", "--out", "store2").code == 0
    assert whelp("train", made.recipe, "data.test_split=0.3", "--store", "store2", "--out", "other").code == 0
    shown = whelp("report", made.run, "other")
    assert "These runs have different token stores" in shown.said
    assert whelp("report", made.run, "other", "--json").json["warnings"][0].startswith("These runs")


def test_a_folder_that_is_no_run(whelp: Whelp, made: Project) -> None:
    """It is named, and nothing is written."""
    assert "nowhere: there is no such folder, but expected a run folder" in whelp("report", made.run, "nowhere").said
    assert "is a token store, but expected a run folder" in whelp("report", made.store).said
    assert "is a checkpoint, but expected a run folder" in whelp("report", made.run / "checkpoints" / "last").said
    assert "there is no plan.json in it" in whelp("report", made.store / "train").said


def test_a_folder_of_runs(whelp: Whelp, made: Project) -> None:
    """The runs in it are named, to whoever gave it for one."""
    folder = made.run.parent
    said_once(whelp("report", folder), "there is no plan.json in it", f"Give runs that `whelp train` wrote: {made.run}")
    Path("all").mkdir()
    Path("all/first").symlink_to(made.run)
    said_once(whelp("evaluate", "all"), "all: holds no config.json", f"Latest runs there: {Path('all/first')}.")
