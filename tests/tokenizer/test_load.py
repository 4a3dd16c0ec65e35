"""Find a vocabulary by name, folder or file; say what to do where there is none."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pytest
from tokenizers import Tokenizer

from whelp.base.config import load_config, make_schema
from whelp.base.errors import ConfigError, TokenizerError
from whelp.tokenizer import LearnConfig, load_tokenizer
from whelp.tokenizer.config import VocabularyConfig

SHARED = Path(__file__).parents[3] / "shared" / "data"
NEEDS_SHARED = pytest.mark.skipif(
    not (SHARED / "tokenizers" / "gpt2").is_dir(),
    reason=f"put OpenAI's encoder.json and vocab.bpe into {SHARED / 'tokenizers' / 'gpt2'} to compare with GPT-2",
)


@pytest.fixture
def folder(bpe, tmp_path):
    """A saved vocabulary."""
    bpe.save(tmp_path / "mine")
    return tmp_path / "mine"


def test_load_gives_back_what_was_saved(vocabulary, texts, tmp_path):
    """Fingerprint, kind, control tokens and ids survive the disk, twice."""
    vocabulary.save(tmp_path / "one")
    load_tokenizer(tmp_path / "one").save(tmp_path / "two")
    again = load_tokenizer(tmp_path / "two" / "tokenizer.json")
    assert (again.fingerprint, again.kind, again.size) == (vocabulary.fingerprint, vocabulary.kind, vocabulary.size)
    assert (again.eos_id, again.pad_id, again.unk_id) == (vocabulary.eos_id, vocabulary.pad_id, vocabulary.unk_id)
    assert again.encode_batch(texts)[0].tolist() == vocabulary.encode_batch(texts)[0].tolist()


def test_save_leaves_other_files_alone(bpe, folder):
    """A model folder can take the vocabulary in."""
    (folder / "model.safetensors").write_bytes(b"weights")
    bpe.save(folder)
    assert sorted(path.name for path in folder.iterdir()) == [
        "model.safetensors",
        "special_tokens_map.json",
        "tokenizer.json",
        "tokenizer_config.json",
    ]


def test_names_and_subfolders(folder, bpe, monkeypatch):
    """A name on the shelf, and a folder with tokenizer/ in it, are found."""
    monkeypatch.setenv("WHELP_TOKENIZERS", str(folder.parent))
    assert load_tokenizer("mine").fingerprint == bpe.fingerprint
    store = folder.parent / "store"
    shutil.copytree(folder, store / "tokenizer")
    assert load_tokenizer(store).fingerprint == bpe.fingerprint
    (folder / "tokenizer.json").rename(folder / "20B_tokenizer.json")
    assert load_tokenizer("mine").fingerprint == bpe.fingerprint


def test_control_tokens_are_read_from_the_files_or_guessed(folder, bpe):
    """Both files and both spellings are understood; without them the usual names are tried; a pad is never the end."""
    (folder / "tokenizer_config.json").unlink()
    assert load_tokenizer(folder).pad_id == bpe.pad_id
    (folder / "special_tokens_map.json").write_text('{"eos_token": {"content": "<|pad|>"}, "pad_token": "<|pad|>"}')
    loaded = load_tokenizer(folder)
    assert (loaded.eos_id, loaded.pad_id) == (bpe.pad_id, None)
    (folder / "special_tokens_map.json").unlink()
    assert (load_tokenizer(folder).eos_id, load_tokenizer(folder).pad_id) == (bpe.eos_id, bpe.pad_id)


def test_a_control_token_that_is_not_there_is_warned_of(folder, warnings_logged):
    """A file that names a missing token is used without it."""
    (folder / "tokenizer_config.json").write_text('{"eos_token": "<gone>"}')
    assert load_tokenizer(folder).eos_id is None
    assert "its eos_token is '<gone>', which is not in the vocabulary" in warnings_logged.text


def test_chat_template_is_kept(folder, tmp_path):
    """A chat template survives, from either place."""
    (folder / "chat_template.jinja").write_text("{{ messages }}")
    load_tokenizer(folder).save(tmp_path / "copy")
    assert json.loads((tmp_path / "copy" / "tokenizer_config.json").read_text())["chat_template"] == "{{ messages }}"


def test_folder_without_a_tokenizer(tmp_path):
    """The error names the file that is expected."""
    with pytest.raises(TokenizerError, match=r"no tokenizer in this folder, but expected a file .*tokenizer\.json"):
        load_tokenizer(tmp_path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'{"model": {\n "vocab": ', "broken JSON in line 2, column 11"),
        (b"[]", "is a JSON list, but expected a JSON object"),
        (b"\xff\xfe", r"not UTF-8 text \(byte 0\)"),
        (b"{}", r"there is no model\.vocab in it, but expected a Hugging Face tokenizer\.json"),
        (b'{"model": {"vocab": {}}}', "the vocabulary has no token"),
        (b'{"model": {"vocab": {"a": "b"}}}', "its tokens are no texts with ids, but expected a Hugging Face tokenizer"),
        (b'{"model": {"vocab": {"a": -1}}}', "its tokens are no texts with ids"),
        (b'{"model": {"vocab": ["a", "b"]}}', "its tokens are no texts with ids"),
        (b'{"model": {"vocab": {"a": 0}}, "added_tokens": [{"id": 1}]}', "its tokens are no texts with ids"),
    ],
)
def test_broken_files(folder, content, message):
    """A broken file is named with its line."""
    (folder / "tokenizer.json").write_bytes(content)
    with pytest.raises(TokenizerError, match=r"tokenizer\.json: " + message):
        load_tokenizer(folder)


def test_file_that_tokenizers_refuses(folder):
    """JSON that is no tokenizer is an error at the first use."""
    (folder / "tokenizer.json").write_text('{"model": {"type": "BPE", "vocab": {"a": 0}, "merges": [["x", "y"]]}}')
    with pytest.raises(TokenizerError, match=r"cannot be used \(.*\), but expected a Hugging Face tokenizer\.json"):
        load_tokenizer(folder).encode("a")


def test_recipe_fields():
    """A recipe names a vocabulary, or asks to learn one; mistakes are told by name."""
    assert load_config(VocabularyConfig, {"tokenizer": "gpt2"}, "r.yaml").tokenizer == "gpt2"
    assert load_config(VocabularyConfig, {}, "r.yaml").tokenizer == LearnConfig()
    asked = load_config(VocabularyConfig, {"tokenizer": {"learn": "chars"}}, "r.yaml").tokenizer
    assert asked == LearnConfig(learn="chars")
    with pytest.raises(ConfigError, match="vocab_size is 257, but expected at least 258 for learn: bpe"):
        load_config(VocabularyConfig, {"tokenizer": {"vocab_size": 257}}, "r.yaml")
    with pytest.raises(
        ConfigError,
        match=r"tokenizer\.learn is 'bpee', but expected one of bpe, unigram, wordpiece, chars, words\. Did you mean bpe",
    ):
        load_config(VocabularyConfig, {"tokenizer": {"learn": "bpee"}}, "r.yaml")
    json.dumps(make_schema(VocabularyConfig))


def test_the_door_is_light():
    """Importing the room and its configuration imports nothing heavy."""
    code = (
        "import sys, whelp.tokenizer, whelp.tokenizer.config;"
        "print(sorted({'numpy', 'pyarrow', 'tokenizers', 'gigatoken', 'awkward', 'torch'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


@NEEDS_SHARED
def test_gpt2_equals_the_reference(monkeypatch, tmp_path, warnings_logged):
    """GPT-2 opens from OpenAI's own two files and encodes as tokenizers does, on strings made to break software."""
    monkeypatch.setenv("WHELP_TOKENIZERS", str(SHARED / "tokenizers"))
    gpt2 = load_tokenizer("gpt2")
    assert (gpt2.size, gpt2.eos_id, gpt2.kind) == (50257, 50256, "bpe")
    assert gpt2.encode("Hello world").tolist() == [15496, 995]
    assert gpt2.encode("<|endoftext|>").tolist() == [27, 91, 437, 1659, 5239, 91, 29]
    gpt2.save(tmp_path)
    reference = Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    rows = json.loads((SHARED / "unicode" / "blns.json").read_text(encoding="utf-8"))
    ids, offsets = gpt2.encode_batch(pa.array(rows))
    for row, encoding in enumerate(reference.encode_batch(rows)):
        part = ids[offsets[row] : offsets[row + 1]]
        assert part.tolist() == encoding.ids
        assert gpt2.decode(part) == rows[row]
    assert not warnings_logged.records


def test_a_model_of_sentencepiece_is_refused_with_the_way_out(tmp_path: Path) -> None:
    """Named, or as the only vocabulary of a folder: not as broken JSON."""
    (tmp_path / "tokenizer.model").write_bytes(b"\x0e\n\x05<unk>")
    for named in (tmp_path / "tokenizer.model", tmp_path):
        with pytest.raises(
            TokenizerError, match=r"is a model of SentencePiece, but expected a tokenizer\.json\..*save_pretrained"
        ):
            load_tokenizer(named)
