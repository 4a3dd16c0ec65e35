"""What is known of the licences of a recipe's sources: what the recipe says, else what their rows name."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from whelp.artifacts.manifest import NAME as MANIFEST_NAME
from whelp.base.files import read_json

if TYPE_CHECKING:
    from whelp.corpus import Source


def find_licences(source: Source) -> list[str]:
    """The licences of a source, each once; none where nobody names one. Of a curated corpus also those of what it was made of."""
    from whelp.corpus.named_licences import find_named_licences

    if source.config.licence is not None:
        return [source.config.licence]
    corpora = dict.fromkeys(parent for file in source.files[:1] for parent in file.path.absolute().parents)
    before = (name for corpus in corpora for name in _iter_curated(corpus))
    return list(dict.fromkeys([*find_named_licences(source.files), *before]))


def _iter_curated(corpus: Path) -> Iterator[str]:
    try:
        manifest = read_json(corpus / MANIFEST_NAME)
        described = manifest["inputs"]["source"] if manifest["kind"] == "curated" else {}
    except (OSError, ValueError, KeyError, TypeError):
        return
    yield from (name for names in list_licences(described).values() for name in names)


def list_licences(described: Mapping[str, Any]) -> dict[str | None, list[str]]:
    """Of the sources that a manifest describes, by their names (None: the only one), those of which licences are known."""
    sources = described.get("sources") or {None: described}
    return {name: list(one["named_licences"]) for name, one in sources.items() if one.get("named_licences")}
