"""Log-probabilities of tokens, as a request for them gets them."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from whelp.generate.generation import TokenLogprob
from whelp.generate.text_stream import VocabularyLike


class Describer:
    """Log-probabilities of the tokens that follow some places, with so many likeliest; None: not asked for there."""

    def __init__(self, vocabulary: VocabularyLike, counts: Sequence[int | None], logits: torch.Tensor) -> None:
        self.vocabulary = vocabulary
        self.counts = {place: count for place, count in enumerate(counts) if count is not None}
        self.index = {place: index for index, place in enumerate(self.counts)}
        if not self.counts:
            return
        self.all = logits[list(self.counts)].log_softmax(dim=-1)
        values, ids = self.all.topk(min(max(1, *self.counts.values()), self.all.shape[-1]), dim=-1)
        self.values, self.ids = values.tolist(), ids.tolist()

    def __call__(self, place: int, token_id: int) -> list[TokenLogprob] | None:
        if place not in self.counts:
            return None
        index, count = self.index[place], self.counts[place]
        likeliest = zip(self.ids[index][:count], self.values[index][:count], strict=True)
        top = tuple(self._name(other, value) for other, value in likeliest)
        return [self._name(token_id, float(self.all[index, token_id]), top)]

    def _name(self, token_id: int, value: float, top: tuple[TokenLogprob, ...] = ()) -> TokenLogprob:
        raw = self.vocabulary.decode_bytes([token_id], skip_special=False)
        return TokenLogprob(token_id, raw.decode(errors="replace"), raw, value, top)
