"""A repository of a hub, through `huggingface_hub`: what stands there, what files would change there, and bringing them.

Which hub it is, the library decides (`HF_ENDPOINT`); whose token it takes, too (`hf auth login`, `HF_TOKEN`).
"""

from __future__ import annotations

import contextlib
import glob
import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from whelp.base.errors import ConfigError, HubError, MissingExtraError
from whelp.base.hub_problems import explain_problem, find_refusal, is_conflict, is_missing

if TYPE_CHECKING:
    from huggingface_hub import HfApi

MODEL, DATASET = "model", "dataset"
ADDED, REPLACED, UNCHANGED, REMOVED = "added", "replaced", "unchanged", "removed"
DEFAULT_BRANCH = "main"
_OF_THE_HUB = ".gitattributes"  # which it makes by itself
_PIECE_BYTES = 1 << 20


@dataclass(frozen=True)
class Remote:
    """What stands on the hub: nothing, or a repository, whose branch may be missing still.

    Attributes:
        commit: The newest of the branch, or of the one that it would begin with.
        files: By path: size in bytes, and the hash that tells whether another file has the same bytes.
    """

    is_there: bool
    has_branch: bool
    is_private: bool | None
    commit: str | None
    files: Mapping[str, tuple[int, str]]


NOTHING = Remote(is_there=False, has_branch=False, is_private=None, commit=None, files={})


class HubRepository:
    """A repository by its name, its kind (`model`, `dataset`) and a branch."""

    def __init__(self, name: str, kind: str, revision: str | None) -> None:
        try:
            from huggingface_hub import HfApi
        except ImportError:
            raise MissingExtraError(name, "huggingface-hub", "hub") from None

        _check_name(name)
        self.name, self.kind, self.revision = name, kind, revision or DEFAULT_BRANCH
        self._api: HfApi = HfApi(library_name="whelp")

    @property
    def url(self) -> str:
        """Its page."""
        prefix = "datasets/" if self.kind == DATASET else ""
        return f"{self._api.endpoint}/{prefix}{self.name}"

    @property
    def is_logged_in(self) -> bool:
        """Whether the library has a token to show."""
        from huggingface_hub import get_token

        with self._explained():
            return get_token() is not None

    def check_login(self) -> None:
        """Find out before any work whether anybody is logged in.

        Raises:
            HubError: When nobody is.
        """
        if not self.is_logged_in:
            next_step = "Run `hf auth login`, or put a token that may write into the variable HF_TOKEN."
            raise HubError(self.name, "nobody is logged in to the hub on this machine", "a token", next_step)

    def find_refusal(self) -> HubError | None:
        """Why whoever is logged in could not push there, as far as the hub tells; None where nothing speaks against it."""
        return find_refusal(self.name, self._api)

    def look(self) -> Remote:
        """What stands there now.

        Raises:
            HubError: When the hub cannot be reached, or does not answer.
        """
        with self._explained():
            info = self._find(self.kind)
            if info is None:
                return NOTHING
            branch = self._find(self.kind, self.revision)
            base = branch or info
            files = {} if base.sha is None else self._list_files(base.sha)
            return Remote(True, branch is not None, bool(info.private), base.sha, files)

    def find_other_kinds(self) -> list[str]:
        """What else has this name there: `model`, `dataset` or `space`."""
        with self._explained():
            return [kind for kind in (MODEL, DATASET, "space") if kind != self.kind and self._find(kind) is not None]

    def _find(self, kind: str, revision: str | None = None) -> Any:
        """What the hub says of a repository, of another kind, too; None where there is none, or no such branch."""
        try:
            return self._api.repo_info(self.name, repo_type=kind, revision=revision)
        except Exception as error:
            if is_missing(error):
                return None
            raise

    def _list_files(self, commit: str) -> dict[str, tuple[int, str]]:
        listed = self._api.list_repo_tree(self.name, recursive=True, revision=commit, repo_type=self.kind)
        files = ((entry, getattr(entry, "lfs", None)) for entry in listed if hasattr(entry, "blob_id"))
        return {
            entry.path: (entry.size, entry.blob_id if lfs is None else lfs.sha256)
            for entry, lfs in files
            if entry.path != _OF_THE_HUB
        }

    def prepare(self, remote: Remote, *, private: bool) -> None:
        """Make the repository, and the branch, where they are not there.

        Raises:
            HubError: When that is not allowed, or the hub cannot be reached.
        """
        with self._explained():
            if not remote.is_there:
                self._make(private=private)
            if not remote.has_branch and self.revision != DEFAULT_BRANCH:
                self._api.create_branch(self.name, branch=self.revision, repo_type=self.kind, exist_ok=True)

    def _make(self, *, private: bool) -> None:
        try:
            self._api.create_repo(self.name, repo_type=self.kind, private=private or None)
        except Exception as error:
            if not is_conflict(error):
                raise
            found = f"a {self.kind} of that name cannot be made: something else has it, or it was made this moment"
            raise HubError(self.name, found, "a free name", "Run the same command again, or choose another name.") from error

    def bring(self, folder: Path, remote: Remote, message: str, removed: Iterable[str]) -> str:
        """Bring every file of a folder, and remove others by their paths there; return the commit.

        Raises:
            HubError: When something is refused, or was changed there meanwhile.
        """
        with self._explained(folder):
            done = self._api.upload_folder(
                repo_id=self.name,
                folder_path=folder,
                repo_type=self.kind,
                revision=self.revision,
                commit_message=message,
                parent_commit=remote.commit,
                delete_patterns=[glob.escape(path) for path in removed] or None,
            )
        return str(done.oid)

    @contextlib.contextmanager
    def _explained(self, folder: Path | None = None) -> Iterator[None]:
        """Inside, what the library and the hub say becomes an error of ours."""
        try:
            yield
        except HubError:
            raise
        except Exception as error:  # of any kind: each version of the library has its own client of the network
            raise explain_problem(error, self.name, self._api, lambda digest: _find_by_hash(folder, digest)) from error


def _check_name(name: str) -> None:
    """Refuse a name that no hub takes.

    Raises:
        ConfigError: Saying how names look.
    """
    from huggingface_hub.utils import HFValidationError, validate_repo_id

    try:
        validate_repo_id(name)
        is_right = name.count("/") == 1
    except HFValidationError:
        is_right = False
    if not is_right:
        rule = "Letters, digits, - _ and . may stand in it, but not two - or . side by side, and none of both at an end."
        problem = f"{name!r} is no name on a hub, but expected OWNER/NAME, as ada/my-model"
        raise ConfigError("OWNER/NAME", [problem], f"OWNER is your account, or an organization of yours. {rule}")


def iter_files(folder: Path) -> Iterator[Path]:
    """Every file below a folder, by name."""
    return (path for path in sorted(folder.rglob("*")) if path.is_file())


def compare_files(folder: Path, remote: Remote) -> dict[str, str]:
    """What would become of each file of a folder there: `added`, `replaced` or `unchanged`, by path."""
    found = {}
    for path in iter_files(folder):
        name = path.relative_to(folder).as_posix()
        there = remote.files.get(name)
        found[name] = ADDED if there is None else UNCHANGED if _has_same_bytes(path, *there) else REPLACED
    return found


def _find_by_hash(folder: Path | None, digest: str) -> str | None:
    """The file of a folder that a hub calls so."""
    files = iter_files(folder) if folder is not None else ()
    return next((path.name for path in files if _hash_as_large(path) == digest), None)


def _has_same_bytes(path: Path, num_bytes: int, digest: str) -> bool:
    if path.stat().st_size != num_bytes:
        return False
    is_large = len(digest) == hashlib.sha256().digest_size * 2
    return digest == (_hash_as_large(path) if is_large else _hash_as_small(path, num_bytes))


def _hash_as_large(path: Path) -> str:
    """The name of a file's bytes where a hub keeps large ones: their SHA-256."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _hash_as_small(path: Path, num_bytes: int) -> str:
    """That of small ones, which are blobs of git."""
    digest = hashlib.sha1(f"blob {num_bytes}\0".encode(), usedforsecurity=False)
    with open(path, "rb") as file:
        while piece := file.read(_PIECE_BYTES):
            digest.update(piece)
    return digest.hexdigest()
