"""Find a vocabulary by name: where it is looked for, in which order, and what is said when it cannot be had."""

import base64
import json
import shutil
import sys
from pathlib import Path
from types import SimpleNamespace

import pyarrow as pa
import pytest

from whelp.base.errors import TokenizerError
from whelp.tokenizer import LearnConfig, Vocabulary, learn, load_tokenizer
from whelp.tokenizer.ranks import ENCODINGS

from .samples import make_fuzzed

CACHED_P50K = "ec7223a39ce59f226a68acc30dc1af2788490e15"


def make_ranks(vocabulary: Vocabulary) -> dict[bytes, int]:
    """The ranks that a learned byte-level BPE stands for."""
    return {vocabulary.decode_bytes([rank]): rank for rank in range(vocabulary.size) if rank not in vocabulary.special_ids}


def write_ranks(path: Path, ranks: dict[bytes, int]) -> Path:
    """A `.tiktoken` file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{base64.b64encode(token).decode()} {rank}\n" for token, rank in ranks.items()))
    return path


def write_world(path: Path, tokens: list[bytes]) -> Path:
    """A World vocabulary file of all bytes and `tokens`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    every = [*(bytes([byte]) for byte in range(256)), *tokens]
    lines = [f"{number} {_literal(token)} {len(token)}\n" for number, token in enumerate(every, 1)]
    path.write_text("".join(lines), encoding="utf-8")
    return path


def _literal(token: bytes) -> str:
    try:
        return repr(token.decode())
    except UnicodeDecodeError:
        return repr(token)


@pytest.fixture
def shelf(tmp_path, monkeypatch):
    """An empty folder of vocabularies."""
    folder = tmp_path / "shelf"
    folder.mkdir()
    monkeypatch.setenv("WHELP_TOKENIZERS", str(folder))
    return folder


def test_order_of_places(shelf, bpe, texts, tmp_path, monkeypatch):
    """A path comes first, then Hugging Face's cache, then the shelf; each is found when the one before is gone."""
    sizes = {"here": 300, "cache": 301, "shelf": 302}
    repository = tmp_path / "home" / "hub" / "models--openai-community--gpt2"
    places = {"here": tmp_path / "work" / "gpt2", "cache": repository / "snapshots" / "abc", "shelf": shelf / "gpt2"}
    for name, place in places.items():
        learn([texts], LearnConfig(vocab_size=sizes[name])).save(place)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("abc")
    monkeypatch.setenv("HF_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path / "work")
    for name, place in places.items():
        assert load_tokenizer("gpt2").size == sizes[name]
        assert name == "shelf" or load_tokenizer("openai-community/gpt2").size == sizes["cache"]
        shutil.rmtree(place)
    with pytest.raises(TokenizerError, match="tokenizer gpt2: cannot be fetched from the hub as openai-community/gpt2"):
        load_tokenizer("gpt2")


def test_files_on_the_shelf(shelf, bpe, tmp_path):
    """A bare file of any kind is found by its stem, and by path."""
    bpe.save(tmp_path)
    shutil.copy(tmp_path / "tokenizer.json", shelf / "mine.json")
    write_ranks(shelf / "p50k_base.tiktoken", make_ranks(bpe))
    write_world(shelf / "world.txt", [b"the", b"the cat"])
    assert load_tokenizer("mine").size == load_tokenizer(shelf / "mine.json").size == bpe.size
    assert load_tokenizer("text-davinci-003").encode("the cat").tolist() == bpe.encode("the cat").tolist()
    assert load_tokenizer(shelf / "p50k_base.tiktoken").size == load_tokenizer("p50k_base").size == 50257
    assert load_tokenizer("world").encode("the cats").tolist() == [258, ord("s") + 1]
    assert load_tokenizer(shelf / "world.txt").kind == "greedy"


def test_a_package_ships_the_file(tmp_path, monkeypatch):
    """World's file is found in the rwkv package, which is not imported."""
    write_world(tmp_path / "site" / "rwkv" / "rwkv_vocab_v20230424.txt", [b"whelp"])
    (tmp_path / "site" / "rwkv" / "__init__.py").write_text("raise RuntimeError('imported')")
    monkeypatch.delitem(sys.modules, "rwkv", raising=False)
    monkeypatch.syspath_prepend(tmp_path / "site")
    assert load_tokenizer("world").encode("whelp").tolist() == [257]


def test_tiktokens_cache(bpe, tmp_path, monkeypatch):
    """A rank file that tiktoken has fetched before is used, under any name of that encoding."""
    write_ranks(tmp_path / "cache" / CACHED_P50K, make_ranks(bpe))
    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", str(tmp_path / "cache"))
    for name in ("p50k_base", "text-davinci-003", "code-davinci-002"):
        assert load_tokenizer(name).encode("the cat").tolist() == bpe.encode("the cat").tolist()
    assert load_tokenizer("p50k_edit").id_of("<|fim_suffix|>") == 50283


def test_fetching(bpe, tmp_path, monkeypatch):
    """What is not on this machine is fetched: no code, only the files of a vocabulary; ranks through tiktoken."""
    hub = pytest.importorskip("huggingface_hub", reason="install whelp[hub]")
    tiktoken = pytest.importorskip("tiktoken", reason="install whelp[tiktoken]")
    bpe.save(tmp_path / "fetched")
    asked = []

    def fetch(hub_id: str, *, allow_patterns: list[str]) -> str:
        asked.append(hub_id)
        assert not any(pattern.endswith((".py", ".bin", ".pt", "*")) for pattern in allow_patterns)
        return str(tmp_path / "fetched")

    monkeypatch.setattr(hub, "snapshot_download", fetch)
    assert load_tokenizer("some/model").fingerprint == load_tokenizer("neox").fingerprint == bpe.fingerprint
    assert asked == ["some/model", "EleutherAI/gpt-neox-20b"]
    monkeypatch.setattr(tiktoken, "get_encoding", lambda name: SimpleNamespace(_mergeable_ranks=make_ranks(bpe)))
    assert load_tokenizer("gpt-4").encode("a cat").tolist() == load_tokenizer("cl100k_base").encode("a cat").tolist()


def test_a_user_without_a_home_folder(monkeypatch):
    """In a container a user may have no name, and so no home: nothing is looked for there."""
    pwd = pytest.importorskip("pwd", reason="a module of POSIX: run the tests on Linux or macOS")

    def find_nobody(number: int) -> None:
        raise KeyError(number)

    for name in ("HF_HOME", "HF_HUB_CACHE", "XDG_CACHE_HOME", "HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(pwd, "getpwuid", find_nobody)
    with pytest.raises(TokenizerError, match="no-such-vocabulary"):
        load_tokenizer("no-such-vocabulary")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "world",
            r"tokenizer world: cannot be fetched from the hub as .* expected a file \S*/world/rwkv_vocab_v20230424\.txt\. Put that file",
        ),
        ("neox", r"cannot be fetched from the hub as EleutherAI/gpt-neox-20b .*/neox/20B_tokenizer\.json"),
        (
            "p50k_base",
            r"not on this machine, and tiktoken cannot fetch it \(ConnectionError.* expected a file \S*/p50k_base\.tiktoken",
        ),
        ("text-davinci-003", r"tokenizer text-davinci-003: .* expected a file \S*/p50k_base\.tiktoken"),
        ("o200k_base", r"expected a file \S*/o200k_base\.tiktoken"),
        ("some/model", r"tokenizer some/model: cannot be fetched from the hub as some/model \(.*/some/model/tokenizer\.json"),
        ("mime", r"no vocabulary of that name, .* Did you mean mine\? Put that file there, or give the path"),
        ("nonsense", r"no such file or folder, .* Known: cl100k_base, gpt2, mine, neox, .*, world\. Put that file there"),
    ],
)
def test_what_cannot_be_had_says_which_file_to_put_where(name, message, shelf, bpe, monkeypatch):
    """One clear error for each kind of name, with the network down."""
    (shelf / "mine").mkdir()
    (shelf / "notes.md").write_text("no vocabulary")
    monkeypatch.setattr("importlib.util.find_spec", _without("rwkv", "pyrwkv_tokenizer"))
    with pytest.raises(TokenizerError, match=message):
        load_tokenizer(name)


def test_without_the_packages_that_fetch(monkeypatch):
    """The error names the extra to install, and the variable to set."""
    monkeypatch.setattr("importlib.util.find_spec", _without("rwkv", "pyrwkv_tokenizer", "huggingface_hub", "tiktoken"))
    for name, extra in (("gpt2", "hub"), ("world", "hub"), ("a/b", "hub"), ("cl100k_base", "tiktoken")):
        with pytest.raises(
            TokenizerError, match=rf'without `pip install "whelp\[{extra}\]"`.*and set WHELP_TOKENIZERS to that'
        ):
            load_tokenizer(name)
    with pytest.raises(TokenizerError, match="no vocabulary of that name"):
        load_tokenizer("gpt-4")


def _without(*missing: str):
    """find_spec, as if these packages were not installed."""
    import importlib.util

    find = importlib.util.find_spec
    return lambda name, *rest: None if name in missing else find(name, *rest)


def test_a_hub_folder_without_a_vocabulary(tmp_path, monkeypatch):
    """A model without a tokenizer that can be opened is said to be one."""
    hub = pytest.importorskip("huggingface_hub", reason="install whelp[hub]")
    monkeypatch.setattr(hub, "snapshot_download", lambda *_, **__: str(tmp_path))
    with pytest.raises(TokenizerError, match=r"tokenizer a/b: a/b holds no tokenizer\.json, nor another vocabulary"):
        load_tokenizer("a/b")


@pytest.mark.parametrize("name", list(ENCODINGS))
def test_every_encoding_of_tiktoken(name, texts, shelf, monkeypatch, warnings_logged):
    """Pattern, special tokens and ids are tiktoken's own, for ranks learned here, on nasty strings."""
    tiktoken = pytest.importorskip("tiktoken", reason="install whelp[tiktoken] to compare with it")
    from tiktoken_ext import openai_public

    rows = [*texts.to_pylist(), *make_fuzzed(1, 60)]
    pattern = {"gpt4": "gpt4", "o200k": "gpt4", "gpt2": "gpt2"}[ENCODINGS[name].pattern]
    ranks = make_ranks(learn([pa.array(rows)], LearnConfig(vocab_size=450, pattern=pattern)))
    ranks[b"qz#\xff unreachable"] = max(ranks.values()) + 7
    ranks[b" zqzq"] = max(ranks.values()) + 1
    monkeypatch.setattr(openai_public, "load_tiktoken_bpe", lambda *_, **__: ranks)
    monkeypatch.setattr(openai_public, "data_gym_to_mergeable_bpe_ranks", lambda *_, **__: ranks)
    values = openai_public.ENCODING_CONSTRUCTORS[name]() | {"explicit_n_vocab": None}
    reference = tiktoken.Encoding(**values)
    write_ranks(shelf / f"{ENCODINGS[name].ranks}.tiktoken", ranks)
    vocabulary = load_tokenizer(name)
    assert vocabulary.size == reference.n_vocab
    twice = {"<|endofprompt|>"} if name == "o200k_harmony" else set()  # there its id has another name, too
    assert {vocabulary.id_of(token) for token in reference.special_tokens_set - twice} == vocabulary.special_ids
    assert vocabulary.eos_id == reference.eot_token
    texts_of_all = [
        *make_fuzzed(2, 300),
        "a zqzq zqzqz",
        "I'LL we'Ve HTTPServer getURL\r\n\r\n  x 1234567//\n",
        *texts.to_pylist(),
    ]
    for text in texts_of_all:
        ids = vocabulary.encode(text).tolist()
        assert ids == reference.encode_ordinary(text), text
        assert vocabulary.decode(ids) == text
    assert not [record for record in warnings_logged.records if "no multiple of 64" not in record.message]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b"no-base64! 300", r"line 257 is 'no-base64! 300', but expected a token in Base64 and its rank, such as IQ== 0"),
        (b"YWI=", "line 257 is 'YWI='"),
        (b"YWI= x", "line 257 is 'YWI= x'"),
        (b"YWI= -3", "line 257 is 'YWI= -3'"),
        (b"YQ== 300", "line 257 has the token b'a' a second time"),
        (b"YWI= 7", "two tokens have the same rank"),
        (b"YWI= 50256", "rank 50256 belongs to a special token of this name"),
    ],
)
def test_broken_rank_files(line, message, tmp_path):
    """Each mistake is named with its line."""
    path = write_ranks(tmp_path / "p50k_base.tiktoken", {bytes([byte]): byte for byte in range(256)})
    path.write_bytes(path.read_bytes() + line + b"\n")
    with pytest.raises(TokenizerError, match=r"p50k_base\.tiktoken: " + message):
        load_tokenizer(path)


def test_rank_files_that_are_too_small_or_unknown(tmp_path):
    """A vocabulary smaller than its 256 bytes, an empty file, and a file whose pattern nobody knows."""
    path = write_ranks(tmp_path / "p50k_base.tiktoken", {bytes([byte]): byte for byte in range(200)})
    with pytest.raises(TokenizerError, match=r"56 of the 256 single bytes are missing, the first is b'\\xc8'"):
        load_tokenizer(path)
    path.write_bytes(b"")
    with pytest.raises(TokenizerError, match="256 of the 256 single bytes are missing"):
        load_tokenizer(path)
    path = write_ranks(tmp_path / "mine.tiktoken", {bytes([byte]): byte for byte in range(256)})
    with pytest.raises(TokenizerError, match="does not say how text is cut, and 'mine' is no encoding that is known"):
        load_tokenizer(path)


def test_gpt2_files_that_do_not_fit(tmp_path):
    """A merge that the vocabulary has not is named with its line."""
    (tmp_path / "encoder.json").write_text(json.dumps({"a": 0, "b": 1, "ab": 2}))
    (tmp_path / "vocab.bpe").write_text("#version: 0.2\na b\nb a\n")
    with pytest.raises(TokenizerError, match=r"vocab\.bpe: does not fit encoder\.json \(line 3, 'b a', is not in it\)"):
        load_tokenizer(tmp_path)
