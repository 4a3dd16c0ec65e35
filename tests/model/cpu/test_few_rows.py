"""Products of few rows from packed matrices, and steps of several tokens: as the plain ones."""

import pytest
import torch
import torch.nn.functional as F

from whelp.model.cpu import few_rows as cpu_few_rows
from whelp.model.cpu.few_rows import Product

FAMILIES = [("gpt2", {"tie_embeddings": False}), ("gpt2", {"bias": False, "activation": "gelu"}), ("qwen3", {"n_kv_head": 2})]


@pytest.fixture(params=[1, 1 << 40], ids=["packed", "plain"])
def least(request, monkeypatch):
    """With all matrices packed, and with none."""
    monkeypatch.setattr(cpu_few_rows, "LEAST_NUMBERS", request.param)
    monkeypatch.setattr(cpu_few_rows, "LEAST_USES", 2)


@pytest.mark.parametrize("shape", [(64, 32), (33, 17), (7, 40)])
@pytest.mark.parametrize("has_bias", [True, False])
@torch.inference_mode()
def test_products(least, shape, has_bias):
    """For any number of rows, in any order of calls, what the framework's product gives."""
    weight, bias = torch.randn(shape), torch.randn(shape[0]) if has_bias else None
    product = Product(weight, bias)
    for num_rows in (1, 2, 8, 3, 1, 40):
        x, y = torch.randn(num_rows, shape[1]), torch.randn(num_rows, shape[0])
        expected = F.linear(x, weight, bias)
        torch.testing.assert_close(product(x), expected, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(product.add_to(y.clone(), x), expected + y, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(("family", "options"), FAMILIES)
@torch.inference_mode()
def test_rounded_weights(make_model, least, family, options):
    """A step with large matrices as bf16 says nearly the same, and with none large exactly the same."""
    if not cpu_few_rows.has_bf16_instructions():
        pytest.skip("this processor has no bf16 instructions: run it on one with AVX512_BF16 or AMX")
    model = make_model(family, context_tokens=40, **options).eval()
    exact = model.make_decoder(1, 40)
    model.reads_rounded = True
    rounded = model.make_decoder(1, 40)
    for ids in ([1, 2, 3], [4], [5, 6]):
        expected, found = exact.score(0, ids), rounded.score(0, ids)
        assert torch.equal(expected, found) == (cpu_few_rows.LEAST_NUMBERS > 1)
        torch.testing.assert_close(found, expected, atol=0.15, rtol=0.05)
        assert expected.std() > 1  # so that this says something


def test_a_copy_is_made_when_it_pays(monkeypatch):
    """Not for one row, not for a prompt that is read once, not where memory is short."""
    monkeypatch.setattr(cpu_few_rows, "LEAST_NUMBERS", 1)
    weight = torch.randn(16, 8)
    products = [Product(weight), Product(weight, may_copy=False)]
    for product in products:
        for _ in range(9):
            product(torch.randn(1, 8))
        for _ in range(cpu_few_rows.LEAST_USES - 1):
            product(torch.randn(3, 8))
        assert product._packed is None
        product(torch.randn(3, 8))
    assert [product._packed is not None for product in products] == [cpu_few_rows._CAN_PACK, False]


@pytest.mark.parametrize(("family", "options"), FAMILIES)
@torch.inference_mode()
def test_several_tokens_at_a_time(make_model, least, family, options):
    """Rows of several lengths, read, checked, partly forgotten and read on: the logits of the whole text read at once."""
    model = make_model(family, context_tokens=40, **options).eval()
    decoder = model.make_decoder(4, 40)
    assert decoder.can_forget
    texts = [[1, 2, 3], [4, 5, 6, 7, 8, 9], [10]]
    decoder.read(0, texts)
    wrong = decoder.check([[11, 12, 13], [14], [15, 16]])
    assert [len(logits) for logits in wrong] == [3, 1, 2]
    decoder.lengths[0], decoder.lengths[2] = 4, 1  # of what was checked, row 0 keeps one, row 1 all, row 2 none
    texts = [[*texts[0], 11], [*texts[1], 14], texts[2]]
    new = [[20, 21], [22, 23, 24, 25], [26, 27]]
    right = decoder.check(new)
    stepped = decoder.step([30, 31, 32])
    for row, (text, more, last) in enumerate(zip(texts, new, (30, 31, 32), strict=True)):
        whole = model(torch.tensor([[*text, *more, last]]))[0]
        torch.testing.assert_close(right[row], whole[len(text) : -1], atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(stepped[row], whole[-1], atol=1e-4, rtol=1e-4)
