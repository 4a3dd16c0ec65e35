"""Text or a name -> a vocabulary: encode, decode, streaming decode.

Takes: Arrow string arrays to learn from, or the name or folder of a vocabulary that exists.
Gives: a `Vocabulary`, saved as Hugging Face tokenizer files that `tokenizers` and `transformers` open with the same ids.

    from whelp.tokenizer import LearnConfig, learn, load_tokenizer

    vocabulary = learn([pa.array(["To be, or not to be"])], LearnConfig(vocab_size=300))
    ids, offsets = vocabulary.encode_batch(pa.array(["To be", ""]))  # flat ids; document i is ids[offsets[i]:offsets[i + 1]]
    vocabulary.decode(ids)                                           # "To be"
    vocabulary.save(Path("my-tokenizer"))
    vocabulary = load_tokenizer("my-tokenizer")

Control tokens never come out of plain text: the ten letters and signs of `<|endoftext|>` typed by a user stay text.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from whelp.tokenizer.config import LearnConfig
    from whelp.tokenizer.learning import learn
    from whelp.tokenizer.load import load_tokenizer
    from whelp.tokenizer.vocabulary import Vocabulary

__all__ = ["LearnConfig", "Vocabulary", "learn", "load_tokenizer"]

_HOMES = {"LearnConfig": "config", "Vocabulary": "vocabulary", "learn": "learning", "load_tokenizer": "load"}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = value
    return value
