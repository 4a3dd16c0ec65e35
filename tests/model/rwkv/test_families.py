"""RWKV-7, RWKV-6, RWKV-5 and RWKV-4: the public package's logits, states, documents, weights in and out."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from whelp.artifacts.rwkv_file import read_rwkv_file, write_rwkv_file
from whelp.base.errors import ArtifactError
from whelp.model import ModelConfig, build_model, make_spec, model_from_hugging_face
from whelp.model.build import count_parameters, find_official_family, model_from_official
from whelp.model.rwkv.shared import Rwkv
from whelp.train.config import TrainConfig
from whelp.train.optimizer import build_optimizer

FAMILIES = ["rwkv7", "rwkv6", "rwkv5", "rwkv4"]
# what the package computes: a prompt at once, one token by itself, the rest at once
_PROGRAM = """
import sys, numpy, torch
torch.set_num_threads(1)
from rwkv.model import RWKV
path, ids, out = sys.argv[1:]
model = RWKV(model=path, strategy="cpu fp32")
rows = []
for row in numpy.load(ids).tolist():
    first, state = model.forward(row[:40], None, full_output=True)
    second, state = model.forward([row[40]], state)
    third, state = model.forward(row[41:], state, full_output=True)
    rows.append(torch.cat([first, second[None], third]).numpy())
numpy.save(out, numpy.stack(rows))
"""


def named(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    """All weights by name."""
    return {name: parameter.detach() for name, parameter in model.named_parameters()}


@pytest.mark.parametrize("family", FAMILIES)
def test_the_packages_logits(family: str, make_model, tmp_path: Path) -> None:
    """The `rwkv` package opens our file and computes the same logits, to 1e-4, at once and with its own state."""
    model = make_model(family, n_layer=3, n_head=2, n_embd=64)
    ids = torch.randint(0, 60, (2, 80), generator=torch.Generator().manual_seed(3))
    write_rwkv_file(tmp_path / "model.pth", model.to_official())
    np.save(tmp_path / "ids.npy", ids.numpy())
    name = tmp_path / ("model" if family == "rwkv7" else "model.pth")
    switches = {"RWKV_JIT_ON": "0", "RWKV_CUDA_ON": "0", "PYTORCH_JIT": "0", "RWKV_V7_ON": str(int(family == "rwkv7"))}
    command = [sys.executable, "-c", _PROGRAM, str(name), str(tmp_path / "ids.npy"), str(tmp_path / "out.npy")]
    ran = subprocess.run(command, env={**os.environ, **switches}, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    theirs = torch.from_numpy(np.load(tmp_path / "out.npy"))
    with torch.no_grad():
        assert (model(ids) - theirs).abs().max() < 1e-4
    assert theirs.std() > 0.5  # they say something


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("sizes", [[40], [1] * 40, [13, 27], [33, 1, 6]])
def test_any_chunking_is_the_same(family: str, sizes: list[int], make_model) -> None:
    """Logits, state and gradients do not depend on how a row is cut, when gradients flow through the states."""
    model = make_model(family)
    ids, targets = torch.randint(0, 60, (2, 2, 40), generator=torch.Generator().manual_seed(3)).unbind(0)
    starts = torch.rand(2, 40, generator=torch.Generator().manual_seed(4)) < 0.1
    starts[:, 0] = False
    whole, end = model.loss_and_state(ids, targets, None, starts)
    expected = torch.autograd.grad(whole, list(model.parameters()), allow_unused=True)
    state, total = None, torch.zeros(())
    for piece, wanted, begins in zip(ids.split(sizes, 1), targets.split(sizes, 1), starts.split(sizes, 1), strict=True):
        nats, state = model.loss_and_state(piece, wanted, state, begins)
        total = total + nats
    assert float(total.detach()) == pytest.approx(float(whole.detach()), rel=1e-5)
    for name, tensor in end.tensors().items():
        assert (tensor - state.tensors()[name]).abs().max() <= 1e-5 * tensor.abs().max() + 1e-6
    found = torch.autograd.grad(total, list(model.parameters()), allow_unused=True)
    for (name, _), one, other in zip(model.named_parameters(), expected, found, strict=True):
        if one is None:
            assert other is None, name
            assert name.startswith("blocks.0.att.v"), name  # which the first layer does not use
        else:
            assert (one - other).abs().max() <= 1e-4 * one.abs().max() + 1e-6, name


@pytest.mark.parametrize("family", FAMILIES)
def test_a_detached_state_ends_the_gradient(family: str, make_model) -> None:
    """The values go on, the gradient does not."""
    model = make_model(family)
    ids = torch.arange(20).view(1, 20)
    embedded = []
    model.emb.register_forward_hook(lambda module, arguments, output: embedded.append(output.retain_grad() or output))
    _, state = model.loss_and_state(ids, ids, None)
    nats, _ = model.loss_and_state(ids, ids, state.detach())
    nats.backward()
    assert embedded[0].grad is None
    assert embedded[1].grad.abs().sum() > 0


@pytest.mark.parametrize("family", FAMILIES)
def test_long_rows_are_looked_at_in_pieces(family: str, make_model, monkeypatch: pytest.MonkeyPatch) -> None:
    """The loss of a row is the same; what is read at a time is bounded."""
    model = make_model(family)
    ids, targets = torch.randint(0, 60, (2, 2, 50), generator=torch.Generator().manual_seed(3)).unbind(0)
    documents = torch.tensor([[0] * 23 + [1] * 27, [0] * 50])
    whole = model.loss(ids, targets, documents)
    monkeypatch.setattr("whelp.model.rwkv.shared._PIECE_TOKENS", 11)
    read, widths = model.read, []
    monkeypatch.setattr(model, "read", lambda ids, *others: widths.append(ids.shape[1]) or read(ids, *others))
    with torch.no_grad():
        assert float(model.loss(ids, targets, documents)) == pytest.approx(float(whole.detach()), rel=1e-5)
    assert max(widths) == 11


@pytest.mark.parametrize("family", FAMILIES)
def test_a_prompt_is_read_once_for_many(family: str, make_model) -> None:
    """A slot takes over another's prompt although that one has gone on; what is neither is said."""
    model = make_model(family)
    prompt = list(range(10, 17))
    with torch.inference_mode():
        decoder = model.make_decoder(3, 0)
        after = decoder.read(0, [prompt])
        decoder.step([5])
        decoder.step([6])
        assert not decoder.copy(0, 1, 8)  # neither all it holds, nor its prompt
        assert decoder.copy(0, 1, 7)
        assert decoder.lengths == [9, 7, 0]
        both = decoder.step([7, 5])
        alone = model(torch.tensor([[*prompt, 5, 6, 7]]))[0, -1]
        fresh = model(torch.tensor([[*prompt, 5]]))[0, -1]
        assert (both[0] - alone).abs().max() < 1e-4
        assert (both[1] - fresh).abs().max() < 1e-4
        assert (after[0] - model(torch.tensor([prompt]))[0, -1]).abs().max() < 1e-4


@pytest.mark.parametrize("family", FAMILIES)
def test_memory_does_not_grow(family: str, make_model) -> None:
    """A text may be of any length; its cache is that of an empty one."""
    model = make_model(family)
    assert model.cache_bytes(4, 100) == model.cache_bytes(4, 1_000_000)
    cache = model.make_cache(4, 0)
    parts = [tensor for store in (cache._states, cache._marks) for tensor in store.values()]
    assert sum(tensor.nbytes for tensor in parts) == model.cache_bytes(4, 0)
    with torch.inference_mode():
        model(torch.zeros(4, 300, dtype=torch.long), cache)
        model(torch.zeros(4, 1, dtype=torch.long), cache)
    assert cache.lengths == [301] * 4
    after = [tensor for store in (cache._states, cache._marks) for tensor in store.values()]
    assert all(one is other for one, other in zip(parts, after, strict=True))


def test_official_sizes() -> None:
    """Parameters of published models, as their names round them: RWKV-7 World 0.1B, RWKV-6 World 1.6B, RWKV-5 World 0.4B and
    1.5B, RWKV-4 Pile 169M and 430M."""
    for family, n_layer, n_embd, vocab_size, millions in (
        ("rwkv7", 12, 768, 65536, 191),
        ("rwkv6", 24, 2048, 65536, 1600),
        ("rwkv5", 24, 1024, 65536, 462),
        ("rwkv5", 24, 2048, 65536, 1578),
        ("rwkv4", 12, 768, 50277, 169),
        ("rwkv4", 24, 1024, 50277, 430),
    ):
        config = ModelConfig(family=family, n_layer=n_layer, n_head=n_embd // 64, n_embd=n_embd, vocab_size=vocab_size)
        spec = make_spec(config, num_ids=vocab_size, context_tokens=4096)
        assert round(count_parameters(spec) / 1e6) == millions, family


@pytest.mark.parametrize("family", FAMILIES)
def test_first_weights(family: str) -> None:
    """A block begins as the identity; rows or columns of the drawn matrices are orthogonal, of the official lengths."""
    gains = {"att.key": 0.1, "att.value": 1.0, "att.receptance": 1.0} if family != "rwkv4" else {"att.value": 1.0}
    spec = make_spec(ModelConfig(family=family, n_layer=3, n_head=2, n_embd=32), num_ids=128, context_tokens=16)
    model = build_model(spec, seed=4)
    assert all(
        torch.equal(one, other) for one, other in zip(model.parameters(), build_model(spec, 4).parameters(), strict=True)
    )
    weights = named(model)
    for name in ("att.output", "ffn.value"):
        assert not weights[f"blocks.1.{name}.weight"].any()
    head = weights["head.weight"]
    assert (head.T @ head - torch.eye(32) * 0.25 * 128 / 32).abs().max() < 1e-4
    for name, gain in gains.items():
        matrix = weights[f"blocks.1.{name}.weight"]
        assert (matrix @ matrix.T - torch.eye(32) * gain**2).abs().max() < 1e-4, name
    assert 0 < weights["emb.weight"].abs().max() <= 1e-4
    if family != "rwkv4":
        assert weights["blocks.0.att.ln_x.weight"][0] == pytest.approx((1 / 3) ** 0.7)


def test_first_weights_of_rwkv7() -> None:
    """Values worked out by hand from the official formulas: decay, rate, mix of the first and last channel."""
    spec = make_spec(ModelConfig(family="rwkv7", n_layer=2, n_head=2, n_embd=8), num_ids=64, context_tokens=16)
    weights = named(build_model(spec))
    w0 = weights["blocks.0.att.w0"].flatten()
    assert w0[0] == pytest.approx(-6 + 0.5 - 2.5)  # the first of a head: zigzag -1
    assert w0[7] == pytest.approx(0 + 0.5 + 2.5)
    assert weights["blocks.1.att.w0"].flatten()[1] == pytest.approx(-6 + 6 * (1 / 7) ** 2 + 0.5 - 2.5 / 9, abs=1e-5)
    assert weights["blocks.0.att.x_w"].flatten()[2] == pytest.approx(1 - (2 / 8) ** 0.9)
    assert weights["blocks.1.att.x_r"].flatten()[2] == pytest.approx(1 - (2 / 8) ** 0.1)
    assert weights["blocks.0.att.a0"].flatten()[0] == pytest.approx(-0.19 - 0.3 - 0.2)
    assert weights["blocks.1.ffn.x_k"].flatten()[4] == pytest.approx(1 - 0.5 ** (0.5**4))


def test_first_weights_of_rwkv5() -> None:
    """The same of RWKV-5: decay, bonus, mixes."""
    spec = make_spec(ModelConfig(family="rwkv5", n_layer=2, n_head=2, n_embd=8), num_ids=64, context_tokens=16)
    weights = named(build_model(spec))
    assert weights["blocks.1.att.time_decay"].flatten()[1] == pytest.approx(-6 + 5 * (1 / 7) ** 2)
    assert weights["blocks.1.att.time_faaaa"].flatten().tolist()[:2] == pytest.approx([1.0, 6 / 7 + 0.1])
    assert weights["blocks.1.att.time_mix_v"].flatten()[2] == pytest.approx(0.25**0.5 + 0.3)
    assert weights["blocks.0.att.time_mix_g"].flatten()[2] == pytest.approx(0.25**0.5)


def test_first_weights_of_rwkv6() -> None:
    """The same of RWKV-6: decay, shares, and what depends on the token nearly nothing."""
    spec = make_spec(ModelConfig(family="rwkv6", n_layer=2, n_head=2, n_embd=8), num_ids=64, context_tokens=16)
    weights = named(build_model(spec))
    assert weights["blocks.1.att.time_decay"].flatten()[1] == pytest.approx(-6 + 5 * (1 / 7) ** 2)
    assert weights["blocks.1.att.time_faaaa"].flatten().tolist()[:2] == pytest.approx([1.0, 6 / 7 + 0.1])
    assert weights["blocks.1.att.time_maa_v"].flatten()[2] == pytest.approx(1 - 0.25**0.5 - 0.3)
    assert weights["blocks.1.att.time_maa_g"].flatten()[2] == pytest.approx(1 - 0.25**0.25)
    assert not weights["blocks.0.att.time_maa_w1"].any()
    assert 0 < weights["blocks.0.att.time_maa_w2"].abs().max() <= 0.01
    assert weights["blocks.0.att.time_decay_w1"].shape == (8, 64)


def test_first_weights_of_rwkv4() -> None:
    """The same of RWKV-4: decay, a token's weight for itself, mixes; gates are open by half and keys alike."""
    spec = make_spec(ModelConfig(family="rwkv4", n_layer=2, n_embd=8), num_ids=64, context_tokens=16)
    weights = named(build_model(spec))
    assert weights["blocks.0.att.time_decay"].tolist()[1] == pytest.approx(-5 + 8 * (1 / 7) ** 0.7)
    assert weights["blocks.1.att.time_decay"].tolist()[1] == pytest.approx(-5 + 8 * (1 / 7) ** 2)
    assert weights["blocks.1.att.time_first"].tolist()[:3] == pytest.approx([math.log(0.3) + part for part in (0, 0.5, -0.5)])
    assert weights["blocks.1.att.time_mix_v"].flatten()[2] == pytest.approx(0.25**0.5 + 0.3)
    assert weights["blocks.1.att.time_mix_r"].flatten()[2] == pytest.approx(0.25**0.25)
    assert weights["blocks.1.ffn.time_mix_r"].flatten()[2] == pytest.approx(0.25**0.5)
    for name in ("att.key", "att.receptance", "ffn.receptance"):
        assert not weights[f"blocks.1.{name}.weight"].any()
    matrix = weights["blocks.1.ffn.key.weight"]
    assert matrix.shape == (32, 8)
    assert (matrix.T @ matrix - torch.eye(8) * 4).abs().max() < 1e-4


@pytest.mark.parametrize(
    ("family", "fast", "still"),
    [
        ("rwkv7", {"att.w0"}, {"att.w1", "att.g2", "att.r_k", "att.x_r", "ffn.x_k", "att.ln_x.weight", "ln1.bias"}),
        (
            "rwkv6",
            {"att.time_decay"},
            {"att.time_faaaa", "att.time_maa_k", "att.time_maa_w1", "att.time_maa_w2", "att.time_decay_w2", "ffn.time_maa_r"},
        ),
        ("rwkv5", {"att.time_decay"}, {"att.time_faaaa", "att.time_mix_k", "ffn.time_mix_r", "ln2.weight"}),
        ("rwkv4", {"att.time_decay"}, {"att.time_first", "att.time_mix_k", "ffn.time_mix_r", "ln2.weight"}),
    ],
)
def test_groups_of_the_optimizer(family: str, fast: set[str], still: set[str], make_model) -> None:
    """As the official trainers have them: decays learn twice as fast, and weight decay is for matrices alone."""
    model = make_model(family)
    optimizer = build_optimizer(model, TrainConfig(optimizer="adamw", weight_decay=0.1))
    found = {}
    for group, settings in zip(optimizer.others, optimizer.adam.param_groups, strict=True):
        assert settings["weight_decay"] == (0.1 if group.decays else 0.0)
        found |= dict.fromkeys(group.parameters.names, (group.decays, group.learning_rate_scale))
    assert found.keys() == {name for name, _ in model.named_parameters()}
    names = {name.removeprefix("blocks.1."): style for name, style in found.items() if name.startswith("blocks.1.")}
    assert {name for name, (_, scale) in names.items() if scale == 2.0} == fast
    assert [name for name, (_, scale) in names.items() if scale == 3.0] == (["att.time_first"] if family == "rwkv4" else [])
    assert not any(names[name][0] for name in fast | still)
    assert all(names[name][0] for name in ("att.key.weight", "att.output.weight", "ffn.key.weight", "ffn.value.weight"))
    assert found["emb.weight"] == found["head.weight"] == (True, 1.0)
    before = {name: tensor.clone() for name, tensor in named(model).items()}
    for group in optimizer.groups:
        group.grad.fill_(1.0)
    optimizer.step(1e-3)
    after = named(model)
    for name in fast:  # Adam's first step is the learning rate itself
        assert (before[f"blocks.1.{name}"] - after[f"blocks.1.{name}"]).flatten()[0] == pytest.approx(2e-3, rel=1e-3)
    assert (before["ln_out.bias"] - after["ln_out.bias"])[0] == pytest.approx(1e-3, rel=1e-3)


def test_muon_takes_the_large_matrices(make_model) -> None:
    """Not thin ones, nor decays of heads, which only look like matrices."""
    for family in FAMILIES:
        optimizer = build_optimizer(make_model(family), TrainConfig(optimizer="muon"))
        assert optimizer.matrices is not None
        names = {name.split(".", 2)[2] for name in optimizer.matrices.names}
        own = {"rwkv7": set(), "rwkv4": {"ffn.receptance.weight"}}.get(family, {"att.gate.weight", "ffn.receptance.weight"})
        layers = {f"att.{name}.weight" for name in ("receptance", "key", "value", "output")}
        assert names == layers | own | {"ffn.key.weight", "ffn.value.weight"}


# --- weights in files ---


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("suffix", ["pth", "safetensors"])
def test_official_files_in_and_out(family: str, suffix: str, make_model, tmp_path: Path) -> None:
    """The same weights and logits; bf16 files and flat vectors, as some publish them, are read as well."""
    from safetensors.torch import save_file

    model, path = make_model(family), tmp_path / f"a.{suffix}"
    weights = model.to_official()
    if suffix == "pth":
        write_rwkv_file(path, weights)
    else:
        save_file(weights, path)
    again = model_from_official(read_rwkv_file(path), path, context_tokens=24)
    assert again.spec == model.spec
    assert all(torch.equal(tensor, weights[name]) for name, tensor in again.state_dict().items())
    odd = {name: (tensor.flatten() if tensor.shape[:2] == (1, 1) else tensor).bfloat16() for name, tensor in weights.items()}
    write_rwkv_file(tmp_path / "odd.pth", odd)
    odd_model = model_from_official(read_rwkv_file(tmp_path / "odd.pth"), "odd", context_tokens=24)
    assert all(torch.equal(tensor, odd[name].float().view(tensor.shape)) for name, tensor in odd_model.state_dict().items())


def test_a_first_layer_without_its_unused_weights(make_model) -> None:
    """Some files leave out v0, v1 and v2 of the first layer."""
    model = make_model("rwkv7")
    kept = {
        name: tensor for name, tensor in model.to_official().items() if not name.startswith("blocks.0.att.v") or "value" in name
    }
    again = model_from_official(kept, "a", context_tokens=24)
    ids = torch.arange(20).view(1, 20)
    assert torch.equal(again(ids), model(ids))


@pytest.mark.parametrize("family", FAMILIES)
def test_folders_in_and_out(family: str, make_model) -> None:
    """From `config.json` and weights, the same spec and logits."""
    model = make_model(family, n_head=2, ffn_width=96)
    again = model_from_hugging_face(*model.to_hugging_face(), "a")
    ids = torch.arange(20).view(1, 20)
    assert again.spec == model.spec
    assert torch.equal(again(ids), model(ids))


def test_the_layout_of_flash_linear_attention(make_model) -> None:
    """Names and shapes of its `RWKV7ForCausalLM`, read off its source: thin matrices are (out, in), vectors flat."""
    model = make_model("rwkv7")
    config, weights = model.to_hugging_face()
    own = dict(model.named_parameters())
    assert torch.equal(weights["model.layers.1.attn.w_lora.lora.0.weight"], own["blocks.1.att.w1"].T)
    assert torch.equal(weights["model.layers.1.attn.w_lora.lora.2.bias"], own["blocks.1.att.w0"].flatten())
    assert weights["model.layers.1.attn.x_r"].shape == (1, 1, 32)
    assert weights["model.layers.1.attn.k_k"].shape == weights["model.layers.1.ffn.x_k"].shape == (32,)
    assert "model.layers.0.pre_norm.weight" in weights
    assert not any("layers.0.attn.v_lora" in name for name in weights)
    assert "model.layers.1.attn.g_lora.lora.2.bias" not in weights
    assert (config["model_type"], config["head_dim"], config["gate_low_rank_dim"]) == ("rwkv7", 8, 32)


def test_a_pickle_that_does_something_is_not_run(tmp_path: Path) -> None:
    """Code in a file stays there."""

    class Trap:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "sprung"),)

    torch.save({"emb.weight": Trap()}, tmp_path / "trap.pth")
    with pytest.raises(ArtifactError, match="it holds more than tensors, and opening the rest could run code"):
        read_rwkv_file(tmp_path / "trap.pth")
    assert not (tmp_path / "sprung").exists()


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["blocks.0.att.time_decay"], "its weights are of an early RWKV-5"),
        (
            ["blocks.0.att.time_first", "blocks.0.att.ln_x.weight", "blocks.0.att.time_decay"],
            "its weights are of an early RWKV-5",
        ),
        (["model.embed_tokens.weight"], "its weights are of no RWKV"),
    ],
)
def test_other_generations_are_named(names: list[str], message: str) -> None:
    """What is in the file, and what could be used."""
    with pytest.raises(ArtifactError, match=message):
        find_official_family(dict.fromkeys(names, torch.zeros(1)), "a.pth")


@pytest.mark.parametrize(
    ("others", "found"),
    [
        ({"blocks.1.tiny_q.weight": torch.zeros(8, 32)}, "its weights are of an RWKV-4 with tiny attention"),
        (
            {"blocks.0.att.time_first": torch.zeros(64)},
            "its weights are of an RWKV-4 whose time mixing is 64 wide, and the rest 32",
        ),
    ],
)
def test_variants_of_rwkv4_are_named(others: dict[str, torch.Tensor], found: str, make_model) -> None:
    """Rather than called damaged."""
    weights = make_model("rwkv4").to_official()
    assert model_from_official(weights, "a.pth", context_tokens=8).spec.family == "rwkv4"
    with pytest.raises(ArtifactError, match=found):
        model_from_official({**weights, **others}, "a.pth", context_tokens=8)


def test_damaged_files(make_model, tmp_path: Path) -> None:
    """Cut off, of nothing, without a layer's weights."""
    path = tmp_path / "a.pth"
    weights = make_model("rwkv7").to_official()
    with pytest.raises(ArtifactError, match="there is no such file"):
        read_rwkv_file(path)
    write_rwkv_file(path, weights)
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(ArtifactError, match="is damaged"):
        read_rwkv_file(path)
    torch.save([1, 2], path)
    with pytest.raises(ArtifactError, match="it holds a list"):
        read_rwkv_file(path)
    del weights["blocks.1.att.key.weight"]
    with pytest.raises(ArtifactError, match=r"not those of a whole Rwkv7 .*blocks.1.att.key.weight"):
        model_from_official(weights, path, context_tokens=8)


def test_options_of_other_families_are_refused() -> None:
    """All at once, by name."""
    from whelp.base.errors import ConfigError

    with pytest.raises(ConfigError) as caught:
        ModelConfig(family="rwkv7", n_kv_head=2, dropout=0.1, rope_base=5.0)
    for name in ("n_kv_head", "dropout", "rope_base"):
        assert f"model.{name} is set, but rwkv7 has no such option" in str(caught.value)
    assert not make_spec(ModelConfig(family="rwkv5"), num_ids=9, context_tokens=4).tie_embeddings
    assert issubclass(
        type(build_model(make_spec(ModelConfig(family="rwkv5", n_embd=12, n_layer=1), num_ids=9, context_tokens=4))), Rwkv
    )
