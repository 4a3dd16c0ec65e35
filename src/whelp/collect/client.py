"""Ask a host for something, with manners: the one place where a collector touches the network.

`Client.fetch` asks only hosts that it was given, waits between requests, obeys robots.txt, honours `Retry-After`, tries again
with growing waits, and refuses what is too large, too slow or private.
"""

from __future__ import annotations

import functools
import random
import ssl
import threading
import time
import zlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from urllib.parse import urljoin, urlsplit

import httpcore
import httpx

from whelp.collect.addresses import CheckedNetwork, PrivateAddressError, host_of
from whelp.collect.answers import Answer, Busy, HostRefusesError, Look, NotFetched, read_retry_after, refuse
from whelp.collect.config import MannersConfig
from whelp.collect.gunzip import BoundedBody, TooLargeError
from whelp.collect.robots import Robots

_BUSY = {408, 425, 429, 500, 502, 503, 504}
_CAPTCHAS = (b"g-recaptcha", b"h-captcha", b"cf-challenge", b"challenge-platform", b"captcha-delivery")
Wait = Callable[[float, str], None]


@dataclass
class _Host:
    free_at: float = 0.0  # on the monotonic clock
    num_failures: int = 0
    refusal: str = ""
    lock: threading.Lock = field(default_factory=threading.Lock)  # held from a request's turn to the end of its answer


@dataclass
class Traffic:
    """What has been asked of the network."""

    requests: int = 0
    retries: int = 0
    bytes: int = 0
    seconds_waited: float = 0.0


@dataclass
class Client:
    """Asks hosts; several threads may use it, and no host is asked twice at once.

    Args:
        config: The manners.
        agent: The name and version of this program; the contact is added.
        hosts: The hosts that may be asked, with ports that are not the usual ones.
        wait: Called with seconds and a reason to pass the time between requests, on the thread that asks.
    """

    config: MannersConfig
    agent: str
    hosts: Iterable[str]
    wait: Wait = field(default=lambda seconds, reason: time.sleep(seconds))
    traffic: Traffic = field(default_factory=Traffic)

    def __post_init__(self) -> None:
        self._allowed = {host.lower() for host in (*self.hosts, *self.config.allow_hosts)}
        self._hosts: dict[str, _Host] = {}
        self._robots: dict[str, Robots] = {}
        self._random = random.Random()
        self._counting = threading.Lock()
        self._is_closed = False
        self._transport = httpx.HTTPTransport(verify=_make_ssl_context(), retries=0)
        # httpx offers no way to check the address that a name stands for; its pool does.
        self._transport._pool = httpcore.ConnectionPool(
            ssl_context=_make_ssl_context(),
            max_connections=self.config.max_hosts_at_once + 4,
            keepalive_expiry=30.0,
            network_backend=CheckedNetwork(self.config.allow_private),
        )
        self._headers = {"User-Agent": f"{self.agent} (+{self.config.contact})", "Accept": "*/*", "Accept-Encoding": "gzip"}
        self._extensions = {"timeout": httpx.Timeout(self.config.timeout_seconds).as_dict()}

    def close(self) -> None:
        """Close all connections; threads that wait for their turn ask for nothing more."""
        self._is_closed = True
        self._transport.close()

    def may_ask(self, url: str) -> bool:
        """Tell whether the host of an address is one that may be asked."""
        return host_of(url) in self._allowed

    def seconds_until_free(self, host: str) -> float:
        """How long a request to a host would have to wait for its turn."""
        known = self._hosts.get(host)
        return 0.0 if known is None or known.refusal else max(0.0, known.free_at - time.monotonic())

    def is_given_up(self) -> bool:
        """Tell whether no host is left to ask."""
        return all(host in self._hosts and self._hosts[host].refusal for host in self._allowed)

    def fetch(
        self,
        url: str,
        *,
        content: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        obey_robots: bool = True,
        look: Look | None = None,
    ) -> Answer:
        """Ask for an address until there is an answer; an answer of status 304 is one, too.

        Args:
            content: Sent in a POST request; without it, GET.
            headers: Further headers.
            obey_robots: Whether robots.txt of the host decides; not for interfaces that are made for programs.
            look: Called with each answer, whatever its status; may raise `Busy` (to try again), `NotFetched` or `HostRefusesError`.

        Raises:
            NotFetched: When there is no usable answer.
            HostRefusesError: When the host is asked no more.
        """
        for attempt in range(self.config.max_retries + 1):
            host = self._host(url)
            if host.refusal:
                raise HostRefusesError(host_of(url), host.refusal, "", "Run the same command again later.")
            try:
                answer = self._follow(url, content, headers or {}, obey_robots)
                if look is not None:
                    look(answer)
                self._inspect(answer)
            except Busy as busy:
                self._back_off(url, busy, attempt)
                continue
            except HostRefusesError as error:
                host.refusal = host.refusal or error.found
                raise
            except NotFetched as problem:
                if problem.fate == "skipped":
                    host.num_failures = 0
                raise
            host.num_failures = 0
            return answer
        assert False, "the last attempt raises"

    def _host(self, url: str) -> _Host:
        return self._hosts.setdefault(host_of(url), _Host())

    def _follow(self, url: str, content: bytes | None, headers: Mapping[str, str], obey_robots: bool) -> Answer:
        for _ in range(self.config.max_redirects + 1):
            if not self.may_ask(url):
                raise refuse("leads to a host that was not asked for")
            if obey_robots:
                self._check_robots(url)
            answer = self._send(url, content, headers)
            if answer.status not in (301, 302, 303, 307, 308):
                return answer
            if content is not None:
                raise refuse("a redirect of a POST request")
            url = _read_location(answer)
            if host_of(url) != host_of(answer.url):
                headers = {}  # they may hold a key
        raise refuse("too many redirects")

    def _check_robots(self, url: str) -> None:
        parts = urlsplit(url)
        origin = f"{parts.scheme}://{parts.netloc}"
        if origin not in self._robots:
            self._robots[origin] = self._read_robots(f"{origin}/robots.txt")
        if not self._robots[origin].allows(url):
            raise refuse("robots.txt does not allow it")
        if self._robots[origin].delay_seconds > self.config.max_wait_seconds:
            raise refuse("robots.txt asks for pauses longer than max_wait_seconds")

    def _read_robots(self, url: str) -> Robots:
        """RFC 9309: without a file all is allowed; while it cannot be read, nothing is."""
        try:
            answer = self.fetch(url, obey_robots=False)
        except NotFetched as problem:
            if problem.reason.startswith("status 4"):
                return Robots("", self.agent)
            raise NotFetched("robots.txt cannot be read", is_final=False) from problem
        return Robots(answer.body.decode("utf-8", errors="replace"), self.agent)

    def _send(self, url: str, content: bytes | None, headers: Mapping[str, str]) -> Answer:
        with self._host(url).lock:  # redirects, too, may lead to a host that another thread asks
            self._pace(url)
            return self._request(url, content, headers)

    def _request(self, url: str, content: bytes | None, headers: Mapping[str, str]) -> Answer:
        if self._is_closed:
            raise NotFetched("interrupted", is_final=False)
        self._count(requests=1)
        try:
            # Not through a client of httpx: it keeps cookies, and looks into redirects that are not to be followed.
            request = httpx.Request(
                "GET" if content is None else "POST",
                url,
                content=content,
                headers={**self._headers, **headers},
                extensions=self._extensions,
            )
            response = self._transport.handle_request(request)
            try:
                body = self._read_body(response)
            finally:
                response.close()
        except PrivateAddressError as error:
            raise refuse("leads to a private address, which allow_private does not name") from error
        except httpx.TimeoutException as error:
            raise Busy("no answer in time") from error
        except httpx.ConnectError as error:
            raise Busy("no connection") from error
        except (httpx.TransportError, EOFError) as error:
            raise Busy("the answer breaks off") from error
        except (httpx.InvalidURL, UnicodeError) as error:
            raise NotFetched("no address of the web", is_final=True) from error
        except zlib.error as error:
            raise Busy("the packed answer is damaged") from error
        return Answer(url=url, status=response.status_code, headers=response.headers, body=body)

    def _read_body(self, response: httpx.Response) -> bytes:
        """Gather the body within the limits of bytes and seconds."""
        too_large = f"larger than {self.config.max_page_bytes:,} bytes"
        encoding = response.headers.get("content-encoding", "identity").strip().lower()
        if encoding not in ("identity", "", "gzip", "x-gzip"):
            raise refuse("packed in a way that was not asked for")
        length = response.headers.get("content-length", "0")
        if length.isdigit() and int(length) > self.config.max_page_bytes:
            raise refuse(too_large)
        body = BoundedBody(self.config.max_page_bytes, is_gzip=encoding.endswith("gzip"))
        latest = time.monotonic() + self.config.max_request_seconds
        for chunk in response.iter_raw():
            self._count(num_bytes=len(chunk))
            try:
                body.add(chunk)
            except TooLargeError:
                raise refuse(too_large) from None
            if time.monotonic() > latest:
                raise Busy("no answer in time")
        return body.finish()

    def _inspect(self, answer: Answer) -> None:
        """Sort out what is no answer to the question."""
        if _is_captcha(answer):
            raise HostRefusesError(
                host_of(answer.url),
                "it shows a captcha: it wants no more requests from here",
                "",
                "Run the same command again later, with a longer --delay-seconds; what is collected is kept.",
            )
        if answer.status in _BUSY:
            raise Busy(f"status {answer.status}", read_retry_after(answer.headers.get("retry-after")))
        if answer.status not in (200, 304):
            raise NotFetched(f"status {answer.status}", is_final=True)

    def _pace(self, url: str) -> None:
        """Wait for the host's turn."""
        parts = urlsplit(url)
        robots = self._robots.get(f"{parts.scheme}://{parts.netloc}")
        delay = max(self.config.delay_seconds, robots.delay_seconds if robots else 0.0)
        host = self._host(url)
        now = time.monotonic()
        if host.free_at > now:
            self._pass_time(host.free_at - now, "")
        host.free_at = time.monotonic() + delay * (1 + self.config.jitter * self._random.random())

    def _back_off(self, url: str, busy: Busy, attempt: int) -> None:
        """Wait as long as the host asks, or longer each time; give up in the end."""
        host = self._host(url)
        if busy.after is not None and busy.after > self.config.max_wait_seconds:
            host.refusal = f"it asks to wait {busy.after:,.0f} seconds ({busy.reason}), longer than max_wait_seconds"
            raise HostRefusesError(
                host_of(url), host.refusal, "", "Run the same command again then; what is collected is kept."
            )
        if attempt == self.config.max_retries:
            host.num_failures += 1
            if busy.reason == "status 429" or host.num_failures >= self.config.max_failures:
                host.refusal = f"it does not answer: {busy.reason}, {host.num_failures} times in a row"
                raise HostRefusesError(
                    host_of(url), host.refusal, "", "Run the same command again later; what is collected is kept."
                )
            raise NotFetched(busy.reason, is_final=False) from busy
        growing = min(self.config.back_off_seconds * 2**attempt, self.config.max_wait_seconds)
        seconds = busy.after if busy.after is not None else growing
        seconds += growing * self.config.jitter * self._random.random()
        self._count(retries=1)
        self._pass_time(seconds, f"{host_of(url)}: {busy.reason}")

    def _pass_time(self, seconds: float, reason: str) -> None:
        self._count(seconds_waited=seconds)
        self.wait(seconds, reason)

    def _count(self, *, requests: int = 0, retries: int = 0, num_bytes: int = 0, seconds_waited: float = 0.0) -> None:
        with self._counting:
            self.traffic.requests += requests
            self.traffic.retries += retries
            self.traffic.bytes += num_bytes
            self.traffic.seconds_waited += seconds_waited


@functools.cache
def _make_ssl_context() -> ssl.SSLContext:
    """The certificates that are trusted; to read them takes longer than a request."""
    return httpx.create_ssl_context()


def _read_location(answer: Answer) -> str:
    """Where a redirect leads."""
    try:
        target = urljoin(answer.url, answer.headers.get("location", ""))
        if urlsplit(target).scheme in ("http", "https") and host_of(target):
            return target
    except ValueError:
        pass
    raise refuse("a redirect to what is no address of the web")


def _is_captcha(answer: Answer) -> bool:
    """Tell a page that only asks whether a person reads it; articles may have a captcha in the form of their comments."""
    if answer.status not in (200, 403, 429, 503) or answer.kind != "text/html" or len(answer.body) > 200_000:
        return False
    return any(sign in answer.body for sign in _CAPTCHAS) and (answer.status != 200 or answer.body.count(b"<p") < 2)
