"""WordPiece, as in BERT: a word, or its beginning and its further parts (`play`, `##ing`).

To train what BERT's tools expect. For writing text bpe serves better: white space is lost, and what has never been seen
becomes `<unk>`.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

from whelp.base.log import log
from whelp.tokenizer._arrow import Texts
from whelp.tokenizer.config import UNKNOWN_TOKEN, LearnConfig
from whelp.tokenizer.learning.build import finish, no_text
from whelp.tokenizer.vocabulary import Vocabulary

_PREFIX = "##"
_ROWS = 1024


def learn_wordpiece(strings: Iterator[Texts], config: LearnConfig) -> Vocabulary:
    """Learn a cased WordPiece vocabulary from large_string arrays: control tokens first, then characters, then parts.

    The text waits in a temporary file, since it is read twice: the trainer numbers the letters in the order of a hash
    table, another one in each run, so they are found and numbered before. Every different word is kept in memory.

    Raises: TokenizerError: When there is nothing but white space.
    """
    import pyarrow as pa

    tokenizer = Tokenizer(models.WordPiece(unk_token=UNKNOWN_TOKEN))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=False, strip_accents=False)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece(prefix=_PREFIX)
    firsts: set[str] = set()
    others: set[str] = set()
    with tempfile.TemporaryDirectory(prefix="whelp-wordpiece-") as folder:
        path = Path(folder) / "text.arrow"
        schema = pa.schema([("text", pa.large_string())])
        with pa.ipc.new_file(path, schema) as writer:
            for batch in strings:
                for text in batch.to_pylist():
                    words = {
                        word for word, _ in tokenizer.pre_tokenizer.pre_tokenize_str(tokenizer.normalizer.normalize_str(text))
                    }
                    firsts.update(word[0] for word in words)
                    others.update(*(word[1:] for word in words))
                writer.write_batch(pa.record_batch([batch], schema))
        if not firsts:
            raise no_text()
        control = config.control_tokens()
        letters = [*sorted(firsts | others), *(_PREFIX + letter for letter in sorted(others))]
        trainer = trainers.WordPieceTrainer(
            vocab_size=config.vocab_size,
            special_tokens=[*control, *letters],
            continuing_subword_prefix=_PREFIX,
            show_progress=False,
        )
        tokenizer.train_from_iterator(_iter_rows(path), trainer)
    found = sorted(tokenizer.get_vocab().items(), key=lambda pair: pair[1])
    learned = Tokenizer(models.WordPiece(dict(found), unk_token=UNKNOWN_TOKEN, continuing_subword_prefix=_PREFIX))
    learned.normalizer, learned.pre_tokenizer, learned.decoder = (
        tokenizer.normalizer,
        tokenizer.pre_tokenizer,
        tokenizer.decoder,
    )
    vocabulary = finish(learned, config, "a learned WordPiece vocabulary")
    if vocabulary.size > config.vocab_size:
        log.warning("The text has %d letters: the vocabulary has %d ids.", len(letters), vocabulary.size)
    return vocabulary


def _iter_rows(path: Path) -> Iterator[list[str]]:
    import pyarrow as pa

    with pa.memory_map(str(path)) as file, pa.ipc.open_file(file) as reader:
        for index in range(reader.num_record_batches):
            column = reader.get_batch(index).column(0)
            for first in range(0, len(column), _ROWS):
                yield column.slice(first, _ROWS).to_pylist()
