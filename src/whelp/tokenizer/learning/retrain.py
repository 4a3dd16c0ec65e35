"""Learn the tokens of an existing vocabulary anew, and keep everything else of it."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from typing import Any

from tokenizers import AddedToken, Tokenizer, pre_tokenizers, trainers

from whelp.base.errors import TokenizerError
from whelp.tokenizer._arrow import Texts, iter_lists
from whelp.tokenizer.config import LearnConfig
from whelp.tokenizer.load import load_tokenizer
from whelp.tokenizer.vocabulary import Vocabulary

_TRAINERS = {
    "BPE": trainers.BpeTrainer,
    "Unigram": trainers.UnigramTrainer,
    "WordPiece": trainers.WordPieceTrainer,
    "WordLevel": trainers.WordLevelTrainer,
}
_EMPTY = {"BPE": {"vocab": {}, "merges": []}, "Unigram": {"vocab": []}, "WordPiece": {"vocab": {}}, "WordLevel": {"vocab": {}}}


def retrain(strings: Iterator[Texts], config: LearnConfig) -> Vocabulary:
    """Keep normalizer, pre-tokenizer, decoder and special tokens of `config.retrain`; learn its tokens anew.

    The ids are those of `train_new_from_iterator` in `transformers`: special tokens first. Those of
    `config.special_tokens` that it has not are added after them.

    Raises: TokenizerError: When its kind cannot be learned (RWKV World).
    """
    assert config.retrain is not None, "called with something to retrain"
    old = load_tokenizer(config.retrain)
    if old.kind == "greedy":
        raise TokenizerError(
            config.retrain, "this kind of vocabulary was put together, not learned", "BPE, Unigram or WordPiece", "Try gpt2."
        )
    specification = old.specification()
    model = specification["model"]
    kind = model.setdefault("type", "BPE")
    model.update(copy.deepcopy(_EMPTY[kind]))
    added = specification.pop("added_tokens", None) or []
    post_processor = specification.pop("post_processor", None)
    if kind == "Unigram":
        unknown = old.token_text(model["unk_id"]) if model.get("unk_id") is not None else None
        model["unk_id"] = None
    else:
        unknown = model.get("unk_token")
    specification["truncation"] = specification["padding"] = None
    specification["added_tokens"] = []
    tokenizer = Tokenizer.from_str(json.dumps(specification))
    kept = [entry for entry in added if entry["special"] or entry["id"] in old.special_ids or kind == "Unigram"]
    special = [AddedToken(**{name: value for name, value in entry.items() if name != "id"}) for entry in kept]
    known = {entry["content"] for entry in kept}
    special += [AddedToken(token, special=True, normalized=False) for token in config.extra_tokens() if token not in known]
    tokenizer.train_from_iterator(iter_lists(strings), _make_trainer(kind, model, specification, special, unknown, config))
    learned = json.loads(tokenizer.to_str())
    ids = tokenizer.get_vocab()
    if post_processor is not None:
        learned["post_processor"] = _renumber(post_processor, ids)
    return Vocabulary(
        json.dumps(learned, ensure_ascii=False, indent=2),
        **{role: token for role, token in old.control_tokens.items() if token in ids},
        guess_control=False,
        chat_template=config.chat_template() or old.chat_template,
        name=f"{config.retrain}, learned anew",
    )


def _make_trainer(
    kind: str,
    model: dict[str, Any],
    specification: dict[str, Any],
    special: list[Any],
    unknown: str | None,
    config: LearnConfig,
) -> Any:
    options: dict[str, Any] = {"vocab_size": config.vocab_size, "special_tokens": special, "show_progress": False}
    if "ByteLevel" in json.dumps(specification["pre_tokenizer"]) and kind != "WordLevel":
        options["initial_alphabet"] = pre_tokenizers.ByteLevel.alphabet()
    if kind in ("BPE", "WordPiece") and model.get("continuing_subword_prefix") is not None:
        options["continuing_subword_prefix"] = model["continuing_subword_prefix"]
    if kind == "BPE" and model.get("end_of_word_suffix") is not None:
        options["end_of_word_suffix"] = model["end_of_word_suffix"]
    if kind == "Unigram" and unknown is not None:
        options["unk_token"] = unknown
    return _TRAINERS[kind](**options)


def _renumber(post_processor: dict[str, Any], ids: dict[str, int]) -> dict[str, Any]:
    """The same post-processor with the new ids of its special tokens."""
    renewed = copy.deepcopy(post_processor)
    for part in renewed.get("processors") or [renewed]:
        for entry in (part.get("special_tokens") or {}).values():
            entry["ids"] = [ids[token] for token in entry["tokens"]]
        for side in ("cls", "sep"):
            if isinstance(part.get(side), list):
                part[side] = [part[side][0], ids[part[side][0]]]
    return renewed
