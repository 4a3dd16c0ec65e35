"""Steps of many rows: cached equals naive, together equals alone, and every token is chosen from its own text."""

import json

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM, GenerationConfig

from whelp.base.errors import ConfigError, PlanError
from whelp.generate import GenerateConfig, complete
from whelp.generate import batch as batch_module
from whelp.generate.batch import Batch
from whelp.model import LanguageModel

from .helpers import NumberVocabulary, PieceVocabulary, ScriptedModel, generate_ids

FAMILIES = [("gpt2", {"tie_embeddings": False}), ("qwen3", {"n_kv_head": 2}), ("gpt2", {"bias": False, "activation": "gelu"})]
PROMPT = [5, 17, 42, 3, 8]
NUM_IDS = 60  # the embedding has 64 rows


@torch.no_grad()
def _last_logits(model: LanguageModel, ids: list[int]) -> torch.Tensor:
    return model(torch.tensor([ids]))[0, -1, :NUM_IDS]


def _naive(model: LanguageModel, prompt: list[int], num_tokens: int) -> list[int]:
    """Read everything anew for each token; at the end of the context, go on from the later half."""
    model.eval()
    window, text = prompt[-model.context_tokens :], list(prompt)
    for _ in range(num_tokens):
        text.append(int(_last_logits(model, window).argmax()))
        window = [*window, text[-1]] if len(window) < model.context_tokens else text[-max(model.context_tokens // 2, 1) :]
    return text[len(prompt) :]


@pytest.mark.parametrize(("family", "options"), FAMILIES)
def test_cached_equals_naive(make_model, family, options):
    """One token at a time with a cache gives what reading everything anew gives."""
    model = make_model(family, **options | ({"dropout": 0.3} if family == "gpt2" else {}))
    expected = _naive(model, PROMPT, 12)
    assert len(set(expected)) > 2  # not one token repeated
    model.train()  # generating switches dropout off
    assert generate_ids(model, PROMPT) == [expected]
    assert generate_ids(model, np.array(PROMPT, dtype=np.uint16)) == [expected]
    assert generate_ids(model, PROMPT[:1]) == [_naive(model, PROMPT[:1], 12)]


@pytest.mark.parametrize(("family", "options"), FAMILIES)
def test_transformers_generates_the_same(make_model, tmp_path, family, options):
    """Greedy decoding by transformers, from the same folder of weights: several prompts, each alone there, together here."""
    model = make_model(family, **options)
    config, weights = model.to_hugging_face()
    (tmp_path / "config.json").write_text(json.dumps(config))
    save_file(weights, tmp_path / "model.safetensors", metadata={"format": "pt"})
    theirs = AutoModelForCausalLM.from_pretrained(tmp_path)
    greedy = GenerationConfig(do_sample=False, max_new_tokens=15, pad_token_id=0, eos_token_id=None)
    batch = Batch(model, NumberVocabulary(64), max_rows=4)
    settings = GenerateConfig(temperature=0.0, max_tokens=15)
    prompts = [PROMPT, [1], [7, 7, 7], list(range(9))]
    generations = [batch.submit(prompt, settings)[0] for prompt in prompts]
    while batch.step():
        pass
    for prompt, generation in zip(prompts, generations, strict=True):
        ids = torch.tensor([prompt])
        output = theirs.generate(ids, attention_mask=torch.ones_like(ids), generation_config=greedy)
        assert [token for piece in generation for token in piece.token_ids] == output[0, len(prompt) :].tolist()


_STYLES = [
    {"temperature": 0.0},
    {"temperature": 1.0, "seed": 1},
    {"temperature": 1.3, "top_k": 7, "seed": 2},
    {"temperature": 0.9, "top_p": 0.8, "seed": 3, "repetition_penalty": 1.3},
    {"temperature": 1.1, "min_p": 0.1, "seed": 4, "presence_penalty": 0.5, "frequency_penalty": 0.3},
    {"temperature": 1.0, "seed": 5, "logit_bias": {7: 3.0}, "stop": ["1 2"]},
    {"temperature": 0.7, "top_k": 20, "top_p": 0.9, "seed": 6, "when_full": "slide"},
]


def _requests() -> list[tuple[list[int], GenerateConfig, int]]:
    generator = np.random.default_rng(0)
    requests = []
    for number in range(14):
        prompt = generator.integers(0, NUM_IDS, int(generator.integers(1, 20))).tolist()
        style = _STYLES[number % len(_STYLES)]
        max_tokens = int(generator.integers(1, 40))
        requests.append((prompt, GenerateConfig(max_tokens=max_tokens, **style), 1 + number % 3))
    return requests


@pytest.mark.parametrize(("family", "options"), FAMILIES[:2])
@pytest.mark.parametrize("chunk_tokens", [512, 4])
def test_together_equals_alone(make_model, monkeypatch, family, options, chunk_tokens):
    """Requests that come while others run, in few slots and with prompts read in pieces, get the text they get alone."""
    model = make_model(family, **options)
    vocabulary = NumberVocabulary(NUM_IDS, eos_id=9)
    requests = _requests()
    alone = [complete(model, vocabulary, prompt, config, n=n) for prompt, config, n in requests]
    assert {whole.reason for texts in alone for whole in texts} == {"stop", "length"}
    monkeypatch.setattr(batch_module, "CHUNK_TOKENS", chunk_tokens)
    batch = Batch(model, vocabulary, max_rows=5)
    generations = []
    for prompt, config, n in requests:
        generations.append(batch.submit(prompt, config, n=n))
        batch.step()
        batch.step()
    while batch.step():
        assert len(batch.rows) <= 5
    for texts, group in zip(alone, generations, strict=True):
        assert ["".join(piece.text for piece in generation) for generation in group] == [whole.text for whole in texts]
        assert [generation.finish_reason for generation in group] == [whole.reason for whole in texts]
        assert [generation.index for generation in group] == list(range(len(texts)))


@pytest.mark.parametrize(("family", "options"), FAMILIES[:2])
@pytest.mark.parametrize("prompt_tokens", [1, 7, 8, 9, 30])
def test_longer_than_the_context(make_model, family, options, prompt_tokens):
    """With `slide`, text and prompts longer than the context go on, from the later half of what is there."""
    model = make_model(family, context_tokens=8, **options)
    prompt = torch.randint(0, NUM_IDS, (prompt_tokens,), generator=torch.Generator().manual_seed(1)).tolist()
    assert generate_ids(model, prompt, max_tokens=30, when_full="slide", n=2) == [_naive(model, prompt, 30)] * 2


def test_a_context_of_one_token(make_model):
    """The smallest context there is still goes on."""
    model = make_model("gpt2", context_tokens=1)
    (tokens,) = generate_ids(model, PROMPT, max_tokens=4, when_full="slide")
    assert tokens == [int(_last_logits(model, [last]).argmax()) for last in (PROMPT[-1], *tokens[:-1])]


@pytest.mark.parametrize(("prompt_tokens", "expected"), [(1, 8), (7, 2), (8, 1)])
def test_a_full_context_ends_the_text(make_model, prompt_tokens, expected):
    """Without `slide`, what the full context says is the last token; the reason is `length`."""
    model, vocabulary = make_model("gpt2", context_tokens=8), NumberVocabulary(NUM_IDS)
    (whole,) = complete(model, vocabulary, PROMPT[:1] * prompt_tokens, GenerateConfig(temperature=0.0))
    assert (whole.num_tokens, whole.reason) == (expected, "length")


def test_bad_prompts(make_model):
    """What cannot be continued is refused at once, by message."""
    model, vocabulary = make_model("gpt2", context_tokens=8), NumberVocabulary(NUM_IDS)
    for prompt, message in (
        ([], r"the prompt: it is empty, but expected at least one token\. Give some text to continue"),
        ([1] * 9, r"the prompt: it has 9 tokens, but expected at most 8, the model's context\. Shorten it"),
        ([60], "the prompt: there is no id 60, but expected 0 to 59"),
        ([-1], "the prompt: there is no id -1"),
    ):
        with pytest.raises(PlanError, match=message):
            complete(model, vocabulary, prompt, GenerateConfig())
    with pytest.raises(PlanError, match="logit_bias: there is no id 60"):
        complete(model, vocabulary, [1], GenerateConfig(logit_bias={60: 1.0}))
    with pytest.raises(PlanError, match="n: is 0, but expected at least 1"):
        complete(model, vocabulary, [1], GenerateConfig(), n=0)
    with pytest.raises(ConfigError, match="logit_bias holds 'a': 1"):
        GenerateConfig(logit_bias={"a": 1})


def test_the_seed_decides(make_model):
    """The same seed gives the same tokens, whatever was drawn elsewhere; another seed gives others; so does each sample."""
    model = make_model("qwen3")
    first = generate_ids(model, PROMPT, temperature=1.0, seed=3, n=3)
    torch.manual_seed(99)
    assert generate_ids(model, PROMPT, temperature=1.0, seed=3, n=3) == first
    assert generate_ids(model, PROMPT, temperature=1.0, seed=3) == first[:1]
    assert generate_ids(model, PROMPT, temperature=1.0, seed=4, n=3) != first
    assert len({tuple(ids) for ids in first}) == 3


@pytest.mark.parametrize("temperature", [0.0, 1.5])
def test_ids_without_a_token_are_never_chosen(make_model, temperature):
    """The embedding's rows beyond the tokenizer's ids are not chosen, however likely the model thinks them."""
    model = make_model("gpt2", tie_embeddings=False)
    with torch.no_grad():
        model.norm.bias.fill_(1.0)
        model.head.weight[50:].fill_(5.0)
    assert generate_ids(model, PROMPT, num_ids=64, temperature=temperature)[0][0] >= 50
    for ids in generate_ids(model, PROMPT, num_ids=50, temperature=temperature, n=4, max_tokens=18):
        assert max(ids) < 50


def test_repetition_is_penalised(make_model):
    """With a very strong penalty no id of the prompt or the text comes twice, in any sample."""
    for ids in generate_ids(make_model("gpt2"), PROMPT, repetition_penalty=1e9, max_tokens=19, n=3, temperature=0.0):
        assert len({*PROMPT, *ids}) == len(PROMPT) + len(ids)


def _scripted(asides: dict[int, dict[int, float]], **options) -> list[int]:
    """What is chosen, greedily, when the script says 97 three times with these competitors at each place."""
    vocabulary = PieceVocabulary([])
    model = ScriptedModel(vocabulary.size, [97, 97, 97], asides)
    settings = GenerateConfig(temperature=0.0, max_tokens=3, **options)
    batch = Batch(model, vocabulary, max_rows=1)
    (generation,) = batch.submit("ab", settings)
    while batch.step():
        pass
    return [token for piece in generation for token in piece.token_ids]


def test_presence_and_frequency():
    """Only what the continuation has is penalised: once for being there, or once for each time."""
    asides = {1: {98: -1.0}, 2: {98: -1.0}}  # the script's own token has logit 0
    assert _scripted(asides) == [97, 97, 97]
    assert _scripted(asides, presence_penalty=1.5) == [97, 98, 97]  # then both have been there
    assert _scripted(asides, frequency_penalty=0.75) == [97, 97, 98]
    assert _scripted({0: {98: -1.0}}, presence_penalty=1.5) == [97, 97, 97]  # the prompt does not count


def test_logit_bias():
    """A bias forbids or compels an id."""
    assert _scripted({0: {99: -1.0}}, logit_bias={97: -50.0})[:1] == [99]
    assert _scripted({1: {99: -1.0}}, logit_bias={99: 2.0})[1] == 99


def test_log_probabilities(make_model):
    """Of every token and the likeliest: those of the model itself, whatever temperature and penalties make of them."""
    model, vocabulary = make_model("qwen3"), NumberVocabulary(NUM_IDS)
    settings = GenerateConfig(max_tokens=6, temperature=1.5, top_k=40, repetition_penalty=1.5, logprobs=3, seed=2)
    (whole, other) = complete(model, vocabulary, PROMPT, settings, n=2)
    assert whole.logprobs != other.logprobs
    text = list(PROMPT)
    for entry in whole.logprobs:
        expected = _last_logits(model, text).log_softmax(dim=-1)
        values, ids = expected.topk(3)
        assert entry.logprob == pytest.approx(float(expected[entry.id]), abs=1e-4)
        assert [top.id for top in entry.top] == ids.tolist()
        assert [top.logprob for top in entry.top] == pytest.approx(values.tolist(), abs=1e-4)
        assert (entry.text, entry.bytes) == (f"{entry.id} ", b"%d " % entry.id)
        text.append(entry.id)
    assert len(whole.logprobs) == 6
    assert complete(model, vocabulary, PROMPT, GenerateConfig(max_tokens=2))[0].logprobs is None
    assert complete(model, vocabulary, PROMPT, GenerateConfig(max_tokens=2, logprobs=0))[0].logprobs[0].top == ()


def test_nothing_is_computed_ahead_or_twice():
    """One reading of a prompt serves all its samples, each step serves all rows, and after the last token there is none."""
    vocabulary = PieceVocabulary([])
    model = ScriptedModel(vocabulary.size, [97] * 9)
    complete(model, vocabulary, "ab", GenerateConfig(max_tokens=3, temperature=0.0), n=4)
    assert model.num_calls == 1 + 2  # the first of three tokens comes from the reading
    assert model.prompt == [97, 98]


def test_padding_leaves_nothing_behind(make_model):
    """Short prompts read beside long ones, padded, leave nothing behind in the cache that is seen later."""
    model = make_model("qwen3", context_tokens=40)
    decoder = model.make_decoder(3, 40)
    with torch.inference_mode():
        together = decoder.read(0, [[1, 2, 3], list(range(20)), [4]])
        again = decoder.read(0, [[5], [6, 7], [8, 9, 10]])
        stepped = decoder.step([11, 12, 13])
    texts = [[1, 2, 3, 5, 11], [*range(20), 6, 7, 12], [4, 8, 9, 10, 13]]
    assert decoder.lengths == [5, 23, 5]
    for row, text in enumerate(texts):
        torch.testing.assert_close(stepped[row, :NUM_IDS], _last_logits(model, text), atol=1e-4, rtol=1e-4)
        first = {0: [1, 2, 3], 1: list(range(20)), 2: [4]}[row]
        torch.testing.assert_close(together[row, :NUM_IDS], _last_logits(model, first), atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(again[row, :NUM_IDS], _last_logits(model, text[:-1]), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(("family", "options"), FAMILIES)
@pytest.mark.parametrize("chunk_tokens", [2, 64])
def test_prompts_are_scored(make_model, monkeypatch, family, options, chunk_tokens):
    """Each token of the prompt after the first, as one forward pass gives it; beside others, in chunks, for each of n."""
    monkeypatch.setattr(batch_module, "SCORED_CHUNK_TOKENS", chunk_tokens)
    model = make_model(family, **options).eval()
    prompts = [PROMPT, [7], [9, 9, 1, 30, 2, 2, 6]]
    plain = GenerateConfig(max_tokens=6, temperature=0.0)
    scored = GenerateConfig(max_tokens=6, temperature=0.0, prompt_logprobs=2)
    batch = Batch(model, NumberVocabulary(NUM_IDS), max_rows=3)
    alone = batch.submit([4, 4, 4], plain)
    generations = [generation for prompt in prompts for generation in batch.submit(prompt, scored, n=2)]
    silent = batch.submit(PROMPT, GenerateConfig(max_tokens=0, prompt_logprobs=0))[0]
    while batch.step():
        pass
    assert alone[0].prompt_logprobs is None
    for place, generation in enumerate([*generations, silent]):
        prompt = PROMPT if generation is silent else prompts[place // 2]
        with torch.no_grad():
            expected = model(torch.tensor([prompt]))[0, :, :NUM_IDS].log_softmax(dim=-1)
        found = generation.prompt_logprobs
        assert [entry.id for entry in found] == prompt[1:]
        for number, entry in enumerate(found):
            assert entry.logprob == pytest.approx(float(expected[number, entry.id]), abs=1e-4)
            likeliest = expected[number].topk(2).indices.tolist() if generation is not silent else []
            assert [top.id for top in entry.top] == likeliest
    texts = [[token for piece in generation for token in piece.token_ids] for generation in generations]
    assert texts[::2] == texts[1::2] == [generate_ids(model, prompt, max_tokens=6)[0] for prompt in prompts]
    assert list(silent) == []
    assert silent.finish_reason == "length"


def test_scores_of_a_whole_completion(make_model):
    """They come with the text; without being asked for, there are none."""
    model = make_model("qwen3")
    vocabulary = NumberVocabulary(NUM_IDS)
    (scored,) = complete(model, vocabulary, PROMPT, GenerateConfig(max_tokens=2, prompt_logprobs=0))
    assert [entry.id for entry in scored.prompt_logprobs] == PROMPT[1:]
    assert complete(model, vocabulary, PROMPT, GenerateConfig(max_tokens=2))[0].prompt_logprobs is None
