"""`whelp tokenizer train`: learn a vocabulary from a source."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from whelp.artifacts.manifest import Manifest, describe_files, find_kind, read_manifest, write_manifest
from whelp.artifacts.output_place import is_free, refuse_place
from whelp.base.as_list import as_list
from whelp.base.config import load_config, parse_overrides
from whelp.base.errors import ArtifactError, ConfigError
from whelp.base.files import atomic_folder, hold_folder
from whelp.base.log import log
from whelp.base.paths import as_path
from whelp.base.result_repr import ResultRepr
from whelp.cli.screens.draw_events import watch_waiting
from whelp.corpus.config import SourceConfig
from whelp.tokenizer.config import LearnConfig

if TYPE_CHECKING:
    from whelp.corpus.source import Source
    from whelp.tokenizer.vocabulary import Vocabulary


@dataclass(frozen=True, kw_only=True)
class TokenizerResult(ResultRepr):
    """What `whelp tokenizer train` made; `num_bytes` is the size of what it was learned from."""

    folder: str
    kind: str
    vocab_size: int
    fingerprint: str
    num_bytes: int


def train_tokenizer(
    source: str | Path | Sequence[str | Path] | SourceConfig,
    *,
    out: str | Path,
    learn: LearnConfig | Mapping[str, Any] | None = None,
) -> TokenizerResult:
    """Learn a vocabulary from text and write it as a folder that `AutoTokenizer.from_pretrained` opens.

    Args:
        source: `stdlib`, a file, a folder, a glob, or a list of those.
        learn: What to learn, also as the mapping that a recipe has for it; by default a byte-level BPE of 4,096 ids.

    Raises:
        SourceError: When there is no text.
        ArtifactError: When something else stands at `out`.
    """
    from whelp.corpus import iter_texts, open_source
    from whelp.tokenizer import learn as learn_vocabulary

    config = learn if isinstance(learn, LearnConfig) else load_config(LearnConfig, learn or {}, "learn")
    opened = open_source(choose_source(source, "whelp tokenizer train"))
    folder = as_path(out)
    with watch_waiting("learning"), hold_folder(folder):
        check_place(folder)
        _say_changes(folder, config)
        vocabulary = learn_vocabulary(iter_texts(opened, config.max_bytes), config)
        return save_tokenizer(vocabulary, folder, config, opened)


def choose_source(source: str | Path | Sequence[str | Path] | SourceConfig, where: str) -> SourceConfig:
    """How a source is read that is given by name, or as a whole configuration."""
    if isinstance(source, SourceConfig):
        return source
    given = as_list(source)
    return load_config(SourceConfig, {"source": given[0] if len(given) == 1 else given}, where)


def make_source_config(
    source: list[str],
    overrides: Sequence[str] = (),
    *,
    where: str = "whelp tokenizer train",
    custom_text_key: str | None = None,
) -> SourceConfig:
    """The source of the command line: what `--source` or `--corpus` names, and `data.field=value` as in a recipe.

    Raises:
        ConfigError: When an override is not one of `data`, or its value does not fit.
    """
    sections = parse_overrides(overrides)
    others = sorted(sections.keys() - {"data"})
    if others:
        raise ConfigError(where, [f"unknown section {others[0]}"], "Only data.field=value says how a source is read.")
    given = {} if custom_text_key is None else {"custom_text_key": custom_text_key}
    values = {**sections.get("data", {}), **given, "source": source if len(source) > 1 else source[0]}
    return load_config(SourceConfig, values, where)


def check_place(folder: Path) -> None:
    """Refuse to replace anything but a tokenizer."""
    if not is_free(folder) and find_kind(folder) != "tokenizer":
        raise refuse_place(folder, "a tokenizer")


def _say_changes(folder: Path, config: LearnConfig) -> None:
    """What is asked for otherwise than of the tokenizer that is about to be replaced."""
    try:
        before = read_manifest(folder, "tokenizer").config
    except ArtifactError:
        return
    changes = [f"{name}: {before.get(name)} -> {value}" for name, value in asdict(config).items() if before.get(name) != value]
    if changes:
        log.warning("%s is made again: %s", folder, "; ".join(changes))


def save_tokenizer(vocabulary: Vocabulary, folder: Path, config: LearnConfig, source: Source) -> TokenizerResult:
    """Write a learned vocabulary and its manifest."""
    with atomic_folder(folder) as temporary:
        vocabulary.save(temporary)
        names = sorted(path.name for path in temporary.iterdir())
        manifest = Manifest(
            kind="tokenizer",
            config=asdict(config),
            counts={"vocab_size": vocabulary.size, "kind": vocabulary.kind},
            inputs={"source": source.describe()},
            files=describe_files(temporary, names),
        )
        write_manifest(temporary, manifest)
    return TokenizerResult(
        folder=str(folder),
        kind=vocabulary.kind,
        vocab_size=vocabulary.size,
        fingerprint=vocabulary.fingerprint,
        num_bytes=source.num_bytes if config.max_bytes is None else min(config.max_bytes, source.num_bytes),
    )
