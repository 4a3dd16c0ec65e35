"""What is taken from a folder."""

from __future__ import annotations

from dataclasses import dataclass

from whelp.base.config import option
from whelp.base.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class FolderConfig:
    """Options of `whelp collect folder`.

    Raises:
        ConfigError: When a value is out of its range.
    """

    include_suffixes: list[str] | None = option(None, "read only files that end like this, such as [.txt, .epub]")
    licence: str | None = option(None, "what the text may be used for; nothing: what a file says of itself")
    max_file_bytes: int = option(256 << 20, "a file larger than this is left out, and counted")
    max_unpacked_bytes: int = option(256 << 20, "a file that unpacks to more than this is left out, and counted")

    max_document_seconds: float = option(300.0, "a document that takes longer is left out, and counted", at_least=0.01)

    def __post_init__(self) -> None:
        problems = [
            f"{name} is {getattr(self, name)}, but expected at least 1"
            for name in ("max_file_bytes", "max_unpacked_bytes")
            if getattr(self, name) < 1
        ]
        for suffix in self.include_suffixes or []:
            if not suffix.startswith(".") or len(suffix) < 2:
                problems.append(f"include_suffixes has {suffix!r}, but expected an ending such as .txt")
        if problems:
            raise ConfigError("whelp collect folder", problems)
