"""`whelp collect wikipedia-dump`, `folder` and `web-archive` in the terminal; and the whole way from a dump to a model that talks."""

from __future__ import annotations

import json
from pathlib import Path

from archives import INFO, make_http, make_record, make_response, make_text, pack
from collect.dumps import TestPage, make_articles, make_dump, pack_multistream
from whelp.artifacts.token_store import open_store
from whelp.tokenizer import load_tokenizer

from .helpers import Whelp

ANIMALS = ("dog", "fox")


def make_wiki() -> bytes:
    """A hundred articles that all say the same in their way, redirects and talk among them."""
    pages = [
        TestPage(
            f"Whelp of a {animal} {number}",
            f"{{{{Short description|young}}}}\n[[File:x.jpg|thumb|A [[{animal}]]]]\nThe history of '''the {animal}'''<ref>Book</ref> "
            f"is long. The [[{animal}|{animal}]] was a young {animal}.\n\n== See also ==\n* [[Whelp]]\n[[Category:Young]]",
        )
        for number in range(52)
        for animal in ANIMALS
    ]
    pages[5:5] = [TestPage("Old whelp", "#REDIRECT [[Whelp]]", redirect="Whelp"), TestPage("Talk:Whelp", "Hello.", namespace=1)]
    return pack_multistream(make_dump(pages), 20)


def test_from_a_dump_to_a_model_that_talks(whelp: Whelp, tmp_path: Path) -> None:
    """Collect, then the recipe `cook`, by the commands of its page: nothing of the markup reaches the model, and it has
    learned how the sentence goes on."""
    Path("wiki.xml.bz2").write_bytes(make_wiki())
    collected = whelp(
        "collect", "wikipedia-dump", "wiki.xml.bz2", "--out", "corpus/wiki.jsonl", "--workers", "1", "--json"
    ).json
    assert (collected["num_documents"], collected["num_pages"]) == (104, {"kept": 104, "redirect": 1, "namespace Talk": 1})

    overrides = [
        "train.threads=1",
        "train.device=cpu",
        "data.dataset_length=-1",
        "data.test_split=8",
        "data.tokenizer={learn: words}",
    ]
    overrides += [
        "model.n_embd=64",
        "model.dropout=0",
        "train.optimizer=muon",
        "train.learning_rate=1e-2",
        "train.num_steps=120",
    ]
    prepared = whelp("prepare", "cook", *overrides, "--scale", "tiny", "--out", "store", "--json").json
    assert {name: split["documents"] for name, split in prepared["splits"].items()} == {"train": 96, "test": 8}
    vocabulary, split = load_tokenizer("store"), open_store(Path("store")).split("train")
    document = vocabulary.decode(split.document(0)["input_ids"])
    assert document.startswith("The history of the ")
    assert not set("[]{}<>'|=") & set("".join(vocabulary.decode(split.document(index)["input_ids"]) for index in range(96)))

    trained = whelp("train", "cook", *overrides, "--scale", "tiny", "--store", "store", "--out", "run", "--json").json
    assert trained["is_finished"]
    assert trained["nats_per_token"] < 0.5
    reply = whelp(
        "generate", "run", "--prompt", "The history of the", "--max-tokens", "60", "--temperature", "0", "--json"
    ).json
    text = reply["completions"][0]["text"]
    assert any(text.startswith(f" {animal} is long. The {animal} was a young") for animal in ANIMALS), text


def test_a_dump_in_the_terminal(whelp: Whelp) -> None:
    """Counts for people; what was asked for; a mistake is one message."""
    Path("d.xml").write_bytes(make_dump(make_articles(3)))
    shown = whelp("collect", "wikipedia-dump", "d.xml", "--out", "o.jsonl", "--headings", "markdown", "--workers", "1")
    assert (shown.code, shown.text) == (0, "")
    assert "pages 3 kept" in shown.said
    assert "3 templates" not in shown.said
    assert "taken out 6 templates 3 references 3 tables 3 categories" in shown.said
    assert "## Life" in json.loads(Path("o.jsonl").read_text().splitlines()[0])["text"]
    assert (
        "the file is finished" in whelp("collect", "wikipedia-dump", "d.xml", "--out", "o.jsonl", "--headings", "markdown").said
    )
    other = whelp("collect", "wikipedia-dump", "d.xml", "--out", "o.jsonl")
    assert (other.code, "other inputs or options (headings)" in other.said) == (1, True)
    missing = whelp("collect", "wikipedia-dump", "no.xml", "--out", "p.jsonl")
    assert (missing.code, "no.xml: there is no such file" in missing.said) == (1, True)


def test_a_folder_in_the_terminal(whelp: Whelp) -> None:
    """What was read, by ending, and what was left out, by reason."""
    Path("in").mkdir()
    for name, data in {"a.txt": b"a", "b.html": b"<p>b", "c.bin": b"\0", "d.csv": b"a,b"}.items():
        (Path("in") / name).write_bytes(data)
    result = whelp("collect", "folder", "in", "--out", "o.jsonl", "--json").json
    assert result["num_files"] == {"read": {".txt": 1, ".html": 1}, "skipped": {"NUL bytes": 1, "rows": 1}}
    shown = whelp("collect", "folder", "in", "--out", "o.jsonl")
    assert "c.bin: contains NUL bytes" in shown.said
    assert whelp("collect", "folder", "in", "--suffix", ".txt", "--out", "p.jsonl", "--json").json["num_documents"] == 1
    wrong = whelp("collect", "folder", "in", "--suffix", "txt", "--out", "q.jsonl")
    assert (wrong.code, "include_suffixes has 'txt'" in wrong.said) == (1, True)


def test_web_archives_in_the_terminal(whelp: Whelp) -> None:
    """Counts for people, filters by name, and what a mistake says; from a crawl to a store."""
    Path("crawl").mkdir()
    records = [make_text(f"The dog number {number} of a long list is young.", number) for number in range(40)]
    Path("crawl/a.warc.wet.gz").write_bytes(pack([INFO, *records, make_text("Ein Hund.", 99, languages="deu")])[:-5])
    Path("crawl/b.warc.gz").write_bytes(
        pack([make_response("A fox."), make_record("response", make_http(b"", status="404 No"))])
    )
    asked = ["collect", "web-archive", "crawl", "--out", "o.jsonl", "--extract", "page", "--workers", "1"]
    shown = whelp(*asked)
    assert (shown.code, shown.text) == (0, "")
    assert "records 41 kept 1 about the archive 1 cut off 1 status 404" in shown.said
    assert "the file is finished, of the same archives" in whelp(*asked).said
    asked[4] = "p.jsonl"
    some = whelp(
        *asked, "--files", "1", "--status", "404", "--status", "200", "--type", "text/html", "--domain", "example.org", "--json"
    )
    assert some.json["num_records"] == {"kept": 1, "no text": 1}
    missing = whelp("collect", "web-archive", "stdlb", "--out", "q.jsonl").said
    assert (
        missing
        == "error: stdlb: there is no such file or folder, but expected an archive, a folder or a glob. Check the spelling."
    )
    wrong = whelp("collect", "web-archive", "crawl", "--out", "q.jsonl", "--language", "german")
    assert (wrong.code, "languages has 'german', but a code is expected, such as en or eng" in wrong.said) == (1, True)
    Path("tiny.yaml").write_text("data:\n  tokenizer: {learn: chars}\n  test_split: 4\n")
    prepared = whelp("prepare", "tiny.yaml", "data.source=o.jsonl", "--out", "store", "--json").json
    assert {name: split["documents"] for name, split in prepared["splits"].items()} == {"train": 37, "test": 4}
