"""A dump to documents: every page counted once, in any packing, on any number of processes; hostile files refused."""

from __future__ import annotations

import bz2
import gzip
import json
import lzma
import os
import random
import signal
import subprocess
import sys
import time
import tracemalloc
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import whelp
from whelp.artifacts.growing_file import GrowingFile
from whelp.base.errors import ArtifactError, ConfigError, SourceError
from whelp.collect.dump import DumpConfig, cut_pages, iter_dump, parts
from whelp.collect.dump.cut_pages import CutOff, iter_pieces

from .dumps import FOOTER, HEADER, TestPage, make_articles, make_dump, pack_in_pieces, pack_multistream

PACKINGS: dict[str, Callable[[bytes], bytes]] = {
    ".xml": bytes,
    ".xml.gz": gzip.compress,
    ".xml.xz": lzma.compress,
    ".xml.bz2": bz2.compress,
    "-multistream.xml.bz2": lambda dump: pack_multistream(dump, 7),
    "-pieces.xml.bz2": lambda dump: pack_in_pieces(dump, 501),
}
OTHERS = [
    TestPage("Old", "#REDIRECT [[Dog 1]]", redirect="Dog 1"),
    TestPage("Very old", "#ADRESĒJUMS [[Dog 1]]"),
    TestPage("Talk:Dog 1", "hello", namespace=1),
    TestPage("Style", "a {}", model="css"),
    TestPage("Only a template", "{{x}}"),
    TestPage("Nothing", ""),
]


@pytest.fixture
def small_spans(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shares small enough that a small dump has many."""
    monkeypatch.setattr(cut_pages, "PIECE_BYTES", 2000)
    monkeypatch.setattr(parts, "_SPAN_BYTES", {"bzip2": 700, "none": 3000})
    monkeypatch.setattr("whelp.collect.dump.stream.BLOCK_BYTES", 1000)


def write(folder: Path, name: str, data: bytes) -> Path:
    path = folder / name
    path.write_bytes(data)
    return path


def read(path: Path, **options: Any) -> tuple[list[dict[str, Any]], Counter[str], int]:
    """Documents, pages by what became of them, and in how many parts."""
    made = list(iter_dump(path, DumpConfig(**options)))
    lines = b"".join(part.lines for part in made).decode()
    pages = Counter[str]()
    for part in made:
        pages.update(part.pages)
    return [json.loads(line) for line in lines.splitlines()], pages, len(made)


@pytest.mark.usefixtures("small_spans")
@pytest.mark.parametrize("suffix", PACKINGS)
def test_every_page_once_however_it_is_packed(suffix: str, tmp_path: Path) -> None:
    """Pages across the borders of blocks, spans and streams are neither lost nor read twice."""
    dump = make_dump([*make_articles(60), *OTHERS])
    documents, pages, num_parts = read(write(tmp_path, f"dump{suffix}", PACKINGS[suffix](dump)))
    assert [document["title"] for document in documents] == [f"Dog {number}" for number in range(60)]
    assert pages == {
        "kept": 60,
        "redirect": 2,
        "namespace Talk": 1,
        "not wikitext but css": 1,
        "no text left": 1,
        "no text in the dump": 1,
    }
    assert num_parts > 3
    for number, document in enumerate(documents):
        expected = f"Dog {number} is a young dog of {number * number} days & more.\n\nLife\n\nIt ate {number} bones."
        assert document["text"] == expected


def test_where_a_document_is_from(tmp_path: Path) -> None:
    """Title, address, ids, time, language and licence."""
    path = write(tmp_path, "d.xml", make_dump([TestPage("C. S. Lewis/Ö & Ü?", "Text.")]))
    documents, _, _ = read(path)
    assert documents == [
        {
            "text": "Text.",
            "source": "wikipedia-dump",
            "title": "C. S. Lewis/Ö & Ü?",
            "url": "https://ltg.wikipedia.org/wiki/C._S._Lewis/%C3%96_%26_%C3%9C%3F",
            "id": "1",
            "language": "ltg",
            "revision": "1001",
            "licence": "CC BY-SA 4.0",
            "author": None,
            "time": "2024-05-06T07:08:09Z",
            "fetched": None,
        }
    ]


def test_pages_that_only_tell_names_apart(tmp_path: Path) -> None:
    """By their title, template or switch; kept where asked for. A page that leads to one is none."""
    pages = [
        TestPage("Whelp (disambiguation)", "A whelp may be a dog."),
        TestPage("Welpe", "Ein Hund.\n{{Begriffsklärung}}"),
        TestPage("Ada", "A name.\n{{disambig|given name}}"),
        TestPage("Kutsa", "Suņs. __DISAMBIG__"),
        TestPage("Dog", "{{other uses|Dog (disambiguation)}}{{disambiguation needed}} A dog barks."),
    ]
    path = write(tmp_path, "d.xml", make_dump(pages))
    documents, counts, _ = read(path)
    assert ([document["title"] for document in documents], counts["only tells names apart"]) == (["Dog"], 4)
    assert len(read(path, disambiguation=True)[0]) == 5


def test_licence_of_another_wiki(tmp_path: Path) -> None:
    """Not guessed; as given."""
    path = write(tmp_path, "d.xml", make_dump([TestPage("A", "Text.")], base="https://wiki.example.org/index.php/Main"))
    assert read(path)[0][0]["licence"] is None
    document = read(path, licence="CC0")[0][0]
    assert (document["licence"], document["url"]) == ("CC0", "https://wiki.example.org/index.php/A")


def test_namespaces_as_asked(tmp_path: Path) -> None:
    """By number; what is not asked for is counted by name."""
    path = write(tmp_path, "d.xml", make_dump([*make_articles(2), *OTHERS[2:3]]))
    documents, pages, _ = read(path, namespaces=[1])
    assert [document["title"] for document in documents] == ["Talk:Dog 1"]
    assert pages == {"kept": 1, "namespace 0": 2}
    again = whelp.collect_wikipedia_dump(path, out=tmp_path / "one.jsonl", namespaces=1)
    assert again.num_pages == pages


def test_the_newest_revision(tmp_path: Path) -> None:
    """Of a page with its history the last one is kept, the others are counted."""
    dump = make_dump([TestPage("A", "old")]).decode()
    revision = dump[dump.index("    <revision>") : dump.index("  </page>")]
    dump = dump.replace(revision, revision + revision.replace(">old<", ">new<").replace("1001", "1002"))
    part = next(iter_dump(write(tmp_path, "d.xml", dump.encode()), DumpConfig()))
    document = json.loads(part.lines)
    assert (document["text"], document["revision"], part.removed["older revisions"]) == ("new", "1002", 1)


def test_same_bytes_on_two_processes(tmp_path: Path) -> None:
    """And from a script that has no guard for it: this one."""
    path = write(tmp_path, "d.xml.bz2", pack_multistream(make_dump(make_articles(300)), 10))
    one = whelp.collect_wikipedia_dump(path, out=tmp_path / "one.jsonl")
    two = whelp.collect_wikipedia_dump(path, out=tmp_path / "two.jsonl", workers=2)
    assert (one.num_documents, two.num_pages, two.num_removed) == (300, one.num_pages, one.num_removed)
    assert (tmp_path / "one.jsonl").read_bytes() == (tmp_path / "two.jsonl").read_bytes()


class Killed(BaseException):
    """Stands for a kill: nothing catches it, nothing is tidied up."""


@pytest.mark.usefixtures("small_spans")
@pytest.mark.parametrize("suffix", [".xml", ".xml.gz", "-multistream.xml.bz2"])
def test_killed_anywhere_the_same_call_goes_on(suffix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stopped while adding, before or after the bytes are on disk; at the end the file is as if nothing had happened."""
    path = write(tmp_path, f"d{suffix}", PACKINGS[suffix](make_dump([*make_articles(60), *OTHERS])))
    whole = whelp.collect_wikipedia_dump(path, out=tmp_path / "whole.jsonl")
    monkeypatch.setattr("whelp.artifacts.growing_file._SAVE_SECONDS", 0.0)
    add, save, declare, chance = GrowingFile.add, GrowingFile._save, GrowingFile._declare, random.Random(suffix)

    def kill_sometimes(self: GrowingFile) -> None:
        if chance.random() < 0.3:
            self._file.close()  # so that `close` saves nothing, as a killed process would not
            raise Killed

    def killing_add(self: GrowingFile, data: bytes, progress: dict[str, Any]) -> None:
        kill_sometimes(self)
        add(self, data, progress)

    def killing_save(self: GrowingFile, counts: Any) -> None:
        kill_sometimes(self)
        save(self, counts)

    def killing_declare(self: GrowingFile, counts: Any) -> Any:
        if chance.random() < 0.5:
            raise Killed
        return declare(self, counts)

    monkeypatch.setattr(GrowingFile, "add", killing_add)
    monkeypatch.setattr(GrowingFile, "_save", killing_save)
    monkeypatch.setattr(GrowingFile, "_declare", killing_declare)
    kills, result = 0, None
    while result is None:
        try:
            result = whelp.collect_wikipedia_dump(path, out=tmp_path / "out.jsonl")
        except Killed:
            kills += 1
        assert kills < 500
    assert kills > 3
    assert (tmp_path / "out.jsonl").read_bytes() == (tmp_path / "whole.jsonl").read_bytes()
    assert (result.num_pages, result.num_removed) == (whole.num_pages, whole.num_removed)
    assert sorted(found.name for found in tmp_path.glob(".out*")) == [".out.jsonl.manifest.json"]


NUM_KILLS = int(os.environ.get("WHELP_KILLS", "2"))
COMMAND = """
import sys
from whelp.artifacts import growing_file
from whelp.collect.dump import cut_pages, parts, stream
growing_file._SAVE_SECONDS = 0.0
cut_pages.PIECE_BYTES, stream.BLOCK_BYTES, parts._SPAN_BYTES = 2000, 1000, {"bzip2": 700, "none": 3000}
from whelp.cli.main import main
print("started", flush=True)
main()
"""


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="SIGKILL is of POSIX: run the tests on Linux or macOS")
@pytest.mark.parametrize("workers", [1, 2])
def test_sigkill_at_random_moments(workers: int, tmp_path: Path) -> None:
    """The command itself, killed for real: the same bytes at the end, and no process is left behind."""
    path = write(tmp_path, "d.xml.bz2", pack_multistream(make_dump(make_articles(400)), 5))
    whole = whelp.collect_wikipedia_dump(path, out=tmp_path / "whole.jsonl")
    out, chance, kills, longest = tmp_path / "out.jsonl", random.Random(workers), 0, 0.6 * workers
    program = [
        sys.executable,
        "-c",
        COMMAND,
        "collect",
        "wikipedia-dump",
        str(path),
        "--out",
        str(out),
        "--workers",
        str(workers),
    ]
    while kills < NUM_KILLS:
        with subprocess.Popen(program, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == b"started\n"
            time.sleep(chance.uniform(0.0, longest))
            process.kill()
            is_killed = process.wait() == -signal.SIGKILL
            process.stdout.read()  # ends when the last process that inherited the stream has
        kills += is_killed
        if not is_killed:  # on a fast machine it was done before: begin again, and kill it sooner
            longest /= 2
            assert longest > 1e-3, "it is never caught at work"
            for left in tmp_path.glob("*out.jsonl*"):
                left.unlink()
    done = subprocess.run([*program, "--json"], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout.removeprefix("started\n"))["num_pages"] == whole.num_pages
    assert out.read_bytes() == (tmp_path / "whole.jsonl").read_bytes()


def test_done_is_done(tmp_path: Path) -> None:
    """A finished file is left as it is; other options, another dump or a changed file are said, and nothing is touched."""
    path = write(tmp_path, "d.xml", make_dump(make_articles(3)))
    out = tmp_path / "out.jsonl"
    assert not whelp.collect_wikipedia_dump(path, out=out).is_reused
    before = out.stat().st_mtime_ns
    assert whelp.collect_wikipedia_dump(path, out=out).is_reused
    with pytest.raises(ArtifactError, match=r"made from other inputs or options \(headings\).*Choose another --out"):
        whelp.collect_wikipedia_dump(path, out=out, headings="wiki")
    assert out.stat().st_mtime_ns == before
    out.write_text("mine")
    with pytest.raises(ArtifactError, match="it was changed since it was made"):
        whelp.collect_wikipedia_dump(path, out=out)
    mine = write(tmp_path, "mine.jsonl", b"{}")
    with pytest.raises(ArtifactError, match="something stands there that was not made by this command"):
        whelp.collect_wikipedia_dump(path, out=mine)
    assert mine.read_bytes() == b"{}"


LAUGHS = '<?xml version="1.0"?>\n<!DOCTYPE mediawiki [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;&a;">]>\n'


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("laughs.xml", LAUGHS.encode() + make_dump(make_articles(1)), "declares a document type or entities of its own"),
        ("a.txt", b"Just text.", "is no MediaWiki XML export (no <mediawiki> at its beginning)"),
        ("big.txt", b"x" * (5 << 20), "is no MediaWiki XML export"),
        ("empty.xml", b"", "is no MediaWiki XML export"),
        (
            "a.7z",
            b"7z\xbc\xaf\x27\x1c",
            "is a 7-zip file, but expected XML, or XML packed as .bz2, .gz or .xz. Unpack it first.",
        ),
        ("cut.xml", make_dump(make_articles(9))[:-3000], "ends before its </mediawiki>: it is cut off"),
        ("cut-between.xml", make_dump(make_articles(9)).removesuffix(FOOTER.encode()), "ends before its </mediawiki>"),
        ("cut.xml.bz2", bz2.compress(make_dump(make_articles(9)))[:-30], "cut off or broken bzip2 data"),
        ("cut.xml.gz", gzip.compress(make_dump(make_articles(9)))[:-30], "cut off or broken gzip data"),
        ("broken.xml.xz", lzma.compress(make_dump(make_articles(9)))[:-30] + b"x" * 30, "cut off or broken xz data"),
        ("broken-head.xml", b"<mediawiki><siteinfo><base>x</sitename>" + b"<page></page>", "its beginning is not good XML"),
    ],
)
def test_files_that_are_no_good_dump(name: str, data: bytes, message: str, tmp_path: Path) -> None:
    """Each says what it is."""
    path = write(tmp_path, name, data)
    with pytest.raises(SourceError) as caught:
        list(iter_dump(path, DumpConfig()))
    assert message in str(caught.value)
    assert str(path) in str(caught.value)


@pytest.mark.usefixtures("small_spans")
@pytest.mark.parametrize("place", [0.3, 0.6, 0.8])
@pytest.mark.parametrize("byte", [0, 3, 6, 40, -2])
def test_a_broken_byte_anywhere(byte: int, place: float, tmp_path: Path) -> None:
    """In the head, the data or the end of any of many streams: an error, never fewer documents."""
    data = bytearray(pack_multistream(make_dump(make_articles(50)), 5))
    start = data.index(b"BZh91AY&SY", int(len(data) * place))
    data[start + byte] ^= 16
    path = write(tmp_path, "d.xml.bz2", bytes(data))
    with pytest.raises(SourceError, match=r"d\.xml\.bz2: (cut off or broken bzip2 data|ends before its </mediawiki>)"):
        list(iter_dump(path, DumpConfig()))


def test_a_cut_off_stream_among_many(tmp_path: Path) -> None:
    """In the last stream of many, in another process too."""
    path = write(tmp_path, "d.xml.bz2", pack_multistream(make_dump(make_articles(50)), 5)[:-60])
    for workers in (1, 2):
        with pytest.raises(SourceError, match="cut off"):
            list(iter_dump(path, DumpConfig(), workers=workers))


def test_json_lines_have_their_own_name(tmp_path: Path) -> None:
    """`--out x.txt` means text alone elsewhere: here it is refused, not filled with JSON."""
    path = write(tmp_path, "d.xml", make_dump(make_articles(1)))
    with pytest.raises(ConfigError, match=r"x\.txt does not end in \.jsonl.*Example: --out corpus/documents\.jsonl"):
        whelp.collect_wikipedia_dump(path, out=tmp_path / "x.txt")
    with pytest.raises(ConfigError, match=r"x\.txt does not end in \.jsonl"):
        whelp.collect_folder(tmp_path, out=tmp_path / "x.txt")
    assert [file.name for file in tmp_path.iterdir()] == ["d.xml"]


def test_no_such_dump(tmp_path: Path) -> None:
    """A missing file, and a folder."""
    with pytest.raises(SourceError, match="there is no such file"):
        whelp.collect_wikipedia_dump(tmp_path / "x.xml", out=tmp_path / "o")
    with pytest.raises(SourceError, match="is a folder"):
        whelp.collect_wikipedia_dump(tmp_path, out=tmp_path / "o")


def test_a_page_that_is_broken_costs_itself_only(tmp_path: Path) -> None:
    """Bad XML, a bad byte, an entity that nobody declared: counted; the others are kept."""
    dump = make_dump(make_articles(6))
    dump = dump.replace(b"<title>Dog 1</title>", b"<title>Dog 1</titel>").replace(b"of 4 days", b"of \xff days")
    dump = dump.replace(b"of 9 days", b"of &nine; days")
    documents, pages, _ = read(write(tmp_path, "d.xml", dump))
    assert [document["title"] for document in documents] == ["Dog 0", "Dog 4", "Dog 5"]
    assert pages == {"kept": 3, "broken XML": 3}


def test_pages_that_are_too_large_are_counted(tmp_path: Path) -> None:
    """And read past, wherever they end."""
    pages = make_articles(4)
    pages[1:1] = [TestPage("Huge", "x" * 3_000_000)]
    path = write(tmp_path, "d.xml", make_dump(pages))
    documents, counts, _ = read(path, max_page_bytes=1_000_000)
    assert [document["title"] for document in documents] == [f"Dog {number}" for number in range(4)]
    assert counts == {"kept": 4, "larger than 1,000,000 bytes": 1}


def test_a_bomb_is_unpacked_in_flat_memory(tmp_path: Path) -> None:
    """A page of 40 MB, packed in a few kilobytes: left out, with a few megabytes of memory."""
    dump = make_dump(make_articles(2))
    mark = b"<title>Dog 1</title>"
    packer = bz2.BZ2Compressor(1)
    before, after = dump.split(mark)
    data = packer.compress(before + mark)
    for _ in range(40):
        data += packer.compress(b" " * 1_000_000)
    path = write(tmp_path, "bomb.xml.bz2", data + packer.compress(after) + packer.flush())
    assert path.stat().st_size < 100_000
    tracemalloc.start()
    try:
        documents, counts, _ = read(path, max_page_bytes=1 << 20)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert [document["title"] for document in documents] == ["Dog 0"]
    assert counts == {"kept": 1, "larger than 1,048,576 bytes": 1}
    assert peak < 20_000_000  # a block of 100 kB unpacks to 5 MB at most


def test_pages_belong_to_who_owns_their_first_byte() -> None:
    """Cut at every byte, both sides together read each page once."""
    data = b"x</page> <page>1</page><page>22</page>\n<page>333</page> tail"
    for border in range(len(data) + 1):
        for size in (1, 3, 50):
            blocks = [(data[start : min(start + size, border)], True) for start in range(0, border, size)]
            rest = [(data[start : start + size], False) for start in range(border, len(data), size)]
            left = b"".join(piece.pages for piece in iter_pieces(iter([*blocks, *rest]), 100))
            right = b"".join(piece.pages for piece in iter_pieces(((block, True) for block, _ in rest), 100))
            assert left + right == b"<page>1</page><page>22</page><page>333</page>", (border, size)


def test_a_page_without_an_end() -> None:
    """Is an error, not a short page."""
    with pytest.raises(CutOff):
        list(iter_pieces(iter([(b"<page>a</page><page>b", True)]), 100))


def test_header_alone(tmp_path: Path) -> None:
    """A dump without pages has no documents."""
    path = write(tmp_path, "d.xml", (HEADER.format(base="https://en.wikipedia.org/wiki/X", language="en") + FOOTER).encode())
    assert read(path) == ([], {}, 1)
