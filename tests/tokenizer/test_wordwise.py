"""Unigram, WordPiece and vocabularies of words: the ids of `tokenizers`, each different word encoded once."""

import contextlib
import itertools
import json
import multiprocessing
import random
import threading

import numpy as np
import pyarrow as pa
import pytest
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

from whelp.base.errors import TokenizerError
from whelp.tokenizer import LearnConfig, Vocabulary, learn
from whelp.tokenizer.encoding import long_texts, recurring, wordwise
from whelp.tokenizer.encoding.comparison import NASTY
from whelp.tokenizer.encoding.engines import ReferenceEngine, WordEngine
from whelp.tokenizer.encoding.long_texts import PartwiseEngine

from .conftest import TEXTS
from .samples import CHARSMAP, NUM_FUZZED, make_fuzzed

TEXT = "".join(TEXTS) + " « été » дом, дома; 12 or 123? ``so'' <mask> ½ … नमस्ते 中文 " * 3
LITERALS = [" <s>a</s> b", "a <mask> , <mask>", "<s> <pad>\n<s>", "\n<mask>\n\n <mask>x"]


def learn_kind(name: str) -> Vocabulary:
    """One that whelp learns."""
    kind, _, pattern = name.partition("-")
    unknown = "error" if kind == "unigram" else "token"
    return learn([pa.array([TEXT])], LearnConfig(learn=kind, vocab_size=448, pattern=pattern or "gpt2", unknown=unknown))


def open_sentencepiece(name: str) -> Vocabulary:
    """A Unigram as converted from SentencePiece, by one of the ways there are."""
    runs = normalizers.Replace(Regex(" {2,}"), " ")
    normalizer, cutter, has_bytes = {
        "t5": (normalizers.NFKC(), pre_tokenizers.Metaspace(), False),
        "old": (
            normalizers.Sequence([normalizers.Nmt(), normalizers.NFKC()]),
            pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace()]),
            False,
        ),
        "seamless": (
            normalizers.Sequence([normalizers.Nmt(), normalizers.NFKC(), runs]),
            pre_tokenizers.Metaspace(prepend_scheme="first"),
            True,
        ),
        "xlm-r": (normalizers.Sequence([normalizers.Precompiled(CHARSMAP), runs]), pre_tokenizers.Metaspace(), False),
        "never": (normalizers.Lowercase(), pre_tokenizers.Metaspace(prepend_scheme="never"), True),
    }[name]
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.normalizer, tokenizer.pre_tokenizer, tokenizer.decoder = normalizer, cutter, decoders.Metaspace()
    special = ["<unk>", "<s>", "</s>", "<pad>"]
    trainer = trainers.UnigramTrainer(vocab_size=300, special_tokens=special, unk_token="<unk>", show_progress=False)
    tokenizer.train_from_iterator([TEXT], trainer)
    specification = json.loads(tokenizer.to_str())
    if has_bytes:
        specification["model"]["vocab"] += [[f"<0x{byte:02X}>", -20.0] for byte in range(256)]
        specification["model"]["byte_fallback"] = True
    tokenizer = Tokenizer.from_str(json.dumps(specification))
    tokenizer.add_special_tokens([AddedToken("<mask>", lstrip=True, normalized=False)])
    return Vocabulary(tokenizer.to_str(), eos_token="</s>", pad_token="<pad>", unk_token="<unk>")


NAMES = {
    **dict.fromkeys(("unigram", "unigram-gpt4", "unigram-code", "wordpiece", "words"), learn_kind),
    **dict.fromkeys(("t5", "old", "seamless", "xlm-r", "never"), open_sentencepiece),
}


@pytest.fixture(scope="module", params=NAMES)
def vocabulary(request: pytest.FixtureRequest) -> Vocabulary:
    """Every kind that is encoded word by word."""
    found = NAMES[request.param](request.param)
    assert is_wordwise(found)
    return found


def is_wordwise(vocabulary: Vocabulary) -> bool:
    """Whether texts are cut into words for it; else the reference encodes."""
    return isinstance(find_partwise(vocabulary), PartwiseEngine)


def find_partwise(vocabulary: Vocabulary):
    """The engine, without what gives errors of words their place."""
    engine = vocabulary._engine(False)
    return engine._engine if isinstance(engine, WordEngine) else engine


def split(encoded: tuple) -> list[list[int]]:
    """Ids by document."""
    ids, offsets = encoded
    assert offsets[0] == 0
    return [ids[start:end].tolist() for start, end in itertools.pairwise(offsets)]


def encode_elsewhere(vocabulary: Vocabulary, texts: list[str], *, allow_special: bool = False) -> list[list[int]]:
    """By `tokenizers`, from the same values."""
    reference = Tokenizer.from_str(json.dumps(vocabulary.specification()))
    reference.encode_special_tokens = not allow_special
    return [encoding.ids for encoding in reference.encode_batch(texts, add_special_tokens=False)]


@pytest.mark.parametrize("allow_special", [False, True])
def test_ids_are_those_of_tokenizers(vocabulary, allow_special):
    """Nasty texts, each a second time, when all its words are known; long ones by themselves, too."""
    texts = [*NASTY, *make_fuzzed(5), *LITERALS, TEXT, "", TEXT, *NASTY, TEXT * 30]
    expected = encode_elsewhere(vocabulary, texts, allow_special=allow_special)
    assert split(vocabulary.encode_batch(pa.array(texts), allow_special=allow_special)) == expected
    assert [vocabulary.encode(text, allow_special=allow_special).tolist() for text in texts[-30:]] == expected[-30:]


def test_blocks_threads_and_a_full_memory(vocabulary, monkeypatch):
    """Small blocks, several threads that encode and call at once, and a memory that is emptied all the time, change nothing."""
    texts = [text[start : start + 40] for text in (*NASTY, TEXT) for start in range(0, len(text), 40)] * 3
    expected = encode_elsewhere(vocabulary, texts)
    monkeypatch.setattr(recurring, "_BLOCK_BYTES", 500)
    monkeypatch.setattr(recurring, "_CACHE_PIECES", 20)
    monkeypatch.setenv("RAYON_NUM_THREADS", "3")
    found: dict[int, list[list[int]]] = {}

    def encode(caller: int) -> None:
        found[caller] = split(vocabulary.encode_batch(pa.array(texts)))

    threads = [threading.Thread(target=encode, args=[caller]) for caller in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(found[caller] == expected for caller in range(3))


def test_long_texts_in_parts(vocabulary, monkeypatch):
    """A text longer than a part has the ids of the whole, and parts come to the encoder one after the other."""
    text = "\n".join([*NASTY, TEXT]) * 3
    expected = encode_elsewhere(vocabulary, [text, "a b", text])
    monkeypatch.setattr(find_partwise(vocabulary), "_part_bytes", 50)
    monkeypatch.setattr(long_texts, "_BLOCK_BYTES", 200)
    assert split(vocabulary.encode_batch(pa.array([text, "a b", text]))) == expected
    monkeypatch.setattr(find_partwise(vocabulary)._engine, "encode", lambda text: pytest.fail("the whole at once"))
    assert vocabulary.encode(text).tolist() == expected[0]


def test_what_is_remembered_has_a_limit(monkeypatch):
    """Neither new words without end nor long pieces make the memory grow without end."""
    vocabulary = learn_kind("unigram")
    monkeypatch.setattr(recurring, "_CACHE_PIECES", 1000)
    monkeypatch.setattr(recurring, "_CACHE_IDS", 5000)
    monkeypatch.setattr(recurring, "_BLOCK_BYTES", 2000)
    monkeypatch.setenv("RAYON_NUM_THREADS", "1")
    memory = vocabulary._engine(False)._engine
    for number in range(40):
        vocabulary.encode_batch(pa.array([f" w{number}x{other}" for other in range(100)] + ["z" * 300 + str(number)]))
        assert memory._num_slots <= 1000 + 500
        assert len(memory._flat) <= 2 * 5000 + 4000
        assert max(map(len, memory._slots), default=0) <= 256


def test_each_different_word_once(monkeypatch):
    """The reference is asked of new words alone."""
    vocabulary = learn_kind("unigram")
    vocabulary.encode("")
    asked: list[str] = []
    encode_batch = ReferenceEngine.encode_batch

    def listen(engine, strings):
        asked.extend(strings.to_pylist())
        return encode_batch(engine, strings)

    monkeypatch.setattr(ReferenceEngine, "encode_batch", listen)
    expected = encode_elsewhere(vocabulary, ["new words, new", "words  and words"])
    assert split(vocabulary.encode_batch(pa.array(["new words, new", "words  and words"]))) == expected
    assert sorted(asked) == [" new", " words", "new", "words"]  # the others were met when the encoders were compared
    asked.clear()
    assert len(vocabulary.encode_batch(pa.array([" new, words", "new"] * 9))[1]) == 19
    assert asked == []


def test_ordinary_added_tokens_are_found_first():
    """A token of the text's own, which the model's pieces would not make."""
    specification = learn_kind("unigram").specification()
    kinds = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": False}
    size = len(specification["model"]["vocab"]) + len(specification["added_tokens"])
    specification["added_tokens"].append({"id": size, "content": "wor,st", **kinds})
    vocabulary = Vocabulary(json.dumps(specification))
    assert is_wordwise(vocabulary)
    texts = ["the wor,st wor,", "wor,st", *NASTY]
    found = split(vocabulary.encode_batch(pa.array(texts)))
    assert found == encode_elsewhere(vocabulary, texts)
    assert size in found[0]


ADDED = [
    AddedToken("wor,st", normalized=False),
    AddedToken("single", single_word=True, normalized=False),
    AddedToken("left", lstrip=True, normalized=False),
    AddedToken("Norm", normalized=True),
    AddedToken("é!", single_word=True, lstrip=True, normalized=True),
]
WORDS = [
    "it",
    "a",
    "single",
    "left",
    "wor,st",
    "wor,",
    "Norm",
    "norm",
    "é!",
    "e\u0301!",
    "<mask>",
    "<s>",
    "''",
    ".",
    "12",
    "日本",
]
BETWEEN = ["", *"   \n\t\r\u00a0\u3000\u200b\u0301\u0600", "  ", "\r\n", " \n", " \u0301", "\u0301 ", "▁"]


@pytest.mark.parametrize("allow_special", [False, True])
def test_added_tokens_of_all_sorts(vocabulary, allow_special):
    """Such as take spaces before them along, or want to stand alone, beside all kinds of white space and marks."""
    tokenizer = Tokenizer.from_str(vocabulary.to_json())
    tokenizer.add_tokens(ADDED)
    added = Vocabulary(tokenizer.to_str())
    rng = random.Random(vocabulary.name)
    texts = ["".join(rng.choice(WORDS) + rng.choice(BETWEEN) for _ in range(rng.randrange(12))) for _ in range(4 * NUM_FUZZED)]
    found = split(added.encode_batch(pa.array(texts), allow_special=allow_special))
    assert is_wordwise(added)
    assert found == encode_elsewhere(added, texts, allow_special=allow_special)


def test_the_reference_where_words_depend_on_each_other():
    """A pattern of one's own, and a SentencePiece that reads across spaces."""
    own = learn([pa.array([TEXT])], LearnConfig(learn="unigram", vocab_size=320, pattern="regex", pattern_regex=r"\S+ \S+|\s"))
    specification = open_sentencepiece("t5").specification()
    specification["pre_tokenizer"]["split"] = False
    for vocabulary in (own, Vocabulary(json.dumps(specification), unk_token="<unk>")):
        assert not is_wordwise(vocabulary)
        assert split(vocabulary.encode_batch(pa.array([TEXT, *NASTY]))) == encode_elsewhere(vocabulary, [TEXT, *NASTY])


def test_an_unknown_word_has_its_place():
    """Without a token for the unknown, also where the words around it are known."""
    vocabulary = learn([pa.array(["It is so."])], LearnConfig(learn="words", vocab_size=64))
    assert is_wordwise(vocabulary)
    assert vocabulary.decode(vocabulary.encode("so It  is")) == "so It  is"
    with pytest.raises(TokenizerError, match=r"^document 1, character 6: 'not' is not in this vocabulary of words"):
        vocabulary.encode_batch(pa.array(["It is", "It is not so"]))
    assert np.array_equal(vocabulary.encode_batch(pa.array(["It is"]))[0], vocabulary.encode("It is"))


def test_an_added_token_of_several_words_once_it_is_normalized():
    """In normal form U+FDFA is four words, which stand for it in a text."""
    without = open_sentencepiece("t5")
    specification, token_id = without.specification(), without.size
    kinds = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": True, "special": False}
    specification["added_tokens"].append({"id": token_id, "content": "\ufdfa", **kinds})
    vocabulary = Vocabulary(json.dumps(specification), unk_token="<unk>")
    words = Tokenizer.from_str(json.dumps(specification)).normalizer.normalize_str("\ufdfa")
    assert len(words.split()) == 4
    assert split(vocabulary.encode_batch(pa.array([words, "\ufdfa"]))) == encode_elsewhere(vocabulary, [words, "\ufdfa"])
    assert vocabulary.encode_batch(pa.array([words]))[0].tolist() == [token_id]


def test_an_interrupt_changes_nothing(monkeypatch):
    """Wherever it comes while new words are remembered: what was remembered keeps its ids, and so has all that comes."""
    vocabulary = learn_kind("unigram")
    memory = find_partwise(vocabulary)._engine
    known = pa.array([TEXT])
    expected = split(vocabulary.encode_batch(known))
    for place in range(1, 5):
        calls = itertools.count(1)

        def interrupt(*values, place=place, calls=calls, cumsum=np.cumsum, **options):
            if next(calls) == place:
                raise KeyboardInterrupt
            return cumsum(*values, **options)

        new = pa.array([f" new{place}a new{place}b"])
        with monkeypatch.context() as patch, contextlib.suppress(KeyboardInterrupt):
            patch.setattr(recurring.np, "cumsum", interrupt)
            memory.encode_batch(new.cast(pa.large_string()))
        other = f" other{place}"
        assert split(vocabulary.encode_batch(pa.array([other]))) == encode_elsewhere(vocabulary, [other])
        assert split(vocabulary.encode_batch(known)) == expected
        assert split(vocabulary.encode_batch(new)) == encode_elsewhere(vocabulary, new.to_pylist())


@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="this system does not fork processes")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_process_that_is_forked_while_a_thread_encodes():
    """The lock that the thread holds is not waited for by the child, in which there is no such thread."""
    vocabulary = learn_kind("unigram")
    memory = find_partwise(vocabulary)._engine
    expected = encode_elsewhere(vocabulary, [TEXT])

    def encode():
        assert split(vocabulary.encode_batch(pa.array([TEXT], pa.large_string()))) == expected

    child = multiprocessing.get_context("fork").Process(target=encode)
    with memory._lock, vocabulary._lock:
        child.start()
        child.join(60)
    is_over = child.exitcode is not None
    child.kill()
    child.join()
    assert is_over
    assert child.exitcode == 0


@pytest.mark.parametrize("raw", [b"a \xff b", b"ab \xe3", b"\xf0\x9f", b"x \xed\xa0\x80 y"])
def test_broken_bytes_have_their_place(vocabulary, raw):
    """Arrow lets them pass: half a character, half a surrogate pair, at the end or before another text."""
    for texts in ([b"It", raw, b"is"], [b"It", raw]):
        strings = pa.array(texts, pa.large_binary()).view(pa.large_string())
        with pytest.raises(TokenizerError, match=r"^texts: row 1 is not UTF-8 \(byte 0x.. at \d\)"):
            vocabulary.encode_batch(strings)


def test_text_in_which_nothing_recurs(monkeypatch):
    """A large text of words that are all different goes to the reference as it is, and is not remembered."""
    monkeypatch.setattr(wordwise, "_LARGE_BYTES", 1000)
    vocabulary = open_sentencepiece("t5")
    memory = find_partwise(vocabulary)._engine
    num_known = len(memory._slots)
    texts = ["", *(f"x{number} y{number} z{number}" for number in range(200)), "", "a"]
    assert split(vocabulary.encode_batch(pa.array(["-", *texts, "-"]).slice(1, len(texts)))) == encode_elsewhere(
        vocabulary, texts
    )
    assert len(memory._slots) == num_known
    repeated = texts * 2
    assert split(vocabulary.encode_batch(pa.array(repeated))) == encode_elsewhere(vocabulary, repeated)
    assert len(memory._slots) > num_known
