"""Products on a GPU: which way is taken, and how kernels are chosen; the library is played by a stand-in."""

import pytest
import torch

from model.gpu.test_feed_forward import Product
from whelp.model.gpu import product as gpu_product
from whelp.model.gpu.product import multiply_plain

CPU = torch.device("cpu")


@pytest.mark.parametrize("number", gpu_product._NUMBERS)
@pytest.mark.parametrize("turns", gpu_product._TURNS)
def test_factors_either_way_round(monkeypatch, turns, number):
    """As they are or transposed, into bf16 or float32, filled or added: the plain product."""
    monkeypatch.setattr(gpu_product, "_product", Product)
    assert all(error < gpu_product._TOLERANCE for error in gpu_product._measure_errors(CPU, turns, number))


def test_a_library_that_errs_is_not_used(monkeypatch):
    """One that forgets what is added, and one that is not there."""

    class Forgetful(Product):
        def run(self, a, b, out, *, add=None, **options):
            super().run(a, b, out, **options)

    monkeypatch.setattr(gpu_product, "_product", Product)
    assert gpu_product._try_products(CPU)
    monkeypatch.setattr(gpu_product, "_product", Forgetful)
    assert not gpu_product._try_products(CPU)

    def fail(*arguments, **options):
        raise OSError("libcublasLt.so.13: cannot open shared object file")

    monkeypatch.setattr(gpu_product, "_product", fail)
    assert not gpu_product._try_products(CPU)


@pytest.mark.parametrize(("factors", "out"), [("bfloat16", "float32"), ("bfloat16", "bfloat16"), ("float32", "float32")])
def test_without_the_library(factors, out):
    """PyTorch multiplies, and a sum in float32 is one."""
    draw = torch.Generator().manual_seed(0)
    left, right = (torch.randn(shape, generator=draw).to(getattr(torch, factors)) for shape in ((5, 400), (400, 7)))
    found = torch.full((5, 7), 1000.0, dtype=getattr(torch, out))
    multiply_plain(left, right, found)
    exact = left.double() @ right.double()
    close = {"rtol": 0.01, "atol": 0.05} if out == "bfloat16" else {"rtol": 1e-5, "atol": 1e-4}
    torch.testing.assert_close(found.double(), exact, **close)
    multiply_plain(left, right, found, adds=True)
    torch.testing.assert_close(found.double(), 2 * exact, **close)


def test_the_best_of_each_kernel_counts(monkeypatch):
    """The first one is timed while the clock still rises; one that does not run comes last."""
    times = iter([9.0, 5.0, float("inf"), 3.0, 4.0, float("inf")])
    monkeypatch.setattr(gpu_product, "_take_time", lambda *_: next(times))
    product = gpu_product.Product.__new__(gpu_product.Product)
    product.candidates = ["first", "second", "broken"]
    product._sort_candidates(lambda candidate: None, None)
    assert product.candidates == ["first", "second", "broken"]
    times = iter([2.0, 1.0, 1.5] * 2)
    product._sort_candidates(lambda candidate: None, None)
    assert product.candidates == ["second", "broken", "first"]
    assert product.is_tuned


def test_lengths_that_never_end_are_not_timed(monkeypatch):
    """Only so many sizes are; those that were stay so."""
    monkeypatch.setattr(gpu_product, "_timed", set())
    monkeypatch.setattr(gpu_product, "_MOST_SIZES", 2)
    assert [gpu_product._is_timed(size) for size in (1, 2, 3, 1, 2)] == [True, True, False, True, True]
