"""Text or a name -> a vocabulary: encode, decode, streaming decode.

Takes: Arrow string arrays to learn from, or the name or folder of a vocabulary that exists.
Gives: a `Vocabulary`, saved as Hugging Face tokenizer files that `tokenizers` and `transformers` open with the same ids.

    from whelp.tokenizer import LearnConfig, learn, load_tokenizer

    vocabulary = learn([pa.array(["To be, or not to be"])], LearnConfig(vocab_size=300))
    ids, offsets = vocabulary.encode_batch(pa.array(["To be", ""]))  # flat ids; document i is ids[offsets[i]:offsets[i + 1]]
    vocabulary.decode(ids)                                           # "To be"
    vocabulary.save(Path("my-tokenizer"))
    vocabulary = load_tokenizer("my-tokenizer")

    measured = measure_corpus([make_tolerant(vocabulary)], [(texts, groups)], ["all"])  # how good it is

Start reading in `vocabulary.py`, which opens an encoder of `encoding/`; `load.py` finds a vocabulary by name, `learning/` learns one,
`measuring/` says how good it is.

Control tokens never come out of plain text: the ten letters and signs of `<|endoftext|>` typed by a user stay text.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from whelp.base.lazy import make_door

if TYPE_CHECKING:
    from whelp.tokenizer.config import LearnConfig as LearnConfig
    from whelp.tokenizer.learning.learn import learn as learn
    from whelp.tokenizer.load import load_tokenizer as load_tokenizer
    from whelp.tokenizer.measuring.corpus import measure_corpus as measure_corpus
    from whelp.tokenizer.measuring.tolerant import make_tolerant as make_tolerant
    from whelp.tokenizer.smaller_vocabularies import shrink as shrink
    from whelp.tokenizer.vocabulary import Vocabulary as Vocabulary

_HOMES = {
    "LearnConfig": "config",
    "Vocabulary": "vocabulary",
    "learn": "learning.learn",
    "load_tokenizer": "load",
    "make_tolerant": "measuring.tolerant",
    "measure_corpus": "measuring.corpus",
    "shrink": "smaller_vocabularies",
}
__all__ = sorted(_HOMES)
__getattr__ = make_door(__name__, _HOMES)
