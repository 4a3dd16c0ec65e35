"""A corpus: every row in one place, the same bytes however it was made, the manifest last."""

from __future__ import annotations

import json
import pickle
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from whelp.artifacts.json_lines import make_json_lines
from whelp.artifacts.manifest import find_damage, read_manifest
from whelp.base.engines import Engine, LocalEngine
from whelp.base.errors import ArtifactError, PlanError
from whelp.curate import CurateConfig, Ledger, Pipeline, SourceToCurate, curate, make_index
from whelp.curate.config import DuplicateParagraphsConfig, GopherQualityConfig, LengthConfig
from whelp.curate.run import PartCurated

from .samples import FakePartition, iter_random_texts, make_array, make_prose, read_library

CONFIG = CurateConfig(
    preset="prose", gopher_quality=GopherQualityConfig(min_words=5, min_mean_word_length=1), shard_megabytes=1
)


def make_partitions(seed: int = 1) -> list[FakePartition]:
    """Prose, code, noise, copies, near-copies, texts with addresses."""
    generator = random.Random(seed)
    prose = [make_prose(generator, generator.randint(30, 200)) for _ in range(24)]
    texts = [*prose, *(text.replace("\n", " ") for text in prose[::4]), *(text + " And more." for text in prose[1::4])]
    texts += [f"Write to the office of that town at me{number}@example.org.\n\n{prose[number]}" for number in range(8)]
    texts += [text for group in iter_random_texts(seed, 4) for text in group] + read_library(3, 5000)
    texts += ["control \x01 \x7f characters", 'quotes " and \\ and \ttabs\r\n', "\u2028 é 日本語 😀"]
    generator.shuffle(texts)
    return [FakePartition(number, texts[first : first + 16]) for number, first in enumerate(range(0, len(texts), 16))]


def iter_run(
    folder: Path, partitions: list[FakePartition], config: CurateConfig = CONFIG, engine: Engine | None = None, **more: Any
) -> Iterator[Any]:
    """Curate, event by event."""
    stream = SourceToCurate(partitions=partitions, pipeline=Pipeline(config, **more))
    return curate([stream], folder, labels=lambda: ["rows.jsonl"], describe_source=dict, engine=engine)


def run(folder: Path, partitions: list[FakePartition], config: CurateConfig = CONFIG, **more: Any) -> Ledger:
    """Curate to the end."""
    *_, ledger = iter_run(folder, partitions, config, **more)
    assert isinstance(ledger, Ledger)
    return ledger


def read_tree(folder: Path) -> dict[str, bytes]:
    """Every file of a folder."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def read_rows(folder: Path) -> list[dict[str, Any]]:
    """The rows of all shards."""
    return [json.loads(line) for path in sorted(folder.glob("*.jsonl")) for line in path.read_text("utf-8").split("\n") if line]


def test_every_row_is_kept_or_dropped_once(tmp_path: Path) -> None:
    """By its place in the source; the ledger counts what is in the files."""
    partitions = make_partitions()
    ledger = run(tmp_path, partitions)
    kept, dropped = read_rows(tmp_path / "kept"), read_rows(tmp_path / "dropped")
    texts = [text for partition in partitions for text in partition.texts]
    assert len(kept) + len(dropped) == len(texts) == ledger.documents_in
    assert sorted(row["line"] for row in kept + dropped) == sorted(
        line for partition in partitions for line in range(1, len(partition.texts) + 1)
    )
    assert ledger.documents_kept == len(kept)
    assert ledger.bytes_kept == sum(len(row["text"].encode()) for row in kept)
    assert sum(ledger.dropped.values()) == len(dropped)
    assert sum(ledger.sizes_in) == len(texts)
    assert sum(ledger.sizes_kept) == len(kept)
    for row in dropped:
        assert ledger.dropped[f"{row['rule']}: {row['reason']}"]
    by_rules = {row["text"] for row in dropped if "duplicate" not in row["rule"]}
    assert by_rules <= set(texts), "what a rule drops is kept aside as it was read"
    assert any("office of that town at email@example.com" in row["text"] for row in kept)
    assert not any("@example.org" in row["text"] for row in kept)
    rules = {row["rule"] for row in dropped}
    assert {"length", "gopher_quality", "exact_duplicates", "near_duplicates"} <= rules
    repeated = [row for row in dropped if row["rule"] in ("exact_duplicates", "near_duplicates")]
    assert all(row["duplicate_of"].startswith("rows.jsonl:") for row in repeated)
    assert all((row["similarity"] is None) == (row["rule"] == "exact_duplicates") for row in repeated)


def test_the_same_bytes_however_it_was_made(tmp_path: Path) -> None:
    """On any number of threads, and after being stopped at any partition."""
    partitions = make_partitions()
    run(tmp_path / "whole", partitions)
    expected = read_tree(tmp_path / "whole")
    assert not any(name.startswith(".parts") for name in expected)
    run(tmp_path / "one", partitions, engine=LocalEngine(1))
    assert read_tree(tmp_path / "one") == expected
    for stop in (2, len(partitions) + 1):
        folder = tmp_path / f"stopped{stop}"
        events = iter_run(folder, partitions, engine=LocalEngine(2))
        for _ in range(stop):
            next(events)
        events.close()
        assert not (folder / "manifest.json").exists()
        reused = [event.is_reused for event in iter_run(folder, partitions) if isinstance(event, PartCurated)]
        assert sum(reused) >= min(stop, len(partitions))
        assert read_tree(folder) == expected


def test_sources_of_a_mixture(tmp_path: Path) -> None:
    """What is kept of each does not depend on workers or stops; equal rows and paragraphs of two are the first one's."""
    generator = random.Random(8)
    prose = [make_prose(generator, 60) for _ in range(8)]
    first = [FakePartition(0, prose[:3]), FakePartition(1, prose[3:5])]
    second = [FakePartition(0, [prose[5], f"{prose[6]}\n\n{prose[0]}"]), FakePartition(1, [prose[4], prose[7], "short"])]
    configs = [CurateConfig(preset="prose", gopher_quality=False), CurateConfig(preset="rows", duplicate_paragraphs=True)]

    def iter_mixture(folder: Path, workers: int) -> Iterator[Any]:
        streams = [
            SourceToCurate(partitions=partitions, pipeline=Pipeline(config), name=name, first_file=number)
            for number, (name, partitions, config) in enumerate(zip(("one", "two"), (first, second), configs, strict=True))
        ]
        labels = ["one.jsonl", "two.jsonl"]
        return curate(streams, folder, labels=lambda: labels, describe_source=dict, engine=LocalEngine(workers))

    *_, ledger = iter_mixture(tmp_path / "whole", 1)
    expected = read_tree(tmp_path / "whole")
    assert [row["text"] for row in read_rows(tmp_path / "whole/kept/one")] == prose[:5]
    assert [row["text"] for row in read_rows(tmp_path / "whole/kept/two")] == [prose[5], prose[6], prose[7], "short"]
    (dropped,) = read_rows(tmp_path / "whole/dropped/two")
    assert (dropped["text"], dropped["origin"], dropped["line"]) == (prose[4], "two.jsonl", 1)
    assert dropped["duplicate_of"] == "one: one.jsonl:2"
    assert {name: one.documents_kept for name, one in ledger.sources.items()} == {"one": 5, "two": 4}
    assert ledger.sources["two"].changes == {"duplicate_paragraphs: paragraphs taken out": 1}
    for stop in (2, 3, 6):
        events = iter_mixture(tmp_path / f"stopped{stop}", 2)
        for _ in range(stop):
            next(events)
        events.close()
        again = [event for event in iter_mixture(tmp_path / f"stopped{stop}", 2) if isinstance(event, PartCurated)]
        assert any(event.is_reused for event in again)
        assert read_tree(tmp_path / f"stopped{stop}") == expected


def test_a_pipeline_travels(tmp_path: Path) -> None:
    """On another machine it is made anew of its configuration, and gives the same."""
    pipeline = Pipeline(CONFIG, index=make_index({"exam": [make_array([make_prose(random.Random(1), 60)])]}, 13))
    _ = pipeline.rules
    batch = make_partitions()[0].batch
    made, again = pipeline.apply(batch), pickle.loads(pickle.dumps(pipeline)).apply(batch)
    assert made.kept == again.kept
    assert made.dropped == again.dropped
    assert (made.signatures.minhash == again.signatures.minhash).all()


def test_an_edited_row_changes_only_its_partition(tmp_path: Path) -> None:
    """Parts of before are used where their text and the rules are the same."""
    partitions = make_partitions()
    events = iter_run(tmp_path, partitions)
    for _ in range(len(partitions)):
        next(events)
    events.close()
    partitions[2].texts[0] += " more"
    reused = [event.is_reused for event in iter_run(tmp_path, partitions) if isinstance(event, PartCurated)]
    assert [number for number, is_reused in enumerate(reused) if not is_reused] == [2]


def test_the_manifest(tmp_path: Path) -> None:
    """It names every file of rows, and they are what was written."""
    ledger = run(tmp_path, make_partitions())
    manifest = read_manifest(tmp_path, "curated")
    assert manifest.counts["documents_kept"] == ledger.documents_kept
    assert set(manifest.files) == {"kept/00000.jsonl", "dropped/00000.jsonl", "ledger.json"}
    assert find_damage(tmp_path, manifest) == []
    assert manifest.config["rules"]["near_duplicates"]["jaccard"] == 0.85


def test_parquet_and_shards(tmp_path: Path) -> None:
    """The same rows, in files of about the size asked for."""
    partitions = make_partitions()
    run(tmp_path / "jsonl", partitions)
    config = CurateConfig(preset="prose", gopher_quality=CONFIG.gopher_quality, format="parquet")
    run(tmp_path / "parquet", partitions, config)
    found = pq.read_table(tmp_path / "parquet" / "kept" / "00000.parquet").to_pylist()
    assert found == read_rows(tmp_path / "jsonl" / "kept")
    large = [FakePartition(number, [make_prose(random.Random(number), 90_000)]) for number in range(3)]
    run(tmp_path / "large", large, CurateConfig(preset="none", shard_megabytes=1))
    assert [path.name for path in sorted((tmp_path / "large" / "kept").iterdir())] == ["00000.jsonl", "00001.jsonl"]
    assert [row["text"] for row in read_rows(tmp_path / "large" / "kept")] == [partition.texts[0] for partition in large]


def test_repeated_paragraphs_are_taken_out(tmp_path: Path) -> None:
    """Other paragraphs stay in order; a text that has nothing else goes."""
    generator = random.Random(6)
    first, second, third = (make_prose(generator, 40) for _ in range(3))
    texts = [f"{first}\n\n\n{second}", f"{third}\n\nshort\n\n{second}\n\nend", f"\n{second}\n\nshort"]
    config = CurateConfig(preset="none", duplicate_paragraphs=DuplicateParagraphsConfig())
    ledger = run(tmp_path, [FakePartition(0, texts[:2]), FakePartition(1, texts[2:])], config)
    assert [row["text"] for row in read_rows(tmp_path / "kept")] == [texts[0], f"{third}\n\nshort\n\nend"]
    assert [(row["rule"], row["text"]) for row in read_rows(tmp_path / "dropped")] == [("duplicate_paragraphs", texts[2])]
    assert ledger.changes == {"duplicate_paragraphs: paragraphs taken out": 2}


def test_rows_of_several_columns(tmp_path: Path) -> None:
    """Judged together, changed each by itself, null where they were; lines stay, and the ledger says so."""
    answers = ["one@example.org wrote it", None, "nothing", "nothing"]
    partition = FakePartition(
        0, ["Question one?", "Question two?", "Same?", "Same?"], columns={"answer": answers, "url": ["u"] * 4}
    )
    config = CurateConfig(preset="rows", boilerplate_lines=True, length=LengthConfig(min_characters=12), keep_columns=["url"])
    ledger = run(tmp_path, [partition], config)
    kept = read_rows(tmp_path / "kept")
    assert [(row["text"], row["answer"], row["url"]) for row in kept] == [
        ("Question one?", "email@example.com wrote it", "u"),
        ("Question two?", None, "u"),
        ("Same?", "nothing", "u"),
    ]
    assert ledger.notes == {"rows of several columns or turns: lines and paragraphs stay as they are": 4}
    assert ledger.dropped == {"exact_duplicates: equal to an earlier document": 1}


def test_rows_held_out_stay_as_they_are(tmp_path: Path) -> None:
    """They are neither judged nor compared, and what shares words with them goes."""
    generator = random.Random(7)
    train, test = [make_prose(generator, 60) for _ in range(3)], ["short", make_prose(generator, 60)]
    train[1] += "\n" + test[1]
    partitions = [FakePartition(0, train), FakePartition(1, test, split="test")]
    index = make_index({"the test split": [make_array(test)]}, 13)
    config = CurateConfig(preset="rows", length=True)
    ledger = run(tmp_path, partitions, config, index=index)
    assert [row["text"] for row in read_rows(tmp_path / "test")] == test
    assert [row["text"] for row in read_rows(tmp_path / "kept")] == [train[0], train[2]]
    assert ledger.dropped == {"decontaminate: shares words with the test split": 1}
    assert (ledger.documents_in, ledger.documents_test) == (3, 2)


def test_nothing_kept(tmp_path: Path) -> None:
    """The error says why; what was dropped can be looked at."""
    with pytest.raises(PlanError, match=r"no document is kept of 2 \(2 length: too short\), but expected some"):
        run(tmp_path, [FakePartition(0, ["a", "b"])])
    assert len(read_rows(tmp_path / "dropped")) == 2
    assert not (tmp_path / "manifest.json").exists()


def test_other_files_are_not_touched(tmp_path: Path) -> None:
    """A folder of something else is refused."""
    (tmp_path / "thesis.txt").write_text("text")
    with pytest.raises(ArtifactError, match=r"holds other files, but expected an empty folder or a curated corpus"):
        run(tmp_path, make_partitions())
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_json_lines_are_those_of_python() -> None:
    """Whatever characters there are."""
    for partition in make_partitions(3):
        written = make_json_lines(partition.batch).decode("utf-8")
        rows = [json.loads(line) for line in written.split("\n")[:-1]]
        assert rows == partition.batch.to_pylist()
        expected = [json.dumps(row, ensure_ascii=False) for row in partition.batch.to_pylist()]
        assert written == "\n".join(expected) + "\n"
