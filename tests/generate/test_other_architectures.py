"""Architectures that are not ours: through transformers, behind the same interface."""

import sys

import pytest
import torch
import transformers
from transformers import GenerationConfig

from whelp.base.errors import ArtifactError, MissingExtraError
from whelp.generate import Engine, GenerateConfig, complete
from whelp.model import find_obstacle, open_hugging_face
from whelp.model.hugging_face import HuggingFaceModel, describe_config

from .helpers import NumberVocabulary

VOCABULARY = NumberVocabulary(60)
KINDS = {
    "llama": lambda: transformers.LlamaForCausalLM(
        transformers.LlamaConfig(
            vocab_size=64, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4,
            num_key_value_heads=2, max_position_embeddings=40, bos_token_id=None, eos_token_id=None,
        )
    ),
    "mistral": lambda: transformers.MistralForCausalLM(  # a sliding window: its cache cannot forget its last tokens
        transformers.MistralConfig(
            vocab_size=64, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4,
            num_key_value_heads=2, max_position_embeddings=40, sliding_window=6, bos_token_id=None, eos_token_id=None,
        )
    ),
}  # fmt: skip


@pytest.fixture(params=KINDS)
def folder(request, tmp_path):
    torch.manual_seed(0)
    model = KINDS[request.param]()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.2)
    model.save_pretrained(tmp_path / "m")
    return tmp_path / "m"


def _open(folder) -> HuggingFaceModel:
    config = transformers.AutoConfig.from_pretrained(folder).to_dict()
    assert find_obstacle(config, folder) is not None
    return open_hugging_face(folder, config)


def test_it_says_what_transformers_says(folder):
    """Greedy tokens of several prompts side by side, two samples of each, in few slots; and the same loss."""
    model = _open(folder)
    assert model.context_tokens == 40
    prompts = [[5, 17, 42], [1], list(range(12))]
    settings = GenerateConfig(temperature=0.0, max_tokens=15)
    with Engine(model, NumberVocabulary(64), max_rows=2) as engine:
        waiting = [engine.submit(prompt, settings, n=3) for prompt in prompts]
        found = [[[token for piece in one for token in piece.token_ids] for one in group] for group in waiting]
    greedy = GenerationConfig(do_sample=False, max_new_tokens=15, pad_token_id=0, eos_token_id=None)
    for prompt, group in zip(prompts, found, strict=True):
        ids = torch.tensor([prompt])
        output = model.inner.generate(ids, attention_mask=torch.ones_like(ids), generation_config=greedy)
        assert group == [output[0, len(prompt) :].tolist()] * 3
    ids = torch.tensor([[3, 4, 5, 6]])
    targets = torch.tensor([[4, -100, 6, -100]])
    expected = model.inner(ids).logits[0].log_softmax(-1)
    torch.testing.assert_close(model.loss(ids, targets), -(expected[0, 4] + expected[2, 6]))


def test_the_seed_decides(folder):
    """Samples depend on their seed alone, not on how many slots there are."""
    model = _open(folder)
    settings = GenerateConfig(temperature=1.0, max_tokens=9, seed=4)
    alone = [whole.text for whole in complete(model, VOCABULARY, [1, 2, 3], settings, n=4)]
    with Engine(model, VOCABULARY, max_rows=2) as engine:
        assert ["".join(p.text for p in one) for one in engine.submit([1, 2, 3], settings, n=4)] == alone
    assert len(set(alone)) > 1


def test_a_model_without_a_cache():
    """What hands out no cache reads its text anew, and says the same."""

    class Forgetful(torch.nn.Module):
        device = torch.device("cpu")

        def __init__(self, inner) -> None:
            super().__init__()
            self.inner = inner

        def forward(self, input_ids: torch.Tensor, use_cache: bool):
            return transformers.modeling_outputs.CausalLMOutput(logits=self.inner(input_ids, use_cache=False).logits)

    torch.manual_seed(0)
    llama = KINDS["llama"]().eval()
    settings = GenerateConfig(temperature=1.0, max_tokens=9, seed=4)
    spec = describe_config(llama.config.to_dict(), 40)
    models = [HuggingFaceModel(spec, inner) for inner in (llama, Forgetful(llama))]
    texts = [[whole.text for whole in complete(model, VOCABULARY, [1, 2, 3], settings, n=2)] for model in models]
    assert texts[0] == texts[1]


def test_what_cannot_be_opened(tmp_path, monkeypatch):
    """No causal model; a folder without weights; transformers not installed: each by message."""
    with pytest.raises(ArtifactError, match=r"its architecture is 'bert' \(BertModel\), but expected a causal language model"):
        open_hugging_face(tmp_path, {"model_type": "bert", "architectures": ["BertModel"]})
    config = {"model_type": "llama", "architectures": ["LlamaForCausalLM"]}
    with pytest.raises(ArtifactError, match="transformers cannot open it"):
        open_hugging_face(tmp_path, config)
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(MissingExtraError, match=r'the package transformers is not installed\. Run `pip install "whelp\[hf\]"`'):
        open_hugging_face(tmp_path, config)


@pytest.mark.parametrize("kind", KINDS)
def test_prompts_are_scored(kind):
    """As one forward pass of transformers does."""
    torch.manual_seed(0)
    inner = KINDS[kind]().eval()
    model = HuggingFaceModel(describe_config(inner.config.to_dict(), 40), inner)
    prompt = [1, 2, 3, 9]
    (found,) = complete(model, VOCABULARY, prompt, GenerateConfig(max_tokens=1, prompt_logprobs=0))
    with torch.no_grad():
        expected = inner(torch.tensor([prompt])).logits[0, :, : VOCABULARY.size].log_softmax(dim=-1)
    for place, entry in enumerate(found.prompt_logprobs):
        assert entry.logprob == pytest.approx(float(expected[place, prompt[place + 1]]), abs=1e-4)
