"""`whelp tokenizer report` and `guide`: tables, JSON and pages; groups; what goes wrong."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers

import whelp as package
from whelp.base.errors import ConfigError
from whelp.tokenizer import load_tokenizer

from .helpers import Whelp

CODE = "def being(x):\n    if x:\n        return {number}\n"
PROSE = "The sex of the being was {number}; nobody knew it.\n"
PIECES = ["<unk>", "▁", "▁being", "▁s", "ex", "s", "e", "x", "b", "i", "n", "g", "▁the", "d", "f", "h", "t", ":", "(", ")", "0"]


@pytest.fixture(scope="session")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A corpus in folders, rows with languages, and three vocabularies: `bpe`, `chars`, `pieces` (as T5 has them)."""
    folder = tmp_path_factory.mktemp("shelf")
    for number in range(12):
        for name, text in (("code/a.py", CODE), ("prose/b.txt", PROSE)):
            path = folder / "corpus" / name.replace(".", f"{number}.")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text.format(number=number) * 5)
    rows = [{"text": "the cat sat", "lang": "eng"}, {"text": "die Katze saß", "lang": "deu"}, {"text": "the end", "lang": None}]
    (folder / "rows.jsonl").write_text("\n".join(json.dumps(row) for row in rows * 20))
    package.train_tokenizer(str(folder / "corpus"), out=folder / "bpe", learn=package_config(vocab_size=300))
    (folder / "known.txt").write_text("abc def")
    package.train_tokenizer(str(folder / "known.txt"), out=folder / "chars", learn=package_config(learn="chars"))
    tokenizer = Tokenizer(models.Unigram([(piece, -1.0 - index / 10) for index, piece in enumerate(PIECES)], 0))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    (folder / "pieces").mkdir()
    tokenizer.save(str(folder / "pieces" / "tokenizer.json"))
    return folder


def package_config(**options: object) -> object:
    """How to learn."""
    from whelp.tokenizer import LearnConfig

    return LearnConfig(**options)


def test_side_by_side(whelp: Whelp, shelf: Path) -> None:
    """One table: who splits "sex", who splits "being", who spends a token on each space of an indent."""
    names = [shelf / name for name in ("bpe", "pieces", "chars")]
    outcome = whelp("tokenizer", "report", *names, "--corpus", shelf / "corpus", "--text", "sex", "--text", "the being")
    assert outcome.code == 0, outcome.stderr
    shown = " ".join(outcome.text.split())
    assert "␣s|ex" in shown
    assert "␣the|␣being" in shown
    assert "b|e|<unk>|<unk>|<unk>" in shown  # characters that the text to learn from did not have
    for title in (
        "vocabularies",
        "texts",
        "by folder",
        "numbers",
        "indentation",
        "keywords",
        "first ids",
        "stage by stage",
    ):
        assert title in shown
    assert "lost" in shown
    assert "normalizer Lowercase: changes nothing" in shown


def test_json_is_what_the_call_gives(whelp: Whelp, shelf: Path) -> None:
    """Everything in one object; the numbers are those of encoding the files one by one."""
    names = [str(shelf / "bpe"), str(shelf / "chars")]
    corpus = str(shelf / "corpus")
    found = whelp("tokenizer", "report", *names, "--corpus", corpus, "--by", "suffix", "--text", "sex", "--json").json
    assert found == json.loads(json.dumps(package_report(names, corpus=corpus, by="suffix", texts=["sex"])))
    bpe, chars = found["vocabularies"]
    vocabulary = load_tokenizer(shelf / "bpe")
    texts = {
        suffix: [path.read_text() for path in sorted((shelf / "corpus").rglob(f"*{suffix}"))] for suffix in (".py", ".txt")
    }
    for group in bpe["use"]["groups"]:
        assert group["num_tokens"] == sum(len(vocabulary.encode(text)) for text in texts[group["name"]])
    assert bpe["use"]["total"]["num_bytes"] == sum(len(text) for group in texts.values() for text in group)
    assert (bpe["fingerprint"], bpe["vocab_size"]) == (vocabulary.fingerprint, 300)
    known = set("abc def")
    assert chars["use"]["total"]["num_unknown"] == sum(
        character not in known for group in texts.values() for text in group for character in text
    )
    assert found["split_words"][0]["tokens"][1]


def package_report(names: list[str], **options: object) -> dict[str, object]:
    """The Python call, as plain values."""
    from dataclasses import asdict

    return asdict(package.report_tokenizer(names, **options))


@pytest.mark.parametrize(
    ("by", "names"),
    [
        ("folder", ["code", "prose"]),
        ("language", ["code", "prose"]),
        ("suffix", [".py", ".txt"]),
        ("file", ["code/a0.py", "code/a1.py", "code/a10.py"]),
    ],
)
def test_groups_of_files(shelf: Path, by: str, names: list[str]) -> None:
    """By folder, suffix or file."""
    report = package.report_tokenizer(shelf / "bpe", corpus=str(shelf / "corpus"), by=by)
    assert [group["name"] for group in report.vocabularies[0].use["groups"]][:3] == names


def test_files_named_after_languages(tmp_path: Path, shelf: Path) -> None:
    """A folder with a file for each language is grouped by their names, unasked; letters are counted by language."""
    (tmp_path / "eng.txt").write_text("the cat and the dog")
    (tmp_path / "por_BR.utf8.txt").write_text("o gato e o cão")
    report = package.report_tokenizer(shelf / "bpe", corpus=str(tmp_path))
    assert report.corpus["by"] == "language"
    groups = report.vocabularies[0].use["groups"]
    assert [(group["name"], group["num_words"]) for group in groups] == [("eng", 5), ("por_BR", 5)]


def test_groups_of_rows_by_a_column(shelf: Path) -> None:
    """Each row counts where its column says, and rows without go to a group of their own."""
    report = package.report_tokenizer(shelf / "bpe", corpus=str(shelf / "rows.jsonl"), by="column:lang")
    groups = {group["name"]: (group["num_documents"], group["num_bytes"]) for group in report.vocabularies[0].use["groups"]}
    assert groups == {"eng": (20, 20 * 11), "deu": (20, 20 * 14), "(none)": (20, 20 * 7)}


def test_a_part_of_a_large_corpus(shelf: Path) -> None:
    """With a limit, documents come from all over the corpus."""
    whole = package.report_tokenizer(shelf / "bpe", corpus=str(shelf / "corpus"), by="folder")
    part = package.report_tokenizer(
        shelf / "bpe", corpus=str(shelf / "corpus"), by="folder", max_bytes=whole.corpus["num_bytes"] // 4
    )
    assert part.corpus["num_documents"] == whole.corpus["num_documents"] // 4
    assert len(part.vocabularies[0].use["groups"]) == 2


def test_a_text_without_words(tmp_path: Path, shelf: Path) -> None:
    """Signs alone: no word to count, for any kind of vocabulary; shares of nothing are 0, and the page is drawn."""
    (tmp_path / "signs.txt").write_text("!? ... ?!\n" * 3)
    names = [shelf / name for name in ("bpe", "chars", "pieces")]
    report = package.report_tokenizer(names, corpus=str(tmp_path / "signs.txt"), texts=[""], html=tmp_path / "page.html")
    assert report.split_words == []
    for one in report.vocabularies:
        total = one.use["total"]
        assert (total["num_words"], total["tokens_per_word"], total["continued_words_share"]) == (0, 0.0, 0.0)
        assert total["num_tokens"] > 0
        assert one.texts[0]["tokens"] == []


def test_page(whelp: Whelp, shelf: Path, tmp_path: Path) -> None:
    """One file; where it is goes to standard error."""
    outcome = whelp("tokenizer", "report", shelf / "bpe", "--corpus", shelf / "corpus", "--html", "page.html", "--text", "<b>")
    assert "page.html" in outcome.said
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert page.startswith("<!doctype html>")
    assert "&lt;" in page


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["nonsense", "--corpus", "corpus"], ["tokenizer nonsense: there is no such file or folder", "Known: "]),
        (["chars", "--corpus", "missing"], ["missing: there is no such file or folder"]),
        (["chars", "--corpus", "corpus", "--html", "no/page.html"], ["no/page.html: there is no such folder"]),
        (["chars", "--corpus", "corpus", "--html", "empty"], ["empty: is a folder, but expected the name of a file"]),
        (["chars", "--corpus", "empty"], ["empty: the folder is empty"]),
        (["chars", "--corpus", "white.txt"], ["white.txt: not text: only white space"]),
        (
            ["chars", "--corpus", "corpus", "--by", "planet"],
            ["by is 'planet', but expected one of language, suffix, folder, file"],
        ),
        (["chars", "--corpus", "corpus", "--by", "column:lang"], ["holds files of text, which have no columns"]),
        (
            ["chars", "--corpus", "rows.jsonl", "--by", "column:tongue"],
            ["has no column 'tongue'; it has", "but expected a column of text. Name one of those, or another --by."],
        ),
        (["chars", "data.foo=1", "--corpus", "corpus"], ["whelp tokenizer report: unknown key foo"]),
    ],
)
def test_what_goes_wrong(
    whelp: Whelp, shelf: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], words: list[str]
) -> None:
    """One message that says what to do, and exit code 1."""
    for name in ("corpus", "chars", "rows.jsonl"):
        (tmp_path / name).symlink_to(shelf / name)
    (tmp_path / "empty").mkdir()
    (tmp_path / "white.txt").write_text(" \n")
    monkeypatch.setenv("WHELP_TOKENIZERS", str(shelf))
    outcome = whelp("tokenizer", "report", *arguments)
    assert outcome.code == 1
    assert outcome.stdout == b""
    assert outcome.stderr.count("error: ") == 1
    for word in words:
        assert word in outcome.said


def test_options_of_the_corpus(whelp: Whelp, shelf: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a recipe, of the report and of the guide; they may stand among the names."""
    monkeypatch.chdir(shelf)
    (shelf / "two.jsonl").write_text('{"a": "the cat", "b": "dog"}\n' * 30, encoding="utf-8")
    asked = ["--corpus", "two.jsonl", "data.custom_text_key=b", "--json"]
    assert whelp("tokenizer", "report", "chars", *asked).json["corpus"]["num_bytes"] == 90
    assert whelp("tokenizer", "guide", "--n-embd", 32, "--sizes", "260", *asked).json["corpus"]["num_bytes"] == 90


def test_learned_anew_and_from_a_part(whelp: Whelp, shelf: Path, tmp_path: Path) -> None:
    """What replaces a vocabulary says what is asked for otherwise; what was read of a source is told, not all of it."""
    arguments = ["tokenizer", "train", "--source", shelf / "corpus", "--out", tmp_path / "tok", "--vocab-size"]
    assert "is made again" not in whelp(*arguments, 280).said
    outcome = whelp(*arguments, 290, "--max-bytes", 500, "--json")
    assert "tok is made again: vocab_size: 280 -> 290; max_bytes: None -> 500" in " ".join(outcome.said.split())
    assert outcome.json["num_bytes"] == 500


def test_half_a_character_is_no_text(shelf: Path) -> None:
    """What a terminal in another encoding may hand over."""
    with pytest.raises(ConfigError, match=r"--text: 'a\\udc80' is not Unicode text \(character 1\)"):
        package.report_tokenizer(shelf / "chars", corpus=str(shelf / "corpus"), texts=["a\udc80"])


def test_guide(whelp: Whelp, shelf: Path, tmp_path: Path) -> None:
    """What sizes cost and buy: parameters as models count them, tokens as vocabularies of that size encode."""
    from whelp.model import build_model, make_spec
    from whelp.model.config import ModelConfig

    corpus = shelf / "corpus"
    arguments = ["--corpus", corpus, "--n-embd", 32, "--n-layer", 2, "--sizes", "300,258,280"]
    found = whelp("tokenizer", "guide", *arguments, "--json").json
    assert [row["vocab_size"] for row in found["rows"]] == [258, 280, 300]
    texts = [path.read_text() for path in sorted(corpus.rglob("*.*"))]
    vocabulary = load_tokenizer(shelf / "bpe")  # learned from the same text, 300 ids
    last = found["rows"][-1]
    assert last["num_tokens"] == sum(len(vocabulary.encode(text)) for text in texts)
    assert found["rows"][0]["num_tokens"] == sum(map(len, texts))
    for tied, embedding, share in (
        (True, "embedding_parameters", "embedding_share"),
        (False, "untied_parameters", "untied_share"),
    ):
        config = ModelConfig(n_layer=2, n_head=8, n_embd=32, tie_embeddings=tied)
        parameters = build_model(make_spec(config, num_ids=300, context_tokens=8)).num_parameters()
        assert last[embedding] == 320 * 32 * (1 if tied else 2)
        assert parameters == found["model"]["body_parameters"] + last[embedding]
        assert last[share] == pytest.approx(last[embedding] / parameters)
    assert found["cheapest_vocab_size"] == min(found["rows"], key=lambda row: row["flops_per_byte"])["vocab_size"]
    shown = whelp("tokenizer", "guide", *arguments, "--html", "guide.html")
    assert "least" in shown.text
    assert (tmp_path / "guide.html").read_text().count("<svg") == 4


def test_sizes_that_the_text_is_too_small_for(whelp: Whelp, shelf: Path) -> None:
    """They become the largest that there is, and a note says so."""
    outcome = whelp("tokenizer", "guide", "--corpus", shelf / "corpus", "--n-embd", 32, "--sizes", "300,60000,70000", "--json")
    sizes = [row["vocab_size"] for row in outcome.json["rows"]]
    assert sizes[0] == 300
    assert len(sizes) == 2
    assert f"it has {sizes[1]} ids." in outcome.said


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["--n-embd", "32", "--sizes", "100,300"], 1, "vocab_size is 100, but expected at least 258 for learn: bpe"),
        (["--n-embd", "0"], 1, "n_embd"),
        (["--n-embd", "32", "--family", "gpt5"], 1, "family is 'gpt5', but expected one of gpt2, qwen3"),
        (["--n-embd", "32", "--sizes", "many"], 2, "is not a list of numbers"),
        (["--sizes", "300"], 2, "--n-embd"),
    ],
)
def test_a_guide_that_cannot_be(whelp: Whelp, shelf: Path, arguments: list[str], code: int, words: str) -> None:
    """Impossible sizes and widths."""
    outcome = whelp("tokenizer", "guide", "--corpus", shelf / "corpus", *arguments)
    assert outcome.code == code
    assert words in outcome.said
