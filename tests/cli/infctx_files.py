"""Four YAML files of the infctx trainer, and data as they name it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

FILES = Path(__file__).with_name("infctx")
NAMES = sorted(path.stem for path in FILES.glob("*.yaml"))
SHARED = Path(__file__).parents[3] / "shared" / "data"
END = "<|endoftext|>"

WORDS = "the quick brown fox jumps over a lazy dog while seven old wizards mix quartz and jelly for nymphs "
ENWIKI = [{"text": f"Article {number}. " + WORDS * (1 + number % 5)} for number in range(60)]
SELF_INSTRUCT = [{"prompt": f"What is {n} plus {n}? Output:", "completion": f" {2 * n}{END}"} for n in range(40)]
DOLLY = [
    {"category": "qa", "instruction": f"When did {n} start?", "input": f"It was {n}." if n % 2 else "", "output": f"In {n}."}
    for n in range(40)
]
MUSENET = [{"bing": " ".join(str(n * step % 4096) for step in range(1, 30))} for n in range(40)]


def write_files(folder: Path, name: str) -> Path:
    """The YAML, and the data that it names beside it."""
    path = folder / "config" / f"{name}.yaml"
    path.parent.mkdir(exist_ok=True)
    shutil.copy(FILES / f"{name}.yaml", path)
    for file, rows in (("enwiki", ENWIKI), ("musenet", MUSENET)):
        pq.write_table(pa.Table.from_pylist(rows), path.parent / f"{file}.parquet")
    for file, rows in (("self-instruct", SELF_INSTRUCT), ("dolly", DOLLY)):
        (path.parent / f"{file}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def minimal(**sections: dict[str, Any]) -> dict[str, Any]:
    """The least that can be mapped, with more options."""
    values: dict[str, Any] = {
        "trainer": {"max_steps": 10},
        "model": {"load_model": "L2-D64.pth", "lr_init": 1e-3},
        "data": {"source": "a.jsonl"},
    }
    for name, options in sections.items():
        values[name] = {**values[name], **options}
    return values
