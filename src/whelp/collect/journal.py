"""The journal of a collection: what was asked, what each address came to, and the documents so far.

One SQLite file beside the output, written in transactions: a collection that is killed goes on from its last document, with
nothing twice and nothing missing. It holds no passwords or keys.
"""

from __future__ import annotations

import json
import sqlite3
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from whelp.base.errors import ArtifactError, ConfigError, DiskError, say_first_line
from whelp.base.files import TAKEN
from whelp.collect.document import Document, make_line

Fate = Literal["kept", "skipped", "failed"]
_VERSION = 1
_TABLES = """
CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE answers (address TEXT PRIMARY KEY, round INTEGER, etag TEXT, modified TEXT, body BLOB NOT NULL);
CREATE TABLE items (
    key TEXT PRIMARY KEY, round INTEGER NOT NULL, position INTEGER NOT NULL, fate TEXT NOT NULL, reason TEXT NOT NULL,
    is_final INTEGER NOT NULL, document_key TEXT, line BLOB, etag TEXT, modified TEXT
);
CREATE UNIQUE INDEX documents ON items (document_key) WHERE fate = 'kept';
"""


@dataclass(frozen=True)
class Validators:
    """What a server gave to ask whether something has changed since."""

    etag: str | None = None
    modified: str | None = None

    def headers(self) -> dict[str, str]:
        """The headers of a conditional request; none without validators."""
        named = {"If-None-Match": self.etag, "If-Modified-Since": self.modified}
        return {name: value for name, value in named.items() if value}


class Journal:
    """Opens or begins the journal of a collection.

    Args:
        path: The file.
        request: What is collected. A journal that was begun for something else is refused.

    Raises:
        ConfigError: When the journal is of another request.
        ArtifactError: When it is no journal, or another process writes it.
    """

    def __init__(self, path: Path, request: Mapping[str, Any]) -> None:
        self.path = path
        try:
            self._base = sqlite3.connect(path, isolation_level=None, timeout=0.0)
            self._base.execute("PRAGMA locking_mode = EXCLUSIVE")
            self._base.execute("PRAGMA journal_mode = WAL")
            self._base.execute("PRAGMA synchronous = NORMAL")  # after a power cut the last documents may be fetched again
            self._base.execute("BEGIN EXCLUSIVE")  # a second collection into the same file ends here
            self._begin(json.dumps(request, sort_keys=True))
            self._base.execute("COMMIT")
        except sqlite3.OperationalError as error:
            if "locked" not in str(error):
                raise ArtifactError(path, f"cannot be opened ({say_first_line(error)})", "", "Choose another --out.") from None
            raise ArtifactError(path, *TAKEN) from None
        except sqlite3.DatabaseError:
            raise ArtifactError(
                path,
                "is damaged or no journal",
                "the journal of a collection",
                "Delete it to begin anew, or choose another --out.",
            ) from None

    def _begin(self, request: str) -> None:
        tables = {name for (name,) in self._run("SELECT name FROM sqlite_master")}
        if not tables:
            for statement in _TABLES.split(";"):
                self._run(statement)
            self._set("version", str(_VERSION))
            self._set("request", request)
            self._set("round", "0")
            self._set("state", "begun")
        if "meta" not in tables and tables:
            raise sqlite3.DatabaseError
        if self._get("version") != str(_VERSION):
            raise ArtifactError(
                self.path, "is of another version of whelp", "", "Choose another --out, or delete it to begin anew."
            )
        if self._get("request") != request:
            problems = _differences(json.loads(self._get("request")), json.loads(request))
            raise ConfigError(self.path, problems, "Choose another --out, or delete this journal to begin anew.")
        self.round = int(self._get("round"))

    def _run(self, statement: str, values: Sequence[Any] = ()) -> sqlite3.Cursor:
        try:
            return self._base.execute(statement, values)
        except sqlite3.OperationalError as error:
            if "full" in str(error):
                raise DiskError(
                    self.path, "the disk is full", "free space", "Free some; then run the same command again."
                ) from None
            raise DiskError(
                self.path, f"cannot be written ({say_first_line(error)})", "", "Run the same command again."
            ) from None

    def _get(self, name: str) -> str:
        return str(self._run("SELECT value FROM meta WHERE name = ?", (name,)).fetchone()[0])

    def _set(self, name: str, value: str) -> None:
        self._run("INSERT OR REPLACE INTO meta VALUES (?, ?)", (name, value))

    @property
    def is_finished(self) -> bool:
        """Whether the collection has come to its end."""
        return self._get("state") == "finished"

    def begin_round(self) -> None:
        """Ask for everything once more: what has not changed since stays as it is, what has changed is replaced."""
        self._run("BEGIN")
        self.round += 1
        self._set("round", str(self.round))
        self._set("state", "begun")
        self._run("COMMIT")

    def forget_failures(self) -> None:
        """Forget what may be had now: it will be asked for again."""
        self._run("DELETE FROM items WHERE round = ? AND NOT is_final AND fate != 'kept'", (self.round,))

    def mark(self, state: Literal["begun", "finished"]) -> None:
        """Say whether the collection has come to its end."""
        self._set("state", state)

    def close(self) -> None:
        """Close the file."""
        self._base.close()

    def find_answer(self, address: str) -> tuple[bytes, Validators, bool] | None:
        """A list that was answered: its body, validators, and whether it is of this round."""
        row = self._run("SELECT body, etag, modified, round FROM answers WHERE address = ?", (address,)).fetchone()
        return None if row is None else (zlib.decompress(row[0]), Validators(row[1], row[2]), row[3] == self.round)

    def keep_answer(self, address: str, body: bytes, validators: Validators) -> None:
        """Keep the answer of a list."""
        row = (address, self.round, validators.etag, validators.modified, zlib.compress(body))
        self._run("INSERT OR REPLACE INTO answers VALUES (?, ?, ?, ?, ?)", row)

    def find_fate(self, key: str) -> Fate | None:
        """What an item has come to in this round, for good; None when it is still to be asked for."""
        query = "SELECT fate FROM items WHERE key = ? AND round = ? AND is_final"
        row = self._run(query, (key, self.round)).fetchone()
        return None if row is None else row[0]

    def find_validators(self, key: str) -> Validators:
        """The validators of an earlier round's document."""
        row = self._run("SELECT etag, modified FROM items WHERE key = ? AND fate = 'kept'", (key,)).fetchone()
        return Validators() if row is None else Validators(row[0], row[1])

    def place(self, key: str, position: int) -> None:
        """Say where an item that is done stands in the order."""
        self._run("UPDATE items SET position = ? WHERE key = ? AND position != ?", (position, key, position))

    def keep_earlier(self, key: str, position: int, problem: str = "") -> bool:
        """Take the document of an earlier round over into this one; False when there is none.

        Args:
            problem: Why it could not be asked for; then a later run tries again.
        """
        done = self._run(
            "UPDATE items SET round = ?, position = ?, reason = ?, is_final = ? WHERE key = ? AND fate = 'kept'",
            (self.round, position, problem and f"{problem}; the earlier text is kept", not problem, key),
        )
        return done.rowcount > 0

    def record(
        self,
        key: str,
        position: int,
        fate: Fate,
        reason: str = "",
        *,
        is_final: bool = True,
        document: Document | None = None,
        document_key: str | None = None,
        validators: Validators | None = None,
    ) -> Fate:
        """Write what an item came to. A document that another address has given already is skipped.

        Args:
            is_final: Whether a later run need not ask again.
            document_key: What is the same for one document under several addresses.
        """
        line = None if document is None else zlib.compress(make_line(document))
        found = validators or Validators()
        entry = (key, self.round, position, fate, reason, is_final, document_key, line, found.etag, found.modified)
        try:
            self._run(_WRITE, entry)
        except sqlite3.IntegrityError:
            if not self._displace(document_key, position):
                fate, entry = "skipped", (*entry[:3], "skipped", SAME_DOCUMENT, True, None, None, None, None)
            self._run(_WRITE, entry)
        return fate

    def _displace(self, document_key: str | None, position: int) -> bool:
        """Make room for a document that another address holds, if that is of an earlier round or was found later.

        Which address a document has must not depend on the order in which hosts have answered.
        """
        removed = self._run(
            "DELETE FROM items WHERE document_key = ? AND fate = 'kept' AND round < ?", (document_key, self.round)
        )
        moved = self._run(
            "UPDATE items SET fate = 'skipped', reason = ?, is_final = 1, document_key = NULL, line = NULL "
            "WHERE document_key = ? AND fate = 'kept' AND position > ?",
            (SAME_DOCUMENT, document_key, position),
        )
        return removed.rowcount + moved.rowcount > 0

    def count(self) -> tuple[int, dict[str, int], dict[str, int]]:
        """How many items were kept; skipped and failed ones by reason, most frequent first."""
        rows = self._run(
            "SELECT fate, reason, COUNT(*) FROM items WHERE round = ? GROUP BY fate, reason ORDER BY COUNT(*) DESC, reason",
            (self.round,),
        ).fetchall()
        kept = sum(number for fate, _, number in rows if fate == "kept")
        skipped = {reason: number for fate, reason, number in rows if fate == "skipped"}
        failed = {reason: number for fate, reason, number in rows if fate == "failed" or (fate == "kept" and reason)}
        return kept, skipped, failed

    def iter_lines(self) -> Iterator[str]:
        """The JSON lines of the documents, in the order in which they were found."""
        query = "SELECT line FROM items WHERE fate = 'kept' AND round = ? ORDER BY position, key"
        for (line,) in self._run(query, (self.round,)):
            yield zlib.decompress(line).decode()


SAME_DOCUMENT = "the same document as under another address"
_COLUMNS = ("key", "round", "position", "fate", "reason", "is_final", "document_key", "line", "etag", "modified")
_WRITE = (
    f"INSERT INTO items ({', '.join(_COLUMNS)}) VALUES ({', '.join('?' * len(_COLUMNS))}) "
    f"ON CONFLICT (key) DO UPDATE SET {', '.join(f'{name} = excluded.{name}' for name in _COLUMNS[1:])}"
)


def _differences(begun: dict[str, Any], asked: dict[str, Any]) -> list[str]:
    """What a request asks for otherwise than the one that the journal was begun with."""
    names = [name for name in {**begun, **asked} if begun.get(name) != asked.get(name)]
    return [f"was begun with {name} = {begun.get(name)!r}, not {asked.get(name)!r}" for name in names]
