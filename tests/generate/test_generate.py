"""The decoding loop: cached equals naive, samples are independent, and the context is no end."""

import json
from collections.abc import Callable

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM, GenerationConfig

from whelp.base.errors import PlanError
from whelp.generate import GenerateConfig, Token, generate_tokens
from whelp.model import LanguageModel

FAMILIES = [("gpt2", {"tie_embeddings": False}), ("qwen3", {"n_kv_head": 2})]
PROMPT = [5, 17, 42, 3, 8]
NUM_IDS = 60  # the embedding has 64 rows


def _ids(tokens: list[Token], sample: int = 0) -> list[int]:
    return [token.id for token in tokens if token.sample == sample]


def _generate(model, prompt=PROMPT, *, num_ids: int = NUM_IDS, eos_id: int | None = None, **options) -> list[Token]:
    settings = GenerateConfig(**{"temperature": 0.0, "max_tokens": 12} | options)
    return list(generate_tokens(model, prompt, settings, num_ids=num_ids, eos_id=eos_id))


@torch.no_grad()
def _last_logits(model: LanguageModel, ids: list[int]) -> torch.Tensor:
    return model(torch.tensor([ids]))[0, -1, :NUM_IDS]


def _naive(model: LanguageModel, prompt: list[int], num_tokens: int) -> list[int]:
    """Read everything anew for each token; at the end of the context, go on from the later half."""
    model.eval()
    window, text = prompt[-model.context_tokens :], list(prompt)
    for _ in range(num_tokens):
        text.append(int(_last_logits(model, window).argmax()))
        window = [*window, text[-1]] if len(window) < model.context_tokens else text[-(model.context_tokens // 2) :]
    return text[len(prompt) :]


@pytest.mark.parametrize(("family", "options"), FAMILIES)
def test_cached_equals_naive(make_model, family, options):
    """One token at a time with a cache gives what reading everything anew gives."""
    model = make_model(family, **options | ({"dropout": 0.3} if family == "gpt2" else {}))
    expected = _naive(model, PROMPT, 12)
    assert len(set(expected)) > 3  # not one token repeated
    model.train()  # generating switches dropout off
    assert _ids(_generate(model)) == expected
    assert _ids(_generate(model, np.array(PROMPT, dtype=np.uint16))) == expected
    assert _ids(_generate(model, PROMPT[:1])) == _naive(model, PROMPT[:1], 12)


@pytest.mark.parametrize(("family", "options"), FAMILIES)
def test_transformers_generates_the_same(make_model, tmp_path, family, options):
    """Greedy decoding by transformers, from the same folder of weights."""
    model = make_model(family, **options)
    config, weights = model.to_hugging_face()
    (tmp_path / "config.json").write_text(json.dumps(config))
    save_file(weights, tmp_path / "model.safetensors", metadata={"format": "pt"})
    theirs = AutoModelForCausalLM.from_pretrained(tmp_path)
    prompt = torch.tensor([PROMPT])
    greedy = GenerationConfig(do_sample=False, max_new_tokens=15, pad_token_id=0, eos_token_id=None)
    output = theirs.generate(prompt, attention_mask=torch.ones_like(prompt), generation_config=greedy)
    assert _ids(_generate(model, num_ids=64, max_tokens=15)) == output[0, len(PROMPT) :].tolist()


@pytest.mark.parametrize(("family", "options"), FAMILIES)
@pytest.mark.parametrize("prompt_tokens", [1, 7, 8, 9, 30])
def test_longer_than_the_context(make_model, family, options, prompt_tokens):
    """Text and prompts longer than the context go on, from the later half of what is there."""
    model = make_model(family, context_tokens=8, **options)
    prompt = torch.randint(0, NUM_IDS, (prompt_tokens,), generator=torch.Generator().manual_seed(1)).tolist()
    assert _ids(_generate(model, prompt, max_tokens=30)) == _naive(model, prompt, 30)


def test_a_context_of_one_token(make_model):
    """The smallest context there is still goes on."""
    model = make_model("gpt2", context_tokens=1)
    tokens = _ids(_generate(model, max_tokens=4))
    assert tokens == [int(_last_logits(model, [last]).argmax()) for last in (PROMPT[-1], *tokens[:-1])]


@pytest.mark.parametrize("context_tokens", [10, 40])
def test_samples_end_on_their_own(make_model, monkeypatch, context_tokens):
    """Samples that end early leave the others as they were: every choice sees the logits of its own text."""
    model = make_model("qwen3", context_tokens=context_tokens).eval()
    chosen_from: list[torch.Tensor] = []
    script = iter([[1, 2, 3, 4], [9, 5, 6, 7], [8, 9, 8], [1, 9], [2], [3], [9]])  # 9 ends a sample

    def choose(logits, settings, seen, generator) -> torch.Tensor:
        chosen_from.append(logits)
        return torch.tensor(next(script))

    monkeypatch.setattr("whelp.generate.generate.choose", choose)
    tokens = _generate(model, n=4, temperature=1.0, max_tokens=50, eos_id=9)
    assert [_ids(tokens, sample) for sample in range(4)] == [[1, 9], [2, 5, 8, 1, 2, 3, 9], [3, 6, 9], [4, 7, 8, 9]]
    assert all(token.is_last == (token.id == 9) for token in tokens)
    texts = {sample: list(PROMPT) for sample in range(4)}
    windows = {sample: list(PROMPT) for sample in range(4)}
    read = iter([row for logits in chosen_from for row in logits])
    for token in tokens:
        torch.testing.assert_close(next(read), _last_logits(model, windows[token.sample]), atol=1e-4, rtol=1e-4)
        texts[token.sample].append(token.id)
        is_full = len(windows[token.sample]) == context_tokens
        windows[token.sample] = texts[token.sample][-(context_tokens // 2) :] if is_full else [*windows[token.sample], token.id]


def test_every_sample_ends_once(make_model):
    """With sampling, each of many samples ends at its first end-of-text, or after max_tokens."""
    tokens = _generate(make_model("gpt2"), n=20, num_ids=12, temperature=4.0, max_tokens=15, eos_id=7)
    lengths = set()
    for sample in range(20):
        own = [token for token in tokens if token.sample == sample]
        lengths.add(len(own))
        assert [token.is_last for token in own] == [False] * (len(own) - 1) + [True]
        assert 7 not in _ids(own[:-1], sample)
        assert own[-1].id == 7 or len(own) == 15
    assert len(lengths) > 2


def test_a_sample_can_be_ended_from_outside(make_model):
    """Whoever reads the tokens may send a stop; that sample gives no more, the others go on."""
    tokens = generate_tokens(make_model("gpt2"), PROMPT, GenerateConfig(max_tokens=4, n=3), num_ids=NUM_IDS)
    message, seen = None, []
    while True:
        try:
            token = tokens.send(message)
        except StopIteration:
            break
        seen.append(token.sample)
        message = token.sample if token.sample == 1 and seen.count(1) == 2 else None
    assert [seen.count(sample) for sample in range(3)] == [4, 2, 4]


def test_the_seed_decides(make_model):
    """The same seed gives the same tokens, whatever was drawn elsewhere; another seed gives others."""
    model = make_model("qwen3")
    first = _generate(model, temperature=1.0, seed=3, n=3)
    torch.manual_seed(99)
    assert _generate(model, temperature=1.0, seed=3, n=3) == first
    assert _generate(model, temperature=1.0, seed=4, n=3) != first
    assert len({tuple(_ids(first, sample)) for sample in range(3)}) == 3


@pytest.mark.parametrize("temperature", [0.0, 1.5])
def test_ids_without_a_token_are_never_chosen(make_model, temperature):
    """The embedding's rows beyond the tokenizer's ids are not chosen, however likely the model thinks them."""
    model = make_model("gpt2", tie_embeddings=False)
    with torch.no_grad():
        model.norm.bias.fill_(1.0)
        model.head.weight[50:].fill_(5.0)
    assert _generate(model, num_ids=64, temperature=temperature)[0].id >= 50
    assert all(token.id < 50 for token in _generate(model, num_ids=50, temperature=temperature, n=4, max_tokens=30))


def test_repetition_is_penalised(make_model):
    """With a very strong penalty no id of the prompt or the text comes twice, in any sample."""
    tokens = _generate(make_model("gpt2"), repetition_penalty=1e9, max_tokens=25, n=3, temperature=0.0)
    for sample in range(3):
        ids = PROMPT + _ids(tokens, sample)
        assert len(set(ids)) == len(ids)


def test_an_empty_prompt(make_model):
    """There must be a token to go on from."""
    with pytest.raises(
        PlanError, match=r"the prompt: it is empty, but expected at least one token\. Give some text to continue"
    ):
        _generate(make_model("gpt2"), [])


def test_nothing_is_computed_ahead(make_model, monkeypatch):
    """After the last token the model is not asked again."""
    model = make_model("gpt2")
    calls: list[int] = []
    original: Callable = model.last_logits
    monkeypatch.setattr(model, "last_logits", lambda ids, cache: (calls.append(ids.shape[1]), original(ids, cache))[1])
    _generate(model, max_tokens=3)
    assert calls == [len(PROMPT), 1, 1]
