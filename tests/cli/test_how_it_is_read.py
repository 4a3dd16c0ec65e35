"""What is said of how a source is read: before, while a store is made of it, and where another command reads it otherwise."""

from __future__ import annotations

from pathlib import Path

import pytest

from .helpers import Whelp, said_once

ENGLISH = "It was the best of times, it was the worst of times. "


def test_files_with_markup_are_named(whelp: Whelp, tmp_path: Path) -> None:
    """What is text, but not what somebody wrote, is read, and said, with the command that takes the words out; before, too."""
    corpus = tmp_path / "corpus"
    corpus.mkdir()
    (corpus / "film.srt").write_text("1\n00:00:01,000 --> 00:00:02,000\nWords.\n")
    (corpus / "Sent.MBOX").write_text("From a\n\nwords\n")
    (corpus / "essay.txt").write_text(ENGLISH * 30)
    (corpus / "a.zip").write_bytes(b"PK\x03\x04\0\0")
    (corpus / "thesis.docx").write_bytes(b"PK\x03\x04\0\0")
    (tmp_path / "r.yaml").write_text("data: {source: corpus, tokenizer: {learn: chars}}\n")
    marked = (
        "Sent.MBOX and 1 other (.mbox, .srt) are read as they stand, with headers, times or tags; `whelp collect folder DIR"
    )
    packed = "left out: thesis.docx: zip data, not text (others like it are only counted); `whelp collect folder DIR --out FILE.jsonl` takes"
    before, made = whelp("prepare", "r.yaml", "--dry-run"), whelp("prepare", "r.yaml", "--out", "store")
    for outcome in (before, made):
        assert outcome.code == 0, outcome.stderr
        assert marked in outcome.said
        assert packed in outcome.said
        assert "left out: packed 2" in outcome.said
    assert "corpus 3 files, " in before.said
    assert whelp("prepare", "r.yaml", "--dry-run", "--json").json["num_files"] == 3
    (corpus / "Sent.MBOX").unlink()
    assert "film.srt is read as it stands, with" in whelp("prepare", "r.yaml", "--out", "store").said


@pytest.mark.parametrize(
    ("name", "advice"),
    [
        ("book.fb2", "`whelp convert FILE --out rows.jsonl` makes rows of XML, where its name ends in .xml"),
        ("film.TTML", "`whelp convert FILE --out rows.jsonl` makes rows of XML, where its name ends in .xml"),
        ("film.ass", "save such subtitles as .srt, of which `whelp collect folder` takes the text out"),
    ],
)
def test_markup_that_is_not_taken_out_is_named(whelp: Whelp, tmp_path: Path, name: str, advice: str) -> None:
    """Books and subtitles in formats that nothing here reads: what to do with them."""
    (tmp_path / name).write_text("<p>words</p>\n" * 9)
    outcome = whelp("prepare", "bark", f"data.source={name}", "--dry-run")
    assert f"{name} is read as it stands, with its tags; {advice}" in outcome.said


def test_a_dry_run_stops_where_the_work_would(whelp: Whelp, tmp_path: Path) -> None:
    """Where files that are no text are to stop it."""
    (tmp_path / "corpus").mkdir()
    (tmp_path / "corpus" / "a.txt").write_text(ENGLISH)
    (tmp_path / "corpus" / "b.png").write_bytes(b"\x89PNG\r\n\x1a\n\0")
    (tmp_path / "r.yaml").write_text("data: {source: corpus, on_bad_files: stop, tokenizer: {learn: chars}}\n")
    said_once(whelp("prepare", "r.yaml", "--dry-run"), "b.png: contains NUL bytes")


ROWS = "".join(f'{{"text": "{ENGLISH} {number}", "body": "{ENGLISH} {number}"}}\n' for number in range(30))


@pytest.mark.parametrize(
    ("option", "name", "content"),
    [
        ("data.on_bad_rows=skip", "corpus/a.jsonl", ROWS + '{"text": "cut o\n'),
        ("data.custom_text_key=body", "a.jsonl", ROWS),
        ("data.encoding=latin-1", "a.txt", f"{ENGLISH}\n\n" * 30),
        ("data.document=line", "a.txt", f"{ENGLISH}\n" * 30),
    ],
)
def test_how_a_store_was_read_must_be_said_again(whelp: Whelp, tmp_path: Path, option: str, name: str, content: str) -> None:
    """An option that the command that made the store had, and this one has not, is told, ready to be copied; then it trains."""
    (tmp_path / "corpus").mkdir()
    (tmp_path / "corpus" / "0.txt").write_text(ENGLISH)
    (tmp_path / name).write_text(content)
    (tmp_path / "r.yaml").write_text(
        f"data: {{source: {name.partition('/')[0]}, tokenizer: {{learn: chars}}, test_split: 1}}\npack: {{context_tokens: 16}}\n"
        "model: {family: gpt2, n_layer: 1, n_head: 1, n_embd: 16}\ntrain: {num_steps: 1, batch_tokens: 64, device: cpu}\n"
    )
    assert whelp("prepare", "r.yaml", option, "--out", "store").code == 0
    told = whelp("train", "r.yaml", "--store", "store", "--out", "run")
    assert f"Say here too what it was made with: {option}. Or run `whelp prepare` again" in told.said
    assert whelp("train", "r.yaml", option, "--store", "store", "--out", "run").code == 0
