"""Find a vocabulary by name, folder, file or hub id, and open it."""

from __future__ import annotations

import difflib
import importlib.util
import json
import os
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from whelp.base.errors import TokenizerError, say_first_line
from whelp.base.hashing import hash_bytes
from whelp.base.links import follow_link
from whelp.base.paths import as_path
from whelp.tokenizer._cache import keep, read_cached
from whelp.tokenizer.config import END_TOKEN
from whelp.tokenizer.ranks import ENCODINGS, find_encoding, make_bpe_json, make_ranks_json, read_ranks
from whelp.tokenizer.vocabulary import Vocabulary
from whelp.tokenizer.world import looks_like_world, make_world_json, read_world

FOLDER_VARIABLE = "WHELP_TOKENIZERS"  # a folder of vocabularies, one file or folder each

_GPT2_LAYOUTS = (("vocab.json", "merges.txt"), ("encoder.json", "vocab.bpe"))  # Hugging Face's names, OpenAI's names
_CONFIG_FILES = ("special_tokens_map.json", "tokenizer_config.json", "chat_template.jinja")
_WORLD_FILE = "rwkv_vocab_v20230424.txt"
_CONVERSION = 2  # raised when a converted file would come out different


@dataclass(frozen=True, kw_only=True)
class Known:
    """Where a vocabulary of a known name can be had.

    Attributes:
        file: The file to put on the shelf, as its publisher calls it.
        hub_id: Its repository on the hub.
        packages: Python packages that ship the file.
    """

    file: str = "tokenizer.json"
    hub_id: str | None = None
    packages: tuple[str, ...] = ()


KNOWN = {
    "gpt2": Known(hub_id="openai-community/gpt2"),
    "neox": Known(file="20B_tokenizer.json", hub_id="EleutherAI/gpt-neox-20b"),
    "world": Known(file=_WORLD_FILE, hub_id="RWKV/rwkv-5-world-1b5", packages=("rwkv", "pyrwkv_tokenizer")),
    **{name: Known(file=f"{encoding.ranks}.tiktoken") for name, encoding in ENCODINGS.items() if name != "gpt2"},
}


def load_tokenizer(name: str | Path) -> Vocabulary:
    """Open a vocabulary.

    `name` is a folder, a file (a tokenizer.json, a `.tiktoken` file of ranks, RWKV's World vocabulary), or a name: `gpt2`,
    `neox`, `world`, `p50k_base` and the other encodings of tiktoken, the name of an OpenAI model, a hub id `owner/name`,
    or the name of a file or folder in $WHELP_TOKENIZERS. A name is looked for as a path, in Hugging Face's cache, in
    $WHELP_TOKENIZERS, in installed packages, in tiktoken's cache, and at last on the hub.

    A folder may hold it as `tokenizer.json`, as another `*tokenizer.json`, in `tokenizer/` (token stores) or
    `checkpoints/last/` (runs), as GPT-2's own pair of files (`vocab.json` + `merges.txt`, or `encoder.json` + `vocab.bpe`), as
    one `.tiktoken` file, or as World's text file. Nothing in it is ever run.

    Raises: TokenizerError: When nothing is found, or what is found is broken.
    """
    path = follow_link(as_path(name))
    if path.is_file():
        return _load_file(path)
    if path.is_dir():
        vocabulary = _load_folder(path)
        if vocabulary is not None:
            return vocabulary
        for model in sorted(path.glob("*.model")):
            raise _refuse_sentencepiece(model)
        raise TokenizerError(path, "there is no tokenizer in this folder", f"a file {path / 'tokenizer.json'}", "Put it there.")
    name = str(name)
    encoding = find_encoding(name)
    for place in _iter_places(name, encoding):
        vocabulary = _load_folder(place, encoding) if place.is_dir() else _load_file(place, encoding)
        if vocabulary is not None:
            return vocabulary
    return _fetch(name, encoding)


def _refuse_sentencepiece(path: Path) -> TokenizerError:
    advice = (
        "transformers writes one: `AutoTokenizer.from_pretrained(FOLDER).save_pretrained(OTHER)`; "
        "or learn a vocabulary of the same kind: data.tokenizer={learn: unigram, vocab_size: 8192}."
    )
    return TokenizerError(path, "is a model of SentencePiece", "a tokenizer.json", advice)


def _iter_places(name: str, encoding: str | None) -> Iterator[Path]:
    """Every file or folder on this machine that may be the vocabulary of this name, the best first."""
    known = KNOWN.get(encoding or name, Known())
    for hub_id in (name, known.hub_id):
        if hub_id and (snapshot := _find_snapshot(hub_id)):
            yield snapshot
    shelf = os.environ.get(FOLDER_VARIABLE)
    if shelf:
        ranks = ENCODINGS[encoding].ranks if encoding else name
        for stem in dict.fromkeys((name, encoding or name, ranks)):
            files = (f"{stem}.json", f"{stem}.tiktoken", f"{stem}.txt")
            yield from (place for entry in (stem, *files) if (place := Path(shelf) / entry).exists())
        if (Path(shelf) / known.file).is_file() and known.file != "tokenizer.json":
            yield Path(shelf) / known.file
        if encoding == "r50k_base" and (Path(shelf) / "gpt2").is_dir():  # the same vocabulary in another form
            yield Path(shelf) / "gpt2"
    for package in known.packages:
        found = importlib.util.find_spec(package)
        for folder in (found.submodule_search_locations or ()) if found else ():
            if (Path(folder) / known.file).is_file():
                yield Path(folder) / known.file
    if encoding:
        cache = os.environ.get("TIKTOKEN_CACHE_DIR") or os.environ.get("DATA_GYM_CACHE_DIR")
        cached = Path(cache or Path(tempfile.gettempdir()) / "data-gym-cache") / ENCODINGS[encoding].cached
        if cached.is_file():
            yield cached


def _find_snapshot(hub_id: str) -> Path | None:
    """The folder of a repository in Hugging Face's cache."""
    home = Path(os.environ.get("HF_HOME") or Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "huggingface")
    cache = as_path(os.environ.get("HF_HUB_CACHE") or home / "hub")  # nothing is there without a home folder
    repository = cache / ("models--" + hub_id.replace("/", "--"))
    try:
        snapshot = repository / "snapshots" / (repository / "refs" / "main").read_text(encoding="utf-8").strip()
    except OSError:
        return None
    return snapshot if snapshot.is_dir() else None


def _fetch(name: str, encoding: str | None) -> Vocabulary:
    """Fetch it from where it is published.

    Raises: TokenizerError: When it cannot be had; saying which file to put where.
    """
    known = KNOWN.get(encoding or name, Known(hub_id=name if name.count("/") == 1 else None))
    has_hub, has_tiktoken = (importlib.util.find_spec(package) is not None for package in ("huggingface_hub", "tiktoken"))
    if encoding and has_tiktoken and not (known.hub_id and has_hub):
        return _fetch_ranks(name, encoding, known)
    if encoding and known.hub_id is None:
        raise _not_found(name, known, 'is not on this machine, and without `pip install "whelp[tiktoken]"` cannot be fetched')
    if known.hub_id is None:
        raise _not_found(name, known)
    if not has_hub:
        raise _not_found(name, known, 'is not on this machine, and without `pip install "whelp[hub]"` cannot be fetched')
    from huggingface_hub import snapshot_download

    files = ["*tokenizer.json", *_CONFIG_FILES, "vocab.json", "merges.txt", "rwkv_vocab*.txt", "*.tiktoken"]
    try:
        folder = snapshot_download(known.hub_id, allow_patterns=files)
    except Exception as error:  # whatever the network, the hub and its client may say
        raise _not_found(
            name, known, f"cannot be fetched from the hub as {known.hub_id} ({say_first_line(error, with_kind=True)})"
        ) from None
    vocabulary = _load_folder(Path(folder))
    if vocabulary is None:
        raise _not_found(name, known, f"{known.hub_id} holds no tokenizer.json, nor another vocabulary that whelp can open")
    return vocabulary


def _fetch_ranks(name: str, encoding: str, known: Known) -> Vocabulary:
    import tiktoken

    try:
        fetched = tiktoken.get_encoding(ENCODINGS[encoding].ranks)
    except Exception as error:
        raise _not_found(
            name, known, f"is not on this machine, and tiktoken cannot fetch it ({say_first_line(error, with_kind=True)})"
        ) from None
    ranks = dict(sorted(fetched._mergeable_ranks.items(), key=lambda pair: pair[1]))
    text = make_ranks_json(ranks, ENCODINGS[encoding].pattern, ENCODINGS[encoding].special, Path(encoding))
    return Vocabulary(text, eos_token=END_TOKEN, name=encoding)


def _not_found(name: str, known: Known, problem: str | None = None) -> TokenizerError:
    shelf = os.environ.get(FOLDER_VARIABLE)
    entries = list(Path(shelf).iterdir()) if shelf and Path(shelf).is_dir() else []
    on_shelf = {entry.stem for entry in entries if entry.is_dir() or entry.suffix in (".json", ".tiktoken", ".txt")}
    words = sorted({*on_shelf, *KNOWN})
    near = [word for word in difflib.get_close_matches(name, words, n=3, cutoff=0.6) if word != name]
    is_name = name in KNOWN or problem
    place = Path(shelf or f"${FOLDER_VARIABLE}") / (known.file if known.file.endswith(".tiktoken") else f"{name}/{known.file}")
    hint = f"Did you mean {' or '.join(near)}? " if near and not is_name else "" if is_name else f"Known: {', '.join(words)}. "
    learn = " Or learn one from your text: data.tokenizer='{learn: bpe, vocab_size: 8192}' in a recipe." if is_name else ""
    setting = "" if shelf else f" and set {FOLDER_VARIABLE} to that folder of vocabularies"
    return TokenizerError(
        f"tokenizer {name}",
        problem or "there is no such file or folder, and no vocabulary of that name",
        f"a file {place}",
        f"{hint}Put that file there{setting}, or give the path of a folder that holds one." + learn,
    )


def _load_folder(folder: Path, encoding: str | None = None) -> Vocabulary | None:
    """The vocabulary of a folder, or None if there is none in it."""
    for path in (folder / "tokenizer.json", *sorted(folder.glob("*tokenizer.json"))):
        if path.is_file():
            return _load_json(path)
    for vocabulary_name, merges_name in _GPT2_LAYOUTS:
        if (folder / vocabulary_name).is_file() and (folder / merges_name).is_file():
            return _load_gpt2(folder / vocabulary_name, folder / merges_name)
    for path in (*sorted(folder.glob("*.tiktoken")), *sorted(folder.glob("rwkv_vocab*.txt"))):
        return _load_file(path, encoding)
    if (folder / "vocab.txt").is_file() and looks_like_world(folder / "vocab.txt"):
        return _load_world(folder / "vocab.txt")
    inner = next((path for path in (folder / "tokenizer", follow_link(folder / "checkpoints" / "last")) if path.is_dir()), None)
    return None if inner is None else _load_folder(inner)


def _load_file(path: Path, encoding: str | None = None) -> Vocabulary:
    """A file by its kind: World's text, ranks (by suffix, or of a known encoding), else a tokenizer.json."""
    if path.suffix == ".txt" and looks_like_world(path):
        return _load_world(path)
    if path.suffix == ".model":
        raise _refuse_sentencepiece(path)
    if path.suffix == ".tiktoken" or (encoding and not path.suffix):
        return _load_ranks(path, encoding or path.stem)
    return _load_json(path)


def _load_ranks(path: Path, name: str) -> Vocabulary:
    encoding = ENCODINGS.get(name)
    if encoding is None:
        raise TokenizerError(
            path,
            f"a file of ranks does not say how text is cut, and {name!r} is no encoding that is known",
            f"one of {', '.join(ENCODINGS)}",
            "Rename the file to the encoding whose pattern it has, or find its tokenizer.json.",
        )
    text = _convert(
        (path.read_bytes(), name.encode()),
        lambda: make_ranks_json(read_ranks(path), encoding.pattern, encoding.special, path),
    )
    return Vocabulary(text, eos_token=END_TOKEN, name=str(path))


def _load_world(path: Path) -> Vocabulary:
    text = _convert((path.read_bytes(), b"world"), lambda: make_world_json(read_world(path)))
    return Vocabulary(text, eos_token=END_TOKEN, name=str(path))


def _convert(source: tuple[bytes, ...], convert: Callable[[], str]) -> str:
    """The tokenizer.json of another kind of file, kept for the next time: converting takes up to some seconds."""
    name = f"{hash_bytes(str(_CONVERSION).encode(), *source)}.tokenizer.json"
    text = read_cached(name)
    if text is None:
        text = convert()
        keep(name, text)
    return text


def _load_json(path: Path) -> Vocabulary:
    text, _ = _read_json(path)
    config: dict[str, Any] = {}
    for name in _CONFIG_FILES[:2]:  # the second one wins
        if (path.parent / name).is_file():
            _, values = _read_json(path.parent / name)
            config.update({key: value for key, value in values.items() if value is not None})
    template_path = path.parent / _CONFIG_FILES[2]
    if template_path.is_file():
        config["chat_template"] = template_path.read_text(encoding="utf-8")
    template = config.get("chat_template")
    return Vocabulary(
        text,
        **{role: _spell(config.get(role)) for role in ("eos_token", "pad_token", "unk_token", "bos_token")},
        guess_control=True,
        chat_template=template if isinstance(template, str) else None,
        name=str(path),
    )


def _spell(token: object) -> str | None:
    """A control token as the files name it: its text, or {"content": its text, ...}."""
    named = token.get("content") if isinstance(token, dict) else token
    return named if isinstance(named, str) else None


def _load_gpt2(vocabulary_path: Path, merges_path: Path) -> Vocabulary:
    """GPT-2's own pair of files."""
    source = (vocabulary_path.read_bytes(), merges_path.read_bytes(), b"gpt2")
    text = _convert(source, lambda: _make_gpt2_json(vocabulary_path, merges_path))
    has_end = f'"{END_TOKEN}"' in text
    return Vocabulary(text, eos_token=END_TOKEN if has_end else None, name=str(vocabulary_path.parent))


def _make_gpt2_json(vocabulary_path: Path, merges_path: Path) -> str:
    _, tokens = _read_json(vocabulary_path)
    merges: list[tuple[str, str]] = []
    for number, line in enumerate(merges_path.read_text(encoding="utf-8").split("\n"), 1):
        if not line or line.startswith("#version"):
            continue
        left, _, right = line.partition(" ")
        if not {left, right, left + right} <= tokens.keys():
            found = f"does not fit {vocabulary_path.name} (line {number}, {line!r}, is not in it)"
            raise TokenizerError(merges_path, found, "the two files of one model", "Copy both again.")
        merges.append((left, right))
    special = {END_TOKEN: tokens.pop(END_TOKEN)} if END_TOKEN in tokens else {}
    return make_bpe_json(tokens, merges, "gpt2", special)


def _read_json(path: Path) -> tuple[str, dict[str, Any]]:
    try:
        text = path.read_bytes().decode()  # looking for other line ends would take as long as parsing
        value = json.loads(text)
    except UnicodeDecodeError as error:
        raise TokenizerError(path, f"not UTF-8 text (byte {error.start})", "a JSON file", "Copy it again.") from None
    except json.JSONDecodeError as error:
        found = f"broken JSON in line {error.lineno}, column {error.colno}: {error.msg}"
        raise TokenizerError(path, found, "", "The file may have been cut off; copy it again.") from None
    if not isinstance(value, dict):
        raise TokenizerError(path, f"is a JSON {type(value).__name__}", "a JSON object", "Choose another file.")
    return text, value
