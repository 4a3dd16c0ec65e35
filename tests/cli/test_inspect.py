"""`whelp inspect`: what a row's tokens are marked as, where they are from, rows of a file or with a text, the page."""

from __future__ import annotations

import contextlib
import io
import itertools
import json
import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

import whelp as package
from whelp.artifacts.run_folder import RunFolder
from whelp.artifacts.targets import IGNORED
from whelp.cli.inspect import OpenedRows, choose_packing, open_split
from whelp.cli.row_report import ShownRow, make_summary, show_row
from whelp.cli.screens.show_rows import draw_rows

from .helpers import Project, Whelp

PLANS = [
    ["pack.plan=concat"],
    ["pack.plan=concat", "pack.isolate_documents=true"],
    ["pack.plan=concat", "pack.last=drop"],
    ["pack.plan=stream"],
    ["pack.plan=best_fit"],
    ["pack.plan=best_fit", "pack.isolate_documents=false"],
    ["pack.plan=none"],
    ["pack.plan=none", "pack.long=truncate", "pack.pad_to=context"],
]


@pytest.fixture(scope="module")
def masked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store of prompts, which are masked, and completions, with characters of several bytes."""
    folder = tmp_path_factory.mktemp("masked")
    for name in ("a", "b"):
        rows = [
            {"prompt": f"{name}{number}: wie heißt 日本{'!' * (number % 7)}?", "completion": f" Japan 🗾 {number}"}
            for number in range(30)
        ]
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    data = {"source": [str(folder / "a.jsonl"), str(folder / "b.jsonl")], "tokenizer": {"learn": "bpe", "vocab_size": 264}}
    package.prepare({"data": {**data, "test_split": 0}}, out=folder / "store")
    return folder / "store"


@pytest.fixture(scope="module")
def plain(masked: Path) -> Path:
    """A store of the same rows, all of them trained."""
    pieces = [{"column": "prompt"}, {"column": "completion"}]
    data = {"source": str(masked.parent / "*.jsonl"), "tokenizer": str(masked / "tokenizer"), "pieces": pieces}
    package.prepare({"data": {**data, "test_split": 0}}, out=masked.parent / "plain")
    return masked.parent / "plain"


@pytest.fixture(params=["masked", "plain"])
def store(request: pytest.FixtureRequest) -> Path:
    """Each of the two."""
    found: Path = request.getfixturevalue(request.param)
    return found


def open_rows(store: Path, *overrides: str, context_tokens: int = 32) -> OpenedRows:
    """The rows of the train split."""
    return open_split(store, "train", choose_packing(None, overrides, context_tokens=context_tokens))


def show_all(opened: OpenedRows) -> list[ShownRow]:
    """Every row, as it is shown."""
    return [show_row(view, opened.packed, opened.store, opened.vocabulary) for view in opened.iter_views("0:")]


@pytest.mark.parametrize("overrides", PLANS, ids=" ".join)
def test_rows_add_up_to_the_ledger(store: Path, overrides: list[str]) -> None:
    """Over all rows the counts are those of the ledger; the tokens shown with each role are those counts as well."""
    opened = open_rows(store, *overrides)
    rows = show_all(opened)
    ledger = make_summary(opened.packed, opened.store, opened.vocabulary, opened.config).ledger
    if opened.config.plan != "stream":  # whose pass has no end, so the store's first token is a target as well
        assert sum(row.num_trained for row in rows) == ledger["trained"]
        assert sum(row.num_masked for row in rows) == ledger["masked"]
    for row in rows:
        counts = (row.num_trained, row.num_masked, row.num_without_target, row.num_padding)
        assert sum(counts) == row.num_positions
        tokens = [token for piece in row.pieces for run in piece.runs for token in run.tokens]
        assert [token.position for token in tokens] == list(range(row.num_positions - row.num_padding))
        shown = Counter(token.role for token in tokens) + Counter(piece.next.role for piece in row.pieces if piece.next)
        assert shown["trained"] == row.num_trained
        opening_masked = shown["masked"] - row.num_masked
        assert 0 <= opening_masked <= len(row.pieces)


@pytest.mark.parametrize("overrides", PLANS, ids=" ".join)
def test_roles_follow_the_targets(store: Path, overrides: list[str]) -> None:
    """A token is trained exactly where the position before it, in its row, has it as its target; else its mask says why not."""
    opened = open_rows(store, *overrides)
    split = opened.packed.split
    for view, row in zip(opened.iter_views("0:"), show_all(opened), strict=True):
        for piece in row.pieces:
            document = split.document(piece.document)
            mask = document.get("loss_mask", np.ones(piece.document_tokens))[piece.start : piece.start + piece.length]
            tokens = [token for run in piece.runs for token in run.tokens]
            for place, (token, may_be_trained) in enumerate(zip(tokens, mask, strict=True)):
                if not may_be_trained:
                    assert token.role == "masked"
                elif place:
                    assert token.role == "trained"
                    assert view.targets[token.position - 1] == token.id
                else:
                    is_target = token.position > 0 and view.targets[token.position - 1] != IGNORED
                    assert token.role == ("trained" if is_target else "opening")


def test_texts_and_next_tokens_tell_the_documents(masked: Path) -> None:
    """The texts of a document's pieces, joined, are its text; what comes next is the first token of the piece after."""
    opened = open_rows(masked, "pack.plan=none", context_tokens=16)
    pieces = [piece for row in show_all(opened) for piece in row.pieces]
    for document in range(opened.packed.split.num_documents):
        own = [piece for piece in pieces if piece.document == document]
        tokens = [token for piece in own for run in piece.runs for token in run.tokens]
        ids = [token.id for token in tokens]
        if own[-1].next is not None:  # a last token alone has nothing to predict, and so no row
            ids.append(own[-1].next.id)
        text = opened.vocabulary.decode(ids, skip_special=False)
        assert text.startswith(f"{own[0].file[0]}{own[0].line - 1}: wie heißt 日本")
        assert text.endswith(f"Japan 🗾 {own[0].line - 1}<|endoftext|>")
        for before, after in itertools.pairwise(own):
            assert before.next is not None
            assert before.next.id == after.runs[0].tokens[0].id


def test_characters_of_several_tokens_are_whole(masked: Path) -> None:
    """The text of a run has no half characters, except where the row ends in the middle of one: there its bytes are shown."""
    opened = open_rows(masked, "pack.plan=best_fit", context_tokens=64)
    runs = [run for row in show_all(opened) for piece in row.pieces for run in piece.runs]
    assert any(len(run.tokens) > 1 and run.text in "日本🗾" for run in runs)
    assert all(run.text and "\ufffd" not in run.text for run in runs)
    cut = [piece for row in show_all(open_rows(masked, context_tokens=9)) for piece in row.pieces]
    assert all(run.text for piece in cut for run in piece.runs)
    texts = ["".join(run.text for run in piece.runs) for piece in cut]
    assert "\ufffd" not in "".join(texts)
    assert any(re.search(r"\\x[89a-f]", text) for text in texts)


def test_without_colours_there_are_marks(whelp: Whelp, masked: Path) -> None:
    """Piped, masked text is in brackets, and pieces have their places; nothing of a terminal's is in it."""
    shown = whelp("inspect", masked, "--plan", "best_fit", "--context-tokens", 64, "--rows", "0").text
    assert "\x1b" not in shown
    assert "⟦masked⟧" in shown
    assert "⟦a0: wie heißt 日本?⟧ Japan 🗾 0<|endoftext|>" in shown
    assert re.search(r"--- document 0: a\.jsonl, line 1 \(all \d+ tokens\)", shown)
    whole = whelp("inspect", masked, "--plan", "none", "--context-tokens", 16, "--rows", "0:2").text
    assert re.search(r"\(tokens 0 to 15 of \d+\)\n⟦.*⟧ → ", whole)
    assert "(tokens 16 to " in whole


def draw(opened: OpenedRows, **options: object) -> str:
    """What a terminal gets."""
    file = io.StringIO()
    console = Console(file=file, force_terminal=True, width=100, highlight=False, **options)  # type: ignore[arg-type]
    draw_rows(console, show_all(opened)[:1], opened, find="Japan")
    return file.getvalue()


def test_long_lines_are_whole_in_a_pipe(whelp: Whelp, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever reads on gets all of a line, however narrow the terminal beside it is."""
    monkeypatch.setenv("COLUMNS", "40")
    words = " ".join(f"word{number}" for number in range(60))
    (tmp_path / "a.txt").write_text(words, encoding="utf-8")
    data = {"source": str(tmp_path / "a.txt"), "tokenizer": {"learn": "chars"}, "test_split": 0}
    package.prepare({"data": data}, out=tmp_path / "store")
    assert words.removeprefix("w") in whelp("inspect", tmp_path / "store", "--context-tokens", 1024, "--rows", "0").text


def test_colours_and_no_color(masked: Path) -> None:
    """In colours there are no brackets, and what was looked for stands out; with NO_COLOR there are no colours, but brackets."""
    opened = open_rows(masked, "pack.plan=best_fit", context_tokens=64)
    colored, plain = draw(opened, color_system="standard"), draw(opened, color_system="standard", no_color=True)
    assert "\x1b[35ma0: wie heißt 日本?\x1b[0m\x1b[32m \x1b[0m\x1b[7;32mJapan\x1b[0m" in colored
    assert "⟦" not in colored
    assert "⟦a0: wie heißt 日本?⟧" in plain
    assert not re.search(r"\x1b\[[\d;]*3[0-7]", plain)


def test_control_characters_do_not_reach_the_terminal(whelp: Whelp, tmp_path: Path) -> None:
    """An escape sequence in a text, or in the name of its file, is shown as a sign."""
    (tmp_path / "e\x1b[2Jvil.txt").write_text("before\x1b[2Jafter\r\n" * 40)
    recipe = {"data": {"source": str(tmp_path / "e\x1b[2Jvil.txt"), "tokenizer": {"learn": "chars"}, "test_split": 0}}
    package.prepare(recipe, out=tmp_path / "store")
    for options in ([], ["--tokens"]):
        shown = whelp("inspect", tmp_path / "store", *options, "--html", tmp_path / "page.html").text
        assert "\x1b" not in shown
    assert "before·[2Jafter" in whelp("inspect", tmp_path / "store").text
    assert "\x1b" not in (tmp_path / "page.html").read_text()


def test_tokens_in_columns(whelp: Whelp, masked: Path) -> None:
    """--tokens: position, id, sign and spelling of every token of the row, once; the same ids as --json has."""
    arguments = ["inspect", masked, "--plan", "best_fit", "--context-tokens", 64, "--rows", "1"]
    shown = whelp(*arguments, "--tokens").text
    (row,) = whelp(*arguments, "--json").json["rows"]
    found = {int(place): (int(number), sign) for place, number, sign in re.findall(r"(\d+) +(\d+) ([+^-]) \S", shown)}
    count = sum(document["length"] for document in row["documents"])
    assert sorted(found) == list(range(count))
    assert [found[place][0] for place in range(count)] == row["ids"][:count]
    for place in range(1, count):
        if row["document_numbers"][place] == row["document_numbers"][place - 1]:
            assert (found[place][1] == "+") == row["trained"][place - 1]
    assert "␣" in shown
    assert r"\x" in shown


def test_rows_of_a_file(whelp: Whelp, masked: Path) -> None:
    """--file: by name, by the end of the path, by pattern; --rows counts among those."""
    every = whelp("inspect", masked, "--rows", "0:", "--json").json["rows"]
    of_b = [row for row in every if any(document["file"] == "b.jsonl" for document in row["documents"])]
    assert 0 < len(of_b) < len(every)
    for name in ("b.jsonl", "b*", "[b].jsonl"):
        assert whelp("inspect", masked, "--file", name, "--rows", "0:", "--json").json["rows"] == of_b
    assert whelp("inspect", masked, "--file", "b.jsonl", "--rows", "1", "--json").json["rows"] == of_b[1:2]
    assert [vars(row) for row in package.inspect(masked, file="b.jsonl", rows="0:")] == of_b


def test_rows_with_a_text(whelp: Whelp, masked: Path) -> None:
    """--find: the rows that hold it, characters of several tokens too; with --file, both must fit."""
    every = whelp("inspect", masked, "--rows", "0:", "--json", "--plan", "best_fit").json["rows"]
    for text in ("日本!!?", "b7: ", "<|endoftext|>"):
        found = whelp("inspect", masked, "--find", text, "--rows", "0:", "--json", "--plan", "best_fit").json["rows"]
        assert found == [row for row in every if text in row["text"]] != []
    both = whelp("inspect", masked, "--find", "7: wie", "--file", "a.jsonl", "--rows", "0:", "--json").json["rows"]
    assert both
    assert all("7: wie" in row["text"] for row in both)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--find", "zebra"], "no row of the split train holds the text 'zebra'"),
        (["--find", ""], "the text is empty"),
        (["--file", "c.json"], "no file of the store is called 'c.json'. Did you mean"),
        (["--file", "b.jsonl", "--find", "a0: "], "holds a piece of 'b.jsonl' and the text 'a0: '"),
        (["--file", "b.jsonl", "--rows", "999"], "'999' names no row;"),
        (["--find", "wie", "--rows", "4:2"], "'4:2' names no row"),
        (["--html", "nowhere/page.html"], "nowhere/page.html: there is no such folder"),
    ],
)
def test_a_search_that_finds_nothing(whelp: Whelp, masked: Path, arguments: list[str], words: str) -> None:
    """One message that says what was looked for; nothing on standard output."""
    outcome = whelp("inspect", masked, "--context-tokens", 1000, "--plan", "none", *arguments)
    assert (outcome.code, outcome.stdout) == (1, b"")
    assert outcome.stderr.startswith("error: ")
    assert words in outcome.stderr


def test_the_page(whelp: Whelp, made: Project, tmp_path: Path) -> None:
    """--html: the rows asked for, beside what the terminal or --json gives."""
    page = tmp_path / "page.html"
    outcome = whelp("inspect", made.store, "--rows", "1:3", "--html", page)
    assert f"page: {page}" in outcome.said
    text = page.read_text(encoding="utf-8")
    assert re.findall(r"<h3 [^>]*>Row (\d+) of", text) == ["1", "2"]
    assert package.inspect(made.store, rows="1:3", html=tmp_path / "called.html")
    assert (tmp_path / "called.html").read_text(encoding="utf-8") == text
    assert set(whelp("inspect", made.store, "--html", page, "--json").json) == {"rows"}


def test_rows_need_not_be_those_of_a_run(whelp: Whelp, masked: Path, tmp_path: Path) -> None:
    """Without a recipe it is said how rows are cut, and how the run beside the store cuts them; with one, nothing."""
    store, run = tmp_path / "store", RunFolder(tmp_path / "run")
    shutil.copytree(masked, store)
    alone = whelp("inspect", store, "--rows", "0")
    assert "rows are cut into 256 tokens by the plan concat, as no recipe is given; a run cuts them as its recipe" in alone.said
    run.start("pack: {context_tokens: 128, plan: best_fit}\n", {})
    beside = whelp("inspect", store, "--rows", "0", "--json")
    assert f"the run run trains rows of 128 tokens, plan best_fit (--recipe {run.folder})" in beside.said
    assert len(beside.json["rows"][0]["ids"]) == 256
    for more in (("--recipe", run.folder), ("--context-tokens", "128")):
        told = whelp("inspect", store, "--rows", "0", *more)
        assert "128 tokens" in told.text
        assert "no recipe" not in told.said
    run.recipe.write_text("pack: 5\n")  # a run that cannot be read is no reason to stop
    assert "--recipe RUN" in whelp("inspect", store, "--rows", "0").said


def test_a_terminal_has_colours_and_a_pager(masked: Path) -> None:
    """On a terminal everything goes through the pager, colours included."""
    pty = pytest.importorskip("pty", reason="pseudo-terminals are Unix's")
    main_end, terminal = pty.openpty()
    command = [sys.executable, "-c", "from whelp.cli.main import main; main()", "inspect", str(masked), "--rows", "0"]
    settings = {name: value for name, value in os.environ.items() if name not in ("NO_COLOR", "FORCE_COLOR", "LESS")}
    settings |= {
        "TERM": "xterm-256color",
        "PAGER": "sed s/^/paged:/",
        "COLUMNS": "100",
        "PYTHONPATH": str(Path(package.__file__).parents[1]),
    }
    with subprocess.Popen(command, stdin=terminal, stdout=terminal, stderr=subprocess.DEVNULL, env=settings) as process:
        os.close(terminal)
        seen = b""
        with contextlib.suppress(OSError):  # Linux says so at the end
            while block := os.read(main_end, 65536):
                seen += block
    os.close(main_end)
    assert process.returncode == 0
    assert "paged:\x1b[1m=== row 0 of" in seen.decode()
    assert "\x1b[35m" in seen.decode()
    assert "⟦" not in seen.decode()
