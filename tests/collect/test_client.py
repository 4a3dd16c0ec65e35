"""Manners: what a client asks, how often, and what it refuses."""

from __future__ import annotations

import gzip
import itertools
import socket
import time
import tracemalloc
import zlib
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from waiting import wait_until
from whelp.collect.addresses import host_of, is_public, normalise_url
from whelp.collect.answers import Answer, HostRefusesError, NotFetched
from whelp.collect.client import Client
from whelp.collect.config import MannersConfig
from whelp.collect.gunzip import BoundedBody, TooLargeError, unpack_gzip

from .sites import MANNERS, Reply, Request, Site, html_reply, serving


class Clock:
    """Remembers what was waited for; time passes by waiting alone."""

    def __init__(self) -> None:
        self.waits: list[tuple[float, str]] = []
        self.now = 1000.0

    def __call__(self, seconds: float, reason: str) -> None:
        self.waits.append((seconds, reason))
        self.now += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The only clock that clients have."""
    clock = Clock()
    monkeypatch.setattr("whelp.collect.client.time", SimpleNamespace(monotonic=lambda: clock.now))
    return clock


@pytest.fixture
def site() -> Iterator[Site]:
    """A site of one page under every address; no robots.txt."""
    with serving(lambda request: Reply(status=404) if request.path == "/robots.txt" else html_reply("<p>Hello.</p>")) as site:
        yield site


@pytest.fixture
def make_client() -> Iterator[Callable[..., Client]]:
    """Make clients that are closed in the end."""
    made: list[Client] = []

    def make(site: Site, *, wait: Any = None, hosts: tuple[str, ...] = (), **manners: Any) -> Client:
        config = MannersConfig(**{**MANNERS, **manners})
        made.append(Client(config=config, agent="whelp/0", hosts=[host_of(site.url), *hosts], wait=wait or Clock()))
        return made[-1]

    yield make
    for client in made:
        client.close()


def test_requests_to_a_host_keep_their_distance(site: Site, make_client: Callable[..., Client], clock: Clock) -> None:
    """As the server sees them, and not like clockwork."""
    client = make_client(site, wait=clock, delay_seconds=0.15, jitter=0.5)
    times: list[float] = []
    site.faults.append(lambda request: times.append(clock.now))
    for number in range(4):
        client.fetch(f"{site.url}/{number}")
    gaps = [after - before for before, after in itertools.pairwise(times)]
    assert len(gaps) == 4, "robots.txt is a request, too"
    assert 0.15 <= min(gaps) + 1e-9 <= max(gaps) <= 0.225 + 1e-9
    assert len({round(gap, 6) for gap in gaps}) > 1, "no jitter"


def test_hosts_do_not_wait_for_each_other(site: Site, make_client: Callable[..., Client], clock: Clock) -> None:
    """The distance is kept to each host, not to all."""
    with serving(lambda request: html_reply("<p>Other.")) as other:
        client = make_client(site, hosts=(host_of(other.url),), wait=clock, delay_seconds=30)
        client.fetch(f"{site.url}/", obey_robots=False)
        client.fetch(f"{other.url}/", obey_robots=False)
        assert clock.waits == []
        client.fetch(f"{site.url}/", obey_robots=False)
        assert 30 <= clock.waits[0][0] <= 45


def test_a_crawl_delay_is_kept(site: Site, make_client: Callable[..., Client], clock: Clock) -> None:
    """robots.txt may ask for more than the user."""
    site.always(Reply(body=b"User-agent: *\nCrawl-delay: 1.5\n"), "/robots.txt")
    client = make_client(site, wait=clock, jitter=0.0)
    client.fetch(f"{site.url}/a")
    client.fetch(f"{site.url}/b")
    assert clock.waits[-1][0] == 1.5
    site.faults.clear()
    site.always(Reply(body=b"User-agent: *\nCrawl-delay: 86400\n"), "/robots.txt")
    with pytest.raises(NotFetched, match=r"robots.txt asks for pauses longer than max_wait_seconds"):
        make_client(site).fetch(f"{site.url}/a")


def test_retry_after_is_waited_for(site: Site, make_client: Callable[..., Client]) -> None:
    """Not a tenth of a second less than the server asks."""
    site.once(*[Reply(status=429, headers={"Retry-After": "1"})] * 2, path="/a")
    clock = Clock()
    assert make_client(site, wait=clock).fetch(f"{site.url}/a").status == 200
    assert [1.0 <= seconds <= 1.5 for seconds, _ in clock.waits] == [True, True]
    assert clock.waits[0][1] == f"{host_of(site.url)}: status 429"


def test_waits_grow_and_end(site: Site, make_client: Callable[..., Client]) -> None:
    """Twice as long each time, never longer than the limit, and not for ever."""
    site.always(Reply(status=503), "/a")
    clock = Clock()
    client = make_client(site, wait=clock, back_off_seconds=0.5, jitter=0.0, max_retries=5, max_wait_seconds=4.0)
    with pytest.raises(NotFetched, match="status 503") as caught:
        client.fetch(f"{site.url}/a")
    assert (caught.value.fate, caught.value.is_final) == ("failed", False)
    assert [seconds for seconds, _ in clock.waits] == [0.5, 1.0, 2.0, 4.0, 4.0]
    assert len(site.asked("/a")) == 6


def test_a_host_that_asks_for_a_day_is_left_alone(site: Site, make_client: Callable[..., Client]) -> None:
    """A longer wait than allowed is no reason to come back sooner: the host is asked nothing more."""
    site.always(Reply(status=429, headers={"Retry-After": "86400"}), "/a")
    client = make_client(site)
    with pytest.raises(HostRefusesError, match=r"it asks to wait 86,400 seconds .* what is collected is kept"):
        client.fetch(f"{site.url}/a")
    before = len(site.requests)
    with pytest.raises(HostRefusesError):
        client.fetch(f"{site.url}/b")
    assert len(site.requests) == before
    assert client.is_given_up()


def test_a_host_that_stays_broken_is_left_alone(site: Site, make_client: Callable[..., Client]) -> None:
    """Ten failed pages in a row (here: three) are enough; one that is answered in between starts the count anew."""
    site.faults.append(lambda request: Reply(status=500) if request.path != "/good" else None)
    client = make_client(site, max_failures=3, max_retries=0)
    for path in ("/1", "/2", "/good", "/3", "/4"):
        if path == "/good":
            client.fetch(f"{site.url}{path}", obey_robots=False)
            continue
        with pytest.raises(NotFetched):
            client.fetch(f"{site.url}{path}", obey_robots=False)
    with pytest.raises(HostRefusesError, match="it does not answer: status 500, 3 times in a row"):
        client.fetch(f"{site.url}/5", obey_robots=False)


CAPTCHA = "<html><body><form><div class='g-recaptcha' data-sitekey='x'></div></form></body></html>"


@pytest.mark.parametrize("status", [200, 403, 503])
def test_a_captcha_ends_it(site: Site, make_client: Callable[..., Client], status: int) -> None:
    """Nobody tries to get past it."""
    site.always(html_reply(CAPTCHA, status=status), "/a")
    client = make_client(site)
    with pytest.raises(HostRefusesError, match="it shows a captcha"):
        client.fetch(f"{site.url}/a")
    assert len(site.asked("/a")) == 1


def test_an_article_with_a_captcha_in_its_form_is_an_article(site: Site, make_client: Callable[..., Client]) -> None:
    """Comments are often guarded by one."""
    site.always(html_reply(f"<p>One.</p><p>Two.</p>{CAPTCHA}"), "/a")
    assert make_client(site).fetch(f"{site.url}/a").status == 200


REDIRECTS: dict[str, tuple[str, str]] = {
    "another host": ("http://localhost:9/", "leads to a host that was not asked for"),
    "the cloud's own address": ("http://169.254.169.254/latest/meta-data/", "leads to a host that was not asked for"),
    "a file": ("file:///etc/passwd", "a redirect to what is no address of the web"),
    "script": ("javascript:alert(1)", "a redirect to what is no address of the web"),
    "rubbish": ("http://[::1", "a redirect to what is no address of the web"),
    "a bad port": ("http://127.0.0.1:port/", "a redirect to what is no address of the web"),
    "itself": ("/a", "too many redirects"),
    "ever on": ("/a/?", "too many redirects"),
}


@pytest.mark.parametrize("name", REDIRECTS)
def test_redirects_that_are_not_followed(site: Site, make_client: Callable[..., Client], name: str) -> None:
    """Each is skipped under its own reason, and a later run with other manners may decide anew."""
    target, reason = REDIRECTS[name]

    def answer(request: Request) -> Reply | None:
        if not request.path.startswith("/a"):
            return None
        return Reply(status=302, headers={"Location": target.replace("?", str(len(site.requests)))})

    site.faults.append(answer)
    with pytest.raises(NotFetched) as caught:
        make_client(site).fetch(f"{site.url}/a")
    assert (caught.value.reason, caught.value.fate, caught.value.is_final) == (reason, "skipped", False)
    assert len(site.requests) < 10


def test_redirects_that_are_followed(site: Site, make_client: Callable[..., Client]) -> None:
    """Within the host; the answer says where it is from."""
    site.once(Reply(status=301, headers={"Location": "/b?x=1"}), Reply(status=308, headers={"Location": "c"}), path="/b")
    site.once(Reply(status=301, headers={"Location": "/b"}), path="/a")
    assert make_client(site).fetch(f"{site.url}/a").url == f"{site.url}/c"


def test_a_key_does_not_travel_to_another_host(site: Site, make_client: Callable[..., Client]) -> None:
    """Headers are for the host that was asked."""
    with serving(lambda request: html_reply("<p>Other.")) as other:
        site.once(Reply(status=302, headers={"Location": f"{other.url}/x"}), path="/a")
        client = make_client(site, hosts=(host_of(other.url),))
        client.fetch(f"{site.url}/a", headers={"X-Goog-Api-Key": "secret"}, obey_robots=False)
        assert site.requests[0].headers["x-goog-api-key"] == "secret"
        assert "x-goog-api-key" not in other.requests[0].headers


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]", "2130706433", "0.0.0.0", "10.1.2.3", "169.254.169.254"])
def test_private_addresses_are_not_connected_to(site: Site, make_client: Callable[..., Client], host: str) -> None:
    """However they are spelled, also when they were asked for, unless the user names them."""
    port = site.url.rpartition(":")[2]
    clock = Clock()
    client = make_client(site, wait=clock, hosts=(f"{host.strip('[]')}:{port}",), allow_private=())
    with pytest.raises(NotFetched, match="leads to a private address"):
        client.fetch(f"http://{host}:{port}/", obey_robots=False)
    assert (site.requests, clock.waits) == ([], []), "it is not tried again, either"


def test_a_public_name_of_a_private_address(
    site: Site, make_client: Callable[..., Client], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A name is what its address is: one private among them, and none is connected to."""
    port = int(site.url.rpartition(":")[2])

    def resolve(host: str, *_: Any, **__: Any) -> Any:
        assert host == "example.org"
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in ("93.184.215.14", "127.0.0.1")]

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    with pytest.raises(NotFetched, match="leads to a private address"):
        make_client(site, hosts=(f"example.org:{port}",)).fetch(f"http://example.org:{port}/", obey_robots=False)
    assert site.requests == []


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("8.8.8.8", True),
        ("2606:4700::1111", True),
        ("127.9.9.9", False),
        ("192.168.1.1", False),
        ("100.64.0.1", False),
        ("224.0.0.1", False),
        ("::ffff:10.0.0.1", False),
        ("2002:7f00:1::", False),
        ("64:ff9b::7f00:1", False),
        ("fe80::1%eth0", False),
        ("fd00::1", False),
        ("::", False),
    ],
)
def test_which_addresses_are_public(address: str, expected: bool) -> None:
    """Private ones that are packed into others are private."""
    assert is_public(address) is expected


def test_a_gzip_bomb_is_bounded(site: Site, make_client: Callable[..., Client]) -> None:
    """100 MB in 100 kB: refused before they are unpacked."""
    packer = zlib.compressobj(9, wbits=31)
    bomb = b"".join(packer.compress(bytes(1 << 20)) for _ in range(100)) + packer.flush()
    site.always(Reply(body=bomb, headers={"Content-Encoding": "gzip", "Content-Type": "text/html"}), "/a")
    client = make_client(site, max_page_bytes=1_000_000)
    client.fetch(f"{site.url}/b")  # so that all is there that requests need
    tracemalloc.start()
    try:
        with pytest.raises(NotFetched, match="larger than 1,000,000 bytes"):
            client.fetch(f"{site.url}/a")
        assert tracemalloc.get_traced_memory()[1] < 10_000_000
    finally:
        tracemalloc.stop()
    with pytest.raises(TooLargeError):
        unpack_gzip(bomb, 1000)


def test_a_bomb_behind_a_member_that_is_too_large_by_a_byte() -> None:
    """Nothing is left of the limit then, which must not be taken for no limit."""
    body = BoundedBody(1000, is_gzip=True)
    with pytest.raises(TooLargeError):
        body.add(gzip.compress(bytes(1001)) + gzip.compress(bytes(1 << 20)))
    assert len(body.so_far) <= 1001


def test_many_gzip_members() -> None:
    """Files that are joined are one, wherever their borders are."""
    parts = [bytes([number % 7]) * (number * 37 % 900) for number in range(900)]
    packed = b"".join(map(gzip.compress, parts))
    assert len(packed) > 1 << 14
    assert unpack_gzip(packed, 1 << 20) == b"".join(parts)


def test_what_is_too_large_is_not_read(site: Site, make_client: Callable[..., Client]) -> None:
    """Neither when its length is told, nor when it is not."""
    site.always(Reply(body=bytes(300_000)), "/a")
    client = make_client(site, max_page_bytes=100_000)
    with pytest.raises(NotFetched, match="larger than 100,000 bytes"):
        client.fetch(f"{site.url}/a", obey_robots=False)
    assert client.traffic.bytes == 0


def test_a_silent_host_and_a_dripping_one(site: Site, make_client: Callable[..., Client]) -> None:
    """No page takes longer than its time, however it passes it: these two would take much longer."""
    site.always(html_reply("<p>slow", stall=100.0), "/silent")
    site.always(html_reply("<p>slow" * 300, drip=0.05), "/dripping")
    client = make_client(site, timeout_seconds=0.2, max_request_seconds=0.4, max_retries=1)
    for path in ("/silent", "/dripping"):
        started = time.monotonic()
        with pytest.raises(NotFetched, match="no answer in time"):
            client.fetch(f"{site.url}{path}", obey_robots=False)
        assert time.monotonic() - started < 60
        wait_until(lambda path=path: len(site.asked(path)) == 2)


@pytest.mark.parametrize("cut", [0, 1, 10, 18])
def test_half_an_answer_is_none(site: Site, make_client: Callable[..., Client], cut: int) -> None:
    """Plain or packed, with a length or without: what breaks off is asked for again."""
    packed = gzip.compress(b"<p>Hello, world.</p>" * 10)
    body, headers = (packed, {"Content-Encoding": "gzip"}) if cut != 10 else (b"<p>Hello, world.</p>", {})
    site.once(Reply(body=body, headers=headers, cut=cut), path="/a")
    answer = make_client(site).fetch(f"{site.url}/a")
    assert answer.body == b"<p>Hello.</p>"
    assert len(site.asked("/a")) == 2


def test_a_packing_that_was_not_asked_for(site: Site, make_client: Callable[..., Client]) -> None:
    """Refused, not guessed."""
    site.always(Reply(body=b"?", headers={"Content-Encoding": "br"}), "/a")
    with pytest.raises(NotFetched, match="packed in a way that was not asked for"):
        make_client(site).fetch(f"{site.url}/a")


@pytest.mark.parametrize(
    ("robots", "allowed"),
    [
        (Reply(body=b"User-agent: *\nDisallow: /private\n"), True),
        (Reply(body=b"User-agent: *\nDisallow: /\n"), False),
        (Reply(body=b"User-agent: whelp\nDisallow: /a\n\nUser-agent: *\nAllow: /\n"), False),
        (Reply(body=b"User-agent: whelp\nAllow: /\n\nUser-agent: *\nDisallow: /\n"), True),
        (Reply(body=b"User-agent: *\nDisallow: /*?print\nDisallow: /a$\n"), False),
        (Reply(status=404), True),
        (Reply(status=403), True),
        (Reply(status=500), None),
        (Reply(status=302, headers={"Location": "http://localhost:9/robots.txt"}), None),
        (Reply(body=b"\xff\xfe\x00rubbish\nDisallow"), True),
    ],
)
def test_robots_txt(site: Site, make_client: Callable[..., Client], robots: Reply, allowed: bool | None) -> None:
    """What it closes is not asked for; while it cannot be read, nothing is (RFC 9309)."""
    site.always(robots, "/robots.txt")
    client = make_client(site, max_retries=0)
    if allowed:
        assert client.fetch(f"{site.url}/a").status == 200
        assert client.fetch(f"{site.url}/b").status == 200
        assert len(site.asked("/robots.txt")) == 1
        return
    with pytest.raises(NotFetched) as caught:
        client.fetch(f"{site.url}/a")
    reason = "robots.txt does not allow it" if allowed is False else "robots.txt cannot be read"
    assert caught.value.reason == reason
    assert site.asked("/a") == []


def test_robots_txt_of_where_a_redirect_leads(site: Site, make_client: Callable[..., Client]) -> None:
    """A redirect is no way around it."""
    site.always(Reply(body=b"User-agent: *\nDisallow: /closed\n"), "/robots.txt")
    site.always(Reply(status=302, headers={"Location": "/closed/a"}), "/open")
    with pytest.raises(NotFetched, match=r"robots.txt does not allow it"):
        make_client(site).fetch(f"{site.url}/open")
    assert site.asked("/closed/a") == []


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("HTTPS://Example.ORG", "https://example.org/"),
        ("http://example.org:80/a#part", "http://example.org/a"),
        ("https://example.org:8443/", "https://example.org:8443/"),
        ("https://example.org/a?utm_source=x&b=2&fbclid=3&a=1", "https://example.org/a?b=2&a=1"),
        ("https://example.org/%7euser/%2f/ü", "https://example.org/~user/%2F/%C3%BC"),
        ("https://bücher.example/ a", "https://xn--bcher-kva.example/%20a"),
        ("https://user:word@example.org/", "https://example.org/"),
        ("https://[2606:4700::1111]/x", "https://[2606:4700::1111]/x"),
    ],
)
def test_one_spelling_of_an_address(url: str, expected: str) -> None:
    """The same page is asked for once; to spell it again changes nothing."""
    assert normalise_url(url) == expected
    assert normalise_url(expected) == expected


@pytest.mark.parametrize(
    "url", ["", "example.org", "ftp://example.org/", "file:///etc/passwd", "http://", "http://a:b:c/", "http://[::1"]
)
def test_what_is_no_address(url: str) -> None:
    """Said, not asked for."""
    with pytest.raises(ValueError):  # noqa: PT011 (any message will do)
        normalise_url(url)


def test_an_answer_that_is_no_json() -> None:
    """Also one that is nested deeper than any reader can follow."""
    for body in (b"", b"{", b"\xff", b"[" * 100_000):
        with pytest.raises(NotFetched, match="not JSON"):
            Answer(url="", status=200, headers={}, body=body).json()
