"""GELU inside the products of a GPU: everything but the library's own products, which a stand-in makes in PyTorch."""

import pytest
import torch
import torch.nn.functional as F

from whelp.model import ModelConfig, build_model, make_spec
from whelp.model.gpu import feed_forward as gpu_feed_forward
from whelp.model.gpu import product as gpu_product


class Product:
    """What cuBLASLt is asked for, by the definition of its arguments: D = end(A B + C), matrices column by column."""

    def __init__(self, device, sizes, end, *, transposes, is_wide=False):
        self.sizes, self.end, self.transposes, self.is_wide = sizes, end, transposes, is_wide

    def run(self, a, b, out, *, add=None, bias=None, seen=None):
        m, n, k = self.sizes
        assert a.shape == ((m, k) if self.transposes[0] else (k, m))  # row by row, as PyTorch sees them
        assert b.shape == ((k, n) if self.transposes[1] else (n, k))
        assert out.shape == (n, m)
        assert all(tensor.is_contiguous() for tensor in (a, b, out))
        assert (out.dtype == torch.float32) == self.is_wide
        assert (bias is not None) == bool(self.end & 4)
        assert (seen is not None) == bool(self.end & 128)
        factors = [part.float().t() if turn else part.float() for part, turn in zip((b, a), self.transposes[::-1], strict=True)]
        result = factors[0] @ factors[1]
        if add is not None:
            result += add.float()
        if bias is not None:
            result += bias.float()
        if self.end & 32:
            seen.copy_(result)
            result = F.gelu(result, approximate="tanh")
        if self.end & 64:
            result = torch.ops.aten.gelu_backward(result, seen.float(), approximate="tanh")
        out.copy_(result)


@pytest.fixture
def stand_in(monkeypatch):
    monkeypatch.setattr(gpu_product, "_product", Product)


@pytest.mark.parametrize("bias", [True, False])
def test_value_and_gradients(stand_in, bias):
    """Those of the plain formula, as near as bf16 comes."""
    assert gpu_feed_forward._is_same(torch.device("cpu"), bias=bias)


def test_a_wrong_product_is_found(stand_in, monkeypatch):
    """Products that leave GELU's slope out are not trusted."""

    class Wrong(Product):
        def run(self, a, b, out, **options):
            self.end &= ~64
            super().run(a, b, out, **options)

    monkeypatch.setattr(gpu_product, "_product", Wrong)
    assert not gpu_feed_forward._is_same(torch.device("cpu"), bias=False)


def test_the_operators_keep_their_word(stand_in):
    """Shapes without data, gradients and layouts are what the compiler is told."""
    draw = torch.Generator().manual_seed(0)
    x, residual = torch.randn(2, 24, 16, generator=draw).bfloat16()
    expand, contract = torch.randn(32, 16, generator=draw).bfloat16(), torch.randn(16, 32, generator=draw).bfloat16()
    tests = ("test_schema", "test_faketensor")
    torch.library.opcheck(
        torch.ops.whelp.gelu_feed_forward, (x, residual, expand, expand[:, 0], contract, None), test_utils=tests
    )
    torch.library.opcheck(
        torch.ops.whelp.gelu_slope_product, (x, contract, torch.randn(24, 32, generator=draw).bfloat16()), test_utils=tests
    )


@pytest.mark.filterwarnings("ignore:.*torch.jit.*:DeprecationWarning")  # of the compiler itself
def test_without_a_gpu_nothing_is_trusted():
    """A machine without the library says so, instead of failing; a model on a CPU computes GELU by itself."""
    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    assert not gpu_feed_forward.agrees(torch.device("cuda", 0))
    model = build_model(make_spec(ModelConfig(family="gpt2", n_layer=1, n_head=1, n_embd=8), num_ids=8, context_tokens=8), 0)
    model.compile_parts()
    assert not model.blocks[0].fuses_gelu
