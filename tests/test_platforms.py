"""From text to a reply where this machine is not: on stand-ins for Windows and for Apple's GPU, and with encodings of old."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import like_windows

RECIPE: dict[str, Any] = {
    "data": {"source": "corpus", "tokenizer": {"learn": "bpe", "vocab_size": 320}, "test_split": 0.2},
    "pack": {"context_tokens": 32},
    "model": {"family": "qwen3", "n_layer": 2, "n_head": 2, "n_embd": 32},
    "train": {"num_steps": 4, "batch_tokens": 256, "learning_rate": 1e-2, "threads": 1, "device": "cpu"},
}
SHARED_IMPORTS = """
import json, sys, torch
from pathlib import Path
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A folder with ten short files, in a name with a blank and letters beyond ASCII."""
    folder = tmp_path / "Mein Modell ü"
    (folder / "corpus").mkdir(parents=True)
    for number in range(10):
        lines = (
            f"The quick brown fox number {line} jumps over {line * line} lazy dogs at the café 日本語." for line in range(5)
        )
        (folder / "corpus" / f"{number}.txt").write_text("\n".join([f"Story {number * 77}", *lines]), encoding="utf-8")
    (folder / "recipe.yaml").write_text(json.dumps(RECIPE), encoding="utf-8")
    return folder


def run(code: str, project: Path, **environment: str) -> str:
    """What a program in a process of its own prints."""
    paths = [str(Path(__file__).parent), str(Path(__file__).parents[1] / "src")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths), **environment}
    command = [sys.executable, "-c", SHARED_IMPORTS + code]
    ended = subprocess.run(command, cwd=project, env=environment, capture_output=True, encoding="utf-8", check=False)
    assert ended.returncode == 0, ended.stderr[-4000:]
    return ended.stdout


@pytest.mark.skipif(sys.platform != "linux", reason="the stand-in looks into /proc: run it on Linux")
def test_like_windows(project: Path, tmp_path: Path) -> None:
    """Text to a reply without what POSIX has: two stages that are run again, a run that goes on, its best and its last checkpoint."""
    (tmp_path / "site").mkdir()
    environment = like_windows.make_environment(tmp_path / "site")
    code = """
recipe = json.loads(Path("recipe.yaml").read_text())
import whelp
whelp.collect_folder("corpus", out="documents.jsonl")
for least in (1, 2):
    whelp.prepare(recipe, out="store", overrides=[f"data.min_token_size={least}", "data.document=line"], workers=2)
overrides = ["data.min_token_size=2", "data.document=line", "train.save_every_steps=2", "train.keep_best=true", "train.keep_checkpoints=1"]
for steps in (2, 6):
    whelp.train(recipe, store="store", out="run", overrides=[*overrides, f"train.num_steps={steps}"])
reply = whelp.generate("run", "The", max_tokens=3, device="cpu")[0].text
for name in ("last", "best"):
    assert whelp.generate(f"run/checkpoints/{name}", "The", max_tokens=3, device="cpu")[0].text == reply
whelp.export("run/checkpoints/last", format="gguf", out="model.gguf")
for _ in range(2):
    whelp.curate(source="documents.jsonl", out="curated", overrides=["curate.preset=none"], workers=2)
manifest = json.loads(Path("run/checkpoints/step-00000006/manifest.json").read_text(encoding="utf-8"))
print(sorted(manifest["files"]))
"""
    printed = run(code, project, **environment)
    assert "trainer/state.json" in printed
    checkpoints = project / "run" / "checkpoints"
    assert (checkpoints / "last").read_text(encoding="utf-8") == "step-00000006\n"
    assert not any(path.is_symlink() for path in checkpoints.iterdir())


CASES: dict[str, dict[str, dict[str, Any]]] = {
    "documents kept apart, grouped heads, Muon": {
        "pack": {"isolate_documents": True},
        "model": {"n_kv_head": 1},
        "train": {"optimizer": "muon"},
    },
    "GPT-2, dropout, averaged weights": {
        "model": {"family": "gpt2", "dropout": 0.1},
        "train": {"ema_decay": 0.9, "checkpoint_activations": True},
    },
    "RWKV-6 in chunks": {"model": {"family": "rwkv6", "n_embd": 64}, "train": {"bptt_tokens": 16}},
}


@pytest.mark.parametrize("case", CASES)
def test_like_apple(project: Path, case: str) -> None:
    """A run on a device with the limits of Apple's computes what one on a CPU does: losses, and the text that is drawn."""
    changed = {section: {**RECIPE.get(section, {}), **values} for section, values in CASES[case].items()}
    (project / "recipe.yaml").write_text(json.dumps(RECIPE | changed), encoding="utf-8")
    code = """
import like_apple
like_apple.install()
import whelp
torch.set_num_threads(1)
recipe = json.loads(Path("recipe.yaml").read_text(encoding="utf-8"))
whelp.prepare(recipe, out="store")
for device in ("apple:0", "cpu"):
    recipe["train"]["device"], out = device, device.partition(":")[0]
    trained = whelp.train(recipe, store="store", out=out)
    text = whelp.generate(out, "The", max_tokens=8, temperature=0.8, top_p=0.9, seed=3, device=device)[0].text
    print(json.dumps([trained.nats_per_token, whelp.evaluate(out, store="store", device=device).nats_per_token, text]))
"""
    apple, cpu = map(json.loads, run(code, project).splitlines())
    assert apple[:2] == pytest.approx(cpu[:2], rel=1e-4)
    assert apple[2] == cpu[2]


def test_the_stand_in_for_apple_has_limits(project: Path) -> None:
    """It refuses what it is there to refuse."""
    code = """
import like_apple
like_apple.install()
tensor = torch.ones(3).to("apple")
for attempt in (
    lambda: tensor.double(),
    lambda: torch.ones(3).to("apple", non_blocking=True),
    lambda: tensor + torch.ones(3),
    lambda: torch.linalg.eigh(torch.ones(2, 2).to("apple")),
):
    try:
        attempt()
    except (TypeError, AssertionError, NotImplementedError) as error:
        print(type(error).__name__)
"""
    assert run(code, project).split() == ["TypeError", "AssertionError", "AssertionError", "NotImplementedError"]


def whelp(*arguments: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess[bytes]:
    """A command, its output into pipes, in another locale than ours."""
    given = {name: value for name, value in os.environ.items() if not name.startswith(("LC_", "LANG", "PYTHON"))}
    old = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    source = {"PYTHONPATH": str(Path(__file__).parents[1] / "src")}
    command = [sys.executable, "-m", "whelp", *arguments]
    return subprocess.run(command, cwd=cwd, env={**given, **old, **source, **environment}, capture_output=True, check=False)


def test_what_is_said_is_utf8_in_any_locale(project: Path) -> None:
    """In a file, as what is printed is; in an encoding that was asked for a letter that it has not is one sign."""
    (project / "g.yaml").write_text('"größe█": 1', encoding="utf-8")
    assert "größe█" in whelp("prepare", "g.yaml", "--out", "x", cwd=project).stderr.decode("utf-8")
    assert b"gr\xf6\xdfe?" in whelp("prepare", "g.yaml", "--out", "x", cwd=project, PYTHONIOENCODING="latin-1").stderr


def test_pipes_are_utf8_in_any_locale(project: Path) -> None:
    """Output that goes into a file or a program is UTF-8, whatever the system would write."""
    trained = whelp("tokenizer", "train", "--source", "corpus", "--vocab-size", "300", "--out", "tok", cwd=project)
    assert trained.returncode == 0, trained.stderr
    shown = whelp("tokenizer", "show", "tok", cwd=project)
    assert shown.returncode == 0, shown.stderr
    assert "␣" in shown.stdout.decode("utf-8")


@pytest.mark.parametrize("encoding", ["ascii", "cp1252"])
def test_an_encoding_that_was_asked_for(project: Path, encoding: str) -> None:
    """What PYTHONIOENCODING has no letter for is a question mark, and JSON is escaped: nothing ends in a traceback."""
    whelp("tokenizer", "train", "--source", "corpus", "--vocab-size", "300", "--out", "tok", cwd=project)
    shown = whelp("tokenizer", "show", "tok", cwd=project, PYTHONIOENCODING=encoding)
    assert shown.returncode == 0, shown.stderr
    assert b"?" in shown.stdout
    ledger = whelp("corpus", "report", "corpus", "--json", cwd=project, PYTHONIOENCODING=encoding)
    assert ledger.returncode == 0, ledger.stderr
    assert "日本語" in json.dumps(json.loads(ledger.stdout.decode(encoding)), ensure_ascii=False)
