"""How good a vocabulary is: every number against a slow and obvious way to get it."""

import collections
import itertools
import json
import unicodedata

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

from whelp.base.errors import TokenizerError
from whelp.tokenizer import LearnConfig, Vocabulary, learn, make_tolerant, measure_corpus, shrink
from whelp.tokenizer.measuring.probes import NUMBERS, count_indents, cut_words, find_keywords
from whelp.tokenizer.measuring.stages import cut_text, trace_stages
from whelp.tokenizer.measuring.word_counts import WordCounter, find_words
from whelp.tokenizer.smaller_vocabularies import measure_sizes

from .conftest import TEXTS

HINDI = "हिन्दी में सब मनुष्य"


def find_words_slowly(text: str) -> list[str]:
    """One character after the other."""
    words: list[str] = []
    is_inside = False
    for index, character in enumerate(text):
        is_word = unicodedata.category(character)[0] in "LMN" or character in "_\u200c\u200d"
        if is_word and not is_inside:
            words.append(" " if index and text[index - 1] == " " else "")
        if is_word:
            words[-1] += character
        is_inside = is_word
    return words


@pytest.fixture(scope="module")
def unigram() -> Vocabulary:
    """Like T5's: SentencePiece pieces, white space run together, an end token added by the post-processor."""
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Replace("  ", " ")])
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Metaspace(), pre_tokenizers.Digits()])
    tokenizer.decoder = decoders.Metaspace()
    trainer = trainers.UnigramTrainer(
        vocab_size=60, special_tokens=["<pad>", "</s>", "<unk>"], unk_token="<unk>", show_progress=False
    )
    tokenizer.train_from_iterator(["the cat sat on the mat being there " * 20, "s e x b i n g 1"], trainer)
    tokenizer.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    return Vocabulary(tokenizer.to_str(), eos_token="</s>", pad_token="<pad>", unk_token="<unk>")


def make_wordpiece() -> Vocabulary:
    """Like BERT's, with an added token that the model does not hold."""
    tokens = {"the": 0, "cat": 1, "##s": 2, "[UNK]": 3, "[CLS]": 4}
    tokenizer = Tokenizer(models.WordPiece(tokens, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    tokenizer.add_tokens([AddedToken("<mark>", normalized=False)])
    return Vocabulary(tokenizer.to_str())


@settings(max_examples=80, deadline=None)
@given(st.lists(st.text("ab_ ,\né日1\u0301👍\u200d", max_size=12), max_size=6), st.integers(0, 3))
def test_words_are_those_of_the_slow_way(texts, start):
    """Whatever the script, at the borders of documents and in a slice of a larger array."""
    array = pa.array(texts, pa.large_string()).slice(min(start, len(texts)))
    words, documents = find_words(array)
    expected = [(word, row) for row, text in enumerate(array.to_pylist()) for word in find_words_slowly(text)]
    assert list(zip(words.to_pylist(), documents.tolist(), strict=True)) == expected


def test_words_hold_marks_and_joiners():
    """Hindi vowel signs and the joiner of Persian are within words; a dash and an apostrophe are not."""
    words = find_words(pa.array([HINDI, "می\u200cخواهم", "don't re-do"]))[0].to_pylist()
    assert words == ["हिन्दी", " में", " सब", " मनुष्य", "می\u200cخواهم", "don", "t", " re", "do"]


def test_word_counts_do_not_depend_on_batches():
    """Most frequent first, ties by the text; the same table from one batch or from many."""
    texts = TEXTS * 9
    groups = np.arange(len(texts)) % 2
    one, many = WordCounter(), WordCounter()
    one.add(pa.array(texts), groups)
    for row, text in enumerate(texts):
        many.add(pa.array([text]), groups[row : row + 1])
    first, second = one.finish(), many.finish()
    expected = collections.Counter(word for text in texts for word in find_words_slowly(text))
    ordered = sorted(expected, key=lambda word: (-expected[word], word.encode()))
    for table in (first, second):
        assert table.words.to_pylist() == ordered
        assert table.counts.tolist() == [expected[word] for word in ordered]
        rows = zip(table.word_index.tolist(), table.group_index.tolist(), table.group_count.tolist(), strict=True)
        found = {(ordered[word], group): count for word, group, count in rows}
        assert found == collections.Counter(
            (word, row % 2) for row, text in enumerate(texts) for word in find_words_slowly(text)
        )


def test_numbers_are_those_of_the_slow_way(vocabulary):
    """Over all and for each group, for every kind of vocabulary that can be learned."""
    groups = np.array([0, 2, 0, 2, 0])
    measured = measure_corpus([make_tolerant(vocabulary)], [(pa.array(TEXTS), groups)], ["even", "nobody", "odd"])
    use = measured.uses[0]
    assert [group.name for group in use.groups] == ["even", "odd"]
    for group, rows in zip([use.total, *use.groups], ((0, 1, 2, 3, 4), (0, 2, 4), (1, 3)), strict=True):
        texts = [TEXTS[row] for row in rows]
        ids = [vocabulary.encode(text).tolist() for text in texts]
        words = [word for text in texts for word in find_words_slowly(text)]
        cuts = [
            [token for token in map(vocabulary.token_text, vocabulary.encode(word).tolist()) if token != " "] for word in words
        ]
        assert group.num_documents == len(texts)
        assert group.num_bytes == sum(len(text.encode()) for text in texts)
        assert group.num_characters == sum(map(len, texts))
        assert group.num_tokens == sum(map(len, ids))
        assert group.characters_per_token == pytest.approx(group.num_characters / group.num_tokens)
        assert group.bytes_per_token == pytest.approx(group.num_bytes / group.num_tokens)
        assert group.num_words == len(words)
        assert group.tokens_per_word == pytest.approx(sum(map(len, cuts)) / len(words))
        assert group.continued_words_share == pytest.approx(sum(len(cut) > 1 for cut in cuts) / len(words))
        assert group.num_unknown == 0
    if vocabulary.kind == "words":
        assert use.total.tokens_per_word < 1.2  # the space before a word is a token of its own there, and is not the word's


def test_use_of_ids(bpe):
    """Which ids occur, how often, and how many make up how much of the text."""
    ids = np.concatenate([bpe.encode(text) for text in TEXTS])
    use = measure_corpus([make_tolerant(bpe)], [(pa.array(TEXTS), np.zeros(5, int))], ["all"]).uses[0]
    values, counts = np.unique(ids, return_counts=True)
    assert (use.num_ordinary, use.num_used) == (318, len(values))
    assert use.never_used_share == pytest.approx(1 - len(values) / 318)
    assert use.rank_frequency[0] == (1, counts.max())
    assert use.rank_frequency[-1] == (len(values), counts.min())
    assert use.coverage[-1] == (len(values), 1.0)
    needed = itertools.takewhile(lambda covered: covered < 0.9 * len(ids), np.cumsum(np.sort(counts)[::-1]))
    assert use.ids_for_share["90.0%"] == len(list(needed)) + 1
    assert use.longest[0]["bytes"] == max(bpe.token_bytes[values])
    assert (use.num_kept, use.num_sampled) == (5, 5)


def test_frequent_words_that_are_split(bpe):
    """Words that a vocabulary splits, the most frequent first; those that each of them has are not listed."""
    corpus = pa.array(["mat " * 30 + "hippopotamus " * 9 + "zebra " * 4 + "the cat " * 50 + "x 12345 " * 60])
    measured = measure_corpus([make_tolerant(bpe)], [(corpus, np.zeros(1, int))], ["all"])
    tolerant = make_tolerant(bpe)
    split = [word for word in (" the", " cat", " mat", " hippopotamus", " zebra") if len(cut_words(tolerant, [word])[0]) > 1]
    assert split[-2:] == [" hippopotamus", " zebra"]
    listed = [entry["word"] for entry in measured.split_words if entry["word"] in split]
    assert listed == split
    assert {"word": " hippopotamus", "count": 9} in measured.split_words


@pytest.mark.parametrize("kind", ["chars", "words"])
def test_what_cannot_be_written_is_counted(kind):
    """A text with characters or words never seen: unknown tokens in the numbers, and no error; known text is unchanged."""
    vocabulary = learn([pa.array(["abc abd"])], LearnConfig(learn=kind))
    with pytest.raises(TokenizerError):
        vocabulary.encode("abc xyz")
    tolerant = make_tolerant(vocabulary)
    assert tolerant.writer.encode("abc abd").tolist() == vocabulary.encode("abc abd").tolist()
    use = measure_corpus([tolerant], [(pa.array(["abc xyz"]), np.zeros(1, int))], ["all"]).uses[0]
    assert use.total.num_unknown == (3 if kind == "chars" else 1)
    assert use.total.unknown_share == pytest.approx(3 / 7 if kind == "chars" else 1 / 3)
    assert (use.num_kept, use.num_sampled) == (0, 1)
    cut = cut_text(tolerant, "abc xyz")
    assert (cut["num_unknown"], cut["is_kept"]) == (use.total.num_unknown, False)
    assert [token["start"] for token in cut["tokens"]][-1] == (6 if kind == "chars" else 4)


def test_a_model_that_names_its_own_unknown(unigram):
    """What says "unknown" is found in the model where nothing else names it; added tokens keep their ids."""
    named = make_wordpiece()
    assert named.unk_id is None
    tolerant = make_tolerant(named)
    assert (tolerant.writer, tolerant.unk_id) == (named, 3)
    assert make_tolerant(unigram).unk_id == unigram.unk_id

    specification = json.loads(json.dumps(tolerant.specification))
    del specification["model"]["vocab"]["[UNK]"]
    nameless = Vocabulary(json.dumps(specification))
    widened = make_tolerant(nameless)
    assert widened.unk_id == nameless.size
    assert widened.writer.id_of("<mark>") == nameless.id_of("<mark>")
    assert widened.writer.encode("the cats <mark> dog").tolist() == [0, 1, 2, nameless.id_of("<mark>"), nameless.size]


def test_pieces_with_no_unknown_among_them():
    """A Unigram without an unknown piece gets one behind its added tokens."""
    tokenizer = Tokenizer(models.Unigram([("a", -1.0), ("b", -2.0), ("ab", -1.5)], None))
    tokenizer.add_tokens(["<mark>"])
    vocabulary = Vocabulary(tokenizer.to_str())
    tolerant = make_tolerant(vocabulary)
    assert tolerant.unk_id == 4
    assert tolerant.writer.encode("ab<mark>z").tolist() == [2, 3, 4]


@pytest.mark.parametrize("text", ["", "naïve 👍🏽  x\n\tdef f():", "日本語<|endoftext|>"])
def test_byte_offsets_of_tokens(bpe, text):
    """Each token of a byte-level vocabulary stands for exactly the bytes of its place, also within a character."""
    cut = cut_text(make_tolerant(bpe), text)
    assert [token["id"] for token in cut["tokens"]] == bpe.encode(text).tolist()
    for token in cut["tokens"]:
        assert text.encode()[token["start"] : token["end"]] == bpe.decode_bytes([token["id"]])
    assert [token["start"] for token in cut["tokens"][1:]] == [token["end"] for token in cut["tokens"][:-1]]
    assert cut["is_kept"]


def test_offsets_and_stages_of_a_sentencepiece_like_vocabulary(unigram):
    """Pieces, offsets and stages are those that `tokenizers` gives; what is lost is said."""
    tolerant = make_tolerant(unigram)
    cut = cut_text(tolerant, "the ﬁ sex")
    assert not cut["is_kept"]
    assert cut["num_unknown"] >= 1
    by_text = {token["text"]: (token["start"], token["end"]) for token in cut["tokens"]}
    assert by_text["x"] == (10, 11)  # the ligature has three bytes
    stages = trace_stages(tolerant, "the ﬁ 12 sex")
    assert [(stage["stage"], stage["name"]) for stage in stages] == [
        ("normalizer", "Sequence(NFKC, Replace)"),
        ("split", "Metaspace"),
        ("split", "Digits"),
        ("model", "Unigram"),
        ("post-processor", "TemplateProcessing"),
    ]
    pieces = [[piece["text"] for piece in stage["pieces"]] for stage in stages]
    assert pieces[0] == ["the fi 12 sex"]
    assert pieces[1] == ["▁the", "▁fi", "▁12", "▁sex"]
    assert pieces[2] == ["▁the", "▁fi", "▁", "12", "▁sex"]
    assert stages[3]["pieces"] == stages[4]["pieces"][:-1]
    assert pieces[4][-1] == "</s>"
    assert all(stage["is_changed"] for stage in stages)
    assert not trace_stages(tolerant, "the")[0]["is_changed"]


def test_added_tokens_are_cut_out_first():
    """A stage of their own, and no later stage touches them."""
    stages = trace_stages(make_tolerant(make_wordpiece()), "cats <mark>the!")
    assert [piece["text"] for piece in stages[0]["pieces"]] == ["cats ", "<mark>", "the!"]
    assert [piece["text"] for piece in stages[1]["pieces"]] == ["cats", "<mark>", "the", "!"]
    model = stages[2]["pieces"]
    assert [(piece["text"], piece["start"], piece["end"]) for piece in model[:3]] == [
        ("cat", 0, 3),
        ("##s", 3, 4),
        ("<mark>", 5, 11),
    ]


def test_indentation(unigram):
    """One token a space where no run was learned; none where the run was; lost where white space is run together."""
    plain = learn([pa.array(["ab"])], LearnConfig(vocab_size=258))
    counts = count_indents(make_tolerant(plain))
    assert counts["spaces"] == counts["tabs"] == counts["spaces_in_code"] == list(range(1, 17))
    code = learn([pa.array(["if x:\n        y\n    z\n" * 50])], LearnConfig(vocab_size=300))
    counts = count_indents(make_tolerant(code))
    assert (counts["spaces_in_code"][3], counts["spaces_in_code"][7]) == (0, 0)
    assert count_indents(make_tolerant(unigram))["spaces_in_code"][3] is None


def test_numbers_and_words_are_cut_as_encoded(bpe):
    """The tokens of a probe, joined, are the probe."""
    cuts = cut_words(make_tolerant(bpe), [*NUMBERS, " the cat", ""])
    assert ["".join(cut) for cut in cuts] == [*NUMBERS, " the cat", ""]
    assert cuts[-1] == []


def test_keywords():
    """Words that were learned are one token, alone or after a space; the others are missing; an unknown one is no token."""
    vocabulary = learn([pa.array([" return return def def( lambda"])], LearnConfig(learn="words", unknown="token"))
    found = find_keywords(make_tolerant(vocabulary))["Python keywords"]
    assert (found["alone"], found["after_space"]) == (3, 0)
    assert "while" in found["missing"]
    assert not {"return", "def", "lambda"} & set(found["missing"])
    assert len(found["missing"]) == len(found["missing_alone"]) == found["num_words"] - 3
    assert len(found["missing_after_space"]) == found["num_words"]
    bytes_alone = learn([pa.array(["ab"])], LearnConfig(vocab_size=258))
    nothing = find_keywords(make_tolerant(bytes_alone))
    assert all(entry["alone"] == entry["after_space"] == 0 for entry in nothing.values())


@pytest.mark.parametrize("pattern", ["gpt2", "gpt4"])
def test_a_small_vocabulary_is_the_beginning_of_a_large_one(pattern):
    """Shrinking gives what learning would have given, to the fingerprint; so one run of learning serves all sizes."""
    rows = pa.array([f"{text} number {number} of {number * 7919}" for number in range(40) for text in TEXTS])
    largest = learn([rows], LearnConfig(vocab_size=500, pattern=pattern))
    for size in (258, 259, 300, 420, 500):
        smaller = shrink(largest, size)
        learned = learn([rows], LearnConfig(vocab_size=size, pattern=pattern))
        assert smaller.fingerprint == learned.fingerprint
        assert (smaller.size, smaller.eos_id, smaller.pad_id) == (size, size - 2, size - 1)


def test_what_cannot_be_shrunk(bpe, unigram):
    """Another kind of vocabulary, or a size that is out of reach."""
    with pytest.raises(TokenizerError, match=r"its ids are not bytes, merges and control tokens in this order, but expected a"):
        shrink(unigram, 30)
    with pytest.raises(TokenizerError, match=r"321 ids cannot be kept of it, but expected 258 to 320"):
        shrink(bpe, 321)
    with pytest.raises(TokenizerError, match="257 ids cannot be kept of it"):
        shrink(bpe, 257)


def test_sizes_are_measured_as_they_encode(bpe):
    """Tokens, bytes a token and rare ids of each size; a larger vocabulary needs fewer tokens."""
    vocabularies = [shrink(bpe, size) for size in (258, 290, 320)]
    small, middle, large = measure_sizes(vocabularies, [pa.array(TEXTS[:2]), pa.array(TEXTS[2:])])
    num_bytes = sum(len(text.encode()) for text in TEXTS)
    assert small.num_tokens == small.num_bytes == num_bytes
    assert large.num_tokens == sum(len(bpe.encode(text)) for text in TEXTS)
    assert small.num_tokens > middle.num_tokens > large.num_tokens
    assert large.bytes_per_token == pytest.approx(num_bytes / large.num_tokens)
    counts = np.bincount(np.concatenate([bpe.encode(text) for text in TEXTS]), minlength=318)
    assert large.num_rare_ids == (counts < 100).sum()
