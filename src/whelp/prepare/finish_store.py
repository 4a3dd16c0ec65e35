"""What makes the files of splits a token store: vocabulary, names of the sources, ledger, and the manifest, written last."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from whelp.artifacts.manifest import Manifest, describe_files, write_manifest
from whelp.artifacts.token_store import LEDGER_FILE, SOURCES_FILE, TOKENIZER_FOLDER, write_splits
from whelp.base.files import sync_tree, write_json
from whelp.prepare.ledger import Ledger


class SavedVocabulary(Protocol):
    """What a store keeps of the vocabulary that made its ids."""

    @property
    def size(self) -> int: ...
    @property
    def fingerprint(self) -> str: ...
    def save(self, folder: Path) -> None: ...


def finish_store(
    folder: Path,
    vocabulary: SavedVocabulary,
    ledger: Ledger,
    *,
    sources: Sequence[str],
    source: Mapping[str, Any],
    config: Mapping[str, Any],
    files: Mapping[str, dict[str, Any]],
    more_inputs: Mapping[str, Any] | None = None,
    more_counts: Mapping[str, Any] | None = None,
) -> None:
    """Write all that stands beside the files of the splits, which are there.

    Args:
        sources: Names of the files of all sources.
        source: What identifies them, for the manifest.
        config: The options that decided what is in the store.
        files: Size and checksum of each file of the splits.
        more_inputs, more_counts: Besides what every manifest of a store says.
    """
    shutil.rmtree(folder / TOKENIZER_FOLDER, ignore_errors=True)
    (folder / TOKENIZER_FOLDER).mkdir()
    vocabulary.save(folder / TOKENIZER_FOLDER)
    write_json(folder / SOURCES_FILE, list(sources))
    write_json(folder / LEDGER_FILE, ledger.to_dict())
    splits = ledger.count_splits()
    write_splits(folder, list(splits))
    sync_tree(folder)
    write_manifest(
        folder,
        Manifest(
            kind="token_store",
            config=dict(config),
            counts={"vocab_size": vocabulary.size, "splits": splits, "text_bytes": ledger.text_bytes, **(more_counts or {})},
            inputs={"source": dict(source), "tokenizer": vocabulary.fingerprint, **(more_inputs or {})},
            files={**files, **describe_files(folder, [SOURCES_FILE, LEDGER_FILE])},
        ),
    )
