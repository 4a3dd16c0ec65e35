"""One text, cut: its tokens with byte offsets, and what each stage of a tokenizer.json makes of it."""

from __future__ import annotations

import itertools
import json
from typing import Any

import numpy as np
import numpy.typing as npt
from tokenizers import Tokenizer

from whelp.tokenizer._patterns import find_pattern_name
from whelp.tokenizer.measuring.tolerant import Tolerant
from whelp.tokenizer.vocabulary import Vocabulary

Spans = list[tuple[int, int]]  # in bytes of the text


def cut_text(tolerant: Tolerant, text: str) -> dict[str, Any]:
    """Encode a text; say of each token which bytes of the text it stands for.

    Returns:
        `text`, `is_kept` (whether the ids decode to exactly this text), `num_unknown`, and `tokens`: `id`, `text` for
        display, `start` and `end` in bytes of the UTF-8 text. A token that stands for nothing has `start == end`.
    """
    writer = tolerant.writer
    ids = writer.encode(text)
    rows = zip(ids.tolist(), _find_spans(tolerant, text, ids), strict=True)
    return {
        "text": text,
        "is_kept": writer.decode(ids) == text,
        "num_unknown": 0 if tolerant.unk_id is None else int(np.count_nonzero(ids == tolerant.unk_id)),
        "tokens": [
            {"id": token_id, "text": writer.token_text(token_id), "start": start, "end": end} for token_id, (start, end) in rows
        ],
    }


def trace_stages(tolerant: Tolerant, text: str) -> list[dict[str, Any]]:
    """What happens to a text, stage by stage, as its tokenizer.json asks.

    Returns:
        For each stage its `stage` (added tokens, normalizer, split, model, post-processor), its `name` in the file, what it
        gives as `pieces`, and `is_changed`: whether it did anything. A piece has `text`, `start` and `end`. Before the
        model these count characters of the text as it is then; from there on bytes of the original, and there is an `id`.
    """
    specification = tolerant.specification
    if specification is None:
        kind = tolerant.vocabulary.kind
        return [{"stage": "model", "name": kind, "pieces": cut_text(tolerant, text)["tokens"], "is_changed": True}]
    tokenizer = _open(specification, tolerant)
    encoding = tokenizer.encode(text, add_special_tokens=False)
    spans = _find_spans(tolerant, text, np.array(encoding.ids, np.int64))
    added = {entry["id"] for entry in specification.get("added_tokens") or []} - tolerant.writer.special_ids
    segments = _cut_at_added(added, encoding.ids, spans, text)
    stages = []
    if any(is_added for _, is_added in segments):
        stages.append(_describe("added tokens", "added_tokens", [piece for piece, _ in segments], [text]))
    if specification.get("normalizer"):
        before = [piece for piece, _ in segments]
        segments = [
            (piece if is_added else tokenizer.normalizer.normalize_str(piece), is_added) for piece, is_added in segments
        ]
        stages.append(_describe("normalizer", _name(specification["normalizer"]), [piece for piece, _ in segments], before))
    pieces = [piece for piece, _ in segments]
    for name, splitter in _list_splitters(specification):
        before, pieces = pieces, []
        for segment, is_added in segments:
            found = [(segment, (0, len(segment)))] if is_added else splitter.pre_tokenize_str(segment)
            pieces += [piece for piece, _ in found]
        stages.append(_describe("split", name, pieces, before))
    tokens = _describe_tokens(encoding, spans)
    stages.append({"stage": "model", "name": _name(specification["model"]), "pieces": tokens, "is_changed": True})
    if specification.get("post_processor"):
        finished = tokenizer.encode(text, add_special_tokens=True)
        own = iter(spans)
        around = [(0, 0) if is_control else next(own) for is_control in finished.special_tokens_mask]
        tokens = _describe_tokens(finished, around)
        name = _name(specification["post_processor"])
        stages.append({"stage": "post-processor", "name": name, "pieces": tokens, "is_changed": finished.ids != encoding.ids})
    return stages


def describe_cutting(vocabulary: Vocabulary) -> str | None:
    """How text is cut before it is merged: `gpt2`, `gpt4`, ...; else its regular expressions, or what the file calls it."""
    cutter = vocabulary.specification().get("pre_tokenizer")
    if vocabulary.kind == "greedy":
        return "none: the longest token that fits, again and again"
    if cutter is None or (name := find_pattern_name(cutter)) is not None:
        return None if cutter is None else name
    parts = cutter.get("pretokenizers") or [cutter]
    regexes = [part["pattern"]["Regex"] for part in parts if "Regex" in (part.get("pattern") or {})]
    return " then ".join(regexes) or ", ".join(_name(part) for part in parts)


def describe_normalizer(vocabulary: Vocabulary) -> str | None:
    """What is done to text before it is cut, by the names in its file: NFC; None where nothing is."""
    normalizer = vocabulary.specification().get("normalizer")
    return None if normalizer is None else ", ".join(_name(part) for part in normalizer.get("normalizers") or [normalizer])


def _find_spans(tolerant: Tolerant, text: str, ids: npt.NDArray[Any]) -> Spans:
    """Which bytes of the text each id stands for.

    Where the tokens' own bytes add up to the text, these say it, also within a character. Else `tokenizers` is asked.
    """
    parts = [tolerant.writer.decode_bytes([token_id], skip_special=False) for token_id in ids.tolist()]
    if b"".join(parts) == text.encode() or tolerant.specification is None:
        return list(itertools.pairwise(itertools.accumulate(map(len, parts), initial=0)))
    encoding = _open(tolerant.specification, tolerant).encode(text, add_special_tokens=False)
    widths = [len(character.encode()) for character in text]
    place = [0, *np.cumsum(widths).tolist()]
    spans: Spans = []
    for start, end in encoding.offsets:
        # `tokenizers` gives some added tokens no width, behind their place: they begin where the token before ended.
        start = spans[-1][1] if start == end and spans else place[start]
        spans.append((start, place[end]))
    return spans


def _open(specification: dict[str, Any], tolerant: Tolerant) -> Tokenizer:
    control = tolerant.writer.special_ids
    added = [{**entry, "special": entry["id"] in control} for entry in specification.get("added_tokens") or []]
    tokenizer = Tokenizer.from_str(json.dumps({**specification, "added_tokens": added, "truncation": None, "padding": None}))
    tokenizer.encode_special_tokens = True  # a control token that somebody typed is text
    return tokenizer


def _cut_at_added(added: set[int], ids: list[int], spans: Spans, text: str) -> list[tuple[str, bool]]:
    """Cut the text where added tokens stand in it, which happens before all else; say of each part whether it is one."""
    data = text.encode()
    parts: list[tuple[bytes, bool]] = []
    end = 0
    for token_id, (start, stop) in zip(ids, spans, strict=True):
        if token_id in added and stop > start:
            parts += [(data[end:start], False), (data[start:stop], True)]
            end = stop
    parts.append((data[end:], False))
    return [(part.decode(), is_added) for part, is_added in parts if part] or [("", False)]


def _list_splitters(specification: dict[str, Any]) -> list[tuple[str, Any]]:
    """Each pre-tokenizer of the file together with those before it, so that every step shows."""
    splitter = specification.get("pre_tokenizer")
    if not splitter:
        return []
    steps = splitter["pretokenizers"] if splitter.get("type") == "Sequence" else [splitter]
    found = []
    for count in range(1, len(steps) + 1):
        first_steps = {"type": "Sequence", "pretokenizers": steps[:count]}
        model = {"type": "BPE", "vocab": {}, "merges": []}  # none is needed to split
        made = Tokenizer.from_str(json.dumps({"version": "1.0", "pre_tokenizer": first_steps, "model": model}))
        found.append((_name(steps[count - 1]), made.pre_tokenizer))
    return found


def _describe(stage: str, name: str, pieces: list[str], before: list[str]) -> dict[str, Any]:
    places = itertools.pairwise(itertools.accumulate(map(len, pieces), initial=0))
    rows = zip(pieces, places, strict=True)
    described = [{"text": piece, "start": start, "end": end} for piece, (start, end) in rows]
    return {"stage": stage, "name": name, "pieces": described, "is_changed": pieces != before}


def _describe_tokens(encoding: Any, spans: Spans) -> list[dict[str, Any]]:
    rows = zip(encoding.tokens, encoding.ids, spans, strict=True)
    return [{"text": token, "id": token_id, "start": start, "end": end} for token, token_id, (start, end) in rows]


def _name(entry: dict[str, Any]) -> str:
    """{"type": "Sequence", "normalizers": [{"type": "NFKC"}]} -> 'Sequence(NFKC)'"""
    inner = entry.get("normalizers") or entry.get("processors")
    name = str(entry.get("type") or "BPE")  # old files leave the model's type out
    return f"{name}({', '.join(_name(part) for part in inner)})" if inner else name
