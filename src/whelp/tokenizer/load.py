"""Find a vocabulary by name, folder or file."""

from __future__ import annotations

import difflib
import json
import os
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer, decoders, models

from whelp.base.errors import TokenizerError
from whelp.tokenizer._build import make_cutter
from whelp.tokenizer.config import END_TOKEN, PAD_TOKEN, UNKNOWN_TOKEN
from whelp.tokenizer.vocabulary import Vocabulary

FOLDER_VARIABLE = "WHELP_TOKENIZERS"  # a folder of vocabularies, one folder each

_END_GUESSES = (END_TOKEN, "</s>", "<eos>")
_PAD_GUESSES = (PAD_TOKEN, "<pad>", "[PAD]")
_UNKNOWN_GUESSES = (UNKNOWN_TOKEN, "[UNK]")
_GPT2_LAYOUTS = (("vocab.json", "merges.txt"), ("encoder.json", "vocab.bpe"))  # Hugging Face's names, OpenAI's names


def load_tokenizer(name: str | Path) -> Vocabulary:
    """Open a tokenizer.json, a folder that holds one, or the name of a folder in $WHELP_TOKENIZERS.

    A folder may hold it as `tokenizer.json`, as another `*tokenizer.json`, in a folder `tokenizer/` (token stores, runs),
    or as GPT-2's own pair of files (`vocab.json` + `merges.txt`, or `encoder.json` + `vocab.bpe`).

    Raises: TokenizerError: When nothing is found, or what is found is broken.
    """
    path = Path(name).expanduser()
    if path.is_file():
        return _load_file(path)
    if path.is_dir():
        vocabulary = _load_folder(path)
        if vocabulary is not None:
            return vocabulary
        raise TokenizerError(path, "there is no tokenizer in this folder", f"a file {path / 'tokenizer.json'}", "Put it there.")
    shelf = os.environ.get(FOLDER_VARIABLE)
    if shelf and (Path(shelf) / name).is_dir():
        vocabulary = _load_folder(Path(shelf) / name)
        if vocabulary is not None:
            return vocabulary
    raise _not_found(str(name), shelf)


def _not_found(name: str, shelf: str | None) -> TokenizerError:
    known = sorted(entry.name for entry in Path(shelf).iterdir() if entry.is_dir()) if shelf and Path(shelf).is_dir() else []
    near = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
    place = Path(shelf or f"${FOLDER_VARIABLE}") / name / "tokenizer.json"
    hint = f"Did you mean {' or '.join(near)}? " if near else f"Known: {', '.join(known)}. " if known else ""
    setting = "" if shelf else f" and set {FOLDER_VARIABLE} to that folder of vocabularies"
    return TokenizerError(
        f"tokenizer {name}",
        "there is no such file or folder, and no vocabulary of that name",
        f"a file {place}",
        f"{hint}Put the model's tokenizer.json there{setting}, or give the path of a folder that holds one.",
    )


def _load_folder(folder: Path) -> Vocabulary | None:
    """The vocabulary of a folder, or None if there is none in it."""
    candidates = [folder / "tokenizer.json", *sorted(folder.glob("*tokenizer.json"))]
    for path in candidates:
        if path.is_file():
            return _load_file(path)
    for vocabulary_name, merges_name in _GPT2_LAYOUTS:
        if (folder / vocabulary_name).is_file() and (folder / merges_name).is_file():
            return _load_gpt2(folder / vocabulary_name, folder / merges_name)
    return _load_folder(folder / "tokenizer") if (folder / "tokenizer").is_dir() else None


def _load_file(path: Path) -> Vocabulary:
    text, specification = _read_json(path)
    config: dict[str, Any] = {}
    for name in ("special_tokens_map.json", "tokenizer_config.json"):  # the second one wins
        if (path.parent / name).is_file():
            _, values = _read_json(path.parent / name)
            config.update({key: value for key, value in values.items() if value is not None})
    template = path.parent / "chat_template.jinja"
    if template.is_file():
        config["chat_template"] = template.read_text(encoding="utf-8")
    return _open(text, specification, config, path)


def _load_gpt2(vocabulary_path: Path, merges_path: Path) -> Vocabulary:
    _, tokens = _read_json(vocabulary_path)
    lines = merges_path.read_text(encoding="utf-8").split("\n")
    merges = [(left, right) for left, _, right in (line.partition(" ") for line in lines[1:]) if right]
    try:
        tokenizer = Tokenizer(models.BPE(tokens, merges))
    except Exception as error:
        raise TokenizerError(
            merges_path, f"does not fit {vocabulary_path.name} ({error})", "the two files of one model"
        ) from None
    tokenizer.pre_tokenizer = make_cutter("gpt2")
    tokenizer.decoder = decoders.ByteLevel()
    if END_TOKEN in tokens:
        tokenizer.add_special_tokens([END_TOKEN])
    text = tokenizer.to_str(pretty=True)
    return _open(text, json.loads(text), {}, vocabulary_path.parent)


def _open(text: str, specification: dict[str, Any], config: dict[str, Any], path: Path) -> Vocabulary:
    model = specification.get("model")
    added = {entry.get("content") for entry in specification.get("added_tokens") or [] if isinstance(entry, dict)}
    tokens = model.get("vocab") if isinstance(model, dict) else None
    known = {*added, *(tokens if isinstance(tokens, dict) else (piece for piece, _ in tokens or []))}

    def choose(role: str, guesses: tuple[str, ...]) -> str | None:
        value = config.get(role)
        named = value.get("content") if isinstance(value, dict) else value
        return named if isinstance(named, str) else next((guess for guess in guesses if guess in known), None)

    template = config.get("chat_template")
    return Vocabulary(
        text,
        eos_token=choose("eos_token", _END_GUESSES),
        pad_token=choose("pad_token", _PAD_GUESSES),
        unk_token=choose("unk_token", _UNKNOWN_GUESSES),
        bos_token=choose("bos_token", ()),
        chat_template=template if isinstance(template, str) else None,
        name=str(path),
    )


def _read_json(path: Path) -> tuple[str, dict[str, Any]]:
    try:
        text = path.read_text(encoding="utf-8")
        value = json.loads(text)
    except UnicodeDecodeError as error:
        raise TokenizerError(path, f"not UTF-8 text (byte {error.start})", "a JSON file", "Copy it again.") from None
    except json.JSONDecodeError as error:
        found = f"broken JSON in line {error.lineno}, column {error.colno}: {error.msg}"
        raise TokenizerError(path, found, "", "The file may have been cut off; copy it again.") from None
    if not isinstance(value, dict):
        raise TokenizerError(path, f"is a JSON {type(value).__name__}", "a JSON object", "Choose another file.")
    return text, value
