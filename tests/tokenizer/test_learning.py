"""What can be learned besides the plain byte-level BPE: other cuts, other kinds, control tokens, a vocabulary learned anew."""

import hashlib
import itertools
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pytest
from tokenizers import Regex, Tokenizer, models, pre_tokenizers, trainers

import whelp
from whelp.base.config import load_config
from whelp.base.errors import ConfigError, TokenizerError
from whelp.tokenizer import LearnConfig, Vocabulary, learn, load_tokenizer

from .conftest import TEXTS
from .samples import LITERALS, make_fuzzed, read_texts

ROWS = [f"{text} {number} of {number * 7919}" for number in range(40) for text in TEXTS]
TIKTOKENS_CL100K = (
    r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]|\s+(?!\S)|\s+"
)
EVERY_KIND = [
    {},
    {"pattern": "gpt4"},
    {"pattern": "code", "special_tokens": ["chat", "fim"]},
    {"pattern": "regex", "pattern_regex": r"\w+|\W"},
    {"learn": "unigram", "vocab_size": 384},
    {"learn": "wordpiece", "vocab_size": 384},
    {"learn": "words"},
    {"learn": "chars", "unknown": "token"},
]


def make(rows: list[str] = ROWS, **options) -> Vocabulary:
    """Learn from `rows`; 320 ids unless told otherwise."""
    return learn([pa.array(rows, pa.string())], LearnConfig(**{"vocab_size": 320, **options}))


@pytest.mark.parametrize(
    ("pattern", "regex"),
    [
        ("gpt4", TIKTOKENS_CL100K),
        ("code", TIKTOKENS_CL100K.replace(r"\p{N}{1,3}", r"\p{N}")),
        ("regex", r"[a-z]+|[^a-z]{1,2}"),
    ],
)
def test_merges_equal_the_reference_trainers(pattern, regex):
    """The merges are those of tokenizers' trainer over pieces of tiktoken's pattern, or of the user's own."""
    vocabulary = make(pattern=pattern, pattern_regex=regex if pattern == "regex" else None)
    tokenizer = Tokenizer(models.BPE())
    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(regex), "isolated"), byte_level])
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    tokenizer.train_from_iterator(ROWS, trainers.BpeTrainer(vocab_size=318, initial_alphabet=alphabet, show_progress=False))
    assert vocabulary.specification()["model"]["merges"] == json.loads(tokenizer.to_str())["model"]["merges"]


def test_the_pattern_for_code():
    """Digits one by one, a run of indentation in one piece, words with the sign before them."""
    code = make(["        return 12345\n        return 98 - 12345\n" * 9], pattern="code")
    tokens = [code.token_text(token_id) for token_id in range(code.size)]
    assert not [token for token in tokens if re.search("[0-9].*[0-9]", token) and "\\" not in token]
    assert [code.token_text(token_id) for token_id in code.encode("        return 12")] == ["       ", " return", " ", "1", "2"]
    assert code.gguf_name == "qwen2"


def test_names_that_gguf_knows():
    """Only a cut that its readers know has a name."""
    names = {options.get("pattern", options.get("learn", "gpt2")): make(**options).gguf_name for options in EVERY_KIND}
    assert names == {
        "gpt2": "gpt-2",
        "gpt4": "dbrx",
        "code": "qwen2",
        "regex": None,
        "unigram": None,
        "wordpiece": None,
        "words": None,
        "chars": None,
    }


def test_learning_gives_the_same_bytes_in_every_process(tmp_path):
    """Every kind, learned in two processes with other hash seeds, ends in the same files."""
    program = (
        "import sys, json, pyarrow as pa; from pathlib import Path; from whelp.tokenizer import LearnConfig, learn\n"
        "rows, kinds = json.loads(sys.stdin.read())\n"
        "for number, options in enumerate(kinds):\n"
        "    learn([pa.array(rows)], LearnConfig(**{'vocab_size': 320, **options})).save(Path(sys.argv[1]) / str(number))\n"
    )
    hashes = []
    for name in ("one", "two"):
        folder = tmp_path / name
        asked = json.dumps([ROWS, EVERY_KIND])
        environment = {**os.environ, "PYTHONPATH": str(Path(whelp.__file__).parents[1])}
        subprocess.run([sys.executable, "-c", program, folder], input=asked, text=True, check=True, env=environment)
        files = sorted(folder.rglob("*.json"))
        assert len(files) == 3 * len(EVERY_KIND)
        hashes.append([hashlib.sha256(file.read_bytes()).hexdigest() for file in files])
    assert hashes[0] == hashes[1]


def test_unigram_writes_every_text():
    """decode(encode(x)) == x for what it never saw, and what repeats is written in few tokens."""
    rows = "".join(read_texts("code")).splitlines(keepends=True)
    unigram = make(rows, learn="unigram", vocab_size=512)
    assert (unigram.size, unigram.kind, unigram.is_byte_exact) == (512, "unigram", True)
    assert len(unigram.encode_batch(pa.array(rows))[0]) < sum(map(len, rows)) / 2
    texts = [*make_fuzzed(3, 100), *LITERALS]
    ids, offsets = unigram.encode_batch(pa.array(texts))
    for text, (start, end) in zip(texts, itertools.pairwise(offsets), strict=True):
        assert unigram.decode(ids[start:end]) == text
        assert unigram.token_bytes[ids[start:end]].sum() == len(text.encode())


def test_wordpiece_is_what_bert_expects(tmp_path):
    """Words and parts by the longest match; white space is lost, and what was never seen is <unk>."""
    vocabulary = make(learn="wordpiece", vocab_size=300)
    assert (vocabulary.size, vocabulary.kind, vocabulary.is_byte_exact) == (300, "wordpiece", False)
    assert [vocabulary.id_of(token) for token in ("<|endoftext|>", "<|pad|>", "<unk>")] == [0, 1, 2]
    assert vocabulary.decode(vocabulary.encode("the  best of\ttimes")) == "the best of times"
    assert vocabulary.unk_id in vocabulary.encode("the Ω")
    assert any(token.startswith("##") and len(token) > 3 for token in vocabulary.specification()["model"]["vocab"])
    vocabulary.save(tmp_path)
    tokenizer = Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    for text in TEXTS:
        assert tokenizer.encode(text).ids == vocabulary.encode(text).tolist() == load_tokenizer(tmp_path).encode(text).tolist()


def test_control_tokens_by_name(tmp_path):
    """chat, fim and tokens of one's own: last, never from plain text, and transformers formats a conversation with them."""
    transformers = pytest.importorskip("transformers", reason="install whelp[hf] to compare with transformers")
    pytest.importorskip("jinja2", reason="install jinja2 to format a conversation")
    vocabulary = make(special_tokens=["chat", "fim", "<|mine|>"])
    names = [
        "<|endoftext|>",
        "<|pad|>",
        "<|im_start|>",
        "<|im_end|>",
        "<|fim_prefix|>",
        "<|fim_middle|>",
        "<|fim_suffix|>",
        "<|mine|>",
    ]
    assert [vocabulary.token_text(token_id) for token_id in range(312, 320)] == names
    assert vocabulary.special_ids == set(range(312, 320))
    assert not vocabulary.special_ids & set(vocabulary.encode("".join(names)).tolist())
    vocabulary.save(tmp_path)
    assert load_tokenizer(tmp_path).chat_template == vocabulary.chat_template
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path)
    messages = [{"role": "user", "content": "the cat"}, {"role": "assistant", "content": "sat"}]
    text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    assert text == "<|im_start|>user\nthe cat<|im_end|>\n<|im_start|>assistant\nsat<|im_end|>\n<|im_start|>assistant\n"
    assert tokenizer(text)["input_ids"] == vocabulary.encode(text, allow_special=True).tolist()
    assert make(special_tokens=["fim"]).chat_template is None


def test_every_kind_has_its_control_tokens():
    """Whatever is learned, control tokens are control tokens."""
    for options in EVERY_KIND:
        vocabulary = make(**{**options, "special_tokens": ["<|mine|>"]})
        assert vocabulary.id_of("<|mine|>") in vocabulary.special_ids
        assert vocabulary.id_of("<|mine|>") in vocabulary.encode("the<|mine|>the", allow_special=True)
        assert None not in (vocabulary.eos_id, vocabulary.pad_id)


def test_a_control_token_that_is_a_word_of_the_text():
    """A token that text holds as an ordinary one cannot be told from it."""
    for learn_kind in ("bpe", "words"):
        with pytest.raises(TokenizerError, match=r"special_tokens: 'the' is a word of the text, .* such as <\|the\|>"):
            make(["the the the"] * 9, learn=learn_kind, special_tokens=["the"])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"special_tokens": ["x"]}, "special_tokens holds 'x', but expected chat, fim, or a token of two signs or more"),
        ({"special_tokens": ["chat", "<|im_end|>"]}, r"special_tokens holds '<\|im_end\|>' twice"),
        ({"pattern": "regex"}, "pattern: regex and pattern_regex go together"),
        ({"pattern_regex": "x"}, "pattern: regex and pattern_regex go together"),
        ({"vocab_size": 260, "special_tokens": ["chat", "fim"]}, "vocab_size is 260, but expected at least 263 for learn: bpe"),
        ({"learn": "unigram", "vocab_size": 100}, "vocab_size is 100, but expected at least 258 for learn: unigram"),
        ({"max_documents": 0}, "max_documents"),
    ],
)
def test_options_that_do_not_fit(options, message):
    """Each is a problem of the recipe, by name."""
    with pytest.raises(ConfigError, match=message):
        load_config(LearnConfig, options, "r.yaml")


def test_a_broken_regular_expression():
    """The error names the option."""
    with pytest.raises(TokenizerError, match=r"pattern_regex: cannot be read \(.*\), but expected a regular expression"):
        make(pattern="regex", pattern_regex="(unclosed")


@pytest.mark.parametrize("options", [*EVERY_KIND, {"retrain": "tok"}])
def test_no_trainer_prints(options, capfd, tmp_path, monkeypatch):
    """Standard output stays free for results."""
    monkeypatch.chdir(tmp_path)
    make().save(tmp_path / "tok")
    make(**options)
    assert capfd.readouterr() == ("", "")


def test_budgets_of_documents_and_of_bytes():
    """The first so many documents, whatever the batches; the smaller budget counts."""
    batches = [pa.array(["ab", "cd"]), pa.array(["ef", "gh"])]
    for budget, expected in (({"max_documents": 3}, "abcdef"), ({"max_documents": 3, "max_bytes": 3}, "abc"), ({}, "abcdefgh")):
        found = learn(batches, LearnConfig(learn="chars", **budget))
        assert [found.token_text(token_id) for token_id in range(found.size - 2)] == [*expected]

    def endless():
        while True:
            yield batches[0]

    assert learn(endless(), LearnConfig(learn="chars", max_documents=1)).size == 4


def test_a_size_that_is_no_multiple_of_64_is_noted(warnings_logged):
    """The note says which size uses the padded rows; of characters the text decides."""
    make(vocab_size=300)
    assert "vocab_size 300 is no multiple of 64: the embedding will have 320 rows, and 320 ids" in warnings_logged.text
    warnings_logged.clear()
    make(vocab_size=320)
    make(learn="chars", vocab_size=300)
    assert not warnings_logged.records


@pytest.mark.parametrize("kind", ["bpe", "bpe-gpt4", "nfc", "prefix", "wordpiece", "words"])
def test_retraining_equals_transformers(kind, tmp_path, prefix_space_json):
    """Pipeline and special tokens are kept, and the ids are those of train_new_from_iterator."""
    transformers = pytest.importorskip("transformers", reason="install whelp[hf] to compare with transformers")
    if kind == "prefix":
        old = Vocabulary(prefix_space_json, eos_token="</s>", unk_token="<unk>", bos_token="<s>")
    else:
        learned, _, pattern = kind.partition("-")
        learned = "bpe" if kind == "nfc" else learned
        old = make(learn=learned, pattern=pattern or "gpt2", special_tokens=["chat"], unknown="token", vocab_size=384)
    if kind == "nfc":
        old = Vocabulary(
            json.dumps({**old.specification(), "normalizer": {"type": "NFC"}}), eos_token="<|endoftext|>", pad_token="<|pad|>"
        )
    old.save(tmp_path)
    rows = ["un vieux chat dort sur le vieux mur", "e\u0301tait-il là ? 12 345"] * 20
    size = {"prefix": 40, "wordpiece": 90, "words": 12}.get(kind, 300)
    new = make(rows, retrain=str(tmp_path), vocab_size=size)
    reference = transformers.AutoTokenizer.from_pretrained(tmp_path).train_new_from_iterator(iter([rows]), size)
    if kind != "wordpiece":  # its trainer breaks ties otherwise in every run
        assert reference.get_vocab() == {token: new.id_of(token) for token in reference.get_vocab()}
        assert [new.encode(row).tolist() for row in rows] == [
            reference(row, add_special_tokens=False)["input_ids"] for row in rows
        ]
        assert make(rows, retrain=str(tmp_path), vocab_size=size).fingerprint == new.fingerprint
    assert new.control_tokens == old.control_tokens
    assert new.chat_template == old.chat_template
    for part in ("normalizer", "pre_tokenizer", "decoder"):
        assert new.specification()[part] == old.specification()[part]


def test_what_cannot_be_retrained(tmp_path):
    """World was put together, not learned; and without text there is nothing to learn."""
    from .test_names import write_world

    path = write_world(tmp_path / "world.txt", [])
    with pytest.raises(TokenizerError, match="was put together, not learned, but expected BPE, Unigram or WordPiece"):
        make(retrain=str(path))
    make().save(tmp_path / "bpe")
    for rows in ([], [""]):
        with pytest.raises(TokenizerError, match="there is no text"):
            make(rows, retrain=str(tmp_path / "bpe"))


@pytest.mark.parametrize("options", EVERY_KIND)
def test_empty_corpora_and_nulls(options):
    """No text, and a row that is none, are named whatever is learned."""
    for batches in ([], [pa.array(["", ""])]):
        with pytest.raises(TokenizerError, match="there is no text, but expected some"):
            learn(batches, LearnConfig(**{"vocab_size": 320, **options}))
    with pytest.raises(TokenizerError, match="row 1 is null"):
        learn([pa.array(["a", None])], LearnConfig(**{"vocab_size": 320, **options}))
