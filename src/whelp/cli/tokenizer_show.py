"""`whelp tokenizer show`: what a vocabulary is, without a text to hold it against."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from whelp.base.result_repr import ResultRepr

if TYPE_CHECKING:
    from whelp.tokenizer.vocabulary import Vocabulary


@dataclass(frozen=True, kw_only=True)
class VocabularyView(ResultRepr):
    """What a vocabulary is.

    Attributes:
        found_at: The file or folder it was opened from.
        kind: `bpe`, `unigram`, `greedy` (RWKV World), `wordpiece`, `chars`, `words`, or `other`.
        vocab_size: Largest id + 1: the rows of a model's embedding. `num_tokens` of them are in use.
        id_bits: Bits of an id in a token store.
        is_byte_exact: Whether each id stands for fixed bytes.
        fingerprint: The same for the same vocabulary, wherever it lies: stores and checkpoints name it.
        cutting: How text is cut before it is merged: a name of ours (`gpt2`, `gpt4`, `code`, `o200k`), or a regular expression.
        normalizer: What is done to text before that, by name; it may not come back as it was.
        gguf_name: What `whelp export --format gguf` calls the way of cutting; None where it cannot be said there.
        special: Control tokens: `id`, `token`, and what for (`roles`).
        sample: Tokens spread over the whole vocabulary: `id`, `text`.
        text: The text that was asked for: its `tokens`, and whether the ids decode to it (`is_kept`).
    """

    name: str
    found_at: str
    kind: str
    vocab_size: int
    num_tokens: int
    id_bits: int
    is_byte_exact: bool
    fingerprint: str
    cutting: str | None
    normalizer: str | None
    gguf_name: str | None
    has_chat_template: bool
    special: list[dict[str, Any]]
    sample: list[dict[str, Any]]
    text: dict[str, Any] | None

    def _repr_html_(self) -> str:
        from whelp.cli.screens.result_tables import make_html
        from whelp.cli.screens.show_vocabulary import print_vocabulary

        return make_html(print_vocabulary, self)


def show_tokenizer(name: str | Path, *, text: str | None = None, num_samples: int = 24) -> VocabularyView:
    """Say what a vocabulary is: kind, size, control tokens, how it cuts text, where it was found, some of its tokens.

    Args:
        name: As `load_tokenizer` takes it: a name, a folder (a token store or a run, too), a file, a hub id.
        text: To be encoded and shown.
        num_samples: Tokens to show.

    Raises:
        TokenizerError: When it is not found, or cannot encode the text.
    """
    from whelp.tokenizer import load_tokenizer
    from whelp.tokenizer.measuring.stages import cut_text, describe_cutting, describe_normalizer
    from whelp.tokenizer.measuring.tolerant import make_tolerant

    vocabulary = load_tokenizer(name)
    used = [token_id for token_id in range(vocabulary.size) if vocabulary.token_text(token_id)]
    plain = [token_id for token_id in used if token_id not in vocabulary.special_ids]
    count = min(num_samples, len(plain))
    sample = [plain[index * len(plain) // count] for index in range(count)]
    return VocabularyView(
        name=str(name),
        found_at=vocabulary.name,
        kind=vocabulary.kind,
        vocab_size=vocabulary.size,
        num_tokens=len(used),
        id_bits=vocabulary.id_type(0).nbytes * 8,
        is_byte_exact=vocabulary.is_byte_exact,
        fingerprint=vocabulary.fingerprint,
        cutting=describe_cutting(vocabulary),
        normalizer=describe_normalizer(vocabulary),
        gguf_name=vocabulary.gguf_name,
        has_chat_template=vocabulary.chat_template is not None,
        special=_list_special(vocabulary),
        sample=[{"id": token_id, "text": vocabulary.token_text(token_id)} for token_id in sample],
        text=None if text is None else cut_text(make_tolerant(vocabulary), text),
    )


def _list_special(vocabulary: Vocabulary) -> list[dict[str, Any]]:
    roles: dict[str, list[str]] = {}
    for role, token in vocabulary.control_tokens.items():
        roles.setdefault(token, []).append(role.removesuffix("_token"))
    found = [(token_id, vocabulary.token_text(token_id)) for token_id in sorted(vocabulary.special_ids)]
    return [{"id": token_id, "token": token, "roles": roles.get(token, [])} for token_id, token in found]
