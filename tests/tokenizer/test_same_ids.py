"""The published vocabularies give the ids of transformers, tokenizers, tiktoken and rwkv."""

import functools
import itertools
import json
from collections.abc import Callable

import pyarrow as pa
import pytest
from tokenizers import Tokenizer

from whelp.base.errors import TokenizerError
from whelp.tokenizer import Vocabulary, load_tokenizer

from .samples import NEEDS_SHARED, NUM_FUZZED, TOKENIZERS, make_fuzzed, read_texts

NAMES = ["gpt2", "neox", "p50k_base", "world"]
pytestmark = NEEDS_SHARED


@pytest.fixture(autouse=True)
def shelf(alone: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """The published files are on the shelf."""
    monkeypatch.setenv("WHELP_TOKENIZERS", str(TOKENIZERS))


@functools.cache
def open_shared(name: str) -> Vocabulary:
    """Each vocabulary once."""
    return load_tokenizer(name)


def split(encoded: tuple) -> list[list[int]]:
    """Ids by document."""
    ids, offsets = encoded
    return [ids[start:end].tolist() for start, end in itertools.pairwise(offsets)]


def open_tokenizers(vocabulary: Vocabulary) -> Tokenizer:
    """`tokenizers` on the same values, with literals of control tokens as text."""
    reference = Tokenizer.from_str(json.dumps(vocabulary.specification()))
    reference.encode_special_tokens = True
    return reference


@functools.cache
def open_independent(name: str) -> Callable[[str], list[int]]:
    """The encoder of the vocabulary's own publisher, from the published file."""
    if name == "world":
        rwkv = pytest.importorskip("rwkv.rwkv_tokenizer", reason="pip install rwkv to compare World with it")
        return rwkv.TRIE_TOKENIZER(str(TOKENIZERS / "world" / "rwkv_vocab_v20230424.txt")).encode
    if name == "neox":
        reference = Tokenizer.from_file(str(TOKENIZERS / "neox" / "20B_tokenizer.json"))
        reference.encode_special_tokens = True
        return lambda text: reference.encode(text).ids
    tiktoken = pytest.importorskip("tiktoken", reason="pip install tiktoken to compare with it")
    if name == "p50k_base":
        from tiktoken.load import load_tiktoken_bpe

        ranks = load_tiktoken_bpe(str(TOKENIZERS / "p50k_base" / "p50k_base.tiktoken"))
    else:
        from tiktoken.load import data_gym_to_mergeable_bpe_ranks

        folder = TOKENIZERS / "gpt2"
        ranks = data_gym_to_mergeable_bpe_ranks(str(folder / "vocab.bpe"), str(folder / "encoder.json"))
    from tiktoken_ext.openai_public import r50k_pat_str

    special = {"<|endoftext|>": 50256}
    return tiktoken.Encoding("same", pat_str=r50k_pat_str, mergeable_ranks=ranks, special_tokens=special).encode_ordinary


@pytest.mark.parametrize("kind", ["text", "multilingual", "unicode", "code"])
@pytest.mark.parametrize("name", NAMES)
def test_ids_of_real_texts(name, kind, warnings_logged):
    """Batch and single encoding equal the publisher's encoder; byte-level ones give the text back."""
    vocabulary = open_shared(name)
    independent = open_independent(name)
    texts = read_texts(kind)
    assert len(texts) > 2
    for text, ids in zip(texts, split(vocabulary.encode_batch(pa.array(texts))), strict=True):
        assert ids == independent(text)
        if name != "neox":
            assert vocabulary.decode(ids) == text
    assert vocabulary.encode(texts[0]).tolist() == independent(texts[0])
    assert not warnings_logged.records


@pytest.mark.parametrize("name", NAMES)
def test_ids_of_fuzzed_strings(name):
    """Lone marks, emoji, long runs, literals of control tokens: the same ids as two other encoders, and the same text back."""
    vocabulary = open_shared(name)
    texts = make_fuzzed(NAMES.index(name), NUM_FUZZED * (3 if name == "neox" else 1))
    independent = open_independent(name)
    # World as WordPiece takes 20 ms a string in `tokenizers`: test_saved_folders_open_elsewhere compares fewer with that.
    reference = open_tokenizers(vocabulary) if name != "world" else None
    for first in range(0, len(texts), 1000):
        block = texts[first : first + 1000]
        found = split(vocabulary.encode_batch(pa.array(block)))
        for text, ids in zip(block, found, strict=True):
            assert ids == independent(text), text
            assert vocabulary.decode(ids) == (reference.normalizer.normalize_str(text) if name == "neox" else text)
        if reference is not None:
            expected = reference.encode_batch(block, add_special_tokens=False)
            assert found == [encoding.ids for encoding in expected]
    for text, ids in zip(block[:300], found, strict=False):
        assert vocabulary.encode(text).tolist() == ids, text


@pytest.mark.parametrize("name", NAMES)
def test_saved_folders_open_elsewhere(name, tmp_path):
    """AutoTokenizer and tokenizers give the same ids and text from the saved folder; so does whelp, with the same fingerprint."""
    transformers = pytest.importorskip("transformers", reason="install whelp[hf] to compare with transformers")
    vocabulary = open_shared(name)
    vocabulary.save(tmp_path)
    again = load_tokenizer(tmp_path)
    assert (again.fingerprint, again.size, again.kind) == (vocabulary.fingerprint, vocabulary.size, vocabulary.kind)
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path)
    texts = [text[:3000] for text in (*read_texts("code"), *read_texts("unicode")[:150])]
    for text, ids in zip(texts, split(vocabulary.encode_batch(pa.array(texts))), strict=True):
        assert tokenizer(text)["input_ids"] == ids
        assert tokenizer.decode(ids) == vocabulary.decode(ids)
        assert again.encode(text).tolist() == ids
    text = "a <|endoftext|> b<|endoftext|>"
    assert tokenizer(text)["input_ids"] == vocabulary.encode(text, allow_special=True).tolist()
    assert tokenizer.eos_token_id == vocabulary.eos_id


def test_what_is_known_of_each():
    """Sizes, control tokens, kinds, and the names that readers of GGUF files know."""
    found = {name: open_shared(name) for name in (*NAMES, "text-davinci-003", "r50k_base", "p50k_edit")}
    assert {name: (v.size, v.eos_id, v.pad_id, v.kind, v.gguf_name) for name, v in found.items()} == {
        "gpt2": (50257, 50256, None, "bpe", "gpt-2"),
        "r50k_base": (50257, 50256, None, "bpe", "gpt-2"),
        "neox": (50277, 0, 1, "bpe", "gpt-2"),
        "p50k_base": (50281, 50256, None, "bpe", "gpt-2"),
        "text-davinci-003": (50281, 50256, None, "bpe", "gpt-2"),
        "p50k_edit": (50284, 50256, None, "bpe", "gpt-2"),
        "world": (65536, 0, None, "greedy", "rwkv"),
    }
    assert found["text-davinci-003"].fingerprint == found["p50k_base"].fingerprint
    assert found["world"].id_type().itemsize == 2
    assert found["world"].decode([65535, 33]) == " "


def test_half_a_surrogate_is_refused():
    """What is no Unicode is named with its place, by World too."""
    with pytest.raises(TokenizerError, match=r"character 1 is half a surrogate pair \(U\+DC00\)"):
        open_shared("world").encode("a\udc00")


def test_a_comparison_that_went_well_is_kept(monkeypatch):
    """The second opening builds no reference, and a changed vocabulary is compared again."""
    load_tokenizer("gpt2").encode("a")
    monkeypatch.setattr(Vocabulary, "_reference", lambda *_: pytest.fail("compared again"))
    kept = load_tokenizer("gpt2")
    assert kept.encode("Hello world").tolist() == [15496, 995]
    specification = kept.specification()
    specification["model"]["vocab"]["Hello"], specification["model"]["vocab"]["hello"] = 31373, 15496
    with pytest.raises(pytest.fail.Exception, match="compared again"):
        Vocabulary(json.dumps(specification)).encode("a")
