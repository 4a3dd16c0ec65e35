"""Articles of a Wikipedia, or of any MediaWiki that gives plain extracts, through its API.

    https://www.mediawiki.org/wiki/API:Query, https://www.mediawiki.org/wiki/Extension:TextExtracts

robots.txt is for crawlers of pages and closes the API to them; programs are asked to follow the API's own etiquette instead,
which this does: one request at a time, a contact in each, `maxlag`, packed answers, lists in large pages.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any, ClassVar
from urllib.parse import urlencode

from whelp.base.errors import ConfigError, SourceError
from whelp.collect.addresses import host_of
from whelp.collect.answers import Answer, Busy, NotFetched, read_json_object, read_retry_after
from whelp.collect.document import Document
from whelp.collect.gather import Asking, Found, Item, NotFound, list_problem
from whelp.collect.mediawiki_extract import clean_extract
from whelp.collect.starter_lists import STARTER_LISTS

_SEARCH_PAGE = 50
_LIST_PAGE = 500
_CATEGORY = 14  # the namespace
_BUSY_CODES = {"maxlag", "ratelimited", "readonly", "internal_api_error_DBQueryError"}


@dataclass(frozen=True, kw_only=True)
class Wikipedia:
    """Finds and reads articles.

    Args:
        search: Search words, each a search of its own.
        titles: Titles of articles; redirects are followed.
        categories: Categories, with or without the wiki's word for `Category:`.
        links_of: Articles whose links to other articles are followed.
        starter_lists: Names of `STARTER_LISTS`.
        language: Of its articles: which Wikipedia.
        category_depth: How many levels of subcategories are entered.
        max_per_search: Most results of each search.
        base_url: Another wiki: `https://wiki.example.org`.

    Raises:
        ConfigError: When nothing is asked for, or values cannot be used.
    """

    source: ClassVar[str] = "wikipedia"
    is_of_many_hosts: ClassVar[bool] = False
    notes: ClassVar[Sequence[str]] = ()

    search: Sequence[str] = ()
    titles: Sequence[str] = ()
    categories: Sequence[str] = ()
    links_of: Sequence[str] = ()
    starter_lists: Sequence[str] = ()
    language: str = "en"
    category_depth: int = 0
    max_per_search: int = 10
    base_url: str | None = None

    def __post_init__(self) -> None:
        problems = [
            f"there is no starter list {name!r}: {', '.join(STARTER_LISTS)}"
            for name in self.starter_lists
            if name not in STARTER_LISTS
        ]
        if not re.fullmatch(r"[a-z][a-z0-9-]{1,30}", self.language):
            problems.append(f"language is {self.language!r}, but the code of a Wikipedia is expected: en, de, simple, zh-yue")
        if not (self.search or self.titles or self.categories or self.links_of or self.starter_lists):
            problems.append("nothing is asked for: give search words, titles, categories, links_of or starter_lists")
        if self.category_depth < 0 or self.max_per_search < 1:
            found = f"category_depth is {self.category_depth}, max_per_search is {self.max_per_search}"
            problems.append(f"{found}: at least 0 and 1 are expected")
        if problems:
            raise ConfigError("whelp collect wikipedia", problems, "`whelp collect wikipedia --help` shows examples.")

    @property
    def site(self) -> str:
        """The wiki: `https://en.wikipedia.org`."""
        return self.base_url or f"https://{self.language}.wikipedia.org"

    @property
    def all_titles(self) -> list[str]:
        """Titles that are named, then those of the starter lists."""
        return [*self.titles, *(title for name in self.starter_lists for title in STARTER_LISTS[name])]

    @property
    def hosts(self) -> list[str]:
        """The wiki's."""
        return [host_of(self.site)]

    @property
    def asked(self) -> dict[str, Any]:
        """What decides which articles are found; lists of ours by their titles."""
        asked = asdict(self) | {"base_url": self.site, "titles": self.all_titles}
        del asked["starter_lists"]
        return asked

    def iter_items(self, asking: Asking) -> Iterator[Item | NotFound]:
        """Titles first, then searches, categories and links, each as its list gives them."""
        for title in self.all_titles:
            yield Item(key=f"title {_spell(title)}", name=title, values={"titles": _spell(title)})
        for words in self.search:
            yield from self._search(words, asking)
        for category in self.categories:
            yield from self._walk_category(category, asking)
        for title in self.links_of:
            yield from self._links(title, asking)

    def read(self, item: Item, asking: Asking) -> Found:
        """Read the plain text of one article."""
        url = self._address(
            prop="extracts|revisions|info|pageprops",
            explaintext=1,
            exsectionformat="wiki",
            rvprop="ids|timestamp",
            inprop="url",
            ppprop="disambiguation",
            redirects=1,
            **item.values,
        )
        pages = asking.page(item, url, look=check_answer, obey_robots=False).json().get("query", {}).get("pages", [])
        page: dict[str, Any] = pages[0] if pages else {"missing": True}
        if page.get("missing") or page.get("invalid"):
            raise NotFetched("no such article", is_final=True)
        if "disambiguation" in page.get("pageprops", {}):
            raise NotFetched("a page that only tells names apart", is_final=True)
        if "extract" not in page:
            raise NotFetched("the wiki gives no plain text", is_final=True)
        text = clean_extract(page["extract"])
        if not text:
            raise NotFetched("no text", is_final=True)
        revision = (page.get("revisions") or [{}])[0]
        document = Document(
            text=text,
            source="wikipedia",
            title=page["title"],
            url=page.get("fullurl"),
            id=str(page["pageid"]),
            language=page.get("pagelanguage", self.language),
            revision=str(revision["revid"]) if "revid" in revision else None,
            licence=self._licence(asking),
            time=revision.get("timestamp"),
        )
        return Found(document=document, key=str(page["pageid"]))

    def _licence(self, asking: Asking) -> str | None:
        """What the wiki says that all of its text may be used for."""
        return self._describe_site(asking).get("rightsinfo", {}).get("text") or None

    def _describe_site(self, asking: Asking) -> dict[str, Any]:
        """What the wiki says about itself; asked for once."""
        url = self._address(meta="siteinfo", siprop="rightsinfo|namespaces|namespacealiases")
        found: dict[str, Any] = asking.list(url, look=check_answer, obey_robots=False).json().get("query", {})
        return found

    def _spell_category(self, name: str, asking: Asking) -> str:
        """One spelling for a category: `Kategorie:Hunde`, `hunde` and `Category:Hunde` are `Category:Hunde`."""
        site = self._describe_site(asking)
        spaces = [site.get("namespaces", {}).get(str(_CATEGORY), {}), *site.get("namespacealiases", [])]
        prefixes = {"category"} | {
            str(space[key]).lower()
            for space in spaces
            if space.get("id") == _CATEGORY
            for key in ("name", "alias")
            if key in space
        }
        prefix, colon, rest = _spell(name).partition(":")
        bare = rest.strip() if colon and prefix.strip().lower() in prefixes else _spell(name)
        return f"Category:{bare[:1].upper()}{bare[1:]}"

    def _search(self, words: str, asking: Asking) -> Iterator[Item | NotFound]:
        left = self.max_per_search
        query = {"list": "search", "srsearch": words, "srnamespace": 0, "srlimit": min(left, _SEARCH_PAGE), "srprop": ""}
        for entry in self._list(asking, f"search {words}", "search", query):
            yield entry
            left -= 1
            if left == 0:
                return

    def _walk_category(self, name: str, asking: Asking) -> Iterator[Item | NotFound]:
        """Breadth first; a category that lies below itself is entered once."""
        try:
            first = self._spell_category(name, asking)
        except NotFetched as problem:
            yield list_problem(f"category {name}", name, problem)
            return
        waiting, seen = [(first, 0)], {first}
        for category, depth in waiting:  # grows meanwhile
            kinds = "page|subcat" if depth < self.category_depth else "page"
            query = {"list": "categorymembers", "cmtitle": category, "cmtype": kinds, "cmlimit": _LIST_PAGE}
            num_found = 0
            for entry in self._list(asking, category, "categorymembers", query, namespaces=(0, _CATEGORY)):
                num_found += 1
                if isinstance(entry, Item) and entry.values.pop("ns", 0) == _CATEGORY:
                    below = self._spell_category(entry.name, asking)
                    if below not in seen:
                        seen.add(below)
                        waiting.append((below, depth + 1))
                else:
                    yield entry
            if num_found == 0:
                yield NotFound(f"list {category}", category, "list: an empty category, or none of this name")

    def _links(self, title: str, asking: Asking) -> Iterator[Item | NotFound]:
        query = {"generator": "links", "titles": _spell(title), "gplnamespace": 0, "gpllimit": _LIST_PAGE, "redirects": 1}
        num_found = 0
        for entry in self._list(asking, f"links of {title}", "pages", query):
            num_found += 1
            yield entry
        if num_found == 0:
            yield NotFound(f"list links of {title}", title, "list: no such article, or one without links")

    def _list(
        self, asking: Asking, name: str, part: str, query: dict[str, Any], namespaces: tuple[int, ...] = (0,)
    ) -> Iterator[Item | NotFound]:
        """Read a list to its end, page after page."""
        more: dict[str, Any] | None = {}
        while more is not None:
            url = self._address(**query, **more)
            try:
                answer = asking.list(url, look=check_answer, obey_robots=False).json()
            except NotFetched as problem:
                yield list_problem(url, name, problem)
                return
            for entry in answer.get("query", {}).get(part, []):
                namespace = entry.get("ns", 0)
                if entry.get("missing"):
                    yield NotFound(f"title {entry['title']}", entry["title"], "no such article")
                elif namespace in namespaces:
                    values = {"pageids": entry["pageid"]} | ({"ns": namespace} if len(namespaces) > 1 else {})
                    yield Item(key=f"page {entry['pageid']}", name=entry["title"], values=values)
                else:
                    yield NotFound(f"page {entry['pageid']}", entry["title"], "no article (another namespace)")
            following = answer.get("continue")
            more = following if following != more else None  # a server that names the same page again has no more

    def _address(self, **parameters: Any) -> str:
        common = {"action": "query", "format": "json", "formatversion": 2, "maxlag": 5}
        return f"{self.site.rstrip('/')}/w/api.php?{urlencode({**common, **parameters}, errors='replace')}"


def check_answer(answer: Answer) -> None:
    """Tell an error of the API, which comes with status 200, from an answer."""
    if answer.status != 200:
        return
    error = read_json_object(answer).get("error")
    if error is None:
        return
    code, info = error.get("code", "unknown"), error.get("info", "")
    if code in _BUSY_CODES:
        raise Busy(f"the wiki is busy ({code})", read_retry_after(answer.headers.get("retry-after")))
    if code in ("invalidtitle", "invalidcategory", "cmbadcontinue", "badcontinue", "nosuchpageid"):
        raise NotFetched(f"the wiki says {code}", is_final=True)
    raise SourceError(answer.url.partition("?")[0], f"the wiki answers {code}: {info}", "", "Check --language and --base-url.")


def _spell(title: str) -> str:
    return " ".join(title.replace("_", " ").split())
