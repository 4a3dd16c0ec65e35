"""A MediaWiki that answers as Wikipedia's API does: continuation, redirects, categories, namespaces, plain extracts."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from .sites import Reply, Request, json_reply

PAGE_SIZE = 4  # small, so that lists have many pages


@dataclass
class Wiki:
    """Its articles.

    Attributes:
        articles: Title -> text as `explaintext` gives it.
        redirects: Title -> title.
        categories: Name -> titles, of which some may be categories.
        disambiguations: Titles that only tell names apart.
        revision: Grows with an edit.
    """

    articles: dict[str, str] = field(default_factory=dict)
    redirects: dict[str, str] = field(default_factory=dict)
    categories: dict[str, list[str]] = field(default_factory=dict)
    disambiguations: set[str] = field(default_factory=set)
    links: dict[str, list[str]] = field(default_factory=dict)
    revision: int = 1000

    def answer(self, request: Request) -> Reply:
        """Answer a request to `/w/api.php`."""
        query = request.query
        if request.path != "/w/api.php":
            return Reply(status=404)
        if query.get("formatversion") != "2" or query.get("format") != "json":
            return json_reply({"error": {"code": "badformat", "info": "these tests speak JSON, version 2"}})
        if query.get("list") == "search":
            found = [title for title in self.articles if query["srsearch"].lower() in self.articles[title].lower()]
            return self._page(query, "search", [self._name(title) for title in found], "sroffset", "srlimit")
        if query.get("list") == "categorymembers":
            kinds = {"page": 0, "subcat": 14}
            wanted = {kinds[kind] for kind in query["cmtype"].split("|")}
            members = [self._name(title) for title in self.categories.get(query["cmtitle"], [])]
            return self._page(
                query, "categorymembers", [one for one in members if one["ns"] in wanted], "cmcontinue", "cmlimit"
            )
        if query.get("generator") == "links":
            names = [self._name(self.redirects.get(title, title)) for title in self.links.get(query["titles"], [])]
            return self._page(query, "pages", names, "gplcontinue", "gpllimit")
        if query.get("meta") == "siteinfo":
            rights = {"url": "https://creativecommons.org/licenses/by-sa/4.0/", "text": "CC BY-SA 4.0"}
            spaces = {"0": {"id": 0, "name": ""}, "14": {"id": 14, "name": "Kategorie", "canonical": "Category"}}
            aliases = [{"id": 14, "alias": "Kat"}, {"id": 4, "alias": "WP"}]
            known = {"rightsinfo": rights, "namespaces": spaces, "namespacealiases": aliases}
            return json_reply({"batchcomplete": True, "query": known})
        return self._read(query)

    def _page(self, query: dict[str, str], part: str, entries: list[dict[str, Any]], token: str, limit: str) -> Reply:
        start = int(query.get(token, "0").partition("|")[0])
        end = start + min(PAGE_SIZE, int(query[limit]))
        value: dict[str, Any] = {"query": {part: entries[start:end]}, "batchcomplete": True}
        if end < len(entries):
            value["continue"] = {token: end if token == "sroffset" else f"{end}|x", "continue": "-||"}
        return json_reply(value)

    def _read(self, query: dict[str, str]) -> Reply:
        assert query["explaintext"] == "1"
        title = query.get("titles") or list(self.articles)[int(query["pageids"]) - 1]
        title = self.redirects.get(title, title)
        if title not in self.articles:
            return json_reply({"batchcomplete": True, "query": {"pages": [{"ns": 0, "title": title, "missing": True}]}})
        page: dict[str, Any] = {
            **self._name(title),
            "extract": self.articles[title],
            "fullurl": f"https://en.wikipedia.org/wiki/{title.replace(' ', '_')}",
            "pagelanguage": "en",
            "revisions": [{"revid": self.revision + self._id(title), "timestamp": "2026-01-02T03:04:05Z"}],
        }
        if title in self.disambiguations:
            page["pageprops"] = {"disambiguation": ""}
        return json_reply({"batchcomplete": True, "query": {"pages": [page]}})

    def _id(self, title: str) -> int:
        return list(self.articles).index(title) + 1

    def _name(self, title: str) -> dict[str, Any]:
        if title.startswith("Category:"):  # said in the wiki's own language, as Wikipedia does
            name = title.replace("Category:", "Kategorie:")
            return {"pageid": 9000 + sorted(self.categories).index(title), "ns": 14, "title": name}
        if title not in self.articles:
            return {"ns": 0, "title": title, "missing": True}
        return {"pageid": self._id(title), "ns": 0, "title": title}


def make_wiki(num_articles: int = 30) -> Wiki:
    """Articles on numbers: even ones are in one category, multiples of three below another."""
    wiki = Wiki()
    for number in range(num_articles):
        kind = "an even number" if number % 2 == 0 else "an odd number"
        wiki.articles[f"Number {number}"] = f"{number} is {kind}.\nIts square is {number * number}.\n\n\n== Uses ==\nTo count."
    wiki.categories = {
        "Category:Even numbers": [f"Number {number}" for number in range(0, num_articles, 2)],
        "Category:Numbers": ["Category:Even numbers", "Category:Threes", "Number 1"],
        "Category:Threes": [*(f"Number {number}" for number in range(0, num_articles, 3)), "Category:Numbers"],
    }
    wiki.redirects = {"Three": "Number 3", "III": "Number 3"}
    wiki.links = {"Number 1": ["Number 2", "Three", "Number 4", "Number 5", "Number 6", "Nothing of the kind"]}
    return wiki
