"""`whelp collect` in the terminal: what it says, what it leaves, and that the next command reads it."""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml

import whelp as package
from collect.sites import FLAGS, Reply, Site, serving
from collect.wiki_site import make_wiki

from .helpers import Whelp
from .processes import PROGRAM, SECONDS, wait_for

COMMANDS = ["wikipedia", "britannica", "youtube", "urls"]


@pytest.fixture
def site() -> Iterator[Site]:
    """A wiki of thirty articles."""
    with serving(make_wiki().answer) as site:
        yield site


def test_help(whelp: Whelp) -> None:
    """Each command teaches with an example that names what it needs."""
    shown = whelp("collect", "--help")
    for command in COMMANDS:
        assert f" {command} " in shown.text
        text = " ".join(whelp("collect", command, "--help").text.replace("\\", " ").split())
        assert f"whelp collect {command} --" in text
        assert "--contact me@example.org --out" in text
        assert "Manners" in text


def test_what_is_said_and_what_is_left(whelp: Whelp, site: Site) -> None:
    """Before: who is asked. After: what was fetched, kept, skipped and failed, by reason; the same as JSON."""
    site.faults.append(lambda request: Reply(status=500) if request.query.get("pageids") == "6" else None)
    arguments = ["collect", "wikipedia", "--search", "odd", "--title", "Nobody", "--base-url", site.url, "--max-retries", "1"]
    outcome = whelp(*arguments, *FLAGS, "--out", "x.jsonl", "--json")
    assert outcome.json["num_documents"] == 9
    assert outcome.json["skipped"] == {"no such article": 1}
    assert outcome.json["failed"] == {"status 500": 1}
    assert outcome.json["num_requests"] == len(site.requests)
    host = site.url.removeprefix("http://")
    for words in (
        f"asks {host} and no other host",
        "failed Number 5: status 500",
        f"fetched {len(site.requests)} requests, 1 of them again",
        "kept 9 documents",
        "skipped 1 1 no such article",
        "failed 1 1 status 500",
        "the same command tries again what has failed",
        "journal x.jsonl.journal",
    ):
        assert words in outcome.said
    documents = [json.loads(line) for line in Path("x.jsonl").read_text(encoding="utf-8").splitlines()]
    assert len(documents) == 9
    assert all(document["licence"] == "CC BY-SA 4.0" for document in documents)


def test_prepare_reads_what_was_collected(whelp: Whelp, site: Site) -> None:
    """JSON lines and plain text alike: as many documents as were kept, with the same texts."""
    lengths = []
    for name, more in (("x.jsonl", {}), ("x.txt", {"document": "regex", "document_regex": "\n\n\n"})):
        assert whelp("collect", "wikipedia", "--search", "odd", "--base-url", site.url, *FLAGS, "--out", name).code == 0
        data = {"source": name, "tokenizer": {"learn": "chars"}, "test_split": 0, **more}
        Path("recipe.yaml").write_text(yaml.safe_dump({"data": data}), encoding="utf-8")
        result = whelp("prepare", "recipe.yaml", "--out", f"store-{name}", "--json").json
        assert result["splits"]["train"]["documents"] == 10
        lengths.append(result["splits"]["train"]["tokens"])
    assert abs(lengths[0] - lengths[1]) <= 1, "but for the line feed at the end of the file"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["wikipedia", "--title", "Dog"], "Give --contact you@example.org"),
        (["wikipedia", "--title", "Dog", "--contact", "me@example.org", "--out", "x.csv"], "x.csv is neither .jsonl nor .txt"),
        (["wikipedia", "--title", "Dog", "--contact", "me@example.org", "--out", "no/x.jsonl"], "there is no folder"),
        (["wikipedia", "--contact", "me@example.org"], "nothing is asked for"),
        (["wikipedia", "--titles-from", "missing.txt", "--contact", "me@example.org"], "there is no such file"),
        (["britannica", "--search", "x", "--contact", "me@example.org"], "permission is missing"),
        (["youtube", "--channel", "@x", "--contact", "me@example.org"], "YOUTUBE_API_KEY is not set"),
        (
            ["youtube", "--video", "abc", "--contact", "me@example.org"],
            "'abc' is no video: give its address, or the 11 letters",
        ),
        (["urls", "--url", "x", "--contact", "me@example.org"], "none of what is given is an address of the web"),
        (["wikipedia", "--title", "x", "--contact", "me@example.org", "--delay-seconds", "-1"], "delay_seconds is -1.0"),
    ],
)
def test_mistakes(whelp: Whelp, monkeypatch: pytest.MonkeyPatch, arguments: list[str], message: str) -> None:
    """One message, exit code 1, no file, no request."""
    for name in ("WHELP_CONTACT", "YOUTUBE_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    out = [] if "--out" in arguments else ["--out", "x.jsonl"]
    outcome = whelp("collect", *arguments, *out)
    assert outcome.code == 1
    assert message in outcome.said
    assert "Traceback" not in outcome.stderr
    assert list(Path().iterdir()) == []


def test_wrong_usage(whelp: Whelp) -> None:
    """Exit code 2."""
    assert whelp("collect", "wikipedia", "--title", "x").code == 2
    assert whelp("collect", "nonsense").code == 2


def test_the_contact_from_the_environment(whelp: Whelp, site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """WHELP_CONTACT is for those who collect often; the option comes first."""
    monkeypatch.setenv("WHELP_CONTACT", "https://example.org/about-us")
    flags = ["--base-url", site.url, "--allow-private", "127.0.0.1"]
    assert whelp("collect", "wikipedia", "--title", "Three", *flags, "--delay-seconds", "0", "--out", "x.jsonl").code == 0
    assert {request.headers["user-agent"] for request in site.requests} == {
        f"whelp/{package.__version__} (+https://example.org/about-us)"
    }


@pytest.mark.parametrize(
    ("command", "missing"), [("wikipedia", "httpx"), ("urls", "trafilatura"), ("youtube", "youtube_transcript_api")]
)
def test_without_the_extra(whelp: Whelp, monkeypatch: pytest.MonkeyPatch, command: str, missing: str) -> None:
    """Which pip install mends it."""
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *more: None if name == missing else find(name, *more))
    outcome = whelp("collect", command, "--contact", "me@example.org", "--out", "x.jsonl")
    assert outcome.code == 1
    assert f'the package {missing} is not installed. Run `pip install "whelp[collect]"`' in outcome.said


@pytest.mark.skipif(os.name != "posix", reason="signals are of POSIX: run the tests on Linux or macOS")
def test_interrupted_and_finished(whelp: Whelp, site: Site) -> None:
    """Ctrl-C: exit code 130, what was collected is kept; --finish writes it; the same command goes on to the end."""
    site.faults.append(lambda request: Reply(body=b"{}", stall=100) if request.query.get("pageids") == "10" else None)
    arguments = ["collect", "wikipedia", "--search", "odd", "--base-url", site.url, *FLAGS, "--out", "x.jsonl"]
    program = [*PROGRAM[:-1], f"import signal; signal.signal(signal.SIGINT, signal.default_int_handler); {PROGRAM[-1]}"]
    # (what is started in the background, these tests for one, is told to ignore Ctrl-C)
    process = subprocess.Popen([*program, *arguments], stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    wait_for(lambda: any(request.query.get("pageids") == "10" for request in site.requests), process)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=SECONDS)
    assert process.returncode == 130, said
    assert "interrupted; what was finished is kept, and the same command goes on" in " ".join(said.split())
    assert "Traceback" not in said
    assert not Path("x.jsonl").exists()
    outcome = whelp(*arguments, "--finish")
    assert "kept 4 documents" in outcome.said
    assert "not finished: the same command goes on" in outcome.said
    assert len(Path("x.jsonl").read_text().splitlines()) == 4
    site.faults.clear()
    before = len(site.requests)
    assert whelp(*arguments, "--json").json["num_documents"] == 10
    read = [request.query["pageids"] for request in site.requests[before:] if "pageids" in request.query]
    assert read == ["10", "12", "14", "16", "18", "20"]
    assert len(Path("x.jsonl").read_text().splitlines()) == 10


def test_nothing_to_finish(whelp: Whelp, site: Site) -> None:
    """--finish where nothing was collected says so, leaves nothing behind, and does not tell to use --finish."""
    arguments = ["collect", "wikipedia", "--search", "odd", "--base-url", site.url, *FLAGS, "--out", "x.jsonl"]
    outcome = whelp(*arguments, "--finish")
    expected = "x.jsonl: no collection was begun (x.jsonl.journal is not there), but expected documents for --finish to write"
    assert outcome.code == 1
    assert f"{expected}. Run the same command without --finish." in " ".join(outcome.said.split())
    assert "not finished" not in outcome.said
    assert not list(Path.cwd().glob("x.jsonl*"))
    site.faults.append(lambda request: Reply(status=429, headers={"Retry-After": "9999"}))
    assert "not finished" in whelp(*arguments).said
    outcome = whelp(*arguments, "--finish")
    assert outcome.code == 1
    assert "x.jsonl: no document has been collected so far" in outcome.said
    assert "not finished" not in outcome.said


def test_a_limit_of_time(whelp: Whelp, site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """What there is by then is written, and said to be unfinished; the same command goes on."""
    arguments = ["collect", "wikipedia", "--search", "odd", "--base-url", site.url, *FLAGS, "--out", "x.jsonl"]

    def count_seconds() -> float:
        """A minute is over with the third article."""
        return 60.0 if any(request.query.get("pageids") == "6" for request in site.requests) else 0.0

    monkeypatch.setattr("whelp.collect.gather.time", SimpleNamespace(monotonic=count_seconds))
    outcome = whelp(*arguments, "--max-minutes", "0.5", "--json")
    assert (outcome.json["is_finished"], outcome.json["num_documents"]) == (False, 3)
    assert "not finished: the same command goes on" in outcome.said
    assert len(Path("x.jsonl").read_text().splitlines()) == 3
    outcome = whelp(*arguments, "--json")
    assert "going on 3 documents known already" in outcome.said
    assert (outcome.json["is_finished"], outcome.json["num_documents"]) == (True, 10)


def test_after_an_error_standard_output_is_empty(whelp: Whelp, site: Site) -> None:
    """The table is shown all the same; the exit code is 1."""
    site.faults.append(
        lambda request: Reply(status=429, headers={"Retry-After": "999"}) if request.query.get("pageids") == "6" else None
    )
    outcome = whelp("collect", "wikipedia", "--search", "odd", "--base-url", site.url, *FLAGS, "--out", "x.jsonl", "--json")
    assert (outcome.code, outcome.text) == (1, "")
    assert "kept 2 documents" in outcome.said
    assert "it asks to wait 999 seconds (status 429), longer than max_wait_seconds. Run the same command again" in outcome.said


def test_lists_from_files(whelp: Whelp, site: Site) -> None:
    """A title on each line; comments and empty lines are none."""
    Path("titles.txt").write_text("# numbers\nNumber 4\n\n  Three  \n", encoding="utf-8")
    arguments = [
        "--titles-from",
        "titles.txt",
        "--base-url",
        site.url,
        *FLAGS,
        "--max-documents",
        "2",
        "--out",
        "x.jsonl",
        "--json",
    ]
    assert whelp("collect", "wikipedia", *arguments).json["num_documents"] == 2
    assert [request.query.get("titles") for request in site.requests if "titles" in request.query] == ["Number 4", "Three"]
    Path("latin.txt").write_bytes("Käse".encode("latin-1"))
    outcome = whelp("collect", "wikipedia", "--titles-from", "latin.txt", *FLAGS, "--out", "y.jsonl")
    assert (outcome.code, "latin.txt: not UTF-8 text (byte 1)" in outcome.said) == (1, True)


def test_what_a_title_holds_is_not_obeyed(whelp: Whelp, site: Site) -> None:
    """Markup and control characters of others do not reach the terminal."""
    title = "\x1b[2J[red]Boo[/red]"
    site.faults.append(lambda request: Reply(status=500) if request.query.get("titles") == title else None)
    arguments = [
        "--title",
        title,
        "--title",
        "Number 1",
        "--base-url",
        site.url,
        *FLAGS,
        "--max-retries",
        "0",
        "--out",
        "x.jsonl",
    ]
    outcome = whelp("collect", "wikipedia", *arguments)
    assert "failed ·[2J[red]Boo[/red]: status 500" in outcome.said
    assert "\x1b[2J" not in outcome.stderr
