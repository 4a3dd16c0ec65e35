"""Ten steps of the infctx trainer's four examples, 6 layers 512 wide, with both of its vocabularies; each line is one run.

    python benchmarks/rwkv_recipes.py --text articles.txt --rows instructions.json
    python benchmarks/rwkv_recipes.py --text articles.txt --rows instructions.json --scale tiny     seconds, on a CPU

`--text` has a document a line; `--rows` is JSON, or JSON lines, of instruction, input and output. `neox` and `world` are found as
everywhere (`WHELP_TOKENIZERS`, or the package `rwkv`). There is no music here: its pieces are the articles' letters as numbers.
What does not begin within `--budget` seconds is said to be skipped.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path

import torch

import whelp
from whelp.base.errors import WhelpError

RECIPES = ("rwkv-enwiki", "rwkv-instruct", "rwkv-dolly", "rwkv-music")
PIECE_NUMBERS = 8192  # of a piece of music


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--text", type=Path, required=True)
    parser.add_argument("--rows", type=Path, required=True)
    parser.add_argument("--scale", help="tiny: the whole path in seconds")
    parser.add_argument("--vocabulary", choices=("neox", "world"), help="only the runs with this one")
    parser.add_argument("--override", action="append", default=[], help="of every recipe: train.micro_batch_rows=16")
    parser.add_argument("--budget", type=float, default=480.0)
    options = parser.parse_args()
    start, problems = time.perf_counter(), 0
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu"
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        sources = write_sources(options.text, options.rows, folder)
        runs = [(recipe, name) for name in ("neox", "world") for recipe in RECIPES if recipe != "rwkv-music"]
        runs = [*runs[:3], ("rwkv-music", None), *runs[3:]]
        for recipe, vocabulary in [one for one in runs if options.vocabulary in (None, one[1])]:
            said: dict[str, object] = {"recipe": recipe, "vocabulary": vocabulary or "its own numbers", "device": device}
            if time.perf_counter() - start > options.budget:
                print(json.dumps({**said, "skipped": True}), flush=True)
                continue
            try:
                said |= run(
                    recipe, vocabulary, sources[recipe], folder / f"{recipe}-{vocabulary}", options.scale, options.override
                )
            except WhelpError as error:  # a vocabulary that is not here must not take the others with it
                problems += 1
                said["error"] = str(error)
            print(json.dumps({**said, "at": round(time.perf_counter() - start, 1)}), flush=True)
    raise SystemExit(1 if problems else 0)


def write_sources(text: Path, rows: Path, folder: Path) -> dict[str, Path]:
    """Each recipe's data, in its own form."""
    articles = [line for line in text.read_text(encoding="utf-8").splitlines() if line.strip()]
    content = rows.read_text(encoding="utf-8")
    read = json.loads(content) if content.lstrip().startswith("[") else [json.loads(line) for line in content.splitlines()]
    columns = ("instruction", "input", "output")
    tasks = [{name: str(row.get(name) or "") for name in columns} for row in read]
    pairs = [{"prompt": f"{row['instruction']}\n{row['input']}\n", "completion": row["output"]} for row in tasks]
    pieces = [{"bing": " ".join(str(ord(letter)) for letter in article[:PIECE_NUMBERS])} for article in articles]
    sources = {name: folder / f"{name}.jsonl" for name in RECIPES} | {"rwkv-enwiki": text.resolve()}
    for name, lines in (("rwkv-instruct", pairs), ("rwkv-dolly", tasks), ("rwkv-music", pieces)):
        sources[name].write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    return sources


def run(
    recipe: str, vocabulary: str | None, source: Path, folder: Path, scale: str | None, more: list[str]
) -> dict[str, object]:
    """Prepare and train as a user would."""
    overrides = [f"data.source={source}", "train.log_every_steps=1", *more]
    overrides += [] if vocabulary is None else [f"data.tokenizer={vocabulary}"]
    begin = time.perf_counter()
    whelp.prepare(recipe, out=folder / "store", overrides=overrides, scale=scale)
    prepared = time.perf_counter()
    result = whelp.train(recipe, store=folder / "store", out=folder / "run", overrides=overrides, scale=scale)
    plan = json.loads((folder / "run" / "plan.json").read_text(encoding="utf-8"))["plan"]
    records = [json.loads(line) for line in (folder / "run" / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    losses = [round(record["loss"], 3) for record in records if record.get("loss") is not None]
    assert result.is_finished
    seconds = {"prepare": round(prepared - begin, 1), "train": round(time.perf_counter() - prepared, 1)}
    return {
        "steps": result.step,
        "batch_tokens": plan["batch_rows"] * plan["context_tokens"],
        "losses": losses,
        "seconds": seconds,
    }


if __name__ == "__main__":
    main()
