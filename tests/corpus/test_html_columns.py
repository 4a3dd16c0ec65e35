"""Columns that hold HTML: what a page shows is the text, in every format, and each text that changed is counted."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import whelp
from whelp.artifacts.token_store import open_store
from whelp.base.errors import SourceError
from whelp.corpus import SourceConfig, open_source
from whelp.tokenizer import load_tokenizer

from .test_source import make, read_notes, read_rows, write

BODIES = [
    "<p>I <b>have</b> <code>x &lt; 3</code>:</p>\n\n<pre><code>for x in y:\n    pass\n</code></pre>",
    "no HTML: 1 < 2 and\ntwo lines",
    "signs &gt; alone &amp; two\n\nparagraphs",
    '<img src="a.png">',
]
TEXTS = ["I have x < 3:\n\nfor x in y:\n    pass", "no HTML: 1 < 2 and\ntwo lines", "signs > alone & two\n\nparagraphs"]
NOTES = {"column body: HTML, read as text": 2, "column body: HTML without any text": 1, "empty documents dropped": 1}


def write_formats(folder: Path) -> list[str]:
    rows = [{"id": number, "body": body} for number, body in enumerate(BODIES)]
    write(folder, {"a.jsonl": "".join(json.dumps(row) + "\n" for row in rows), "b.json": json.dumps(rows)})
    quoted = "".join(f'{row["id"]},"{str(row["body"]).replace(chr(34), chr(34) * 2)}"\n' for row in rows)
    write(folder, {"c.csv": "id,body\n" + quoted})
    pq.write_table(pa.Table.from_pylist(rows), folder / "d.parquet")
    return ["a.jsonl", "b.json", "c.csv", "d.parquet"]


def test_every_format(tmp_path: Path) -> None:
    """The only column of text, or one that is named; without the option all is as it stands."""
    for name in write_formats(tmp_path):
        source = make(tmp_path / name, html_columns=["body"])
        assert [text for _, text, _ in read_rows(source)] == TEXTS
        assert read_notes(source) == NOTES
        assert [text for _, text, _ in read_rows(make(tmp_path / name))] == BODIES
        assert source.changed_since(make(tmp_path / name).describe()) == ["data.html_columns: was not set, now ['body']"]


def test_what_is_not_closed_hides_nothing(tmp_path: Path) -> None:
    """Elements named in a text as if they were tags; brackets of code that are no end of CDATA."""
    bodies = [
        "<p>How to use <select>?</p><nav>menu</nav><p>Tell me.</p>",
        "<pre>if (a[b[i]]>3) x</pre>",
        "<![CDATA[<p>a</p>]]>",
    ]
    write(tmp_path, {"a.jsonl": "".join(json.dumps({"text": body}) + "\n" for body in bodies)})
    texts = [text for _, text, _ in read_rows(make(tmp_path / "a.jsonl", html_columns=["text"]))]
    assert texts == ["How to use ?\n\nTell me.", "if (a[b[i]]>3) x", "a"]


def test_fields_and_python_rows(tmp_path: Path) -> None:
    """A field of an object by its name with dots; rows from Python."""
    write(tmp_path, {"a.jsonl": json.dumps({"title": "<A>", "post": {"body": BODIES[0]}}) + "\n"})
    options: dict[str, Any] = {"custom_text_key": "post.body", "html_columns": ["post.body"]}
    assert [text for _, text, _ in read_rows(make(tmp_path / "a.jsonl", **options))] == TEXTS[:1]
    given = open_source(SourceConfig(**options), rows=pa.table({"post": [{"body": body} for body in BODIES]}))
    assert [text for _, text, _ in read_rows(given)] == TEXTS


def test_turns_of_conversations(tmp_path: Path) -> None:
    """All fields of all turns; a turn that is nothing but a picture is left out."""
    turns = [
        {"sender": "Ann", "text": "<p>Hi &amp; so</p>"},
        {"sender": "Bob", "text": "<img>"},
        {"sender": "Bob", "text": "Yes"},
    ]
    lines = [{"turns": turns}, {"turns": None, "text": "plain"}, {"turns": turns[2:]}]
    write(tmp_path, {"a.jsonl": "".join(json.dumps(row) + "\n" for row in lines)})
    data = {
        "source": str(tmp_path / "a.jsonl"),
        "tokenizer": {"learn": "chars"},
        "test_split": 0,
        "conversation_format": "sender",
        "conversation_key": "turns",
        "conversation_input_key_map": {"text": "{sender}: "},
        "html_columns": ["turns"],
    }
    result = whelp.prepare({"data": data}, out=tmp_path / "store")
    store = open_store(tmp_path / "store")
    vocabulary = load_tokenizer(store.folder)
    train = store.split("train")
    texts = [vocabulary.decode(train.document(number)["input_ids"]) for number in range(train.num_documents)]
    assert [text.removesuffix("<|endoftext|>") for text in texts] == ["Ann: Hi & soBob: Yes", "plain", "Bob: Yes"]
    notes = result.ledger["notes"]
    assert notes["column turns: HTML, read as text"] == 1
    assert notes["column turns: HTML without any text"] == 1


def test_a_column_that_no_text_is_made_of(tmp_path: Path) -> None:
    """A name that leads to nothing stops the work; where no file holds rows, that is said."""
    write(tmp_path, {"a.jsonl": json.dumps({"title": "a", "body": "b"}) + "\n", "a.txt": "text"})
    message = r"data\.html_columns: names bodi, title, of which no text of .*a\.jsonl is made, but expected columns of the text \(body\)"
    with pytest.raises(SourceError, match=message):
        make(tmp_path / "a.jsonl", custom_text_key="body", html_columns=["bodi", "body", "title"])
    assert make(tmp_path / "a.txt", html_columns=["body"]).find_unused() == {"html_columns": "no file holds rows"}
