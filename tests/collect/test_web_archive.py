"""Web archives to documents: what is kept, what is left out and why, however the file is packed, shared out, cut or stopped.

What pages make of it is in `test_web_archive_pages.py`.
"""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest
import zstandard

import whelp
from archives import DATE, INFO, make_http, make_page, make_record, make_response, make_text, pack, pack_zstd
from whelp.artifacts.growing_file import GrowingFile
from whelp.base.config import load_config
from whelp.base.errors import ArtifactError, ConfigError, SourceError
from whelp.cli import collect_web_archive
from whelp.cli.collect_web_archive import iter_collect_web_archive
from whelp.cli.given_files import FileProgress
from whelp.collect.web_archive import WebArchiveConfig, shares

HTML = "Content-Type: text/html"
WORDS = "A whelp is a young dog, and a cub is a young bear."
SMALL_BYTES = 700


def collect(out: Path, *files: Path | str, **options: Any) -> tuple[Any, list[dict[str, Any]]]:
    result = whelp.collect_web_archive([str(file) for file in files], out=out, **options)
    return result, [json.loads(line) for line in out.read_bytes().splitlines()]


def write(folder: Path, name: str, records: list[bytes]) -> Path:
    path = folder / name
    packed = {".gz": pack, ".zst": lambda records: pack_zstd(records, dictionary="raw")}.get(path.suffix, b"".join)
    path.write_bytes(packed(records))
    return path


@pytest.fixture
def small_spans(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files of a few records are shared out, too."""
    monkeypatch.setattr(shares, "_SPAN_BYTES", dict.fromkeys(shares._SPAN_BYTES, SMALL_BYTES))
    monkeypatch.setattr(shares, "_RUN_BYTES", SMALL_BYTES)


CRAWL = [
    INFO,
    make_record("request", b"GET / HTTP/1.1\r\n\r\n"),
    make_response(WORDS, 1, title="Young dogs"),
    make_record("metadata", b"fetchTimeMs: 5", media_type="application/warc-fields"),
    make_record("response", make_http(b"<h1>Moved</h1>", HTML, "Location: /", status="301 Moved"), number=2),
    make_record("response", make_http(b"\x89PNG", "Content-Type: image/png"), number=3),
    make_record("response", make_http(b"<html></html>"), number=4),
    make_record("revisit", make_http(b""), number=5),
    make_record("response", b"no HTTP at all", number=6),
    make_record("resource", make_page(WORDS).encode(), "file:///dogs.html", number=7, media_type="text/html"),
    make_record("continuation", b"rest", number=8),
    make_record("response", b"\0\1", "dns:example.org", number=9, media_type="text/dns"),
]


@pytest.mark.parametrize("name", ["crawl.warc", "crawl.warc.gz"])
@pytest.mark.parametrize("extract", ["article", "page"])
def test_a_crawl(name: str, extract: str, tmp_path: Path) -> None:
    """Pages become documents that say where they are from; every other record is counted by its reason."""
    path = write(tmp_path, name, CRAWL)
    result, [document, resource] = collect(tmp_path / "out.jsonl", path, extract=extract)
    assert {name: document[name] for name in ("source", "title", "url", "id", "language", "fetched")} == {
        "source": "web-archive",
        "title": "Young dogs",
        "url": "https://example.org/1",
        "id": "urn:uuid:00000001",
        "language": "en",
        "fetched": DATE,
    }
    assert document["text"].count(WORDS) == 4
    assert "menu" not in document["text"]
    assert "Imprint" not in document["text"]
    assert resource["url"] == "file:///dogs.html"
    assert result.num_records == {
        "kept": 2,
        "about the archive": 1,
        "request": 1,
        "metadata": 1,
        "status 301": 1,
        "type image/png": 1,
        "no text": 1,
        "revisit: as it was before": 1,
        "no answer of HTTP": 2,
        "continuation of another record": 1,
    }
    assert (result.num_documents, result.num_archives, result.notes, result.skipped_archives) == (2, 1, {}, [])


def test_texts(tmp_path: Path) -> None:
    """Of WET the text as it stands, with its commonest language."""
    records = [INFO, make_text("Title\r\nA young dog.\n", 1, languages="eng,deu"), make_text("犬", 2, languages=None)]
    records += [make_text("  \n", 3), make_record("conversion", b"%PDF", number=4, media_type="application/pdf")]
    result, documents = collect(tmp_path / "out.jsonl", write(tmp_path, "a.warc.wet.gz", records))
    assert [(document["text"], document["language"]) for document in documents] == [("Title\nA young dog.", "en"), ("犬", None)]
    assert result.num_records["no text"] == result.num_records["converted, but to no plain text"] == 1


def make_metadata(number: int, found: str) -> bytes:
    """As Common Crawl writes it behind each page."""
    content = f"fetchTimeMs: 355\r\ncharset-detected: UTF-8\r\nlanguages-cld2: {found}\r\n"
    url = f"https://example.org/{number}"
    return make_record("metadata", content.encode(), url, media_type="application/warc-fields")


FOUND = '{"reliable":true,"languages":[{"code":"de","code-iso-639-3":"deu","text-covered":0.9},{"code-iso-639-3":"eng"}]}'


@pytest.mark.usefixtures("small_spans")
@pytest.mark.parametrize("name", ["a.warc", "a.warc.gz", "whole.warc.gz"])
@pytest.mark.parametrize("workers", [1, 2])
def test_languages_that_the_crawler_found(name: str, workers: int, tmp_path: Path) -> None:
    """They are those of pages that do not say theirs, wherever the file is divided."""
    silent = make_page(WORDS).replace(' lang="en"', "")
    records = [INFO]
    for number, (html, found) in enumerate(
        [(silent, FOUND), (make_page(WORDS, language="fr"), FOUND), (silent, "broken"), (silent, '{"languages":[]}')] * 4
    ):
        records.append(make_record("response", make_http(html.encode()), f"https://example.org/{number}", number=number))
        records.append(make_metadata(number, found))
    said = {"WARC-Identified-Content-Language": "jpn,eng"}
    records.append(make_record("response", make_http(silent.encode()), headers=said))
    records.append(make_metadata(99, FOUND))  # of another page
    records.append(make_record("response", make_http(silent.encode())))
    path = write(tmp_path, name, [b"".join(records)] if name.startswith("whole") else records)
    _, documents = collect(tmp_path / "out.jsonl", path, extract="page", workers=workers)
    assert [document["language"] for document in documents] == [*["de", "fr", None, None] * 4, "ja", None]
    result, _ = collect(tmp_path / "de.jsonl", path, extract="page", languages=["de"], workers=workers)
    reasons = {reason: count for reason, count in result.num_records.items() if reason != "metadata"}
    assert reasons == {"kept": 4, "about the archive": 1, "another language": 5, "no language said": 9}


FILTERS: dict[str, tuple[dict[str, Any], list[int], dict[str, int]]] = {
    "language": ({"languages": ["de", "jpn"]}, [2, 3], {"another language": 2, "no language said": 1}),
    "domain": ({"domains": ["example.org"]}, [1, 2, 5], {"another domain": 2}),
    "domain with dots": ({"domains": [".B.Example.ORG"]}, [2], {"another domain": 4}),
    "length": ({"min_characters": 30}, [4], {"shorter than 30 characters": 4}),
}


@pytest.mark.parametrize("name", FILTERS)
def test_filters_of_texts(name: str, tmp_path: Path) -> None:
    """Each keeps what it says, and counts the rest."""
    options, kept, counts = FILTERS[name]
    records = [
        make_text("one", 1, url="https://example.org/1"),
        make_text("zwei", 2, url="http://a.b.example.org:8080/", languages="deu,eng"),
        make_text("三", 3, url="http://myexample.org/", languages="jpn"),
        make_text("four, which is as long as that", 4, url="http://[broken/"),
        make_text("five", 5, url="https://EXAMPLE.org", languages=None),
    ]
    result, documents = collect(tmp_path / "out.jsonl", write(tmp_path, "a.wet", records), **options)
    assert [int(document["id"][-1]) for document in documents] == kept
    assert result.num_records == {"kept": len(kept), **counts}


def test_filters_of_pages(tmp_path: Path) -> None:
    """Status and type by what the server said, language by what the page says."""
    page = make_page(WORDS, language="pt-BR").encode()
    records = [
        make_record("response", make_http(page), number=1),
        make_record("response", make_http(page, status="404 Not Found"), number=2),
        make_record("response", make_http(b"A plain text.", "content-type: Text/Plain; charset=utf-8"), number=3),
        make_record("response", make_http(page, "Server: x"), number=4),
        make_record("response", make_http(b"binary", "Server: x"), number=5),
        make_record("response", make_http(page, "Content-Type: ../etc/passwd\x1b[31m"), number=6),
    ]
    path = write(tmp_path, "a.warc.gz", records)

    def kept(**options: Any) -> list[int]:
        (tmp_path / "out.jsonl").unlink(missing_ok=True)
        result, documents = collect(tmp_path / "out.jsonl", path, **options)
        assert result.num_records["kept"] == len(documents)
        return [int(document["id"][-1]) for document in documents]

    assert kept() == [1, 4]
    assert kept(statuses=[404]) == [2]
    assert kept(mime_types=["text/plain"]) == [3, 4]
    assert kept(languages=["pt"]) == [1, 4]
    (tmp_path / "out.jsonl").unlink()
    counts = collect(tmp_path / "out.jsonl", path)[0].num_records
    assert counts == {"kept": 2, "status 404": 1, "type text/plain": 1, "no type said": 2}


def test_types_without_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Servers may call theirs anything: beyond some, reasons are counted together."""
    monkeypatch.setattr(collect_web_archive, "_MOST_REASONS", 3)
    records = [make_record("response", make_http(b"?", f"Content-Type: x/{number % 4}"), number=number) for number in range(8)]
    result, _ = collect(tmp_path / "out.jsonl", write(tmp_path, "a.warc", [*records, make_text("a")]))
    assert result.num_records == {"type x/0": 2, "type x/1": 2, "type x/2": 2, "for reasons of other kinds": 2, "kept": 1}
    assert result.num_documents == 1


def test_how_far_the_work_is() -> None:
    """Archives that are not known yet count as those that are, also where a run goes on in the middle."""
    sizes = collect_web_archive._Sizes([None, 10, None, None])
    assert sizes.place(0, 5, 30) == (5, 80)
    assert sizes.place(2, 4, 50) == (44, 120)
    assert sizes.place(2, 50, 50) == (90, 120)
    assert collect_web_archive._Sizes([None, None, 8]).place(2, 1, 8) == (17, 24)


PACKINGS = ["whole.warc.gz", "a.warc.gz", "a.warc", "a.warc.wet.gz", "whole.warc.zst", "a.warc.zst"]


def make_file(folder: Path, name: str) -> Path:
    """Many pages or texts, one of them broken, two with their likes within."""
    records = [INFO, *((make_text if ".wet" in name else make_response)(f"{WORDS} {number}", number) for number in range(24))]
    records[9] = records[9].replace(b"Content-Length: ", b"Content-Length: 9")
    records[5] = records[17] = make_record("resource", b"\r\n" + make_response("inner") + b"rest", media_type="text/html")
    if name.startswith("whole"):
        compress = gzip.compress if name.endswith(".gz") else zstandard.compress
        (folder / name).write_bytes(compress(b"".join(records)))
        return folder / name
    return write(folder, name, records)


@pytest.mark.usefixtures("small_spans")
@pytest.mark.parametrize("name", PACKINGS)
def test_any_number_of_processes_and_spans(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same bytes and the same counts, in one go or shared out."""
    path = make_file(tmp_path, name)
    shared = collect(tmp_path / "shared.jsonl", path, extract="page")[0]
    workers = collect(tmp_path / "workers.jsonl", path, extract="page", workers=2)[0]
    monkeypatch.setattr(shares, "_SPAN_BYTES", dict.fromkeys(shares._SPAN_BYTES, 1 << 30))
    monkeypatch.setattr(shares, "_RUN_BYTES", 1 << 30)
    whole = collect(tmp_path / "whole.jsonl", path, extract="page")[0]
    assert shared.num_records == workers.num_records == whole.num_records
    assert (whole.num_records["kept"], whole.num_records["broken record"]) == (23, 1)
    data = [(tmp_path / f"{out}.jsonl").read_bytes() for out in ("shared", "workers", "whole")]
    assert data[0] == data[1] == data[2]


@pytest.mark.usefixtures("small_spans")
@pytest.mark.parametrize("name", PACKINGS)
def test_stopped_anywhere(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same call goes on where it stood, over several archives, and ends in the same bytes and counts."""
    files = [
        str(make_file(tmp_path, name)),
        str(write(tmp_path, "b.wet.gz", [make_text(f"{number}", number) for number in range(9)])),
    ]
    config = load_config(WebArchiveConfig, {"extract": "page"}, "test")
    whole, _ = collect(tmp_path / "whole.jsonl", *files, extract="page")
    num_parts = sum(
        isinstance(event, FileProgress) for event in iter_collect_web_archive(files, tmp_path / "count.jsonl", config)
    )
    assert num_parts > 6
    monkeypatch.setattr("whelp.artifacts.growing_file._SAVE_SECONDS", 0.0)
    for stop in range(1, num_parts):
        out = tmp_path / f"{stop}.jsonl"
        events = iter_collect_web_archive(files, out, config, workers=1)
        for _ in range(stop):
            next(events)
        events.close()
        result = whelp.collect_web_archive(files, out=out, extract="page")
        assert out.read_bytes() == (tmp_path / "whole.jsonl").read_bytes()
        assert (result.num_records, result.num_archives) == (whole.num_records, 2)


def test_done_is_done(tmp_path: Path) -> None:
    """A finished file is left as it is; other options are said."""
    path = write(tmp_path, "a.wet.gz", [make_text("one")])
    out = tmp_path / "out.jsonl"
    first, again = (whelp.collect_web_archive(path, out=out) for _ in range(2))
    assert (first.is_reused, again.is_reused, again.num_records) == (False, True, {"kept": 1})
    with pytest.raises(ArtifactError, match=r"made from other inputs or options \(languages\).*Choose another --out"):
        whelp.collect_web_archive(path, out=out, languages=["en"])
    path.write_bytes(path.read_bytes() * 2)
    with pytest.raises(ArtifactError, match=r"other inputs or options \(archives\)"):
        whelp.collect_web_archive(path, out=out)
    assert GrowingFile(out, {}).path.read_bytes().count(b"\n") == 1


def test_one_word_is_no_list_of_letters(tmp_path: Path) -> None:
    """One language, host, status or type may be given as it is."""
    path = write(tmp_path, "a.warc", [make_response(WORDS, 1)])
    several = {"languages": ["en"], "domains": ["example.org"], "statuses": [200], "mime_types": ["text/html"]}
    one = {"languages": "en", "domains": "example.org", "statuses": 200, "mime_types": "text/html"}
    result, _ = collect(tmp_path / "out.jsonl", path, **several)
    again, _ = collect(tmp_path / "out.jsonl", path, **one)
    assert again.is_reused
    assert again.num_records == result.num_records


def test_cut_off_and_broken(tmp_path: Path) -> None:
    """What is whole is kept; the rest is counted."""
    records = [make_text(f"text {number}", number) for number in range(5)]
    wrong = [records[0], make_text("wrong", 9, **{"Content-Length": "999999999999999"}), *records[1:]]
    for name, compress in {"whole.wet.gz": gzip.compress, "whole.wet.zst": zstandard.compress}.items():
        (tmp_path / name).write_bytes(compress(b"".join(wrong)))
        result, documents = collect(tmp_path / f"{name}.jsonl", tmp_path / name)
        assert [document["text"] for document in documents] == [f"text {number}" for number in range(5)]
        assert result.num_records == {"kept": 5, "cut off": 1}
    cut = tmp_path / "cut.wet.gz"
    cut.write_bytes(pack(records)[:-20])
    result, _ = collect(tmp_path / "out.jsonl", cut)
    assert result.num_records == {"kept": 4, "cut off": 1}
    whole = tmp_path / "whole.wet.gz"
    whole.write_bytes(gzip.compress(b"".join(records))[:-20])
    assert collect(tmp_path / "b.jsonl", whole)[0].num_records["cut off"] == 1


WAT = make_record("metadata", b'{"Container": {}}', media_type="application/json")
REFUSED = {
    "a.warc.wat.gz": (gzip.compress(INFO) + gzip.compress(WAT), "is a WAT archive.*no text of theirs.*wet/NAME.warc.wet.gz"),
    "a.warc": (INFO + WAT + WAT, "is a WAT archive"),
    "a.arc": (
        b"filedesc://a.arc 0.0.0.0 2008\n1 0 X\n",
        r"is an ARC archive.*warcio recompress FILE\.arc\.gz.*pip install warcio",
    ),
    "a.warc.bz2": (b"BZh91AY&SY", r"a\.warc\.bz2: is bzip2 data, but expected a WARC or WET archive.*Unpack it first"),
    "a.zst": (zstandard.compress(b"Some text."), "is no web archive"),
    "bad.zst": (b"\x5d\x2a\x4d\x18\x09\0\0\0WARC", r"bad\.zst: its zstd dictionary is broken \(it is cut off\).*Get it again"),
    "a.txt": (b"Some text.", "is no web archive: it does not begin with a record"),
    "a.gz": (gzip.compress(b"Some text."), "is no web archive"),
    "empty.warc": (b"", "the file is empty"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_archive(name: str, tmp_path: Path) -> None:
    """Each says what it is, before any work."""
    data, message = REFUSED[name]
    (tmp_path / name).write_bytes(data)
    good = write(tmp_path, "good.wet", [make_text("good")])
    with pytest.raises(SourceError, match=message):
        whelp.collect_web_archive([good, tmp_path / name], out=tmp_path / "out.jsonl")
    assert not (tmp_path / "out.jsonl").exists()


def test_folders_globs_lists_and_ranges(tmp_path: Path) -> None:
    """Archives of a folder or a glob by name, of a list in its order; some of them."""
    for name in ("b.wet.gz", "a.warc.wet.gz", "c.wet"):
        write(tmp_path, name, [make_text(name)])
    (tmp_path / "notes.txt").write_text("no archive")
    (tmp_path / "wet.paths.gz").write_bytes(gzip.compress(b"# chosen\nc.wet\n\na.warc.wet.gz\nb.wet.gz\n"))

    def texts(*files: Path | str, **options: Any) -> list[str]:
        (tmp_path / "out.jsonl").unlink(missing_ok=True)
        return [document["text"] for document in collect(tmp_path / "out.jsonl", *files, **options)[1]]

    assert texts(tmp_path) == texts(f"{tmp_path}/*") == ["a.warc.wet.gz", "b.wet.gz", "c.wet"]
    assert texts(tmp_path / "wet.paths.gz") == ["c.wet", "a.warc.wet.gz", "b.wet.gz"]
    assert texts(tmp_path / "wet.paths.gz", chosen="1:") == ["a.warc.wet.gz", "b.wet.gz"]
    assert texts(tmp_path / "wet.paths.gz", chosen="0") == ["c.wet"]
    for wrong, message in {
        "3:": r"'3:' names no archive; there are 3 \(0 to 2\)",
        "x": "'x' is not a range.*FIRST:STOP",
    }.items():
        with pytest.raises(ConfigError, match=message):
            texts(tmp_path, chosen=wrong)
    with pytest.raises(SourceError, match=r"c\.wet: is given twice"):
        texts(tmp_path / "c.wet", tmp_path / "c.wet")
    with pytest.raises(SourceError, match=r"nothing to read, but expected archives: files that end in \.warc, \.warc\.gz"):
        texts(f"{tmp_path}/*.txt")
    (tmp_path / "one.paths").write_text("b.wet.gz")
    (tmp_path / "two.paths").write_text(f"{tmp_path}/c.wet")
    assert texts(f"{tmp_path}/*.paths") == ["b.wet.gz", "c.wet"]
    (tmp_path / "no.paths").write_text("# nothing\n")
    with pytest.raises(SourceError, match=r"no\.paths: names no file, but expected a path or an address on each line"):
        texts(tmp_path / "no.paths")


def test_options_that_cannot_be(tmp_path: Path) -> None:
    """All mistakes at once."""
    with pytest.raises(ConfigError) as caught:
        collect(tmp_path / "o.jsonl", "x", languages=["english"], domains=["https://a.org/"], statuses=[], max_record_bytes=1)
    assert [problem.split()[0] for problem in caught.value.problems] == ["statuses", "domains", "languages", "max_record_bytes"]
