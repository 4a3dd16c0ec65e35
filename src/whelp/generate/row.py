"""One continuation and where it stands."""

from __future__ import annotations

import random

import numpy as np
import numpy.typing as npt
import torch

from whelp.base.seeds import make_seed
from whelp.base.shared_beginning import get_head
from whelp.generate.config import GenerateConfig
from whelp.generate.generation import Generation, TokenLogprob
from whelp.generate.pattern import Pattern
from whelp.generate.speculation import Guesser
from whelp.generate.text_stream import TextMaker


class Row:
    """One continuation and where it stands. Shapes: V vocabulary."""

    def __init__(
        self,
        generation: Generation,
        config: GenerateConfig,
        ids: list[int],
        maker: TextMaker,
        prompt: SharedPrompt,
        pattern: Pattern | None = None,
    ) -> None:
        self.generation, self.config, self.maker, self.prompt, self.pattern = generation, config, maker, prompt, pattern
        self.ids = list(ids)  # the prompt and what has come
        self.unread = list(ids)  # what its slot does not hold yet, while it is being read
        self.pauses: set[int] = set()  # after so many tokens of the prompt, the memory of them is kept
        self.awaited: tuple[Row, int] | None = None  # another, and how many tokens of its prompt are to be read first
        self.slot = -1
        self.has_slid = False
        self.num_new = 0
        self.random = random.Random(make_seed(config.seed, "sample", generation.index))
        self.style = (config.temperature, config.top_k, config.top_p, config.min_p)
        self.seen: torch.Tensor | None = None  # (V,) ids of the prompt and the continuation
        self.counts: torch.Tensor | None = None  # (V,) how often the continuation has each id
        self.guesser = Guesser(config.prompt_lookup_tokens, config.draft_tokens)
        self._waits: dict[int, npt.NDArray[np.float32]] = {}  # by place in the continuation

    @property
    def is_scored(self) -> bool:
        """Whether each token of what is read now needs its log-probability."""
        return self.config.prompt_logprobs is not None and not self.has_slid

    @property
    def can_be_drafted(self) -> bool:
        """Whether what comes next hangs on the text and the distribution alone."""
        return not (self.config.is_penalised or self.config.logit_bias or self.pattern)

    @property
    def can_be_screened(self) -> bool:
        """Whether the choice is among few tokens that bounds of the logits find, and nobody looks at the others."""
        config = self.config
        is_open = config.is_greedy or config.top_k > 0 or config.top_p >= 1.0  # top-p alone weighs all tokens
        return is_open and self.can_be_drafted and config.logprobs is None

    def waits(self, place: int, size: int) -> npt.NDArray[np.float32]:
        """The waiting times (V,) that choose the token at a place of the continuation; the same whenever they are asked for."""
        if place not in self._waits:
            self._waits = {key: kept for key, kept in self._waits.items() if key >= self.num_new}
            seed = make_seed(self.config.seed, "wait", self.generation.index)
            numbers = np.random.Generator(np.random.SFC64([seed, place])).standard_exponential(size, dtype=np.float32)
            self._waits[place] = np.maximum(numbers, np.float32(1e-9), out=numbers)
        return self._waits[place]


class SharedPrompt:
    """What continuations of one prompt share: the logits after it, and what its own tokens were given, if that is asked."""

    def __init__(self, ids: list[int]) -> None:
        self.ids = np.array(ids)
        self.head = get_head(self.ids)
        self.logits: torch.Tensor | None = None  # (1, V)
        self.logprobs: list[TokenLogprob] = []
