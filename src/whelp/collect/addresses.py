"""Addresses: one spelling for each, and which ones of the network are nobody's business."""

from __future__ import annotations

import ipaddress
import re
import socket
import typing
from collections.abc import Collection, Iterable
from urllib.parse import quote, urlsplit, urlunsplit

import httpcore

_PORTS = {"http": 80, "https": 443}
_TRANSLATED = ipaddress.ip_network("64:ff9b::/96")  # RFC 6052
_TRACKING = ("utm_", "mc_", "pk_")
_TRACKING_NAMES = frozenset({"fbclid", "gclid", "dclid", "msclkid", "yclid", "igshid", "ref_src"})
_SAFE = "/?:@!$&'()*+,;=~-._%"


class PrivateAddressError(Exception):
    """A host's address is private, and nobody has allowed it."""


def normalise_url(url: str) -> str:
    """Spell an address in one way, so that the same page is asked for once.

    Scheme and host in lower case, no default port, no fragment, no parameters that only track readers, and escapes only
    where they are needed.

    >>> normalise_url("HTTP://Example.org:80/a%7Eb/?utm_source=x&q=1#top")
    'http://example.org/a~b/?q=1'

    Raises:
        ValueError: When it is no address of the web.
    """
    parts = urlsplit(url.strip())
    scheme = parts.scheme.lower()
    if scheme not in _PORTS or not parts.hostname:
        raise ValueError(f"{url!r} is no address of the web")
    host = parts.hostname.encode("idna").decode() if not parts.hostname.isascii() else parts.hostname
    host = f"[{host}]" if ":" in host else host
    port = "" if parts.port in (None, _PORTS[scheme]) else f":{parts.port}"
    query = "&".join(pair for pair in parts.query.split("&") if not _is_tracking(pair.partition("=")[0]))
    return urlunsplit((scheme, host + port, _escape(parts.path) or "/", _escape(query), ""))


def _is_tracking(name: str) -> bool:
    return name in _TRACKING_NAMES or name.startswith(_TRACKING)


def _escape(text: str) -> str:
    """Escape what must be, and only that: `%7E` is `~`, but `%2F` is no `/`."""

    def spell(match: re.Match[str]) -> str:
        character = chr(int(match[1], 16))
        return character if character.isascii() and (character.isalnum() or character in "-._~") else match[0].upper()

    return quote(re.sub("%([0-9A-Fa-f]{2})", spell, text), safe=_SAFE)


def host_of(url: str) -> str:
    """The host of an address, with its port where that is not the usual one.   https://Example.org:8443/a -> example.org:8443"""
    parts = urlsplit(url)
    host = (parts.hostname or "").lower()
    return host if parts.port in (None, _PORTS.get(parts.scheme.lower())) else f"{host}:{parts.port}"


def is_public(address: str) -> bool:
    """Tell whether an IP address is one of the open internet."""
    number = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(number, ipaddress.IPv6Address):  # what other addresses stand for
        inside = ipaddress.IPv4Address(int(number) & 0xFFFFFFFF) if number in _TRANSLATED else None
        number = number.ipv4_mapped or number.sixtofour or inside or number
    return number.is_global and not number.is_multicast


class CheckedNetwork(httpcore.NetworkBackend):
    """Connects to public addresses only.

    The very address that was checked is connected to: a name that is resolved again for the connection could have become
    a private one in between.
    """

    def __init__(self, allow_private: Collection[str]) -> None:
        self._allowed = {host.lower() for host in allow_private}
        self._network = httpcore.SyncBackend()

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[typing.Any] | None = None,
    ) -> httpcore.NetworkStream:
        """Resolve, check, connect.

        Raises:
            PrivateAddressError: When any address of the host is private.
        """
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError) as error:
            raise httpcore.ConnectError(f"the name {host} has no address ({error})") from error
        addresses = list(dict.fromkeys(str(entry[4][0]) for entry in found))
        if host.lower() not in self._allowed and f"{host.lower()}:{port}" not in self._allowed:
            for address in addresses:
                if not is_public(address):
                    raise PrivateAddressError(f"{host} has the private address {address}")
        last: Exception = httpcore.ConnectError(f"the name {host} has no address")
        for address in addresses:
            try:
                return self._network.connect_tcp(address, port, timeout, local_address, socket_options)
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as failed:
                last = failed
        raise last
