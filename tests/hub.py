"""A hub of models and data sets for tests: what its library asks of one, answered from memory, as the real one answers.

Repositories have kinds, owners, branches and commits; small files are blobs of git, others large ones, which are sent apart: as LFS has
it, or by `hf_xet` into a storage, which here is a folder. Tokens say who may write where, and
`told_of_rights` is what it tells of that. `refusals` answers chosen requests otherwise.
"""

from __future__ import annotations

import base64
import contextlib
import fnmatch
import hashlib
import json
import re
import struct
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

WRITER, READER = "hf_of_ada", "hf_of_a_guest"
_TOKENS = {WRITER: ("ada", {"ada", "herd"}), READER: ("guest", set[str]())}
_KINDS = {"models": "model", "datasets": "dataset", "spaces": "space"}
_MESSAGES = {404: "Repository not found", 401: "Invalid username or password."}
LARGE_SUFFIXES = (".safetensors", ".gguf", ".onnx", ".arrow", ".parquet")

_XET_ENTRY_BYTES = 48
_IS_VERIFIED, _HAS_METADATA = 1 << 31, 1 << 30


@dataclass(frozen=True)
class Large:
    """What a commit says of a large file."""

    digest: str
    num_bytes: int


Files = Mapping[str, bytes | Large]


@dataclass
class Repository:
    """Its commits, each with all files, and the branches that lead to them."""

    is_private: bool
    commits: dict[str, Files] = field(default_factory=dict)
    messages: list[str] = field(default_factory=list)
    branches: dict[str, str] = field(default_factory=dict)

    def commit(self, branch: str, files: Files, message: str) -> str:
        """Let a branch lead to these files."""
        made = hashlib.sha1(repr([*self.messages, message, sorted(files.items())]).encode()).hexdigest()
        self.commits[made] = files
        self.messages.append(message)
        self.branches[branch] = made
        return made

    def files(self, revision: str = "main") -> Files:
        """What a branch or a commit holds, without what the hub itself puts there."""
        found = self.commits[self.branches.get(revision, revision)]
        return {name: content for name, content in found.items() if name != ".gitattributes"}


class Hub:
    """The server; `asked` has every request, `sent` the large files that came, by their hash."""

    def __init__(self, storage: Path | None = None) -> None:
        self.storage = storage
        self.repositories: dict[tuple[str, str], Repository] = {}
        self.large: dict[str, bytes] = {}
        self.sent: list[str] = []
        self.asked: list[str] = []
        self.refusals: list[tuple[str, int, str]] = []
        self.cut_uploads = 0
        self.told_of_rights: dict[str, Any] | None = None
        self.card_problems: list[dict[str, str]] = []
        self.endpoint = ""
        self._lock = threading.Lock()

    def make(self, name: str, *, kind: str = "model", private: bool = False, files: Files | None = None) -> Repository:
        """A repository as somebody made it before."""
        made = self.repositories[kind, name] = Repository(private)
        first: dict[str, bytes | Large] = {".gitattributes": b"*.safetensors filter=lfs\n"}
        for path, content in (files or {}).items():
            assert isinstance(content, bytes)
            first[path] = self._keep(content) if path.endswith(LARGE_SUFFIXES) else content
        made.commit("main", first, "initial commit")
        return made

    def read(self, name: str, revision: str = "main", kind: str = "model") -> dict[str, bytes]:
        """The bytes of every file, without what the hub itself puts there."""
        files = self.repositories[kind, name].files(revision)
        return {path: content if isinstance(content, bytes) else self.large[content.digest] for path, content in files.items()}

    def _keep(self, content: bytes) -> Large:
        digest = hashlib.sha256(content).hexdigest()
        self.large[digest] = content
        return Large(digest, len(content))

    def answer(self, method: str, path: str, token: str | None, body: bytes) -> tuple[int, dict[str, str], bytes]:
        """Status, headers and body for a request."""
        with self._lock:
            self.asked.append(f"{method} {path}")
            for pattern, status, message in self.refusals:
                if re.search(pattern, f"{method} {path}"):
                    return _fail(status, message)
            if token is not None and token not in _TOKENS:
                return _fail(401, "Invalid credentials in Authorization header")
            return self._route(method, path, token, body)

    def _route(self, method: str, path: str, token: str | None, body: bytes) -> tuple[int, dict[str, str], bytes]:
        if path == "/api/whoami-v2":
            return self._say_who(token) if token else _fail(401, _MESSAGES[401])
        if path == "/api/validate-yaml":
            status = 400 if self.card_problems else 200
            return _say({"errors": self.card_problems, "warnings": []}, status)
        if path == "/api/repos/create":
            return self._create(token, json.loads(body))
        if found := re.fullmatch(r"/large/([0-9a-f]{64})", path):
            return self._store(found.group(1), body)
        if found := re.fullmatch(r"/(datasets/)?([^/]+/[^/]+)\.git/info/lfs/objects/batch", path):
            return self._say_where_to_send(json.loads(body))
        if found := re.fullmatch(r"/api/(models|datasets|spaces)/([^/]+/[^/]+)(?:/([\w-]+)/([^/]+))?", path):
            kind, name, verb, revision = found.groups()
            return self._ask_repository(_KINDS[kind], name, verb, unquote(revision or "main"), token, body)
        if found := re.fullmatch(r"/(datasets/)?([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path):
            prefix, name, revision, file = found.groups()
            return self._resolve("dataset" if prefix else "model", name, unquote(revision), unquote(file), token)
        return _fail(404, f"{method} {path} is not known here")

    def _say_who(self, token: str) -> tuple[int, dict[str, str], bytes]:
        """The user, and as much of their rights as this hub tells."""
        user, _ = _TOKENS[token]
        return _say({"name": user, "type": "user", **(self.told_of_rights or {})})

    def _find(self, kind: str, name: str, token: str | None) -> Repository | None:
        found = self.repositories.get((kind, name))
        is_seen = found is not None and (not found.is_private or _may_write(token, name))
        return found if is_seen else None

    def _create(self, token: str | None, wish: dict[str, Any]) -> tuple[int, dict[str, str], bytes]:
        owner = wish.get("organization") or (_TOKENS[token][0] if token else "")
        name, kind = f"{owner}/{wish['name']}", wish.get("type") or "model"
        if not _may_write(token, name):
            return _fail(403, f'You don\'t have the rights to create a {kind} under the namespace "{owner}"')
        if (kind, name) in self.repositories:
            return _fail(409, "You already created this model repo")
        self.make(name, kind=kind, private=wish.get("visibility") == "private" or bool(wish.get("private")))
        return _say({"url": f"{self.endpoint}/{'datasets/' * (kind == 'dataset')}{name}", "id": "1"})

    def _ask_repository(
        self, kind: str, name: str, verb: str | None, revision: str, token: str | None, body: bytes
    ) -> tuple[int, dict[str, str], bytes]:
        found = self._find(kind, name, token)
        if found is None:
            return _fail(404 if token else 401, _MESSAGES[404 if token else 401], "RepoNotFound" if token else "")
        if verb in ("branch", "commit", "preupload", "xet-write-token") and not _may_write(token, name):
            return _fail(403, f"you must have write access to {name}")
        if verb in ("xet-write-token", "xet-read-token"):
            return self._open_storage()
        if verb == "branch":
            if revision in found.branches:
                return _fail(409, "Reference already exists")
            found.branches[revision] = found.branches["main"]
            return _say({})
        if revision not in found.branches and revision not in found.commits:
            return _fail(404, f"Invalid rev id: {revision}", "RevisionNotFound")
        commit = found.branches.get(revision, revision)
        files = found.commits[commit]
        if verb in (None, "revision"):
            siblings = [{"rfilename": path} for path in files]
            return _say(
                {"id": name, "sha": commit, "private": found.is_private, "siblings": siblings, "tags": [], "author": "x"}
            )
        if verb == "tree":
            return _say([_describe(path, content) for path, content in sorted(files.items())])
        if verb == "preupload":
            ignored = files.get(".gitignore", b"").decode().split()
            return _say({"files": [_say_how(one, files, ignored) for one in json.loads(body)["files"]]})
        assert verb == "commit", verb
        return self._commit(found, name, revision, body)

    def _open_storage(self) -> tuple[int, dict[str, str], bytes]:
        where, token, end = f"local://{self.storage}", "a token", int(time.time()) + 3600
        status, headers, content = _say({"accessToken": token, "exp": end, "casUrl": where})
        told = {"X-Xet-Cas-Url": where, "X-Xet-Access-Token": token, "X-Xet-Token-Expiration": str(end)}
        return status, {**headers, **told}, content

    def _commit(self, found: Repository, name: str, branch: str, body: bytes) -> tuple[int, dict[str, str], bytes]:
        lines = [json.loads(line) for line in body.splitlines()]
        header, files = lines[0]["value"], dict(found.commits[found.branches[branch]])
        if header.get("parentCommit") not in (None, found.branches[branch]):
            return _fail(412, "A commit has happened since. Please refresh and try again.")
        for line in lines[1:]:
            value = line["value"]
            if line["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "deletedFile":
                del files[value["path"]]
            else:
                assert line["key"] == "lfsFile", line
                if value["oid"] not in {**self.large, **self._list_stored()}:
                    return _fail(400, f"LFS pointer points to a file that does not exist: {value['oid']}")
                files[value["path"]] = Large(value["oid"], value["size"])
        made = found.commit(branch, files, header["summary"])
        return _say(
            {"success": True, "commitOid": made, "commitUrl": f"{self.endpoint}/{name}/commit/{made}", "hookOutput": ""}
        )

    def _say_where_to_send(self, wish: dict[str, Any]) -> tuple[int, dict[str, str], bytes]:
        objects = []
        for one in wish["objects"]:
            if one["oid"] not in self.large:
                one = {**one, "actions": {"upload": {"href": f"{self.endpoint}/large/{one['oid']}"}}}
            objects.append(one)
        return _say({"transfer": "basic", "objects": objects})

    def _store(self, digest: str, content: bytes) -> tuple[int, dict[str, str], bytes]:
        if self.cut_uploads:
            self.cut_uploads -= 1
            raise ConnectionAbortedError
        assert self._keep(content).digest == digest
        self.sent.append(digest)
        return 200, {}, b""

    def _resolve(self, kind: str, name: str, revision: str, file: str, token: str | None) -> tuple[int, dict[str, str], bytes]:
        found = self._find(kind, name, token)
        if found is None:
            return _fail(404, _MESSAGES[404], "RepoNotFound")
        commit = found.branches.get(revision, revision)
        content = found.commits[commit].get(file)
        if content is None:
            return _fail(404, "Entry not found", "EntryNotFound")
        if isinstance(content, bytes):
            return 200, {"ETag": f'"{_describe(file, content)["oid"]}"', "X-Repo-Commit": commit}, content
        headers = {"ETag": f'"{content.digest}"', "X-Repo-Commit": commit}
        stored = self._list_stored().get(content.digest)
        if stored is None:
            return 200, headers, self.large[content.digest]
        route = f"{self.endpoint}/api/{kind}s/{name}/xet-read-token/{commit}"
        linked = {"X-Linked-Size": str(content.num_bytes), "X-Linked-Etag": headers["ETag"]}
        return 200, {**headers, **linked, "X-Xet-Hash": stored, "X-Xet-Refresh-Route": route}, b""

    def _list_stored(self) -> dict[str, str]:
        """The files in the storage: what it calls them, by their SHA-256. Its lists ("shards") have entries of 48 bytes."""
        found = {}
        for path in sorted(self.storage.rglob("shards/*.mdb")) if self.storage is not None else ():
            data, place = path.read_bytes(), _XET_ENTRY_BYTES
            while (name := data[place : place + 32]) != b"\xff" * 32:
                flags, count = struct.unpack_from("<II", data, place + 32)
                place += _XET_ENTRY_BYTES * (1 + count * (2 if flags & _IS_VERIFIED else 1))
                assert flags & _HAS_METADATA, flags
                found[_write_hash(data[place : place + 32])] = _write_hash(name)
                place += _XET_ENTRY_BYTES
        return found


def _may_write(token: str | None, name: str) -> bool:
    return token is not None and name.partition("/")[0] in _TOKENS[token][1]


def _say_how(one: dict[str, Any], files: Files, ignored: list[str]) -> dict[str, Any]:
    """Whether a file is to be sent apart, and whether it is to be sent at all."""
    is_large = one["path"].endswith(LARGE_SUFFIXES)
    there = {"oid": _describe(one["path"], files[one["path"]])["oid"]} if one["path"] in files else {}
    is_ignored = any(fnmatch.fnmatch(one["path"], pattern) for pattern in ignored)
    return {"path": one["path"], "uploadMode": "lfs" if is_large else "regular", "shouldIgnore": is_ignored, **there}


def _write_hash(name: bytes) -> str:
    """The storage's hashes are four numbers."""
    return "".join(f"{number:016x}" for number in struct.unpack("<4Q", name))


def _describe(path: str, content: bytes | Large) -> dict[str, Any]:
    about: dict[str, Any] = {"type": "file", "path": path}
    if isinstance(content, Large):
        lfs = {"oid": content.digest, "size": content.num_bytes, "pointerSize": 134}
        return {**about, "size": content.num_bytes, "oid": content.digest, "lfs": lfs}
    return {**about, "size": len(content), "oid": hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()}


def _say(value: object, status: int = 200) -> tuple[int, dict[str, str], bytes]:
    return status, {"Content-Type": "application/json"}, json.dumps(value).encode()


def _fail(status: int, message: str, code: str = "") -> tuple[int, dict[str, str], bytes]:
    headers = {"Content-Type": "application/json", "X-Error-Message": message}
    if code:
        headers["X-Error-Code"] = code
    return status, headers, json.dumps({"error": message}).encode()


@contextlib.contextmanager
def open_hub(storage: Path | None = None) -> Iterator[Hub]:
    """A hub that answers at `endpoint`, until the end; `storage` is where `hf_xet` keeps large files."""
    hub = Hub(storage)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _serve(self) -> None:
            body = self._read_body()
            token = (self.headers.get("Authorization") or "").removeprefix("Bearer ") or None
            try:
                status, headers, content = hub.answer(self.command, urlsplit(self.path).path, token, body)
            except ConnectionAbortedError:
                self.close_connection = True
                return
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(content)

        def _read_body(self) -> bytes:
            if self.headers.get("Transfer-Encoding", "") != "chunked":
                return self.rfile.read(int(self.headers.get("Content-Length") or 0))
            pieces = []
            while size := int(self.rfile.readline(), 16):
                pieces.append(self.rfile.read(size))
                self.rfile.readline()
            self.rfile.readline()
            return b"".join(pieces)

        do_GET = do_HEAD = do_POST = do_PUT = _serve

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    hub.endpoint = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
