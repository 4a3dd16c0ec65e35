"""Killed at any moment, the same command ends in the same bytes. The promise is tested as it is broken: by SIGKILL.

Commands run in children of a fork server that has torch imported already, so that the moments fall into the work and not
into the imports. WHELP_KILLS=20 tries more moments of each variant. What shall happen as something appears, a child does to
itself: who looks on from outside may look too late.
"""

from __future__ import annotations

import glob
import json
import os
import random
import shutil
import signal
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import pytest
import yaml

from waiting import SECONDS, wait_until

NUM_KILLS = int(os.environ.get("WHELP_KILLS", "2"))
MOST_TRIES = 10  # to be in time, on a machine that is busy in between

pytestmark = pytest.mark.skipif(
    not hasattr(os, "fork"), reason="SIGKILL and fork are of POSIX: run the tests on Linux or macOS"
)

VARIANTS: dict[str, dict[str, dict[str, Any]]] = {
    "gpt2, adamw, dropout": {
        "model": {"family": "gpt2", "n_layer": 2, "n_head": 2, "n_embd": 32, "dropout": 0.2},
        "train": {"optimizer": "adamw", "schedule": "cosine"},
    },
    "qwen3, muon": {
        "model": {"family": "qwen3", "n_layer": 2, "n_head": 2, "n_embd": 32},
        "train": {"optimizer": "muon", "schedule": "warmup_stable_decay", "ema_decay": 0.9, "save_in_background": True},
    },
}
SOURCES: dict[str, dict[str, Any]] = {
    "files": {"document": "file", "test_split": 0.1},
    "paragraphs": {"document": "blank_line", "test_split": 7, "min_token_size": 30, "separator": r"\n--\n"},
    "tails": {"document": "file", "test_split": 0.2, "test_split_by": "tail", "tokenizer": {"learn": "chars"}},
}


@dataclass(frozen=True)
class Moment:
    """When so many paths fit a pattern, and a text is in the first."""

    pattern: str
    count: int = 1
    text: str = ""

    def has_come(self) -> bool:
        found = glob.glob(self.pattern)
        return len(found) >= self.count and self.text in (Path(found[0]).read_text(encoding="utf-8") if self.text else "")


def signal_oneself(moment: Moment, number: int) -> None:
    """In a child: send a signal to this process by the first thing that it does with files when a moment has come."""
    own, is_sent = threading.local(), threading.Event()

    def look(event: str, _: object) -> None:
        if is_sent.is_set() or getattr(own, "is_looking", False) or not event.startswith(("open", "os.")):
            return
        own.is_looking = True
        if moment.has_come():
            is_sent.set()
            os.kill(os.getpid(), number)
        own.is_looking = False

    sys.addaudithook(look)


def run_command(arguments: list[str], folder: str, signals: list[tuple[Moment, int]]) -> None:
    """In a child: run a command with its standard streams in files, and with partitions small enough to be many."""
    from whelp.cli.main import main
    from whelp.corpus.source import Source

    Source.iter_partitions.__defaults__ = (4096, 1024)  # bytes of a partition, of a read
    for name, stream in (("stdout", sys.stdout), ("stderr", sys.stderr)):
        stream.flush()
        os.dup2(os.open(f"{folder}/{name}", os.O_WRONLY | os.O_CREAT | os.O_TRUNC), stream.fileno())
    sys.argv = ["whelp", *arguments]
    for moment, number in signals:
        signal_oneself(moment, number)
    Path(folder, "started").touch()
    main()


@dataclass
class Commands:
    """Starts commands in children, and kills them."""

    context: Any
    folder: Path

    def start(self, *arguments: object, signals: Sequence[tuple[Moment, int]] = ()) -> BaseProcess:
        """Start a command; return as it begins to work."""
        begun = self.folder / "started"
        begun.unlink(missing_ok=True)
        given = [str(argument) for argument in arguments], str(self.folder), list(signals)
        process: BaseProcess = self.context.Process(target=run_command, args=given)
        process.start()
        wait_until(lambda: begun.exists() or not process.is_alive(), every_seconds=0.002)
        assert begun.exists(), f"it ended first, with exit code {process.exitcode}"
        return process

    def run(self, *arguments: object) -> float:
        """Run a command to its end; return the seconds that took."""
        process = self.start(*arguments)
        begun = time.perf_counter()
        process.join(SECONDS)
        assert process.exitcode == 0, self.stderr
        return time.perf_counter() - begun

    def kill_after(self, seconds: float, *arguments: object) -> int | None:
        """Start a command and kill it so much later; return its exit code, 0 when it was faster."""
        process = self.start(*arguments)
        process.join(seconds)
        process.kill()
        process.join(SECONDS)
        assert process.exitcode in (0, -signal.SIGKILL), self.stderr
        return process.exitcode

    def kill_at(self, moment: Moment, *arguments: object) -> None:
        """Start a command that is killed as a moment comes; one that comes as the last may find it done."""
        process = self.start(*arguments, signals=[(moment, signal.SIGKILL)])
        process.join(SECONDS)
        assert process.exitcode in (0, -signal.SIGKILL), self.stderr
        assert moment.has_come()

    def kill_anywhere(
        self, seconds: float, moments: random.Random, folder: Path, *arguments: object, check: Callable[[Path], None]
    ) -> None:
        """Kill a command that takes so long, twice as it goes on, then let it end and check what it left; several times.

        On a machine that was busier before, no kill may be in time: then sooner ones are tried.
        """
        num_killed = number = 0
        while number < NUM_KILLS or not num_killed:
            assert number < NUM_KILLS + MOST_TRIES, "no kill came before the end"
            out = folder / f"out{number}"
            for _ in range(2):
                num_killed += self.kill_after(seconds * moments.random(), *arguments, "--out", out) != 0
            self.run(*arguments, "--out", out)
            check(out)
            number += 1
            seconds /= 1 if num_killed else 2

    @property
    def stderr(self) -> str:
        """What the last command said."""
        return (self.folder / "stderr").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def commands(fork_server: Any, tmp_path_factory: pytest.TempPathFactory) -> Commands:
    """Run commands in children."""
    return Commands(fork_server, tmp_path_factory.mktemp("streams"))


def write_project(folder: Path, **sections: dict[str, Any]) -> Path:
    """Write a corpus of some partitions and a recipe; return the recipe."""
    (folder / "text").mkdir()
    generator = random.Random(1)
    words = ["the", "quick", "brown", "fox", "jumps", "over", "lazy", "dogs", "and", "naïve", "cats", "of", "日本語"]
    for number in range(40):
        paragraphs = [" ".join(generator.choices(words, k=generator.randint(5, 60))) for _ in range(12)]
        (folder / "text" / f"{number:02}.txt").write_text("\n\n".join(paragraphs) + "\n", encoding="utf-8")
    recipe: dict[str, dict[str, Any]] = {
        "data": {"source": "text/", "tokenizer": {"learn": "bpe", "vocab_size": 320}, "test_split": 0.1},
        "pack": {"context_tokens": 32},
        "train": {
            "num_steps": 24,
            "batch_tokens": 256,
            "learning_rate": 1e-2,
            "save_every_steps": 3,
            "evaluate_every_steps": 4,
            "evaluate_rows": 4,
            "keep_checkpoints": 2,
            "sample_prompts": ["the quick"],
            "sample_tokens": 4,
            "threads": 1,
            "device": "cpu",
        },
    }
    for name, values in sections.items():
        recipe[name] = recipe.get(name, {}) | values
    if "mixture" in recipe["data"]:  # stands instead of the source
        del recipe["data"]["source"]
    path = folder / "recipe.yaml"
    path.write_text(yaml.safe_dump(recipe), encoding="utf-8")
    return path


@dataclass(frozen=True)
class Whole:
    """What a command left that nobody disturbed: do not write into it."""

    command: list[object]
    out: Path
    seconds: float


@dataclass
class Wholes:
    """Lets commands run to their end, each once."""

    commands: Commands
    factory: pytest.TempPathFactory
    made: dict[str, Whole] = field(default_factory=dict)

    def of(self, command: str, **sections: dict[str, Any]) -> Whole:
        """Of a command that reads text."""
        return self._run(command, [command, sections], lambda folder: [command, write_project(folder, **sections)])

    def of_training(self, **sections: dict[str, Any]) -> Whole:
        """Of training, always on the same store."""
        prepared = self.of("prepare")
        values = [f"{name}.{option}={json.dumps(value)}" for name, part in sections.items() for option, value in part.items()]
        command = ["train", prepared.command[1], *values, "--store", prepared.out]
        return self._run("train", ["train", sections], lambda _: command)

    def _run(self, name: str, key: object, write: Callable[[Path], list[object]]) -> Whole:
        written = json.dumps(key)
        if written not in self.made:
            folder = self.factory.mktemp(name)
            command, out = write(folder), folder / "whole"
            self.made[written] = Whole(command, out, self.commands.run(*command, "--out", out))
        return self.made[written]


@pytest.fixture(scope="module")
def wholes(commands: Commands, tmp_path_factory: pytest.TempPathFactory) -> Wholes:
    """What commands leave when nobody disturbs them."""
    return Wholes(commands, tmp_path_factory)


def read_tree(folder: Path) -> dict[str, bytes]:
    """Every file below a folder."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def read_run(run: Path) -> dict[str, Any]:
    """All of a run that is computed; not what a clock says."""
    last = run / "checkpoints" / "last"
    lines = map(json.loads, (run / "metrics.jsonl").read_text().splitlines())
    records = [record for record in lines if "start_up_seconds" not in record]  # one for each process
    timed = {"elapsed_seconds", "training_seconds", "tokens_per_second", "peak_memory_bytes"}
    state = json.loads((last / "trainer" / "state.json").read_text())
    return {
        "weights": (last / "model.safetensors").read_bytes(),
        "optimizer": (last / "trainer" / "optimizer.safetensors").read_bytes(),
        "state": {name: value for name, value in state.items() if name not in timed},
        "metrics": [{name: value for name, value in record.items() if name not in timed} for record in records],
        "samples": (run / "samples.jsonl").read_text(),
        "checkpoints": sorted(path.name for path in (run / "checkpoints").iterdir()),
        "files": sorted(path.name for path in run.iterdir()),
    }


def assert_same_run(run: Path, expected: dict[str, Any]) -> None:
    """Compare part by part: a difference of weights is not worth printing."""
    found = read_run(run)
    for name in ("files", "checkpoints", "metrics", "samples", "state"):
        assert found[name] == expected[name], name
    assert found["optimizer"] == expected["optimizer"], "the optimizer's state differs"
    assert found["weights"] == expected["weights"], "the weights differ"


@pytest.mark.parametrize("source", SOURCES)
def test_prepare_killed_at_any_moment(commands: Commands, wholes: Wholes, tmp_path: Path, source: str) -> None:
    """The store of a run that was killed, and killed again as it went on, is the same to the byte; nothing else is left."""
    whole = wholes.of("prepare", data=SOURCES[source])
    expected = read_tree(whole.out)
    assert any(name.startswith("train/data-00000-of-") for name in expected)

    def check(store: Path) -> None:
        assert read_tree(store) == expected

    commands.kill_anywhere(whole.seconds, random.Random(f"prepare {source}"), tmp_path, *whole.command, check=check)


@pytest.mark.parametrize("stage", [".parts", "train", "tokenizer", "ledger.json", "manifest.json"])
def test_prepare_killed_at_each_stage(commands: Commands, wholes: Wholes, tmp_path: Path, stage: str) -> None:
    """Killed just as each thing appears: between the files as well as within them."""
    whole, store = wholes.of("prepare", data=SOURCES["files"]), tmp_path / "store"
    commands.kill_at(Moment(f"{store}/{stage}"), *whole.command, "--out", store)
    commands.run(*whole.command, "--out", store)
    assert read_tree(store) == read_tree(whole.out)


def test_prepare_killed_and_a_text_edited(commands: Commands, tmp_path: Path) -> None:
    """Parts of before are used only where their text is still the same: no trace of the old text is in the store."""
    recipe, store = write_project(tmp_path), tmp_path / "store"
    commands.kill_at(Moment(f"{store}/.parts/*.arrow", count=3), "prepare", recipe, "--out", store)
    last = sorted((tmp_path / "text").iterdir())[-1]
    last.write_text(last.read_text(encoding="utf-8") + "\n\nthe quick brown fox\n", encoding="utf-8")
    commands.run("prepare", recipe, "--out", store)
    commands.run("prepare", recipe, "--out", tmp_path / "whole")
    assert read_tree(store) == read_tree(tmp_path / "whole")


def test_curate_killed_at_any_moment(commands: Commands, tmp_path: Path) -> None:
    """The corpus of a run that was killed, and killed again as it went on, is the same to the byte; nothing else is left.

    A mixture, of texts and conversations.
    """
    words = random.Random(2).choices(["quick", "brown", "naïve", "me@example.org"], k=4000)
    chats = [[{"q": " ".join(words[first : first + 9]), "a": str(first)}] for first in range(0, 4000, 20)]
    (tmp_path / "chats.jsonl").write_text("".join(json.dumps({"pairs": chat}) + "\n" for chat in chats))
    conversation = {"conversation_format": "iopairs", "conversation_key": "pairs"}
    conversation |= {"conversation_input_key_prefix_map": {"q": "", "a": "="}}
    mixture = [
        {"source": "text/"},
        {"source": "chats.jsonl", "curate": {"preset": "rows"}, **conversation},
    ]
    rules = {"length": {"min_characters": 2000}, "gopher_quality": False, "repetition": False}
    recipe = write_project(tmp_path, data={"mixture": mixture}, curate=rules)
    whole = tmp_path / "whole"
    seconds = commands.run("curate", recipe, "--out", whole)
    expected = read_tree(whole)
    assert {"kept/text/00000.jsonl", "kept/chats/00000.jsonl", "recipe.yaml", "report.html", "manifest.json"} <= set(expected)

    def check(corpus: Path) -> None:
        assert read_tree(corpus) == expected

    commands.kill_anywhere(seconds, random.Random("curate"), tmp_path, "curate", recipe, check=check)


@pytest.mark.parametrize("stage", [".parts", "kept", "ledger.json", "manifest.json"])
def test_curate_killed_at_each_stage(commands: Commands, wholes: Wholes, tmp_path: Path, stage: str) -> None:
    """Killed just as each thing appears: between the files as well as within them."""
    whole, corpus = wholes.of("curate", curate={"preset": "rows"}), tmp_path / "corpus"
    commands.kill_at(Moment(f"{corpus}/{stage}"), *whole.command, "--out", corpus)
    commands.run(*whole.command, "--out", corpus)
    assert read_tree(corpus) == read_tree(whole.out)


@pytest.mark.parametrize("variant", VARIANTS)
def test_train_killed_at_any_moment(commands: Commands, wholes: Wholes, tmp_path: Path, variant: str) -> None:
    """Weights, optimizer state, losses and samples are those of a run that never stopped, bit for bit."""
    whole = wholes.of_training(**VARIANTS[variant])
    expected = read_run(whole.out)
    assert [record["step"] for record in expected["metrics"] if "loss" in record] == list(range(1, 25))
    commands.kill_anywhere(
        whole.seconds,
        random.Random(f"train {variant}"),
        tmp_path,
        *whole.command,
        check=lambda run: assert_same_run(run, expected),
    )


@pytest.mark.parametrize("stage", ["recipe.yaml", "plan.json", "metrics.jsonl", ".step-*", "step-*", "last"])
def test_train_killed_at_each_stage(commands: Commands, wholes: Wholes, tmp_path: Path, stage: str) -> None:
    """Killed just as each thing appears: the folder half made, a checkpoint half written, a checkpoint not yet the last."""
    whole, run = wholes.of_training(model=VARIANTS["qwen3, muon"]["model"], train={"num_steps": 6}), tmp_path / "run"
    place = run / "checkpoints" if stage in (".step-*", "step-*", "last") else run
    commands.kill_at(Moment(f"{place}/{stage}"), *whole.command, "--out", run)
    commands.run(*whole.command, "--out", run)
    assert_same_run(run, read_run(whole.out))


@pytest.mark.parametrize("left", [[], ["recipe.yaml"], [".recipe.yaml.tmp"], ["recipe.yaml", ".plan.json.tmp"]])
def test_train_killed_before_the_plan_was_written(commands: Commands, wholes: Wholes, tmp_path: Path, left: list[str]) -> None:
    """A run folder that is only half made is not taken for somebody else's."""
    whole, run = wholes.of_training(model=VARIANTS["qwen3, muon"]["model"], train={"num_steps": 1}), tmp_path / "run"
    (run / "checkpoints").mkdir(parents=True)
    for name in left:
        (run / name).write_text("data:")
    commands.run(*whole.command, "--out", run)
    assert not list(run.glob(".*"))


def test_a_damaged_checkpoint_is_passed_over(commands: Commands, wholes: Wholes, tmp_path: Path) -> None:
    """One flipped bit: the run says so, goes back to the checkpoint before, and ends the same."""
    whole, run = wholes.of_training(**VARIANTS["gpt2, adamw, dropout"]), tmp_path / "run"
    shutil.copytree(whole.out, run, symlinks=True)
    weights = run / "checkpoints" / "last" / "model.safetensors"
    data = bytearray(weights.read_bytes())
    data[-100] ^= 1
    weights.write_bytes(data)
    commands.run(*whole.command, "--out", run)
    assert "step-00000024 is damaged (model.safetensors)" in " ".join(commands.stderr.split())
    assert_same_run(run, read_run(whole.out))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("variant", VARIANTS)
def test_asked_to_stop(commands: Commands, wholes: Wholes, tmp_path: Path, variant: str, number: signal.Signals) -> None:
    """The step is finished and saved, the exit code is 130, and the same command goes on to the same end."""
    whole, run = wholes.of_training(**VARIANTS[variant]), tmp_path / "run"
    command = [*whole.command, "train.save_every_steps=1000", "--out", run]
    process = commands.start(*command, signals=[(Moment(f"{run}/metrics.jsonl", text='"step": 2'), number)])
    process.join(SECONDS)
    assert process.exitcode == 130, commands.stderr
    assert "Traceback" not in commands.stderr
    said = " ".join(commands.stderr.split())
    assert "is saved" in said
    step = json.loads((run / "checkpoints" / "last" / "trainer" / "state.json").read_text())["step"]
    assert 2 <= step < 24
    assert f"step {step} is saved" in said
    commands.run(*command)
    found, expected = read_run(run), read_run(whole.out)
    for name in ("weights", "optimizer", "state", "metrics", "samples"):
        assert found[name] == expected[name], name
