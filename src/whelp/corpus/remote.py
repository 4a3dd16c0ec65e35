"""Files behind URLs: fetched once into the cache folder, then read as local files.

`http` and `https` need nothing else; `s3`, `gs`, `memory` and so on need the package fsspec, and its plugin of that name.
"""

from __future__ import annotations

import json
import posixpath
import re
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import unquote, urlsplit, urlunsplit

from whelp.base.errors import MissingExtraError, SourceError, say_first_line
from whelp.base.files import write_json
from whelp.base.hashing import hash_bytes
from whelp.base.log import log
from whelp.corpus.borrowed import Borrowed, NotWantedError, keep_copy
from whelp.corpus.cache import find_cache_folder, write_cached
from whelp.corpus.config import SourceConfig
from whelp.corpus.find_files import FoundFile, SkippedFile

_WEB = ("http", "https")
_BLOCK_BYTES = 1 << 20
_TIMEOUT_SECONDS = 60
_LOG_SECONDS = 10.0
_BUSY = (429, 500, 502, 503, 504)
_BUSY_WAITS = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0)  # seconds
_IDENTITY_KEYS = ("etag", "ETag", "md5Hash", "checksum", "LastModified", "last_modified", "mtime", "created")
_ABOUT = "about.json"
_PACKAGES = {  # of stores whose protocol does not say which package brings it
    **dict.fromkeys(("s3", "s3a"), "s3fs"),
    **dict.fromkeys(("gs", "gcs"), "gcsfs"),
    **dict.fromkeys(("az", "abfs", "abfss", "adl"), "adlfs"),
    **dict.fromkeys(("sftp", "ssh"), "paramiko"),
    "smb": "smbprotocol",
    "oci": "ocifs",
    "oss": "ossfs",
    "hf": "huggingface_hub",
}
_AGENT = {"User-Agent": "whelp", "Accept-Encoding": "identity"}


@dataclass(frozen=True)
class _RemoteFile:
    """`identity` is what the other side says of this version; empty when it says nothing."""

    url: str
    num_bytes: int | None
    identity: str


class _Remote(Protocol):
    def list_files(self, url: str) -> tuple[list[_RemoteFile], bool]:
        """The files that a URL stands for, and whether it names one."""
        ...

    def iter_blocks(self, file: _RemoteFile) -> Iterator[bytes]: ...


class _Web:
    """Pages of the web; a URL is one file."""

    def list_files(self, url: str) -> tuple[list[_RemoteFile], bool]:
        with _open(url) as reply:
            size = reply.headers.get("Content-Length")
            identity = reply.headers.get("ETag") or reply.headers.get("Last-Modified") or ""
            return [_RemoteFile(url, int(size) if size else None, identity)], True

    def iter_blocks(self, file: _RemoteFile) -> Iterator[bytes]:
        with _open(file.url) as reply:
            while block := reply.read(_BLOCK_BYTES):
                yield block


def _open(url: str) -> Any:
    """Ask for a page; a server that is too busy is asked again, after ever longer waits."""
    request = urllib.request.Request(url, headers=_AGENT)
    for wait_seconds in (*_BUSY_WAITS, None):
        try:
            return urllib.request.urlopen(request, timeout=_TIMEOUT_SECONDS)
        except urllib.error.HTTPError as error:
            error.close()
            if error.code not in _BUSY or wait_seconds is None:
                raise
            log.info("%s: the server is busy (%s); asking again in %g s", show_url(url), error.code, wait_seconds)
        time.sleep(wait_seconds)
    raise AssertionError("the last attempt returns or raises")


class _Store:
    """Object stores and whatever else fsspec knows; a URL may be a folder or a glob."""

    def __init__(self, url: str, options: dict[str, Any]) -> None:
        scheme = urlsplit(url).scheme.lower()
        package = _PACKAGES.get(scheme, "")
        try:
            import fsspec
        except ImportError:
            extra = "hub" if scheme == "hf" else "remote"
            raise MissingExtraError(show_url(url), "fsspec", extra, other="" if scheme == "hf" else package) from None
        try:
            self._system, _ = fsspec.core.url_to_fs(url, **options)
        except ImportError as error:  # its cause is the import of what the store needs
            package = package or str(getattr(error.__cause__ or error, "name", None) or "")
            if not package:
                raise
            raise _lacks_package(url, package) from None
        except ValueError:
            if scheme in fsspec.available_protocols():
                raise
            if package:  # it brings the protocol along
                raise _lacks_package(url, package) from None
            expected = "an address of the web (https://), or of a store: s3://, gs://, az://, hf:// and others of fsspec"
            raise SourceError(show_url(url), f"no kind of store is called {scheme}", expected, "Check the spelling.") from None

    def list_files(self, url: str) -> tuple[list[_RemoteFile], bool]:
        path = self._system._strip_protocol(url)
        if self._system.isfile(path):
            return [self._describe(self._system.info(path))], True
        found = self._system.glob(path, detail=True) if any(sign in path for sign in "*?[") else {}
        if self._system.isdir(path):
            found = self._system.find(path, detail=True)
        return [self._describe(info) for _, info in sorted(found.items()) if info["type"] == "file"], False

    def _describe(self, info: dict[str, Any]) -> _RemoteFile:
        identity = "; ".join(f"{key}={info[key]}" for key in _IDENTITY_KEYS if info.get(key) is not None)
        return _RemoteFile(self._system.unstrip_protocol(info["name"]), info.get("size"), identity)

    def iter_blocks(self, file: _RemoteFile) -> Iterator[bytes]:
        with self._system.open(self._system._strip_protocol(file.url), "rb") as handle:
            while block := handle.read(_BLOCK_BYTES):
                yield block


def find_remote(
    url: str, config: SourceConfig, *, is_named: bool, borrowed: Borrowed | None = None
) -> tuple[list[FoundFile], list[SkippedFile]]:
    """Fetch what is behind a URL, except what was fetched before and has not changed.

    Args:
        borrowed: Takes the copy of the one file, which is not kept then.

    Raises:
        SourceError: When it cannot be fetched and was not before, or when nothing is there.
        MissingExtraError: When a package is needed for it.
    """
    shown = show_url(url)
    options = config.source_dataset_params.get("storage_options") or {}
    remote: _Remote
    try:
        remote = _Web() if urlsplit(url).scheme.lower() in _WEB else _Store(url, options)
        files, is_one = remote.list_files(url)
    except (MissingExtraError, SourceError):
        raise
    except Exception as error:  # of any kind: each store has errors of its own
        _take(_choose_path(url), borrowed)
        kept = find_copy(url)
        if kept is None:
            raise _cannot_fetch(shown, error) from error
        log.warning("%s: cannot be reached (%s); what was fetched before is read", shown, _say(error))
        return [FoundFile(kept, is_named, label=shown)], []
    if not files:
        raise SourceError(shown, "nothing is there", "a file, a folder or a glob with files", "Check the spelling.")
    wanted, skipped = [], []
    for file in files:
        kind = None if is_one else _why_not(file, config)
        if kind is None:
            wanted.append(file)
        else:
            skipped.append(SkippedFile(show_url(file.url), f"not read ({kind})", kind))
    found = [FoundFile(_fetch(remote, file, borrowed), is_named and is_one, label=show_url(file.url)) for file in wanted]
    return found, skipped


def find_copy(url: str) -> Path | None:
    """The copy of a file from before; None where there is none."""
    path = _choose_path(url)
    return path if path.is_file() and _read_about(path) else None


def show_url(url: str) -> str:
    """A URL for people and manifests: without a password, and without what is asked, which may hold a key.

    >>> show_url("https://me:secret@host/a%20b.txt?key=1")
    'https://host/a%20b.txt'
    """
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    return urlunsplit((parts.scheme, host, parts.path, "", "")) if parts.scheme.lower() in _WEB or "@" in parts.netloc else url


def _why_not(file: _RemoteFile, config: SourceConfig) -> str | None:
    name = posixpath.basename(file.url)
    if name.startswith("."):
        return "hidden"
    suffixes = tuple(suffix.lower() for suffix in config.include_suffixes or [])
    return "other suffix" if suffixes and not name.lower().endswith(suffixes) else None


def _take(path: Path, borrowed: Borrowed | None) -> None:
    if borrowed is None:
        keep_copy(path)
    else:
        borrowed.take(path)


def _fetch(remote: _Remote, file: _RemoteFile, borrowed: Borrowed | None) -> Path:
    """The local copy of a file: the one there is, when it is this version, else a new one."""
    shown = show_url(file.url)
    path = _choose_path(file.url)
    about = {"url": shown, "identity": file.identity}
    _take(path, borrowed)
    if path.is_file():
        before = _read_about(path)
        is_same = before.get("identity") == file.identity and file.num_bytes in (None, path.stat().st_size)
        if is_same and (file.identity or file.num_bytes is not None):
            return path
    size = "" if file.num_bytes is None else f" ({file.num_bytes:,} bytes)"
    log.info("%s: fetching%s", shown, size)
    num_bytes = write_cached(path, _log_progress(_while_wanted(remote.iter_blocks(file), borrowed), shown, file.num_bytes))
    if file.num_bytes not in (None, num_bytes):
        path.unlink()
        found = f"only {num_bytes:,} of {file.num_bytes:,} bytes came"
        raise SourceError(shown, found, "the whole file", "Run the same command again: files that came whole are kept.")
    write_json(path.with_name(_ABOUT), about)
    return path


def _choose_path(url: str) -> Path:
    """Where a file is kept: by its URL, and by its name, which says what is inside."""
    name = re.sub(r"[^\w.-]", "_", unquote(posixpath.basename(urlsplit(url).path)))[-100:].lstrip(".") or "file"
    return find_cache_folder() / "files" / hash_bytes(url.encode()) / name


def _read_about(path: Path) -> dict[str, Any]:
    try:
        return dict(json.loads(path.with_name(_ABOUT).read_text(encoding="utf-8")))
    except (OSError, ValueError):
        return {}


def _while_wanted(blocks: Iterator[bytes], borrowed: Borrowed | None) -> Iterator[bytes]:
    for block in blocks:
        if borrowed is not None:
            borrowed.check()
        yield block


def _log_progress(blocks: Iterator[bytes], shown: str, whole: int | None) -> Iterator[bytes]:
    num_bytes, last = 0, time.monotonic()
    while True:
        try:
            block = next(blocks, b"")
        except NotWantedError:
            raise
        except Exception as error:  # of any kind, but none of the disk that is written to
            raise _cannot_fetch(shown, error) from error
        if not block:
            return
        yield block
        num_bytes += len(block)
        if time.monotonic() - last > _LOG_SECONDS:
            last = time.monotonic()
            log.info("%s: %s bytes so far%s", shown, f"{num_bytes:,}", "" if whole is None else f" of {whole:,}")


def _cannot_fetch(shown: str, error: Exception) -> SourceError:
    scheme = urlsplit(shown).scheme.lower()
    next_step = "Check the address and the network."
    if scheme not in _WEB:
        next_step = (
            "Check the address, the network, and the credentials: the environment has them, or "
            "data.source_dataset_params={storage_options: {...}}."
        )
    if scheme == "hf":
        next_step += " A file of a dataset is hf://datasets/ORG/NAME/FILE, a whole dataset hf:ORG/NAME."
    return SourceError(shown, f"cannot be fetched ({_say(error)})", "a file that can be reached", next_step)


def _lacks_package(url: str, package: str) -> MissingExtraError:
    is_of_hub = package == "huggingface_hub"
    return MissingExtraError(show_url(url), package, "hub" if is_of_hub else "", other="" if is_of_hub else package)


def _say(error: Exception) -> str:
    if isinstance(error, urllib.error.HTTPError):
        return f"{error.code} {error.reason}"
    if isinstance(error, urllib.error.URLError):
        return str(error.reason)
    return say_first_line(error)
