"""The ways people prepare such data today, written anew from their published descriptions."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from prepare_contestants.task import BLOCK, END, Prepared, load_fast, load_slow, read_back


def bark(corpus: Path, out: Path, vocabulary: Path) -> tuple[Callable[[], None], Prepared]:
    """Map, then `group_texts`: a batch's lists joined with `sum`, cut, the rest dropped."""
    from datasets import load_dataset, load_from_disk

    def work() -> None:
        tokenizer = load_slow(vocabulary)
        rows = load_dataset("json", data_files=str(corpus / "all.jsonl"), split="train", cache_dir=str(out / "cache"))

        def encode(batch: Any) -> Any:
            return {"input_ids": [[*ids, END] for ids in tokenizer(batch["text"])["input_ids"]]}

        def group(batch: Any) -> Any:
            ids = sum(batch["input_ids"], [])  # noqa: RUF017  (what it measures)
            whole = len(ids) // BLOCK * BLOCK
            return {"input_ids": [ids[first : first + BLOCK] for first in range(0, whole, BLOCK)]}

        encoded = rows.map(encode, batched=True, remove_columns=["text"])
        encoded.map(group, batched=True).save_to_disk(str(out / "store"))

    def read() -> np.ndarray:
        return load_from_disk(str(out / "store")).data.column("input_ids").combine_chunks().flatten().to_numpy()

    return work, read


def books(corpus: Path, out: Path, vocabulary: Path) -> tuple[Callable[[], None], Prepared]:
    """Map, join up to a million rows, cut; saved after each step."""
    from datasets import load_dataset, load_from_disk

    def work() -> None:
        tokenizer = load_slow(vocabulary)
        rows = load_dataset("json", data_files=str(corpus / "all.jsonl"), split="train", cache_dir=str(out / "cache"))

        def encode(batch: Any) -> Any:
            found = tokenizer(batch["text"])
            return {
                "input_ids": [[*ids, END] for ids in found["input_ids"]],
                "attention_mask": [[*mask, 1] for mask in found["attention_mask"]],
            }

        def join(batch: Any) -> Any:
            return {name: [list(chain.from_iterable(batch[name]))] for name in ("input_ids", "attention_mask")}

        def cut(batch: Any) -> Any:
            pieces: dict[str, list[Any]] = {"input_ids": [], "attention_mask": []}
            for name in pieces:
                values = batch[name][0]
                pieces[name] = [values[first : first + BLOCK] for first in range(0, len(values) - BLOCK + 1, BLOCK)]
            return pieces

        encoded = rows.map(encode, batched=True, remove_columns=["text"], num_proc=2)
        encoded.save_to_disk(str(out / "encoded"))
        joined = encoded.map(join, batched=True, batch_size=1_000_000, num_proc=2)
        joined.map(cut, batched=True, batch_size=1, num_proc=2).save_to_disk(str(out / "store"))

    def read() -> np.ndarray:
        return load_from_disk(str(out / "store")).data.column("input_ids").combine_chunks().flatten().to_numpy()

    return work, read


def codeparrot(corpus: Path, out: Path, vocabulary: Path) -> tuple[Callable[[], None], Prepared]:
    """A buffer of about 1,024 sequences of text, encoded when full, cut into rows; the rows written as they come."""
    import torch
    from datasets import load_dataset

    def work() -> None:
        tokenizer = load_slow(vocabulary)
        rows = iter(load_dataset("json", data_files=str(corpus / "all.jsonl"), split="train", cache_dir=str(out / "cache")))
        is_more = True
        with open(out / "ids", "wb") as file:
            while is_more:
                buffer: list[str] = []
                num_characters = 0.0
                while num_characters < BLOCK * 3.6 * 1024:
                    row = next(rows, None)
                    if row is None:
                        is_more = False
                        break
                    buffer.append(row["text"])
                    num_characters += len(row["text"])
                ids: list[int] = []
                for some in tokenizer(buffer, truncation=False)["input_ids"] if buffer else []:
                    ids.extend([*some, END])
                for first in range(0, len(ids), BLOCK):
                    piece = ids[first : first + BLOCK]
                    if len(piece) == BLOCK:
                        file.write(torch.tensor(piece).numpy().astype(np.uint16).data)

    return work, lambda: read_back(out / "ids")


def keep_for_tiktoken(vocabulary: Path, folder: Path) -> None:
    """Lay GPT-2's files where tiktoken looks for what it has fetched before."""
    folder.mkdir()
    for name in ("vocab.bpe", "encoder.json"):
        address = f"https://openaipublic.blob.core.windows.net/gpt-2/encodings/main/{name}"
        shutil.copyfile(vocabulary / name, folder / hashlib.sha1(address.encode()).hexdigest())
    os.environ["TIKTOKEN_CACHE_DIR"] = str(folder)


def nanogpt(corpus: Path, out: Path, vocabulary: Path) -> tuple[Callable[[], None], Prepared]:
    """Map with tiktoken, then the ids copied into a memory map, shard by shard.

    As in the script: rows read by as many processes as encode, the encoding by its name (so that processes need not be sent
    it), one row at a time. Kinder than the script: nothing is shuffled or held out, and there are 64 shards instead of 1,024, of
    which each takes its time.
    """
    import tiktoken
    from datasets import load_dataset

    keep_for_tiktoken(vocabulary, out / "tiktoken")

    def work() -> None:
        files = [str(path) for path in sorted((corpus / "two").iterdir())]
        rows = load_dataset("json", data_files=files, split="train", cache_dir=str(out / "cache"), num_proc=2)
        encoding = tiktoken.get_encoding("gpt2")

        def encode(row: Any) -> Any:
            ids = encoding.encode_ordinary(row["text"])
            ids.append(encoding.eot_token)
            return {"ids": ids, "len": len(ids)}

        encoded = rows.map(encode, remove_columns=["text"], num_proc=2)
        count = int(np.sum(encoded["len"], dtype=np.uint64))
        ids = np.memmap(out / "ids", np.uint16, "w+", shape=(count,))
        place = 0
        for index in range(64):
            batch = encoded.shard(num_shards=64, index=index, contiguous=True).with_format("numpy")
            some = np.concatenate(batch["ids"][:])
            ids[place : place + len(some)] = some
            place += len(some)
        ids.flush()

    return work, lambda: read_back(out / "ids")


def datatrove(corpus: Path, out: Path, vocabulary: Path) -> tuple[Callable[[], None], Prepared]:
    """Its reader and tokenizer on two workers, one file each."""
    from datatrove.executor import LocalPipelineExecutor
    from datatrove.pipeline.readers import JsonlReader
    from datatrove.pipeline.tokens import DocumentTokenizer

    def work() -> None:
        load_fast(vocabulary).save(out)
        steps = [
            JsonlReader(str(corpus / "two"), text_key="text"),
            DocumentTokenizer(
                str(out / "store"),
                tokenizer_name_or_path=str(out / "tokenizer.json"),
                eos_token="<|endoftext|>",
                shuffle_documents=False,
            ),
        ]
        LocalPipelineExecutor(steps, tasks=2, workers=2, logging_dir=str(out / "logs")).run()

    def read() -> np.ndarray:
        return np.concatenate([read_back(path) for path in sorted((out / "store").glob("*.ds"))])

    return work, read
