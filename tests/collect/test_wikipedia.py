"""Articles of a wiki: what is found is what there is, each once, whatever the server does meanwhile."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import whelp
from whelp.base.errors import ConfigError, SourceError
from whelp.collect.mediawiki_extract import clean_extract

from .sites import MANNERS, Reply, Site, html_reply, json_reply, serving
from .wiki_site import Wiki, make_wiki

API = "/w/api.php"
RECORDED = Path(__file__).parents[3] / "shared" / "data" / "wikipedia" / "api_cassettes"


@pytest.fixture
def wiki() -> Wiki:
    """Thirty articles."""
    return make_wiki()


@pytest.fixture
def site(wiki: Wiki) -> Iterator[Site]:
    """A wiki that answers."""
    with serving(wiki.answer) as site:
        yield site


def collect(site: Site, out: Path, **asked: Any) -> tuple[Any, list[dict[str, Any]]]:
    """Collect; give the result and the documents of the file."""
    result = whelp.collect_wikipedia(out=out, base_url=site.url, **{**MANNERS, **asked})
    return result, [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()]


def test_an_article_with_its_provenance(site: Site, tmp_path: Path) -> None:
    """Text without wiki marks, and all that says where it is from."""
    result, [document] = collect(site, tmp_path / "x.jsonl", titles=["Three"])
    assert document.pop("fetched").endswith("Z")
    assert document == {
        "text": "3 is an odd number.\n\nIts square is 9.\n\nUses\n\nTo count.",
        "source": "wikipedia",
        "title": "Number 3",
        "url": "https://en.wikipedia.org/wiki/Number_3",
        "id": "4",
        "language": "en",
        "revision": "1004",
        "licence": "CC BY-SA 4.0",
        "author": None,
        "time": "2026-01-02T03:04:05Z",
    }
    assert (result.num_documents, result.skipped, result.failed, result.is_finished) == (1, {}, {}, True)


def test_lists_are_read_to_their_end(site: Site, tmp_path: Path) -> None:
    """Fifteen results come in four pages; each article once, in the order of the lists, under whatever names it was found."""
    result, documents = collect(
        site,
        tmp_path / "x.jsonl",
        titles=["III", "Number 7"],
        search=["an even number"],
        links_of=["Number 1"],
        max_per_search=14,
    )
    assert [document["title"] for document in documents] == [
        *("Number 3", "Number 7"),
        *(f"Number {number}" for number in range(0, 28, 2)),
        "Number 5",
    ]
    assert result.skipped == {"no such article": 1, "the same document as under another address": 1}
    offsets = [request.query.get("sroffset") for request in site.asked(API) if "srsearch" in request.query]
    assert offsets == [None, "4", "8", "12"]


@pytest.mark.parametrize(
    ("depth", "numbers"),
    [(0, {1}), (1, {1, *range(0, 30, 2), *range(0, 30, 3)})],
)
def test_categories_to_a_depth(site: Site, tmp_path: Path, depth: int, numbers: set[int]) -> None:
    """Subcategories are entered as deep as asked; one that holds itself ends."""
    _, documents = collect(site, tmp_path / "x.jsonl", categories=["Numbers"], category_depth=depth)
    assert {document["title"] for document in documents} == {f"Number {number}" for number in numbers}
    _, documents = collect(site, tmp_path / "y.jsonl", categories=["Category:Numbers"], category_depth=9)
    assert len(documents) == len({document["id"] for document in documents}) == 21


@pytest.mark.parametrize(
    "name", ["Even numbers", "even_numbers", "Category:Even numbers", "kategorie: Even numbers", "Kat:Even numbers"]
)
def test_spellings_of_a_category(site: Site, tmp_path: Path, name: str) -> None:
    """With the wiki's own word for it, an alias, or none."""
    _, documents = collect(site, tmp_path / "x.jsonl", categories=[name])
    assert len(documents) == 15


def test_a_category_with_a_colon_in_its_name(site: Site, wiki: Wiki, tmp_path: Path) -> None:
    """Not every colon ends a prefix."""
    wiki.categories["Category:Numbers: odd ones"] = ["Number 1"]
    _, documents = collect(site, tmp_path / "x.jsonl", categories=["Numbers: odd ones"])
    assert len(documents) == 1


def test_what_is_no_article_is_counted(site: Site, wiki: Wiki, tmp_path: Path) -> None:
    """Nothing is left out silently."""
    wiki.articles |= {"Mercury": "Mercury may be a planet.", "Empty": "\n\n== References ==\nA book."}
    wiki.disambiguations = {"Mercury"}
    result, [document] = collect(
        site, tmp_path / "x.jsonl", titles=["Mercury", "Empty", "Nobody", "Number 1"], categories=["No such"]
    )
    assert document["title"] == "Number 1"
    assert result.skipped == {
        "a page that only tells names apart": 1,
        "no text": 1,
        "no such article": 1,
        "list: an empty category, or none of this name": 1,
    }


FAULTS: dict[str, list[Reply]] = {
    "429 with seconds": [Reply(status=429, headers={"Retry-After": "0"})] * 3,
    "429 with a date": [Reply(status=429, headers={"Retry-After": "Wed, 21 Oct 2015 07:28:00 GMT"})],
    "500, then 503": [Reply(status=500), Reply(status=503)],
    "hangs up": [json_reply({"query": {}}, cut=5), json_reply({"query": {}}, cut=0)],
    "half a JSON text": [Reply(body=b'{"query": {"pages": [', headers={"Content-Type": "application/json"})],
    "a page instead of JSON": [html_reply("<p>Our servers are busy.")],
    "maxlag": [json_reply({"error": {"code": "maxlag", "info": "Waiting", "lag": 7}}, headers={"Retry-After": "0"})],
    "rate limit with status 200": [json_reply({"error": {"code": "ratelimited", "info": "slow down"}})],
    "damaged gzip": [Reply(body=b"\x1f\x8b\x08junk", headers={"Content-Encoding": "gzip"})],
}


@pytest.mark.parametrize("fault", FAULTS)
def test_faults_of_the_server_change_nothing(site: Site, tmp_path: Path, fault: str) -> None:
    """In lists and in articles: tried again, and the documents are those of a server without faults."""
    _, expected = collect(site, tmp_path / "x.jsonl", search=["odd"], max_per_search=6)
    num_requests = len(site.requests)
    turns = itertools.cycle([*FAULTS[fault], None])  # after each fault the server answers once
    site.faults.append(lambda request: next(turns))
    result, found = collect(site, tmp_path / "y.jsonl", search=["odd"], max_per_search=6)
    assert [{**one, "fetched": None} for one in found] == [{**one, "fetched": None} for one in expected]
    assert result.num_retries > 0
    assert len(site.requests) - num_requests == result.num_requests
    assert result.failed == {}


def test_what_fails_is_tried_again_by_the_same_command(site: Site, tmp_path: Path) -> None:
    """A page that answers 500 is counted; once it works, the command fetches it and nothing else."""

    def broken(request: Any) -> Reply | None:
        return Reply(status=500) if request.query.get("pageids") == "4" else None

    site.faults.append(broken)
    asked = {"search": ["odd"], "max_per_search": 5, "max_retries": 2}
    result, documents = collect(site, tmp_path / "x.jsonl", **asked)
    assert result.failed == {"status 500": 1}
    assert [document["title"] for document in documents] == ["Number 1", "Number 5", "Number 7", "Number 9"]
    site.faults.clear()
    before = len(site.requests)
    result, documents = collect(site, tmp_path / "x.jsonl", **asked)
    assert [request.query["pageids"] for request in site.requests[before:]] == ["4"]
    assert [document["title"] for document in documents] == [f"Number {number}" for number in (1, 3, 5, 7, 9)]
    assert (result.num_documents, result.failed) == (5, {})


def test_a_list_that_fails_is_no_silent_end(site: Site, tmp_path: Path) -> None:
    """The second page of a search cannot be read: that is counted, and mended by the same command."""
    site.faults.append(lambda request: Reply(status=502) if "sroffset" in request.query else None)
    asked = {"search": ["odd"], "max_per_search": 6, "max_retries": 1}
    result, documents = collect(site, tmp_path / "x.jsonl", **asked)
    assert (len(documents), result.failed) == (4, {"list: status 502": 1})
    site.faults.clear()
    result, documents = collect(site, tmp_path / "x.jsonl", **asked)
    assert (len(documents), result.failed) == (6, {})


def test_a_finished_collection_asks_for_nothing(site: Site, tmp_path: Path) -> None:
    """Run again, the command is done at once and the file is the same to the byte."""
    out = tmp_path / "x.jsonl"
    collect(site, out, search=["odd"])
    before, data = len(site.requests), out.read_bytes()
    out.unlink()
    result, _ = collect(site, out, search=["odd"])
    assert (len(site.requests), result.num_requests) == (before, 0)
    assert out.read_bytes() == data


def test_refreshing_replaces_what_has_changed(site: Site, wiki: Wiki, tmp_path: Path) -> None:
    """New revisions, new results, and what is gone; a page that fails meanwhile keeps its earlier text."""
    out = tmp_path / "x.jsonl"
    collect(site, out, search=["odd"], max_per_search=50)
    wiki.articles["Number 1"] = "1 is the first odd number."
    wiki.articles["Number 3"] = "3 is prime."
    wiki.articles["Oddity"] = "An odd thing."
    site.faults.append(lambda request: Reply(status=500) if request.query.get("pageids") == "6" else None)
    result, documents = collect(site, out, search=["odd"], max_per_search=50, refresh=True, max_retries=0)
    texts = {document["title"]: document["text"] for document in documents}
    assert texts["Number 1"] == "1 is the first odd number."
    assert "Oddity" in texts
    assert "Number 3" not in texts
    assert texts["Number 5"].startswith("5 is an odd number.")
    assert result.failed == {"status 500; the earlier text is kept": 1}
    assert len(documents) == 15


def test_a_journal_of_another_request_is_refused(site: Site, tmp_path: Path) -> None:
    """Two collections are not mixed in one file."""
    collect(site, tmp_path / "x.jsonl", search=["odd"])
    with pytest.raises(ConfigError, match=r"was begun with search = \['odd'\], not \['even'\]. Choose another --out"):
        collect(site, tmp_path / "x.jsonl", search=["even"])


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({}, "nothing is asked for"),
        ({"titles": ["Dog"], "language": "EN/../x"}, "language is 'EN/../x'"),
        ({"titles": ["Dog"], "contact": ""}, "contact is missing"),
        ({"titles": ["Dog"], "contact": "me"}, "contact is 'me', but an e-mail address or a web page of yours is expected"),
        ({"titles": ["Dog"], "contact": "a@b.org\r\nX: y"}, "contact is"),
        ({"titles": ["Dog"], "delay_second": 1}, "unknown key delay_second. Did you mean delay_seconds"),
        ({"starter_lists": ["nothing"]}, "there is no starter list 'nothing': nature, people, inventions, places"),
    ],
)
def test_what_cannot_be_asked_is_said_at_once(site: Site, tmp_path: Path, asked: dict[str, Any], message: str) -> None:
    """Before any request."""
    with pytest.raises(ConfigError) as caught:
        collect(site, tmp_path / "x.jsonl", **asked)
    assert message in str(caught.value)
    assert site.requests == []


def test_an_error_of_the_wiki_ends_it_with_its_words(site: Site, tmp_path: Path) -> None:
    """What no further request would mend."""
    site.always(json_reply({"error": {"code": "readapidenied", "info": "You need read permission."}}), API)
    with pytest.raises(SourceError, match="the wiki answers readapidenied: You need read permission"):
        collect(site, tmp_path / "x.jsonl", search=["odd"])
    assert len(site.requests) == 1


@pytest.mark.skipif(not RECORDED.is_dir(), reason="needs ../shared/data/wikipedia: recorded answers of Wikipedia")
def test_recorded_answers_of_wikipedia(tmp_path: Path) -> None:
    """A real search and a real article: nothing of the article's prose is lost, and no mark of the wiki is left."""

    def recorded(name: str) -> Any:
        cassette = json.loads((RECORDED / f"{name}.json").read_text(encoding="utf-8"))
        return json.loads(cassette["interactions"][0]["response"]["body"]["string"])

    search, article = recorded("WikiSearch.test_default"), recorded("PageExtractProps.test_summary")
    [page] = article["query"]["pages"].values()
    extract = page["extract"]

    def answer(request: Any) -> Reply:
        if request.query.get("list") == "search":
            return json_reply(search)
        if request.query.get("pageids") == str(page["pageid"]):
            return json_reply({"query": {"pages": [page]}})
        return json_reply({"query": {"pages": [{"missing": True}]}})

    with serving(answer) as site:
        result, [document] = collect(site, tmp_path / "x.jsonl", search=["Python programming"])
    assert result.skipped == {"no such article": len(search["query"]["search"]) - 1}
    assert document["title"] == "Python (programming language)"
    assert not [line for line in document["text"].split("\n") if line.startswith("==")]
    prose = extract.partition("== See also ==")[0]
    lines = [line.strip() for line in prose.split("\n") if line.strip() and not line.startswith("==")]
    missing = [line for line in lines if line not in document["text"].split("\n\n")]
    assert missing == []
    assert "Downey, Allen" in extract
    assert "Downey, Allen" not in document["text"]


@pytest.mark.parametrize(
    ("extract", "text"),
    [
        ("One.\nTwo.", "One.\n\nTwo."),
        ("== A ==\n=== B ===\nText.\n== C ==\n", "A\n\nB\n\nText."),
        ("Text.\n== See also ==\nOther\n=== More ===\nOther\n== D ==\nEnd.", "Text.\n\nD\n\nEnd."),
        (
            "Mass is\n  \n    \n      \n        E\n        =\n        m\n      \n    \n    {\\displaystyle E=m_{0}c^{2}}\n  , he said.\nSo.",
            "Mass is $E=m_{0}c^{2}$, he said.\n\nSo.",
        ),
        ("a == b is code.\n== ==\nEnd.", "a == b is code.\n\nEnd."),
        ("Broken {\\displaystyle x", "Broken {\\displaystyle x"),
        ("", ""),
    ],
)
def test_cleaning_extracts(extract: str, text: str) -> None:
    """Headings keep their place, lists of other texts go, formulas come once."""
    assert clean_extract(extract) == text


def test_the_agent_says_who_asks(site: Site, tmp_path: Path) -> None:
    """Every request carries the program, its version and the contact; packed answers are asked for."""
    collect(site, tmp_path / "x.jsonl", titles=["Number 1"])
    assert {request.headers["user-agent"] for request in site.requests} == {f"whelp/{whelp.__version__} (+tests@example.org)"}
    assert {request.headers["accept-encoding"] for request in site.requests} == {"gzip"}
    assert {request.query["maxlag"] for request in site.requests} == {"5"}
    assert "cookie" not in site.requests[-1].headers
