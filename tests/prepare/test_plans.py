"""Every packing plan: each token is a target once in a pass, or has its named fate; rows are a pure function of k."""

from __future__ import annotations

import itertools
import random
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from whelp.artifacts.row_batch import RowBatch
from whelp.artifacts.targets import IGNORED
from whelp.artifacts.token_store import TokenSplit, make_batch, make_schema, read_split, write_split
from whelp.base.errors import ConfigError, PlanError
from whelp.prepare import PackConfig, PackedRows, pack_rows
from whelp.prepare.best_fit import pack_best_fit
from whelp.prepare.pack import make_pack_ledger

PAD = 50_000
LENGTHS = [5, 1, 0, 9, 4, 3, 1, 17, 2, 0, 8, 8, 6, 1, 12]  # 77 tokens in 15 documents, in eight batches
PLANS: list[dict[str, Any]] = [
    {"plan": "concat"},
    {"plan": "concat", "isolate_documents": True},
    {"plan": "concat", "last": "drop"},
    {"plan": "concat", "last": "drop", "isolate_documents": True},
    {"plan": "concat", "last": "carry"},
    {"plan": "concat", "last": "carry", "isolate_documents": True},
    {"plan": "stream"},
    {"plan": "stream", "isolate_documents": True},
    {"plan": "best_fit"},
    {"plan": "best_fit", "isolate_documents": False},
    {"plan": "none"},
    {"plan": "none", "pad_to": "context"},
    {"plan": "none", "long": "truncate"},
]
NAMES = ["-".join(str(value) for value in options.values()) for options in PLANS]
every_plan = pytest.mark.parametrize("options", PLANS, ids=NAMES)


def write(folder: Path, lengths: list[int], mask: list[int] | None = None, documents_in_batch: int = 2) -> TokenSplit:
    """A split whose tokens count 1, 2, 3, ...; `mask` has one value a token."""
    schema = make_schema(60_000, has_mask=mask is not None)
    ids, starts = np.arange(1, sum(lengths) + 1), np.cumsum([0, *lengths])

    def batches() -> Iterator[pa.RecordBatch]:
        for first in range(0, len(lengths), documents_in_batch):
            bounds = starts[first : first + documents_in_batch + 1]
            part = slice(bounds[0], bounds[-1])
            lines = pa.array(range(first, first + len(bounds) - 1))
            values = None if mask is None else np.array(mask[part], dtype=np.uint8)
            yield make_batch(schema, ids[part], bounds - bounds[0], lines, lines, values)

    write_split(folder / "train", schema, batches())
    return read_split(folder / "train")


def pack(split: TokenSplit, length: int, batch_rows: int = 4, **options: Any) -> PackedRows:
    """Plan the rows."""
    config = PackConfig(context_tokens=length, **options)
    return pack_rows(split, config, pad_id=PAD, must_fill_a_row=False, batch_rows=batch_rows)


def document_of(lengths: list[int]) -> dict[int, int]:
    """The document of every token."""
    numbers = np.repeat(np.arange(len(lengths)), lengths).tolist()
    return dict(enumerate(numbers, 1))


def count_targets(rows: PackedRows, num_passes: int) -> Counter[int]:
    """How often each token is a target in so many passes (for an endless stream: those that end where a row ends).

    The first token of an endless stream is no target, and the last row's last target is the next pass's first token: it
    is counted in the place of that.
    """
    is_endless = getattr(rows, "carries", False)
    count = rows.split.num_tokens * num_passes // rows.context_tokens if is_endless else rows.num_rows * num_passes
    parts = [rows.read(first, min(7, count - first), seed=3) for first in range(0, count, 7)]
    targets = [target for part in parts for target in part.targets.ravel().tolist()]
    if rows.split.num_tokens and type(rows).__name__ == "StreamRows":
        targets[-1] = IGNORED if rows.isolates else int(parts[0].ids[0, 0])
        mask = np.ones(rows.split.num_tokens, dtype=np.uint8)
        rows.split.read_mask_into(0, mask)
        targets[-1] = targets[-1] if targets[-1] == IGNORED or mask[targets[-1] - 1] else IGNORED
    return Counter(target for target in targets if target != IGNORED)


@every_plan
@pytest.mark.parametrize("length", [2, 3, 5, 8, 16, 20, 76])
@pytest.mark.parametrize("is_masked", [False, True])
def test_every_token_has_one_fate(tmp_path: Path, options: dict[str, Any], length: int, is_masked: bool) -> None:
    """Over a pass every token is a target once, or masked, first, cut or dropped, as the ledger counts; shares add up to 1."""
    mask = random.Random(1).choices([0, 1], [1, 2], k=77)
    rows = pack(write(tmp_path / "a", LENGTHS, mask if is_masked else None), length, **options)
    plain = pack(write(tmp_path / "b", LENGTHS), length, **options)
    ledger, num_passes = make_pack_ledger(rows), length
    is_endless = getattr(rows, "carries", False)
    times = count_targets(plain, num_passes)  # whole rows: so many passes are a whole number of rows
    trained = count_targets(rows, num_passes)
    assert set(times.values()) == {num_passes}
    assert set(trained.values()) == {num_passes}
    firsts = {1 + sum(LENGTHS[:index]) for index, size in enumerate(LENGTHS) if size}
    cut = set()
    if options.get("long") == "truncate":
        cut = {1 + sum(LENGTHS[:index]) + inside for index, size in enumerate(LENGTHS) for inside in range(length + 1, size)}
    rest = set(range(1, 78)) - set(times) - cut
    first = rest & firsts
    if options.get("last") == "drop":  # what is after the last row has not come to be first
        first = {token for token in first if token <= rows.num_rows * length + 1}
    assert ledger["trained"] == len(trained)
    assert ledger["masked"] == len(times) - len(trained) == sum(1 for token in times if is_masked and not mask[token - 1])
    assert ledger["first"] == len(first)
    assert ledger["cut"] == len(cut)
    assert ledger["dropped"] == len(rest - first)
    assert ledger["dropped"] == 0 or options.get("last") == "drop"
    fates = ("trained", "masked", "first", "cut", "dropped")
    assert sum(ledger[fate] for fate in fates) == ledger["tokens"] == 77
    assert sum(ledger[f"{fate}_share"] for fate in fates) == pytest.approx(1)
    if not is_endless and not (options["plan"] == "none" and "pad_to" not in options):
        ids = rows.read_in_order(0, len(rows)).ids
        assert ledger["padding_share"] == pytest.approx((ids == PAD).mean())
    if is_endless:
        assert ledger["padding_share"] == 0


@every_plan
def test_masks_are_counted_in_blocks(tmp_path: Path, options: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """A mask that is not counted at once has as many tokens that may not be trained."""
    rows = pack(write(tmp_path, LENGTHS, random.Random(1).choices([0, 1], [1, 2], k=77)), 8, **options)
    expected = make_pack_ledger(rows)
    for block in (1, 7, 76):
        monkeypatch.setattr("whelp.prepare.pack._MASK_BLOCK", block)
        assert make_pack_ledger(rows) == expected


@pytest.mark.parametrize("options", PLANS[:8], ids=NAMES[:8])
@pytest.mark.parametrize("length", [2, 5, 8, 20, 76])
def test_documents_cut_by_rows_are_counted(tmp_path: Path, options: dict[str, Any], length: int) -> None:
    """Those with tokens on both sides of a border between rows, or in a row and in the dropped rest; not those that no row has."""
    rows = pack(write(tmp_path, LENGTHS), length, **options)
    places = {document: [] for document in range(len(LENGTHS))}
    for token, document in document_of(LENGTHS).items():
        places[document].append((token - 1) // length)
    is_cut = [len(set(found)) > 1 and found[0] < len(rows) for found in places.values()]
    assert make_pack_ledger(rows)["cut_documents"] == sum(is_cut)


@every_plan
@pytest.mark.parametrize("length", [3, 8, 20])
def test_targets_follow_their_inputs(tmp_path: Path, options: dict[str, Any], length: int) -> None:
    """A target is the next token of the document, or, not isolated, the first one of the next document in the row."""
    rows = pack(write(tmp_path, LENGTHS), length, **options)
    home = document_of(LENGTHS)
    firsts = {min(token for token in home if home[token] == document) for document in home.values()}
    isolates = rows.isolates
    for batch in (rows.read(0, 40, seed=1), rows.read_in_order(0, len(rows))):
        for ids, targets in zip(batch.ids.tolist(), batch.targets.tolist(), strict=True):
            for place, (read, target) in enumerate(zip(ids, targets, strict=True)):
                if read == PAD:
                    assert target == IGNORED
                elif home.get(read + 1) == home[read]:
                    assert target == read + 1
                elif isolates or target == IGNORED:
                    assert target == IGNORED
                else:
                    assert target in firsts
                    assert place == len(ids) - 1 or ids[place + 1] == target


@every_plan
def test_document_numbers(tmp_path: Path, options: dict[str, Any]) -> None:
    """Isolated documents are numbered 0, 1, 2 ... inside each row, pads -1; a row of one document needs no numbers."""
    rows = pack(write(tmp_path, LENGTHS), 20, **options)
    home = document_of(LENGTHS)
    for batch in (rows.read(0, 30, seed=2), rows.read_in_order(0, len(rows))):
        if options["plan"] == "none" or not rows.isolates:
            assert batch.documents is None
            continue
        assert batch.documents is not None
        assert (batch.documents.dtype, batch.documents.shape) == (np.int32, batch.ids.shape)
        for ids, numbers in zip(batch.ids.tolist(), batch.documents.tolist(), strict=True):
            expected, number = [], -1
            for before, token in itertools.pairwise([None, *ids]):
                begins = token != PAD and (before is None or home[before] != home[token] or token != before + 1)
                number += begins
                expected.append(-1 if token == PAD else number)
            assert numbers == expected


@every_plan
def test_rows_laid_out_at_once_do_not_matter(tmp_path: Path, options: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows are the same whichever of them are laid out together, read in any order, one by one or many at once."""
    split = write(tmp_path, LENGTHS, random.Random(1).choices([0, 1], [1, 2], k=77))
    expected = pack(split, 5, **options).read(0, 60, seed=3)
    for rows_at_once in (1, 4, 7):
        for module in ("concat_rows", "stream_rows", "piece_rows"):
            monkeypatch.setattr(f"whelp.prepare.{module}.ROWS_AT_ONCE", rows_at_once)
        rows = pack(split, 5, **options)
        for first, count in [(0, 4), (56, 4), (4, 4), (0, 60), (3, 1), (2, 5), (7, 0), (4, 4)]:
            found = rows.read(first, count, seed=3)
            for name in ("ids", "targets", "documents"):
                ours, theirs = getattr(found, name), getattr(expected, name)
                assert (ours is None) == (theirs is None)
                if theirs is None:
                    continue
                wanted, width = theirs[first : first + count], min(ours.shape[1], theirs.shape[1])
                assert (ours[:, :width] == wanted[:, :width]).all(), (name, first, count)


@every_plan
def test_values_by_slices_or_one_by_one(tmp_path: Path, options: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows are the same, whichever is quicker."""
    mask = random.Random(1).choices([0, 1], [1, 2], k=77)
    split = write(tmp_path, LENGTHS, mask, documents_in_batch=len(LENGTHS))
    found = []
    for values_for_a_slice in (0, 1 << 30):
        for module in ("artifacts.token_column", "prepare.row_layout"):
            monkeypatch.setattr(f"whelp.{module}.VALUES_FOR_A_SLICE", values_for_a_slice)
        rows = pack(split, 5, **options)
        batches = [rows.read(first, 3, seed=3) for first in range(0, 60, 3)]
        found.append([[part if part is None else part.tolist() for part in batch] for batch in batches])
    assert found[0] == found[1]


@every_plan
def test_no_row_of_less_than_a_row(tmp_path: Path, options: dict[str, Any]) -> None:
    """A reader whose slice is empty gets no row, also where all documents together are shorter than one."""
    split = write(tmp_path, [3, 0, 2])
    rows = pack_rows(split, PackConfig(context_tokens=64, **options), pad_id=PAD, must_fill_a_row=False)
    sizes = [len(rows.read(0, 1, seed=0, rank=rank, world=2).ids) for rank in range(2)]
    assert sizes == [0, 1]


@every_plan
@pytest.mark.parametrize("count", [1, 4, 6])
def test_ranks_are_slices_of_one_order(tmp_path: Path, options: dict[str, Any], count: int) -> None:
    """Row number k does not depend on how many are read at a time, nor on how many readers share them; seeds differ."""
    rows = pack(write(tmp_path, LENGTHS), 5, **options)

    def read_all(world: int, total: int = 60) -> list[list[int]]:
        found = []
        for first in range(0, total, count):
            for rank in range(world):
                part = rows.read(first, count, seed=4, rank=rank, world=world)
                found += [[token for token in ids if token != PAD] for ids in part.ids.tolist()]
        return found

    whole = read_all(1)
    assert len(whole) == 60
    assert read_all(2) == read_all(4) == whole
    assert [ids[ids != PAD].tolist() for ids in rows.read(0, 60, seed=4).ids] == whole
    assert [ids[ids != PAD].tolist() for ids in rows.read(0, 60, seed=5).ids] != whole
    fresh = pack(rows.split, 5, **options)
    assert [ids[ids != PAD].tolist() for ids in fresh.read(57, 3, seed=4).ids] == whole[57:]


@every_plan
@pytest.mark.parametrize("documents_in_batch", [1, 4, 15])
def test_batches_of_the_store_do_not_matter(tmp_path: Path, options: dict[str, Any], documents_in_batch: int) -> None:
    """However Arrow cut the store, the rows are the same."""
    mask = random.Random(2).choices([0, 1], k=77)

    def read(folder: str, size: int) -> list[RowBatch]:
        rows = pack(write(tmp_path / folder, LENGTHS, mask, size), 6, **options)
        return [rows.read(0, 50, seed=0), rows.read_in_order(0, 50)]

    for ours, other in zip(read("a", 2), read("b", documents_in_batch), strict=True):
        assert ours.ids.tolist() == other.ids.tolist()
        assert ours.targets.tolist() == other.targets.tolist()
        assert (ours.documents is None) == (other.documents is None)
        assert ours.documents is None or np.array_equal(ours.documents, other.documents)


@every_plan
def test_looking_at_a_row(tmp_path: Path, options: dict[str, Any]) -> None:
    """A row's pieces name documents, places and lines; put together they are the row."""
    split = write(tmp_path, LENGTHS, [1, 0] * 38 + [1])
    rows = pack(split, 7, **options)
    for index in range(len(rows)):
        view, batch = rows.look(index), rows.row(index)
        assert view.ids.tolist() == batch.ids[0].tolist()
        assert view.is_trained.tolist() == [target != IGNORED for target in view.targets.tolist()]
        assert view.is_padding.tolist() == [token == PAD for token in view.ids.tolist()]
        tokens, numbers = [], []
        for number, piece in enumerate(view.pieces):
            document = split.document(piece.document)
            assert (piece.file_index, piece.line) == (document["file_index"], document["line"])
            tokens += document["input_ids"][piece.start : piece.start + piece.length].tolist()
            numbers += [number] * piece.length
        assert view.ids[~view.is_padding].tolist() == tokens
        assert view.documents.tolist() == numbers + [-1] * (len(view.ids) - len(numbers))
        assert batch.documents is None or batch.documents[0].tolist() == view.documents.tolist()


def test_a_mask_goes_with_the_targets(tmp_path: Path) -> None:
    """A completion's first token is trained, from the prompt's last; nothing after the completion's end is."""
    #        prompt 1 2 3, completion 4 5 6; prompt 7 8, completion 9 10
    mask = [0, 0, 0, 1, 1, 1, 0, 0, 1, 1]
    split = write(tmp_path, [6, 4], mask)
    concat = pack(split, 5).read_in_order(0, 2)
    assert concat.ids.tolist() == [[1, 2, 3, 4, 5], [6, 7, 8, 9, 10]]
    assert concat.targets.tolist() == [[-100, -100, 4, 5, 6], [-100, -100, 9, 10, -100]]
    packed = pack(split, 12, plan="best_fit").row(0)
    assert packed.ids[0].tolist() == [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, PAD, PAD]
    assert packed.targets[0].tolist() == [-100, -100, 4, 5, 6, -100, -100, 9, 10, -100, -100, -100]
    alone = pack(split, 12, plan="none").read_in_order(0, 2)
    assert alone.targets.tolist() == [[-100, -100, 4, 5, 6, -100], [-100, 9, 10, -100, -100, -100]]


@pytest.mark.parametrize("plan", ["best_fit", "none"])
def test_a_store_smaller_than_its_padding(tmp_path: Path, plan: str) -> None:
    """Three tokens in a row of eight: five pads, though the store has not five tokens to read."""
    options = {"pad_to": "context"} if plan == "none" else {}
    batch = pack(write(tmp_path, [3], [1, 0, 1]), 8, plan=plan, **options).read(0, 2, seed=0)
    assert batch.ids.tolist() == [[1, 2, 3] + [PAD] * 5] * 2
    assert batch.targets.tolist() == [[-100, 3] + [-100] * 6] * 2


def test_carry_opens_the_next_epoch_with_the_remainder(tmp_path: Path) -> None:
    """Ten tokens in rows of four: 2.5 rows a pass, the third row goes on at the start, and two passes are five rows."""
    rows = pack(write(tmp_path, [10]), 4, last="carry")
    batch = rows.read(0, 5, seed=0)
    first_epoch, second_epoch = batch.ids[:3].tolist(), batch.ids[3:].tolist()
    assert sorted(first_epoch) == [[1, 2, 3, 4], [5, 6, 7, 8], [9, 10, 1, 2]]
    assert sorted(second_epoch) == [[3, 4, 5, 6], [7, 8, 9, 10]]
    targets = {tuple(ids): targets for ids, targets in zip(batch.ids.tolist(), batch.targets.tolist(), strict=True)}
    assert targets[9, 10, 1, 2] == [10, 1, 2, 3]
    assert targets[7, 8, 9, 10] == [8, 9, 10, 1]


def test_stream_shuffles_whole_documents(tmp_path: Path) -> None:
    """Every epoch has all documents, each in one stretch, in an order of its own."""
    rows = pack(write(tmp_path, LENGTHS), 11, plan="stream")
    stream = rows.read(0, 21, seed=0).ids.ravel().tolist()
    home = document_of(LENGTHS)
    orders = []
    for epoch in range(3):
        part = stream[77 * epoch : 77 * epoch + 77]
        order = [document for document, _ in itertools.groupby(part, home.get)]
        assert part == [token for document in order for token in home if home[token] == document]
        orders.append(order)
    assert [sorted(order) for order in orders] == [sorted(set(home.values()))] * 3
    assert orders[0] != orders[1] != orders[2]
    assert orders[0] != sorted(orders[0])


@pytest.mark.parametrize("length", [4, 8, 9, 20])
def test_best_fit_cuts_nothing_that_fits(tmp_path: Path, length: int) -> None:
    """A document that fits a row is whole in one; a longer one is full rows and a rest; single tokens take no place."""
    rows = pack(write(tmp_path, LENGTHS), length, plan="best_fit")
    home = document_of(LENGTHS)
    found: dict[int, list[int]] = {}
    for index in range(len(rows)):
        for piece in rows.look(index).pieces:
            found.setdefault(piece.document, []).append(piece.length)
    for document, size in enumerate(LENGTHS):
        expected = [length] * (size // length) + ([size % length] if size % length > 1 else [])
        assert sorted(found.get(document, []), reverse=True) == expected
    tokens = [token for token in rows.read_in_order(0, len(rows)).ids.ravel().tolist() if token != PAD]
    assert len(tokens) == len(set(tokens))
    starts = [rows.look(index).pieces[0].document for index in range(len(rows))]
    assert starts == sorted(starts)
    assert make_pack_ledger(rows)["cut_documents"] == sum(1 for sizes in found.values() if len(sizes) > 1)
    assert len(home) == 77


def naive_best_fit(lengths: list[int], capacity: int) -> list[int]:
    """The room left in each row after best-fit-decreasing, one piece at a time."""
    rooms: list[int] = []
    for length in sorted(lengths, reverse=True):
        fitting = [room for room in rooms if room >= length]
        if fitting:
            rooms[rooms.index(min(fitting))] -= length
        else:
            rooms.append(capacity - length)
    return sorted(rooms)


def check_best_fit(lengths: list[int], capacity: int) -> None:
    """The rows are as full as those of the slow version, and numbered by their first piece."""
    rows, num_rows = pack_best_fit(np.array(lengths), capacity)
    filled = np.bincount(rows, weights=lengths, minlength=num_rows).astype(int)
    assert sorted((capacity - filled).tolist()) == naive_best_fit(lengths, capacity)
    firsts = [rows.tolist().index(row) for row in range(num_rows)]
    assert firsts == sorted(firsts)


@pytest.mark.parametrize("seed", range(60))
def test_packing_by_counting_is_best_fit_decreasing(seed: int) -> None:
    """Of any lengths."""
    draw = random.Random(seed)
    capacity = draw.randint(2, 50)
    check_best_fit(
        [draw.randint(1, draw.choice([capacity, max(capacity // 3, 1)])) for _ in range(draw.randint(1, 90))], capacity
    )


def test_a_group_of_rows_is_divided() -> None:
    """Of four rows with room for 4, one takes two pieces of 2, one takes one, and two none: each has a room of its own then."""
    check_best_fit([10] * 4 + [2] * 3 + [1] * 10, 14)


def test_many_lengths_fill_their_rows() -> None:
    """Half a million documents of realistic lengths leave less than half a percent of the rows empty."""
    generator = np.random.Generator(np.random.PCG64(0))
    sizes = np.exp(generator.normal(6.0, 1.2, 500_000)).astype(np.int64) + 2
    pieces = np.concatenate([np.full(int((sizes // 1024).sum()), 1024), sizes[sizes % 1024 > 1] % 1024])
    _, num_rows = pack_best_fit(pieces, 1024)
    assert pieces.sum() / (num_rows * 1024) > 0.995


def test_similar_lengths_are_read_together(tmp_path: Path) -> None:
    """With `none` a batch has far fewer pads than one drawn at random, and an epoch has every document once."""
    draw = random.Random(0)
    lengths = [draw.randint(2, 100) for _ in range(1000)]
    split = write(tmp_path, lengths, documents_in_batch=100)
    rows = pack(split, 100, batch_rows=8, plan="none")
    orders = []
    for epoch in range(3):
        positions, seen = 0, []
        for first in range(1000 * epoch, 1000 * (epoch + 1), 8):
            ids = rows.read(first, 8, seed=0).ids
            positions += ids.size
            seen += ids[:, 0].tolist()
            assert ids.shape[1] == (ids != PAD).sum(axis=1).max()
        assert len(set(seen)) == 1000
        assert positions < 1.05 * sum(lengths)
        orders.append(seen)
        if epoch == 0:
            assert make_pack_ledger(rows)["padding_share"] == pytest.approx(1 - sum(lengths) / positions)
    assert orders[0] != orders[1]
    fixed = pack(split, 100, batch_rows=8, plan="none", pad_to="context")
    assert [fixed.read(first, 8, seed=0).ids.shape for first in range(0, 80, 8)] == [(8, 100)] * 10
    assert [fixed.read(8, 8, seed=0).ids[:, 0].tolist(), orders[0][8:16]] == [orders[0][8:16]] * 2


def test_batches_stay_together_over_epochs(tmp_path: Path) -> None:
    """Where an epoch ends within a batch, the next one's batches are of similar lengths all the same."""
    lengths = [2, 30] * 125
    rows = pack(write(tmp_path, lengths), 40, batch_rows=8, plan="none")
    mixed = 0
    for first in range(0, 2000, 8):
        sizes = (rows.read(first, 8, seed=1).ids != PAD).sum(axis=1)
        mixed += len(set(sizes.tolist())) > 1
    assert mixed <= 3 * 8  # the border of short and long, and the two ends, of each of eight epochs


@pytest.mark.parametrize("plan", ["best_fit", "none"])
def test_nothing_to_predict(tmp_path: Path, plan: str) -> None:
    """Documents of one token each have no target when they are alone."""
    with pytest.raises(PlanError) as caught:
        pack(write(tmp_path, [1, 0, 1]), 4, plan=plan)
    assert str(caught.value) == (
        "the train split: none of its 3 documents has more than one token, but expected something to predict for "
        f"pack.plan={plan}. Add text, or use pack.plan=concat."
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"plan": "best_fit", "last": "drop"}, "pack.last is for the plan concat, but pack.plan is best_fit"),
        ({"plan": "concat", "long": "truncate"}, "pack.long is for the plan none, but pack.plan is concat"),
        ({"plan": "stream", "pad_to": "context"}, "pack.pad_to is for the plan none, but pack.plan is stream"),
        ({"plan": "none", "isolate_documents": False}, "pack.isolate_documents is false, but with pack.plan=none"),
    ],
)
def test_settings_that_do_not_fit(options: dict[str, Any], message: str) -> None:
    """An option of another plan is refused, rather than ignored."""
    with pytest.raises(ConfigError, match=message):
        PackConfig(**options)


@pytest.mark.parametrize(
    ("options", "isolates"),
    [
        ({"plan": "concat"}, False),
        ({"plan": "stream"}, False),
        ({"plan": "best_fit"}, True),
        ({"plan": "none"}, True),
        ({"plan": "best_fit", "isolate_documents": False}, False),
        ({"plan": "concat", "isolate_documents": True}, True),
    ],
)
def test_isolation_by_itself(options: dict[str, Any], isolates: bool) -> None:
    """On for best_fit and none, off elsewhere, unless asked."""
    assert PackConfig(**options).isolates is isolates
