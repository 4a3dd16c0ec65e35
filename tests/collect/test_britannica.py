"""Articles of the encyclopaedia; pages built as the site's were known to be, none recorded."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import whelp
from whelp.base.errors import ConfigError, SourceError

from .sites import MANNERS, Reply, Request, Site, html_reply, serving

PERMISSION = "letter of 3 May 2026"
PER_PAGE = 3


def article(name: str, part: int = 1, num_parts: int = 1) -> str:
    """A page of an article: menus, headings, paragraphs, an editorial note, a link to the next part."""
    following = f'<link rel="next" href="/animal/{name}/part-{part + 1}">' if part < num_parts else ""
    return (
        f'<html><head><title>{name} | Britannica</title>{following}<meta property="article:modified_time" content="2026-02-03">'
        f"</head><body><nav><h2>Menu</h2><p>Log in</p></nav><article><h1>{name}</h1>"
        "<p>Our editors will review what you’ve submitted and determine whether to revise the article.</p>"
        f'<p class="topic-paragraph">The {name}, <em>part {part}</em>, is an\n animal.</p><h2 class="h1">Habits</h2><div><p>An advert</p></div>'
        f'<p class="topic-paragraph">It sleeps &amp; eats.</p></article><h2>More to read</h2><p class="md-promo">Quiz</p></body></html>'
    )


def results(names: list[str]) -> str:
    """A page of results, in both forms that were seen."""
    new = "".join(f'<li><a class="md-crosslink" href="/animal/{name}">{name}</a></li>' for name in names[::2])
    old = "".join(f'<li><a class="font-weight-bold font-18" href="/animal/{name}#ref1">{name}</a></li>' for name in names[1::2])
    return f'<html><body><a href="/quiz/all">Quiz</a><a class="md-crosslink" href="/quiz/x">Quiz</a><ul>{new}{old}</ul></body></html>'


@pytest.fixture
def site() -> Iterator[Site]:
    """Seven articles, of which one has three parts; searches show three a page and repeat the last page for ever."""
    names = [f"whale-{number}" for number in range(7)]

    def answer(request: Request) -> Reply:
        if request.path == "/robots.txt":
            return Reply(body=b"User-agent: *\nDisallow: /animal/whale-5\n")
        if request.path == "/search":
            found = [name for name in names if request.query["query"] in name]
            start = min(int(request.query["page"]) - 1, 2) * PER_PAGE
            return html_reply(results(found[start : start + PER_PAGE]))
        steps = request.path.strip("/").split("/")
        if len(steps) == 3 and steps[1] == "whale-3":
            return html_reply(article("whale-3", int(steps[2].removeprefix("part-")), 3))
        if len(steps) == 2 and steps[1] in names:
            return html_reply(article(steps[1], 1, 3 if steps[1] == "whale-3" else 1))
        return html_reply("<h1>Not found</h1>", status=404)

    with serving(answer) as site:
        yield site


def collect(site: Site, out: Path, **asked: Any) -> tuple[Any, list[dict[str, Any]]]:
    """Collect; give the result and the documents of the file."""
    result = whelp.collect_britannica(out=out, base_url=site.url, **{**MANNERS, "permission": PERMISSION, **asked})
    return result, [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()]


def test_articles_that_a_search_finds(site: Site, tmp_path: Path) -> None:
    """All pages of results, each article once; what robots.txt closes is not asked for."""
    result, documents = collect(site, tmp_path / "x.jsonl", search=["whale"])
    assert [document["title"] for document in documents] == [f"whale-{number}" for number in (0, 2, 1, 3, 4, 6)]
    assert result.skipped == {"robots.txt does not allow it": 1}
    assert [request.query["page"] for request in site.asked("/search")] == ["1", "2", "3", "4"]
    assert site.asked("/animal/whale-5") == []


def test_an_article_in_parts(site: Site, tmp_path: Path) -> None:
    """One document: its paragraphs and the headings between them; no menu, no advert, no note of the editors."""
    _, [document] = collect(site, tmp_path / "x.jsonl", articles=["/animal/whale-3"])
    parts = [f"The whale-3, part {part}, is an animal.\n\nHabits\n\nIt sleeps & eats." for part in (1, 2, 3)]
    assert document["text"] == "\n\n".join(parts)
    assert document["licence"] == f"by permission: {PERMISSION}"
    assert (document["id"], document["time"], document["language"]) == ("animal/whale-3", "2026-02-03", "en")


def test_nothing_without_a_permission(site: Site, tmp_path: Path) -> None:
    """The texts are under copyright: what permits the collection is asked for before anything is."""
    with pytest.raises(ConfigError, match=r"permission is missing: .* its terms \(https://corporate.britannica.com"):
        collect(site, tmp_path / "x.jsonl", search=["whale"], permission=" ")
    assert site.requests == []


def test_a_site_that_closes_its_search(site: Site, tmp_path: Path) -> None:
    """Then nothing is searched, and the error says why nothing was found."""
    site.always(Reply(body=b"User-agent: *\nDisallow: /search\n"), "/robots.txt")
    with pytest.raises(SourceError, match=r"no document was found: list: robots\.txt does not allow it \(1\)"):
        collect(site, tmp_path / "x.jsonl", search=["whale"])
    assert site.asked("/search") == []
    assert not (tmp_path / "x.jsonl").exists()


def test_a_captcha_in_the_middle(site: Site, tmp_path: Path) -> None:
    """The collection stops there; later the same command goes on to the same documents."""
    _, expected = collect(site, tmp_path / "x.jsonl", search=["whale"])
    captcha = html_reply("<html><script src='/cdn-cgi/challenge-platform/x.js'></script></html>", status=403)
    site.always(captcha, "/animal/whale-1")
    with pytest.raises(SourceError, match="it shows a captcha"):
        collect(site, tmp_path / "y.jsonl", search=["whale"])
    assert len(site.asked("/animal/whale-4")) == 1
    site.faults.clear()
    _, documents = collect(site, tmp_path / "y.jsonl", search=["whale"])
    assert [document["text"] for document in documents] == [document["text"] for document in expected]
    assert len(site.asked("/animal/whale-0")) == 2


def test_pages_that_have_changed(site: Site, tmp_path: Path) -> None:
    """A page without the known marks is read by its plain paragraphs; one without any is counted, not passed over."""
    content = '<main><p>Log in, please.</p></main><div class="grid topic-content"><h1>Orca</h1><p>An orca hunts.</p></div>'
    site.always(html_reply(f"<html><body>{content}</body></html>"), "/animal/orca")
    plain = "<html><body><nav><p>Log in</p></nav><article><h1>Seal</h1><p>A seal swims.</p></article></body></html>"
    site.always(html_reply(plain), "/animal/seal")
    site.always(html_reply("<html><body><div>Only a script can show this.</div></body></html>"), "/animal/shark")
    site.always(Reply(body=b"%PDF", headers={"Content-Type": "application/pdf"}), "/animal/pdf")
    articles = [f"{site.url}/animal/{name}" for name in ("seal", "orca", "shark", "pdf", "nobody")]
    result, documents = collect(site, tmp_path / "x.jsonl", articles=[*articles, "https://example.org/animal/x"])
    assert [document["text"] for document in documents] == ["A seal swims.", "An orca hunts."]
    lacks = "no marked paragraphs, no JSON-LD article, no <article> or <main>, no prose elsewhere"
    assert result.failed == {
        f"no article on the page ({lacks}): has the site changed? Its marks are in whelp/collect/britannica.py": 1
    }
    assert result.skipped == {"no address of this site": 1, "no page but application/pdf": 1, "status 404": 1}


def test_a_search_without_results(site: Site, tmp_path: Path) -> None:
    """Said, not silent."""
    with pytest.raises(SourceError, match=r"no link to an article on the page of results.* see whelp/collect/britannica\.py"):
        collect(site, tmp_path / "x.jsonl", search=["unicorn"])


def test_results_without_the_known_marks(site: Site, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Links to articles outside of menus that have one of the words, and a warning; what is only advertised there is not taken."""
    links = "".join(f'<li><a href="/animal/whale-{number}">A Whale</a></li>' for number in (0, 1))
    menu = '<nav><a href="/animal/whale-6">Whale of the day</a></nav>'
    page = f'<html><body>{menu}<ul>{links}</ul><a href="/topic/chess">Trending: chess</a><a href="/quiz/whale">Quiz</a></body></html>'
    site.always(html_reply(page), "/search")
    _, documents = collect(site, tmp_path / "x.jsonl", search=["whale"])
    assert [document["title"] for document in documents] == ["whale-0", "whale-1"]
    assert "no marks of results" in caplog.text
    assert "britannica.py" in caplog.text
