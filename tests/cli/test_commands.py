"""Each command of the terminal: its result on standard output, everything for people on standard error, its exit code."""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import subprocess
from pathlib import Path

import pytest
import yaml

import whelp as package
from whelp.cli.prepare import prepare

from .helpers import Project, Whelp, make_project, snapshot
from .processes import PROGRAM, SECONDS, wait_for

TEXTS = [
    b"",
    b"The quick brown fox",
    "Naïve café, 日本語\n\n\t \r\n 👩‍👩‍👧 \x00\x7f".encode(),
    b"<|endoftext|> typed by a user",
]


def test_version_and_help(whelp: Whelp) -> None:
    """Both end well; the help names every command."""
    assert whelp("--version").text.startswith("whelp 0.")
    shown = whelp("--help")
    assert shown.code == 0
    for command in (
        "demo",
        "new",
        "tokenizer",
        "prepare",
        "train",
        "generate",
        "chat",
        "compare",
        "evaluate",
        "export",
        "import",
        "inspect",
        "schema",
    ):
        assert f" {command} " in shown.text
        assert whelp(command, "--help").code == 0


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["nonsense"],
        ["train"],
        ["train", "demo", "--nonsense"],
        ["prepare", "demo"],
        ["train", "demo"],
        ["new"],
        ["generate", "run"],
        ["tokenizer"],
        ["tokenizer", "train", "--source", "stdlib"],
        ["tokenizer", "train", "--source", "stdlib", "--out", "x", "--vocab-size", "many"],
        ["inspect", "store", "--context-tokens", "many"],
        ["export", "store"],
        ["export", "store", "--format", "nonsense", "--out", "x"],
        ["import", "a.bin", "--format", "nanogpt", "--out", "x"],
    ],
)
def test_wrong_usage_is_exit_code_2(whelp: Whelp, arguments: list[str], made: Project) -> None:
    """A missing argument, an unknown option, a word for a number: where the usage is told, or itself, and exit code 2."""
    if arguments == ["train", "demo"]:
        arguments = ["train", str(made.recipe), "--store", str(made.store)]
    outcome = whelp(*arguments)
    assert outcome.code == 2
    assert "Traceback" not in outcome.stderr
    assert ("--help` says how it goes." in outcome.stderr) != outcome.text.startswith("Usage: whelp")


def test_the_next_command_is_named(whelp: Whelp, project: Project) -> None:
    """With the options that were given, and a name that is free; not to programs, nor to whoever wants to hear little."""
    project.run.mkdir()
    os.chdir(project.folder)
    prepared = whelp("prepare", "recipe.yaml", "train.num_steps=2", "--out", "my store")
    assert prepared.stderr.endswith("\nnext       whelp train recipe.yaml train.num_steps=2 --store 'my store' --out run-2\n")
    assert "next" not in whelp("prepare", "recipe.yaml", "train.num_steps=2", "--out", "my store", "--json").stderr
    elsewhere = whelp("prepare", "recipe.yaml", "--out", "talker/store").stderr
    assert elsewhere.endswith("\nnext       whelp train recipe.yaml --store talker/store --out talker/run\n")
    command = "train", "recipe.yaml", "train.num_steps=2", "--store", "my store", "--out", "run-2"
    assert whelp(*command).stderr.endswith("\nnext       whelp chat run-2\n")
    assert "next" not in whelp(*command, "--quiet").stderr
    assert "next" not in whelp(*command, "--json").stderr


def test_a_process_of_its_own(tmp_path: Path, made: Project) -> None:
    """As a shell starts it: exit codes 0, 1 and 2; one line of JSON on standard output; no traceback."""

    def start(*arguments: object) -> subprocess.CompletedProcess[str]:
        return subprocess.run([*PROGRAM, *map(str, arguments)], capture_output=True, text=True, cwd=tmp_path, timeout=SECONDS)

    fine = start("new", "mine", "--json")
    assert fine.returncode == 0
    assert json.loads(fine.stdout) == {"folder": "mine", "files": ["README.md", "recipe.yaml", "text/"]}
    assert fine.stderr == ""
    mended = start("new", "mine")
    assert (mended.returncode, mended.stdout) == (1, "")
    assert (
        mended.stderr
        == "error: mine: something stands there already, but expected a new name or an empty folder. Choose another name.\n"
    )
    assert start("new").returncode == 2


def test_interrupted_is_exit_code_130(tmp_path: Path) -> None:
    """Ctrl-C ends with 130, says that what was finished is kept, and the same command goes on."""
    project = make_project(tmp_path / "project")
    arguments = ["train", project.recipe, "train.num_steps=100000", "--store", project.store, "--out", project.run]
    prepare(project.recipe, out=project.store)
    process = subprocess.Popen([*PROGRAM, *map(str, arguments)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    metrics = project.run / "metrics.jsonl"
    wait_for(lambda: metrics.exists() and "learning_rate" in metrics.read_text(), process)  # a step is written down
    process.send_signal(signal.SIGINT)
    stdout, stderr = process.communicate(timeout=SECONDS)
    assert process.returncode == 130, stderr
    assert stdout == ""
    assert "Traceback" not in stderr
    assert "interrupted; what was finished is kept" in stderr
    assert (project.run / "checkpoints" / "last" / "config.json").is_file()


def test_a_reader_that_goes_away(made: Project, tmp_path: Path) -> None:
    """`whelp schema | head -1`: no traceback."""
    process = subprocess.Popen([*PROGRAM, "schema"], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    stderr = process.stderr.read().decode()
    process.stderr.close()
    process.wait(timeout=SECONDS)
    assert "Traceback" not in stderr


def test_new(whelp: Whelp, tmp_path: Path) -> None:
    """A project: a commented recipe that loads, a README of the commands, a place for text, which may be used at once."""
    outcome = whelp("new", "my model")
    assert outcome.code == 0
    assert outcome.stdout == b""
    assert "README.md" in outcome.said
    folder = tmp_path / "my model"
    assert sorted(path.name for path in folder.iterdir()) == ["README.md", "recipe.yaml", "text"]
    assert "#" in (folder / "recipe.yaml").read_text(encoding="utf-8")
    assert "# my model" in (folder / "README.md").read_text(encoding="utf-8")
    (folder / "text" / "a.txt").write_text("Some text, and more of it. " * 50)
    assert whelp("prepare", folder / "recipe.yaml", "--dry-run", "--json").json["num_files"] == 1


def test_new_leaves_what_is_there(whelp: Whelp, tmp_path: Path) -> None:
    """A folder with anything in it is not touched."""
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "mine.txt").write_text("x")
    before = snapshot(tmp_path)
    assert whelp("new", "a").code == 1
    assert snapshot(tmp_path) == before


@pytest.mark.parametrize("learn", ["bpe", "unigram", "chars", "words"])
def test_tokenizer_train(whelp: Whelp, project: Project, learn: str) -> None:
    """A vocabulary of each kind, and the same again in its place."""
    arguments = ["tokenizer", "train", "--source", project.corpus, "--learn", learn, "--vocab-size", 300, "--out", "vocabulary"]
    result = whelp(*arguments, "--json").json
    assert result["kind"] == learn
    assert result["folder"] == "vocabulary"
    assert result["vocab_size"] <= 300
    assert whelp(*arguments, "--json").json == result
    text = (project.corpus / "00.txt").read_bytes()
    ids = whelp("tokenizer", "encode", "vocabulary", stdin=text).json
    assert len(ids) < len(text)
    assert whelp("tokenizer", "decode", "vocabulary", stdin=json.dumps(ids)).stdout == text


def test_tokenizer_train_with_all_its_options(whelp: Whelp, project: Project, tmp_path: Path) -> None:
    """Options of the source, a budget, a cut, control tokens; then the same learned anew from other text."""
    (tmp_path / "rows.jsonl").write_text(json.dumps({"id": "x", "body": "five 12 dogs"}) + '\n{"id": "y", "body": "z"}\n')
    options = ["--pattern", "code", "--special-token", "chat", "--special-token", "<|mine|>", "--max-documents", 1]
    source = ["--source", "rows.jsonl", "data.custom_text_key=body"]
    result = whelp("tokenizer", "train", *source, *options, "--vocab-size", 320, "--out", "rows", "--json").json
    assert result["vocab_size"] < 320
    config = json.loads((tmp_path / "rows" / "tokenizer_config.json").read_text())
    assert "<|im_start|>" in config["chat_template"]
    again = ["--source", project.corpus, "--retrain", "rows", "--vocab-size", 300, "--out", "anew"]
    assert whelp("tokenizer", "train", *again, "--json").json["vocab_size"] == 300
    ids = whelp("tokenizer", "encode", "anew", stdin=b"<|mine|> 12").json
    assert whelp("tokenizer", "decode", "anew", stdin=json.dumps(ids)).stdout == b"<|mine|> 12"
    assert json.loads((tmp_path / "anew" / "tokenizer_config.json").read_text()) == config


def test_tokenizer_train_on_more_than_one_source(whelp: Whelp, project: Project) -> None:
    """--source may be repeated; for people, one line is said."""
    files = [project.corpus / name for name in ("00.txt", "01.txt")]
    outcome = whelp("tokenizer", "train", "--source", files[0], "--source", files[1], "--out", "v", "--vocab-size", 280)
    assert outcome.code == 0, outcome.stderr
    assert outcome.stdout == b""
    assert "bpe, 280 ids" in outcome.said


@pytest.mark.parametrize("text", TEXTS)
def test_encode_and_decode_give_the_exact_bytes(whelp: Whelp, made: Project, tmp_path: Path, text: bytes) -> None:
    """Standard input or a file, any text at all; ids are one JSON list."""
    vocabulary = made.store / "tokenizer"
    ids = whelp("tokenizer", "encode", vocabulary, stdin=text).json
    assert isinstance(ids, list)
    assert all(0 <= token < 300 for token in ids)
    assert whelp("tokenizer", "decode", vocabulary, stdin=json.dumps(ids)).stdout == text
    assert whelp("tokenizer", "decode", vocabulary, "--json", stdin=json.dumps(ids)).json == {"text": text.decode()}
    (tmp_path / "a.txt").write_bytes(text)
    assert whelp("tokenizer", "encode", vocabulary, "--file", "a.txt", "--json").json == ids


def test_prepare(whelp: Whelp, project: Project) -> None:
    """A store, and its ledger as the result; again, it is left as it is."""
    outcome = whelp("prepare", project.recipe, "--out", project.store, "--json")
    result = outcome.json
    assert result["folder"] == str(project.store)
    assert result["vocab_size"] == 300
    assert result["is_reused"] is False
    assert result["ledger"]["documents"] == {"train": 22, "test": 2}
    assert result["ledger"]["files"] == {"read": 24}
    assert result["splits"]["train"]["tokens"] == result["ledger"]["tokens"]["train"]
    assert "24 files" in outcome.said
    before = snapshot(project.store)
    again = whelp("prepare", project.recipe, "--out", project.store, "--json").json
    assert again == {**result, "is_reused": True}
    assert snapshot(project.store) == before


def test_prepare_for_people(whelp: Whelp, project: Project) -> None:
    """Without --json, standard output is empty."""
    outcome = whelp("prepare", project.recipe, "--out", project.store)
    assert outcome.code == 0
    assert outcome.stdout == b""
    assert "train 22 documents" in outcome.said
    assert "vocabulary 300" in outcome.said


def test_prepare_again_after_an_edit(whelp: Whelp, project: Project) -> None:
    """What changed is said, and the store is made again."""
    whelp("prepare", project.recipe, "--out", project.store)
    (project.corpus / "00.txt").write_text("Another text altogether.\n")
    outcome = whelp("prepare", project.recipe, "--out", project.store, "--json")
    assert outcome.json["is_reused"] is False
    assert "00.txt: edited" in outcome.said


def test_prepare_dry_run_writes_nothing(whelp: Whelp, project: Project) -> None:
    """It says what would be read."""
    before = snapshot(project.folder)
    values = whelp("prepare", project.recipe, "--out", project.store, "--dry-run", "--json").json
    assert values["num_files"] == 24
    assert values["document"] == "file"
    assert values["num_bytes"] == sum(path.stat().st_size for path in project.corpus.iterdir())
    outcome = whelp("prepare", project.recipe, "--dry-run")
    assert outcome.code == 0
    assert "24 files" in outcome.said
    assert "tokens" in outcome.said
    assert snapshot(project.folder) == before


def test_train(whelp: Whelp, made: Project, tmp_path: Path) -> None:
    """A run folder as promised; the same command again has nothing to do and says the same."""
    arguments = ["train", made.recipe, "train.sample_prompts=[The]", "--store", made.store, "--out", "run", "--json"]
    outcome = whelp(*arguments)
    result = outcome.json
    assert (result["folder"], result["step"], result["is_finished"]) == ("run", 4, True)
    assert result["perplexity"] > 1
    assert "parameters" in outcome.said
    run = tmp_path / "run"
    assert {"recipe.yaml", "plan.json", "metrics.jsonl", "samples.jsonl", "checkpoints"} <= {
        path.name for path in run.iterdir()
    }
    assert (run / "checkpoints" / "last").resolve() == (run / "checkpoints" / "step-00000004").resolve()
    records = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert [record["step"] for record in records if "loss" in record] == [1, 2, 3, 4]
    assert yaml.safe_load((run / "recipe.yaml").read_text())["train"]["num_steps"] == 4
    before = snapshot(run)
    assert whelp(*arguments).json == result
    assert {name: size for name, (size, _) in snapshot(run).items()} == {name: size for name, (size, _) in before.items()}


def test_train_for_people(whelp: Whelp, made: Project) -> None:
    """Without --json, standard output is empty and the end is said."""
    outcome = whelp("train", made.recipe, "--store", made.store, "--out", "run")
    assert outcome.code == 0
    assert outcome.stdout == b""
    assert "finished step 4" in outcome.said
    assert "perplexity" in outcome.said


def test_train_dry_run_shows_the_plan_and_writes_nothing(whelp: Whelp, made: Project, tmp_path: Path) -> None:
    """Parameters, tokens, steps, epochs, memory, time and doubts, before anything is paid for."""
    before = snapshot(made.folder), snapshot(tmp_path)
    arguments = ["train", made.recipe, "train.num_steps=500", "--store", made.store, "--out", tmp_path / "run", "--dry-run"]
    outcome = whelp(*arguments)
    assert outcome.code == 0, outcome.stderr
    assert outcome.stdout == b""
    for word in ("parameters", "tokens", "steps", "epochs", "memory about", "time about", "note every row will be seen"):
        assert word in outcome.said, word
    values = whelp(*arguments, "--json").json
    assert values["num_steps"] == 500
    assert values["total_tokens"] == 500 * 64
    assert values["num_epochs"] > 10
    assert values["num_parameters"] > 1000
    assert values["estimated_bytes"] > 16 * values["num_parameters"]
    assert values["estimated_seconds"] > 0
    assert any("every row will be seen" in doubt for doubt in values["warnings"])
    assert values["ledger"]["trained_share"] > 0.9
    planned = package.plan(made.recipe, store=made.store, overrides=["train.num_steps=500"], price_per_hour=3600)
    assert planned.to_dict().keys() == values.keys()
    assert planned.ledger == values["ledger"]
    assert planned.costs.price == pytest.approx(planned.plan.estimated_seconds)
    assert (snapshot(made.folder), snapshot(tmp_path)) == before


def test_dry_run_of_a_minutes_budget(whelp: Whelp, made: Project) -> None:
    """With a budget of time, the steps are an estimate."""
    overrides = ["train.num_steps=null", "train.minutes=1"]
    values = whelp("train", made.recipe, *overrides, "--store", made.store, "--dry-run", "--json").json
    assert values["budget_seconds"] == values["estimated_seconds"] == 60
    assert values["num_steps"] > 10


def test_evaluate(whelp: Whelp, made: Project) -> None:
    """Loss, perplexity and bits per byte; of fewer rows; of the other split."""
    result = whelp("evaluate", made.run, "--store", made.store, "--json").json
    assert result["nats_per_token"] > 0
    assert result["bits_per_byte"] > 0
    assert whelp("evaluate", made.run, "--store", made.store, "--rows", 2, "--json").json["num_rows"] == 2
    train = whelp("evaluate", made.run, "--store", made.store, "--split", "train", "--json").json
    assert train["num_tokens"] > result["num_tokens"]
    shown = whelp("evaluate", made.run, "--store", made.store).text
    for word in ("loss", "perplexity", "bits per byte"):
        assert word in shown


def test_inspect(whelp: Whelp, made: Project) -> None:
    """Rows as trained: ids, text, mask, document, source; the text is what the ids say."""
    rows = whelp("inspect", made.store, "--rows", "0:2", "--context-tokens", 32, "--json").json["rows"]
    assert [row["row"] for row in rows] == [0, 1]
    for row in rows:
        assert len(row["ids"]) == len(row["trained"]) == 32
        assert all(row["trained"])
        decoded = whelp("tokenizer", "decode", made.store / "tokenizer", stdin=json.dumps(row["ids"])).stdout
        assert decoded.decode(errors="replace") == row["text"]
    first = rows[0]["documents"][0]
    assert (first["document"], first["line"]) == (0, 1)
    assert (made.corpus / first["file"]).read_text(encoding="utf-8").startswith(rows[0]["text"][:20])
    shown = whelp("inspect", made.store, "--rows", "0", "--split", "test")
    assert shown.code == 0
    assert "=== row 0" in shown.text
    assert ".txt, line 1" in shown.text


@pytest.mark.parametrize("rows", ["99999:", "3:2", "a:b", "-1"])
def test_inspect_wants_rows_that_are_there(whelp: Whelp, made: Project, rows: str) -> None:
    """A range that names no row is said to be one."""
    outcome = whelp("inspect", made.store, f"--rows={rows}")
    assert outcome.code == 1
    assert outcome.stderr.startswith("error: --rows: ")


def test_schema(whelp: Whelp, project: Project) -> None:
    """A JSON schema of the recipe; --json is taken here too, as everywhere."""
    outcome = whelp("schema")
    assert outcome.code == 0
    made = json.loads(outcome.text)
    assert set(made["properties"]) == {"curate", "data", "pack", "model", "train"}
    assert made["properties"]["pack"]["properties"]["context_tokens"]["minimum"] == 2
    assert json.loads(whelp("schema", "--json").text) == made
    if importlib.util.find_spec("jsonschema"):
        import jsonschema

        jsonschema.Draft202012Validator.check_schema(made)
        recipe = yaml.safe_load(project.recipe.read_text())
        jsonschema.validate(recipe, made)
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate({**recipe, "pack": {"context_tokens": 1}}, made)
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate({"train": {"learning_rate": "fast"}}, made)
        for path in (Path(__file__).parents[2] / "recipes").glob("*.yaml"):  # PyYAML takes 3e-4 in them for text
            jsonschema.validate(yaml.safe_load(path.read_text()), made)


def test_nothing_is_written_outside_the_named_folders(whelp: Whelp, project: Project, tmp_path: Path) -> None:
    """No command leaves anything in the current folder, in its input, or beside its output."""
    text = snapshot(project.corpus)
    arguments = [project.recipe, "train.num_steps=1"]
    assert whelp("prepare", *arguments, "--out", "out/store").code == 0
    assert whelp("train", *arguments, "--store", "out/store", "--out", "out/run").code == 0
    store = snapshot(tmp_path / "out" / "store")
    assert whelp("evaluate", "out/run", "--store", "out/store").code == 0
    assert snapshot(tmp_path / "out" / "store") == store
    assert snapshot(project.corpus) == text
    assert sorted(os.listdir(tmp_path)) == ["out", "project"]
    assert sorted(os.listdir(tmp_path / "out")) == ["run", "store"]
    assert sorted(os.listdir(project.folder)) == ["recipe.yaml", "text"]


def test_the_store_beside_a_run(whelp: Whelp, made: Project, tmp_path: Path) -> None:
    """Without --store, the store that a run was trained on is found beside it, and said; one that is here comes first."""
    asked = whelp("evaluate", made.run, "--store", made.store, "--json")
    found = whelp("evaluate", made.run, "--json")
    assert found.code == 0
    assert found.stdout == asked.stdout
    assert "which the run was trained on" in found.said
    (tmp_path / "store").mkdir()
    assert "store: it has no manifest.json" in whelp("evaluate", made.run).said


def test_a_run_that_is_done(whelp: Whelp, made: Project) -> None:
    """The same command again says that nothing is left to do."""
    outcome = whelp("train", made.recipe, "--store", made.store, "--out", made.run)
    assert outcome.code == 0
    assert "which was the last: nothing is left to do" in outcome.said


def test_a_chat_whose_answers_nobody_reads(made: Project) -> None:
    """A pipe that is closed ends it without a word, as it ends the others."""
    program = [*PROGRAM, "chat", str(made.run), "--device", "cpu"]
    with subprocess.Popen(program, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.close()
        process.stdout = None
        assert b"error" not in process.communicate(b"a\nb\n", timeout=SECONDS)[1]
        assert process.returncode == 1
