"""Documents packed into one row: what each gives is what it gives alone."""

import pytest
import torch
from torch.nn.attention.flex_attention import create_block_mask
from transformers import AutoModelForCausalLM

from whelp.artifacts.targets import IGNORED
from whelp.model.check import check_model
from whelp.model.decoding.key_value_cache import Cache
from whelp.model.layers.attention import causal_attention
from whelp.model.layers.block_mask import has_working_kernel, make_block_mask
from whelp.model.layers.document_boundaries import Boundaries, find_boundaries

VARIANTS = [
    ("gpt2", {}),
    ("gpt2", {"n_head": 1, "n_layer": 1, "tie_embeddings": False}),
    ("qwen3", {}),
    ("qwen3", {"n_kv_head": 2, "rope_base": 500.0}),
    ("qwen3", {"n_kv_head": 1, "head_width": 6, "tie_embeddings": False}),
]
SIZES = [[5, 1, 9, 6], [24], [2, 11, 11], [1, 1, 20]]  # of the documents in each of four rows of 24; what is left is pads


def _rows() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Ids, targets within documents, and document numbers."""
    ids = torch.randint(0, 60, (4, 24), generator=torch.Generator().manual_seed(0))
    targets, documents = torch.full_like(ids, IGNORED), torch.full((4, 24), -1, dtype=torch.int32)
    for row, begin, end, number in _places():
        documents[row, begin:end] = number
        targets[row, begin : end - 1] = ids[row, begin + 1 : end]
    return ids, targets, documents


def _places() -> list[tuple[int, int, int, int]]:
    places = []
    for row, sizes in enumerate(SIZES):
        for number, size in enumerate(sizes):
            begin = sum(sizes[:number])
            places.append((row, begin, begin + size, number))
    return places


@pytest.mark.parametrize(("family", "options"), VARIANTS)
def test_logits_are_those_of_each_document_alone(make_model, tmp_path, family, options):
    """Packed or alone, with us or with transformers: the same logits."""
    model = make_model(family, **options).eval()
    ids, _, documents = _rows()
    config, weights = model.to_hugging_face()
    theirs = AutoModelForCausalLM.from_config(_hugging_face_config(config))
    theirs.load_state_dict(weights, strict=False)
    with torch.no_grad():
        packed = model(ids, None, documents)
        for row, begin, end, _ in _places():
            alone = ids[row : row + 1, begin:end]
            torch.testing.assert_close(packed[row, begin:end], model(alone)[0], atol=1e-5, rtol=1e-5)
            torch.testing.assert_close(packed[row, begin:end], theirs.eval()(alone).logits[0], atol=1e-5, rtol=1e-5)


def _hugging_face_config(config):
    from transformers import AutoConfig

    values = dict(config)
    return AutoConfig.for_model(values.pop("model_type"), **values)


@pytest.mark.parametrize(("family", "options"), VARIANTS)
def test_loss_and_gradients_are_those_of_each_document_alone(make_model, family, options):
    """The loss of packed rows is the sum over the documents, and so is every gradient."""
    packed, alone = make_model(family, **options), make_model(family, **options)
    ids, targets, documents = _rows()
    loss = packed.loss(ids, targets, documents)
    loss.backward()
    total = torch.zeros(())
    for row, begin, end, _ in _places():
        nats = alone.loss(ids[row : row + 1, begin:end], targets[row : row + 1, begin:end])
        nats.backward()
        total += nats.detach()
    torch.testing.assert_close(loss.detach(), total, rtol=1e-5, atol=1e-4)
    for (name, ours), theirs in zip(packed.named_parameters(), alone.parameters(), strict=True):
        torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-4, atol=1e-4, msg=name)


@pytest.mark.parametrize("family", ["gpt2", "qwen3"])
def test_a_row_of_one_document_is_as_without_numbers(make_model, family):
    """One number everywhere changes nothing, whichever it is."""
    model = make_model(family).eval()
    ids, _, _ = _rows()
    with torch.no_grad():
        plain = model(ids)
        for number in (0, 7, -1):
            torch.testing.assert_close(model(ids, None, torch.full_like(ids, number)), plain, atol=1e-5, rtol=1e-5)


def test_boundaries():
    """Positions count from each start, pads too; a token sees its document's past and itself."""
    found = find_boundaries(torch.tensor([[0, 0, 1, 2, 2, -1, -1]], dtype=torch.int32), head_width=8)
    assert found is not None
    assert found.positions.tolist() == [[0, 1, 0, 0, 1, 0, 1]]
    seen = [[key for key in range(7) if found.mask[0, 0, query, key]] for query in range(7)]
    assert seen == [[0], [0, 1], [2], [3], [3, 4], [5], [5, 6]]
    assert find_boundaries(None, head_width=8) is None


@pytest.mark.parametrize("family", ["gpt2", "qwen3"])
def test_other_boundaries_compile_nothing_anew(make_model, family):
    """A compiled loss takes batch after batch, each cut elsewhere, as one graph, and gives what the plain one gives."""
    torch._dynamo.reset()  # what other tests compiled is no recompilation of this
    model = make_model(family)
    compiled = torch.compile(model.loss, dynamic=False, fullgraph=True, backend="eager")
    ids, targets, documents = _rows()
    model.loss(ids, targets)  # rotary angles are made once, before a run compiles
    with torch._dynamo.config.patch(error_on_recompile=True):
        for shift in range(3):
            numbers = documents.roll(shift, dims=0)
            ours, plain = compiled(ids, targets, numbers), model.loss(ids, targets, numbers)
            torch.testing.assert_close(ours, plain, rtol=1e-4, atol=1e-4)


@pytest.mark.filterwarnings("ignore:flex_attention called without torch.compile")
@pytest.mark.parametrize("num_kv_heads", [4, 2])
@pytest.mark.parametrize("num_tokens", [128, 200, 700])
def test_both_ways_to_tell_attention_agree(num_kv_heads, num_tokens):
    """A block mask lets through what the boolean mask does; this is what a compiled model on a GPU uses."""
    generator = torch.Generator().manual_seed(0)
    documents = (torch.rand((3, num_tokens), generator=generator) < 0.01).cumsum(dim=1)
    documents[2] = 0  # one document
    queries = torch.randn((3, 4, num_tokens, 16), generator=generator)
    keys, values = (torch.randn((3, num_kv_heads, num_tokens, 16), generator=generator) for _ in range(2))
    plain = find_boundaries(documents, head_width=16)
    starts = torch.arange(num_tokens) - plain.positions
    blocks = Boundaries(plain.positions, make_block_mask(starts))
    outcomes = [causal_attention(queries, keys, values, layer=0, cache=None, boundaries=found) for found in (plain, blocks)]
    torch.testing.assert_close(*outcomes, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("num_tokens", [128, 200, 700, 1024])
def test_the_blocks_that_are_skipped(num_tokens):
    """The same blocks are skipped, and the same taken without a mask, as PyTorch finds by looking at every pair."""
    generator = torch.Generator().manual_seed(1)
    documents = (torch.rand((8, num_tokens), generator=generator) < 4 / num_tokens).cumsum(dim=1)
    starts = torch.arange(num_tokens) - find_boundaries(documents, head_width=16).positions

    def sees(row, head, query, key):
        return (query >= key) & (documents[row, query] == documents[row, key])

    ours = make_block_mask(starts)
    theirs = create_block_mask(sees, 8, None, num_tokens, num_tokens, device="cpu")
    torch.testing.assert_close(ours.to_dense(), theirs.to_dense())
    assert (ours.seq_lengths, ours.BLOCK_SIZE) == (theirs.seq_lengths, theirs.BLOCK_SIZE)
    for name in ("kv_num_blocks", "full_kv_num_blocks", "q_num_blocks", "full_q_num_blocks"):
        torch.testing.assert_close(getattr(ours, name), getattr(theirs, name), msg=name)


@pytest.mark.filterwarnings("ignore:flex_attention called without torch.compile")
@pytest.mark.parametrize("family", ["gpt2", "qwen3"])
def test_compiled_blocks_take_a_block_mask(make_model, monkeypatch, family):
    """Made once a batch outside of the blocks, which share one graph and take other boundaries without another."""
    torch._dynamo.reset()
    model = make_model(family, n_embd=64)
    ids, _, documents = _rows()
    graphs = []

    def find_as_on_a_gpu(documents, **settings):
        assert settings.pop("are_blocks_compiled"), "training, with compiled blocks"
        plain = find_boundaries(documents, **settings)
        starts = torch.arange(documents.shape[1]) - plain.positions
        return Boundaries(plain.positions, make_block_mask(starts))

    def backend(graph, inputs):
        graphs.append(graph)
        return graph.forward

    for block in model.blocks:
        block.compile(dynamic=False, backend=backend)
    model.are_blocks_compiled = True
    monkeypatch.setattr(f"whelp.model.{family}.find_boundaries", find_as_on_a_gpu)
    with torch.no_grad():
        found = [model.train()(ids, None, documents.roll(shift, dims=0)) for shift in range(3)]
        monkeypatch.undo()
        expected = [model.eval()(ids, None, documents.roll(shift, dims=0)) for shift in range(3)]
    assert len(graphs) == 2, "one with a block mask, one with a boolean one"
    for ours, plain in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, plain, rtol=1e-4, atol=1e-4)


def test_a_kernel_that_fails_is_not_used(monkeypatch, caplog):
    """What a compiler says, or a result that is another one: said once, and the boolean mask is used."""
    for outcome, message in (
        (RuntimeError("no such device\nand more"), "RuntimeError: no such device)"),
        ([0.003, 0.5], "off by 0.5, where"),
        ([0.003, float("nan")], "off by nan, where"),
    ):

        def measure(device, head_width, outcome=outcome):
            if isinstance(outcome, Exception):
                raise outcome
            return outcome

        caplog.clear()
        has_working_kernel.cache_clear()
        monkeypatch.setattr("whelp.model.layers.block_mask._measure_errors", measure)
        assert [has_working_kernel(torch.device("cpu"), 16) for _ in range(2)] == [False, False]
        assert caplog.text.count(message) == 1
    has_working_kernel.cache_clear()
    monkeypatch.setattr("whelp.model.layers.block_mask._measure_errors", lambda device, head_width: [0.003])
    assert has_working_kernel(torch.device("cpu"), 16)
    assert not has_working_kernel(torch.device("cpu"), 8), "too narrow"
    has_working_kernel.cache_clear()


@pytest.mark.parametrize("family", ["gpt2", "qwen3"])
def test_documents_that_see_each_other_are_caught(make_model, monkeypatch, family):
    """A model that takes the numbers and does nothing with them, or only forgets one half, is not sound."""
    model = make_model(family)
    monkeypatch.setattr(f"whelp.model.{family}.find_boundaries", lambda documents, **settings: None)
    (failure,) = check_model(model)
    assert failure.startswith("documents in a row see each other: document 1 alone differs by ")


@pytest.mark.parametrize("half", ["mask", "positions"])
def test_half_of_the_boundaries_is_caught(make_model, monkeypatch, half):
    """Positions that go on over a boundary are caught with learned positions, a missing mask with any."""

    def find_half(documents, **settings):
        found = find_boundaries(documents, **settings)
        if found is None:
            return None
        whole = find_boundaries(torch.zeros_like(documents), **settings)
        return type(found)(
            positions=whole.positions if half == "positions" else found.positions,
            mask=whole.mask if half == "mask" else found.mask,
        )

    monkeypatch.setattr("whelp.model.gpt2.find_boundaries", find_half)
    (failure,) = check_model(make_model("gpt2"))
    assert failure.startswith("documents in a row see each other")


def test_documents_and_a_cache_do_not_go_together(make_model):
    """A cache holds one document a row."""
    model = make_model("qwen3")
    ids, _, documents = _rows()
    with pytest.raises(AssertionError, match="a cache is for one document"):
        model(ids, Cache(model.spec, 4, 24), documents)
