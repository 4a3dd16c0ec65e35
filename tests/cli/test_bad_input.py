"""What goes wrong at the user's side: one clear message, exit code 1, no traceback; what was there stays."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from whelp.base import files

from .helpers import Outcome, Project, Whelp, prepare_project, said_once, snapshot, train_project

PROGRAM = [sys.executable, "-c", "from whelp.cli.main import main; main()"]
ENGLISH = "It was the best of times, it was the worst of times. "


@pytest.mark.parametrize(
    ("name", "content", "overrides", "words"),
    [
        ("missing.txt", None, [], ["missing.txt: there is no such file or folder", "Check the spelling"]),
        ("text.tx", None, [], ["text.tx: there is no such file or folder", "Did you mean text.txt?"]),
        ("empty.txt", b"", [], ["empty.txt: the file is empty", "Put some text into it"]),
        ("white.txt", b" \n\t\n ", [], ["white.txt: not text: only white space"]),
        ("a.png", b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 9, [], ["a.png: "]),
        ("random.bin", bytes(range(128, 256)) * 50, [], ["random.bin: "]),
        ("a.gz", b"\x1f\x8b\x08" + bytes(range(1, 99)), [], ["a.gz: gzip data, not text", "Unpack it"]),
        (
            "latin.txt",
            b"caf\xe9 " * 50,
            ["data.encoding=utf-8"],
            ["latin.txt: not utf-8 text", "first bad byte 0xe9 at byte 3"],
        ),
        ("nul.txt", ENGLISH.encode() + b"\x00" + ENGLISH.encode(), [], ["nul.txt: contains NUL bytes (first at byte 53)"]),
        ("half.txt", ENGLISH.encode("utf-16")[:-1], [], ["half.txt: not utf-16", "byte order mark"]),
    ],
)
def test_a_named_file_that_is_no_text(
    whelp: Whelp, tmp_path: Path, project: Project, name: str, content: bytes | None, overrides: list[str], words: list[str]
) -> None:
    """The message names the file and what is wrong with it; nothing is written."""
    (tmp_path / "text.txt").write_text(ENGLISH)
    if content is not None:
        (tmp_path / name).write_bytes(content)
    said_once(prepare_project(whelp, project, f"data.source={name}", *overrides), *words)
    assert not project.store.exists()
    assert not list(tmp_path.rglob("*.tmp"))


def test_a_file_of_one_character(whelp: Whelp, tmp_path: Path, project: Project) -> None:
    """It is text, so it is prepared; that it fills no row is said when it is to be trained on."""
    (tmp_path / "a.txt").write_text("a")
    overrides = ["data.source=a.txt", "data.tokenizer.learn=chars", "data.test_split=0"]
    assert prepare_project(whelp, project, *overrides).code == 0
    said_once(train_project(whelp, project, *overrides), "the train split: it has 2 tokens, fewer than one row", "Add text")
    assert not project.run.exists()


@pytest.mark.parametrize("learn", ["bpe", "chars", "words"])
def test_one_character_with_a_test_split(whelp: Whelp, tmp_path: Path, project: Project, learn: str) -> None:
    """Whatever the vocabulary, it ends in a store or in one message."""
    (tmp_path / "a.txt").write_text("a")
    outcome = prepare_project(whelp, project, "data.source=a.txt", f"data.tokenizer.learn={learn}")
    if outcome.code:
        said_once(outcome)
    else:
        said_once(train_project(whelp, project, "data.source=a.txt", f"data.tokenizer.learn={learn}"), "fewer than one row")


def test_a_folder_without_text(whelp: Whelp, tmp_path: Path, project: Project) -> None:
    """An empty folder, and one of pictures: each says what is in it."""
    (tmp_path / "empty").mkdir()
    said_once(prepare_project(whelp, project, "data.source=empty"), "empty: the folder is empty")
    (tmp_path / "pictures").mkdir()
    for number in range(3):
        (tmp_path / "pictures" / f"{number}.png").write_bytes(b"\x89PNG\r\n\x1a\n\x00\x00")
    (tmp_path / "pictures" / "nothing.txt").write_bytes(b"")
    said_once(
        prepare_project(whelp, project, "data.source=pictures"), "none of the 4 files found can be read as text", "1 empty"
    )
    assert not project.store.exists()


def test_a_glob_that_matches_nothing(whelp: Whelp, project: Project) -> None:
    """It says so, instead of an empty store."""
    said_once(prepare_project(whelp, project, "data.source=*.nonsense"), "the glob matches nothing")


def test_a_bad_file_among_good_ones_is_counted(whelp: Whelp, project: Project) -> None:
    """A dangling link, an empty and a binary file are left out, said, and in the ledger; the rest is prepared."""
    (project.corpus / "dangling.txt").symlink_to("nowhere")
    (project.corpus / "empty.txt").touch()
    (project.corpus / "nul.txt").write_bytes(b"a\x00b")
    outcome = whelp("prepare", project.recipe, "--out", project.store, "--json")
    files = outcome.json["ledger"]["files"]
    assert files == {"read": 24, "skipped: unreadable": 1, "skipped: empty": 1, "skipped: NUL bytes": 1}
    assert "unreadable" in outcome.said


def test_a_bad_file_among_good_ones_stops_when_asked_to(whelp: Whelp, project: Project) -> None:
    """data.on_bad_files=stop: the first bad file ends it."""
    (project.corpus / "dangling.txt").symlink_to("nowhere")
    said_once(
        prepare_project(whelp, project, "data.on_bad_files=stop"), "dangling.txt: cannot be read (no such file or directory)"
    )


def test_unknown_keys(whelp: Whelp, project: Project) -> None:
    """All of them at once, each with the nearest one there is."""
    outcome = prepare_project(whelp, project, "data.sorce=x", "trian.num_steps=5", "model.n_layers=2")
    said_once(
        outcome,
        "3 problems",
        "unknown key data.sorce. Did you mean data.source?",
        "unknown key trian. Did you mean train?",
        "unknown key model.n_layers. Did you mean model.n_layer?",
    )


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["prepare", "nonsense.yaml", "--out", "s"], ["nonsense.yaml: there is no such recipe file", "Shipped recipes: bark"]),
        (["prepare", "demo", "nonsense", "--out", "s"], ["'nonsense' is not of the form section.field=value"]),
        (["train", "demo", "--store", "nowhere", "--out", "r"], ["nowhere: there is no such folder", "`whelp prepare`"]),
        (["generate", "nowhere", "--prompt", "a"], ["nowhere: there is no such folder", "Check the spelling"]),
        (["evaluate", "nowhere", "--store", "s"], ["nowhere: there is no such folder"]),
        (["inspect", "nowhere"], ["nowhere: there is no such folder", "Make one with `whelp prepare`"]),
        (["tokenizer", "encode", "nowhere"], ["tokenizer nowhere: there is no such file or folder"]),
        (["tokenizer", "train", "--source", "nowhere", "--out", "t"], ["nowhere: there is no such file or folder"]),
        (["tokenizer", "train", "--source", "stdlib", "--out", "t", "--vocab-size", "5"], ["vocab_size is 5", "at least 258"]),
        (["tokenizer", "train", "--source", "stdlib", "--out", "t", "--learn", "bpee"], ["bpee", "bpe"]),
        (
            ["tokenizer", "train", "--source", "x", "--out", "t", "dta.document=line"],
            ["unknown section dta", "Only data.field=value"],
        ),
        (["tokenizer", "train", "--source", "x", "--out", "t", "data.documnt=line"], ["documnt", "Did you mean document"]),
        (["tokenizer", "train", "--source", "stdlib", "--out", "t", "--pattern", "regex"], ["pattern_regex go together"]),
        (
            ["tokenizer", "train", "--source", "stdlib", "--out", "t", "--retrain", "nowhere"],
            ["tokenizer nowhere: there is no such"],
        ),
        (["demo", "--corpus", "nowhere", "--out", "d"], ["nowhere: there is no such file or folder"]),
        (["demo", "--minutes", "0", "--out", "d"], ["--minutes: it is 0"]),
    ],
)
def test_names_of_what_is_not_there(whelp: Whelp, tmp_path: Path, arguments: list[str], words: list[str]) -> None:
    """Each command says which name was wrong, and nothing is made."""
    said_once(whelp(*arguments), *words)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("command", "stdin", "words"),
    [
        ("encode", b"caf\xe9", ["standard input: not UTF-8 (byte 3)"]),
        ("decode", b"not json", ["standard input: not a JSON list of ids"]),
        ("decode", b'{"a": 1}', ["standard input: not a JSON list of ids"]),
        ("decode", b"[1, 99999]", ["there is no id 99999"]),
        ("decode", b"[-1]", ["there is no id -1"]),
        ("decode", b"\xff\xfe", ["standard input: "]),
        ("decode", b"[true]", ["standard input: not a JSON list of ids"]),
    ],
)
def test_encode_and_decode_of_nonsense(whelp: Whelp, made: Project, command: str, stdin: bytes, words: list[str]) -> None:
    """Bytes that are no text, ids that are none."""
    said_once(whelp("tokenizer", command, made.store / "tokenizer", stdin=stdin), *words)


def test_encode_of_a_file_that_is_not_there(whelp: Whelp, made: Project) -> None:
    """An error of the system becomes one of ours."""
    said_once(whelp("tokenizer", "encode", made.store, "--file", "nowhere.txt"), "nowhere.txt: there is no such file or folder")


def test_a_store_is_no_model(whelp: Whelp, made: Project) -> None:
    """MODEL given as a store says how to get a model; STORE given as a run says what it is instead."""
    said_once(whelp("generate", made.store, "--prompt", "a"), "is a token store, but expected a model", "`whelp train`")
    said_once(whelp("evaluate", made.store, "--store", made.store), "is a token store, but expected a model")
    said_once(whelp("inspect", made.run), "is a run, but expected a token store", "`whelp prepare`")
    checkpoint = made.run / "checkpoints" / "last"
    said_once(whelp("inspect", checkpoint), "is a checkpoint, but expected a token store", "`whelp prepare`")
    said_once(whelp("train", made.recipe, "--store", made.run, "--out", "x"), "is a run, but expected a token store")


TAKEN = "another process is writing into it", "choose another --out; nothing was changed"


@pytest.mark.parametrize("command", ["prepare", "train", "curate", "tokenizer train", "split", "init", "export", "import"])
def test_two_that_write_into_one_folder(
    whelp: Whelp, made: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    """The second is told, and changes nothing: two runs would mix their records."""
    monkeypatch.setattr(files, "_PATIENCE_SECONDS", 0.0)
    folder, ids = tmp_path / "taken", tmp_path / "ids.bin"
    ids.write_bytes(bytes(512))
    arguments: dict[str, list[object]] = {
        "prepare": [made.recipe],
        "train": [made.recipe, "--store", made.store],
        "curate": [made.recipe],
        "tokenizer train": ["--source", made.corpus, "--vocab-size", "300"],
        "split": [made.corpus / "00.txt", "--parts", "1"],
        "init": [made.recipe, "--vocab_size", "300"],
        "export": [made.run],
        "import": [ids, "--format", "nanogpt", "--tokenizer", made.store],
    }
    with files.hold_folder(folder):
        files._held.clear()  # as if another process held it
        said_once(whelp(*command.split(), *arguments[command], "--out", folder), "taken: " + TAKEN[0], TAKEN[1])
        assert list(folder.iterdir()) == []


@pytest.mark.parametrize("command", ["convert", "append", "collect folder"])
def test_two_that_write_one_file(
    whelp: Whelp, made: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    """As of folders; when the first has ended the second may begin, and no lock stays behind."""
    monkeypatch.setattr(files, "_PATIENCE_SECONDS", 0.0)
    rows, out = tmp_path / "rows.csv", tmp_path / "taken.jsonl"
    rows.write_text("text\na\nb\n")
    out = out.with_suffix(".txt") if command == "append" else out
    given = {"convert": rows, "append": made.corpus, "collect folder": made.corpus}[command]
    with files.hold_file(out):
        files._held.clear()  # as if another process held it
        said_once(whelp(*command.split(), given, "--out", out), f"{out.name}: {TAKEN[0]}", TAKEN[1])
        assert not out.exists()
    assert whelp(*command.split(), given, "--out", out).code == 0
    assert out.is_file()
    assert not list(tmp_path.glob(".*.lock"))


def test_a_store_where_a_run_stands(whelp: Whelp, made: Project) -> None:
    """It is refused before a vocabulary is learned."""
    before = snapshot(made.run)
    outcome = whelp("prepare", made.recipe, "data.min_token_size=3", "--out", made.run)
    said_once(outcome, "holds other files, but expected an empty folder or a token store")
    assert "vocabulary" not in outcome.said
    assert snapshot(made.run) == before


def test_a_recipe_that_needs_data_of_yours(whelp: Whelp, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A shipped recipe without its data says how to give it some."""
    monkeypatch.chdir(tmp_path)
    outcome = whelp("prepare", "rwkv-music", "--out", "store")
    said_once(outcome, "music.jsonl: there is no such file or folder", "data.source=PATH takes another.")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_no_model(whelp: Whelp, tmp_path: Path, made: Project) -> None:
    """No config; a config of another architecture; only a pickle; a damaged file: each says which."""
    folder = tmp_path / "folder"
    folder.mkdir()
    said_once(whelp("generate", folder, "--prompt", "a"), "holds no config.json and no checkpoints")
    (folder / "config.json").write_text('{"model_type": "bert"}')
    said_once(whelp("generate", folder, "--prompt", "a"), "it has no weights")
    (folder / "pytorch_model.bin").write_bytes(b"x")
    said_once(whelp("generate", folder, "--prompt", "a"), "its weights are a pickle")
    shutil.copy(made.run / "checkpoints" / "last" / "model.safetensors", folder)
    said_once(whelp("generate", folder, "--prompt", "a"), "bert")
    (folder / "config.json").write_text("{")
    said_once(whelp("generate", folder, "--prompt", "a"), "config.json: is damaged")
    shutil.copy(made.run / "checkpoints" / "last" / "config.json", folder)
    (folder / "model.safetensors").write_bytes((folder / "model.safetensors").read_bytes()[:-9])
    said_once(whelp("generate", folder, "--prompt", "a"), "model.safetensors: is damaged")
    shutil.copy(made.run / "checkpoints" / "last" / "model.safetensors", folder)
    said_once(whelp("generate", folder, "--prompt", "a"), "there is no tokenizer in this folder")


def test_a_run_without_a_checkpoint(whelp: Whelp, tmp_path: Path, made: Project) -> None:
    """A run that has only begun says how to go on."""
    (tmp_path / "run").mkdir()
    shutil.copy(made.run / "plan.json", tmp_path / "run")
    said_once(whelp("generate", "run", "--prompt", "a"), "this run has no checkpoint yet", "Run the same `whelp train` again")


def test_a_store_of_another_tokenizer(whelp: Whelp, made: Project, project: Project) -> None:
    """Ids of another vocabulary mean other text: refused, with the command that mends it."""
    assert prepare_project(whelp, project, "data.tokenizer.vocab_size=290").code == 0
    message = said_once(
        whelp("evaluate", made.run, "--store", project.store), "it was made with another tokenizer than the model's"
    )
    assert "Run `whelp prepare RECIPE data.tokenizer=" in message
    overrides = [f"data.tokenizer={made.store / 'tokenizer'}"]
    said_once(train_project(whelp, project, *overrides), "the tokenizer: ", "another vocabulary", "run `whelp prepare` again")
    said_once(train_project(whelp, project), "data.tokenizer: ", "290", "run `whelp prepare` again")


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        (lambda corpus: (corpus / "03.txt").write_text("x"), ["03.txt: edited", "-> 1 bytes"]),
        (lambda corpus: (corpus / "03.txt").unlink(), ["03.txt: removed"]),
        (lambda corpus: (corpus / "new.txt").write_text("x"), ["new.txt: added"]),
        (
            lambda corpus: (corpus / "03.txt").write_bytes((corpus / "03.txt").read_bytes().swapcase()),
            ["03.txt: edited (still"],
        ),
    ],
)
def test_an_edited_corpus(whelp: Whelp, project: Project, edit, words: list[str]) -> None:
    """A store whose text has changed is stale: what changed, and the command to run; the run is not started."""
    assert prepare_project(whelp, project).code == 0
    edit(project.corpus)
    said_once(train_project(whelp, project), *words, "Run `whelp prepare` again with --out")
    assert not project.run.exists()
    assert prepare_project(whelp, project).code == 0
    assert train_project(whelp, project).code == 0


def test_a_corpus_that_is_gone(whelp: Whelp, project: Project) -> None:
    """Without its source a store cannot be compared; that is said, and it is used."""
    assert prepare_project(whelp, project).code == 0
    shutil.rmtree(project.corpus)
    outcome = train_project(whelp, project)
    assert outcome.code == 0
    assert "the store's text is not compared with its source" in outcome.said


def test_other_options_make_a_store_stale(whelp: Whelp, project: Project) -> None:
    """The recipe's `data` is part of what the store was made from."""
    assert prepare_project(whelp, project).code == 0
    said_once(train_project(whelp, project, "data.separator=newline"), "data.separator: 'eos' -> 'newline'")
    outcome = train_project(whelp, project, "data.document=line", "data.encoding=latin-1")
    said_once(outcome, "data.document: was 'file', now 'line'", "data.encoding: was")
    assert (outcome.said.count("data.document:"), outcome.said.count("data.encoding:")) == (1, 1)


def test_a_corpus_shorter_than_one_row(whelp: Whelp, project: Project) -> None:
    """The numbers, and both ways out."""
    assert prepare_project(whelp, project).code == 0
    outcome = train_project(whelp, project, "pack.context_tokens=100000")
    said_once(outcome, "fewer than one row", "at least 100,001 for pack.context_tokens=100000", "lower pack.context_tokens to")
    assert not project.run.exists()


def test_everything_filtered_out(whelp: Whelp, project: Project) -> None:
    """A filter that keeps nothing says how many it dropped, and why."""
    outcome = prepare_project(whelp, project, "data.min_token_size=100000")
    said_once(outcome, "nothing is left to train on (24 dropped: too short)")


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("manifest.json", ["it has no manifest.json, so it is not a finished token store", "if it was stopped, run it again"]),
        ("train/data-00000-of-00001.arrow", ["is missing", "The folder is damaged"]),
    ],
)
def test_an_unfinished_store(whelp: Whelp, project: Project, name: str, words: list[str]) -> None:
    """A half store never looks like a whole one; the same command finishes it."""
    assert prepare_project(whelp, project).code == 0
    before = (project.store / "train" / "data-00000-of-00001.arrow").read_bytes()
    (project.store / name).unlink()
    (project.store / ".parts").mkdir()
    said_once(train_project(whelp, project), *words)
    said_once(whelp("inspect", project.store), *words)
    assert prepare_project(whelp, project).code == 0
    assert (project.store / "train" / "data-00000-of-00001.arrow").read_bytes() == before
    assert train_project(whelp, project).code == 0


def test_a_manifest_that_cannot_be_read(whelp: Whelp, project: Project) -> None:
    """Broken, or from a later version."""
    assert prepare_project(whelp, project).code == 0
    manifest = project.store / "manifest.json"
    text = manifest.read_text()
    manifest.write_text(text[: len(text) // 2])
    said_once(train_project(whelp, project), "manifest.json: cannot be read", "`whelp prepare`")
    manifest.write_text(text.replace('"version": 2', '"version": 3'))
    said_once(train_project(whelp, project), "was written by a newer whelp (format 3)", "Update whelp")


@pytest.mark.parametrize("command", ["prepare", "train", "tokenizer", "demo"])
def test_something_else_stands_at_the_output(whelp: Whelp, made: Project, tmp_path: Path, command: str) -> None:
    """Files that are not ours are never touched."""
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("ten years of work")
    (tmp_path / "mine" / "tokenizer").mkdir()
    (tmp_path / "mine" / "tokenizer" / "notes.txt").write_text("more of it")
    before = snapshot(tmp_path)
    arguments = {
        "prepare": ["prepare", made.recipe, "--out", "mine"],
        "train": ["train", made.recipe, "--store", made.store, "--out", "mine"],
        "tokenizer": ["tokenizer", "train", "--source", made.corpus, "--vocab-size", "280", "--out", "mine"],
        "demo": ["demo", "--corpus", made.corpus, "--out", "mine"],
    }
    said_once(whelp(*arguments[command]), "Choose another --out")
    assert snapshot(tmp_path) == before
    arguments[command][-1] = "mine/thesis.txt"
    said_once(whelp(*arguments[command]))
    assert snapshot(tmp_path) == before


def test_a_prompt_the_vocabulary_cannot_say(whelp: Whelp, project: Project) -> None:
    """Characters never seen, with a vocabulary of characters."""
    overrides = ["data.tokenizer.learn=chars"]
    assert prepare_project(whelp, project, *overrides).code == 0
    assert train_project(whelp, project, *overrides).code == 0
    outcome = whelp("generate", project.run, "--prompt", "Ω", "--json")
    said_once(outcome, "Ω")


def test_a_vocabulary_smaller_than_the_tokenizer(whelp: Whelp, made: Project) -> None:
    """A model that could not read its own text."""
    outcome = whelp("train", made.recipe, "model.vocab_size=100", "--store", made.store, "--out", "x")
    said_once(outcome, "model.vocab_size: is 100, but the tokenizer has 300 ids")


@pytest.mark.parametrize(
    ("device", "reason"),
    [("nonsense", "PyTorch has no such device here"), ("xla", "PyTorch has no such device here"), ("cuda:99", "")],
)
def test_a_device_that_is_not_there(whelp: Whelp, made: Project, device: str, reason: str) -> None:
    """Said before anything is written."""
    outcome = whelp("train", made.recipe, f"train.device={device}", "--store", made.store, "--out", "x")
    said_once(outcome, f"train.device: '{device}' cannot be used ({reason}")
    assert "Use train.device=cpu." in outcome.said
    assert not Path("x").exists()
    outcome = whelp("generate", made.run, "--prompt", "a", "--device", device)
    said_once(outcome, f"--device: '{device}' cannot be used ({reason}")
    assert "Use --device=cpu." in outcome.said


def test_a_loss_that_is_not_a_number(whelp: Whelp, project: Project) -> None:
    """Training stops with the step and what to lower; no checkpoint of nonsense is saved."""
    assert prepare_project(whelp, project).code == 0
    overrides = ["model.family=gpt2", "train.optimizer=adamw", "train.learning_rate=1e30", "train.num_steps=40"]
    outcome = train_project(whelp, project, *overrides, "train.save_every_steps=100", "train.evaluate_every_steps=100")
    said_once(outcome, "the loss is ", "Lower train.learning_rate")
    assert list((project.run / "checkpoints").iterdir()) == []


def test_a_place_that_cannot_be_written(project: Project) -> None:
    """A folder of the system where even root makes nothing: said as such, by a process of its own."""
    arguments = ["prepare", str(project.recipe), "--out", "/proc/store"]
    done = subprocess.run([*PROGRAM, *arguments], capture_output=True, text=True, timeout=120)
    said_once(Outcome(done.returncode, done.stdout.encode(), done.stderr), "/proc")


def test_a_pdf_among_texts(whelp: Whelp, project: Project) -> None:
    """It is called what it is, with the command that takes its text out; alone, too."""
    (project.corpus / "lecture.pdf").write_bytes(b"%PDF-1.4\n\x00\x01")
    outcome = prepare_project(whelp, project)
    assert outcome.code == 0
    assert (
        "lecture.pdf: PDF data, not text (others like it are only counted); `whelp collect folder DIR --out FILE.jsonl`"
        in outcome.said
    )
    assert "left out: PDF 1" in outcome.said
    for path in project.corpus.glob("*.txt"):
        path.unlink()
    said_once(prepare_project(whelp, project), "(1 PDF)", "`whelp collect folder DIR --out FILE.jsonl`")
