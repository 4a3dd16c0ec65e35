"""The training loop of many tutorials."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, cast

import torch
from torch import Tensor, nn

from cpu_contestants.model import GPT, count
from cpu_contestants.task import Corpus, Recorder, Result, Settings, module_scorer


def worker_plain(corpus: Corpus, settings: Settings, started: float, *, bf16: bool = False) -> Result:
    """The tutorials' loop: rows of the text as Python lists, turned into tensors by the loop's own collate function."""
    torch.set_num_threads(settings.threads)
    torch.manual_seed(settings.seed)
    numbers: list[int] = corpus.training().tolist()
    size = settings.block + 1  # a row gives one input and one target fewer than it is long
    rows = [{"input_ids": numbers[i : i + size]} for i in range(0, len(numbers) - size + 1, size)]

    def collate(batch: list[dict[str, list[int]]]) -> dict[str, Tensor]:
        tensors = [torch.tensor(item["input_ids"]) for item in batch]
        return {"input_ids": nn.utils.rnn.pad_sequence(tensors, batch_first=True, padding_value=0)}

    loader = torch.utils.data.DataLoader(
        cast("torch.utils.data.Dataset[Any]", rows),
        batch_size=settings.batch,
        shuffle=True,
        drop_last=True,  # every step the same amount of work, as for the others
        collate_fn=collate,
    )
    vocabulary = len(corpus.alphabet)
    model = GPT(vocabulary, settings, norm_bias=True)
    loss_function = nn.CrossEntropyLoss()
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-4)
    recorder = Recorder(settings, started, module_scorer(model, model, corpus, settings))

    def batches() -> Iterator[Tensor]:
        while True:
            for batch in loader:
                yield batch["input_ids"]

    model.train()
    total = 0.0
    feed = batches()
    recorder.begin()
    for _ in range(settings.steps):
        ids = next(feed)
        inputs, targets = ids[:, :-1], ids[:, 1:]
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            logits = model(inputs)
            loss = loss_function(logits.reshape(-1, vocabulary), targets.reshape(-1))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        total += loss.item()
        recorder.step()
    print(f"mean training loss: {total / settings.steps:.4f}")
    return recorder.result(count(model))
