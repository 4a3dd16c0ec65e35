"""Whether kernels are used: only those that agree with PyTorch. There is no GPU here, so PyTorch plays the kernel."""

import itertools
import logging
import subprocess
import sys

import pytest
import torch

from whelp.model import delta_rule, linear_attention
from whelp.model.rwkv_kernels import Form, find_disagreement

FORM = Form(torch.device("cpu"), torch.bfloat16, num_heads=2, head_width=16, has_documents=True)


def _play(scan, kind, *, factor=1.0, forgets_documents=False):
    """A kernel with the library's way of calling, made of PyTorch: one long row, documents from `cu_seqlens`."""

    def run(*parts, initial_state, cu_seqlens):
        bonus, parts = (parts[:1], parts[1:]) if kind is linear_attention.Inputs else ((), parts)
        outs, states = [], []
        if cu_seqlens is None:
            out, after = scan(kind(*(part.float() for part in parts), *bonus), initial_state, None)
            return out * factor, after
        ends = cu_seqlens.tolist()
        for number, (begin, end) in enumerate(itertools.pairwise(ends)):
            pieces = kind(*(part[:, begin:end].float() for part in parts), *bonus)
            memory = states[-1] if forgets_documents and states else initial_state[number : number + 1]
            out, after = scan(pieces, memory, None)
            outs.append(out)
            states.append(after)
        return torch.cat(outs, 1) * factor, torch.cat(states)

    return run


KINDS = [(delta_rule.scan, delta_rule.Inputs), (linear_attention.scan, linear_attention.Inputs)]


@pytest.mark.parametrize(("scan", "kind"), KINDS, ids=["rwkv7", "rwkv5"])
@pytest.mark.parametrize("has_documents", [True, False])
def test_a_right_kernel_is_used(scan, kind, has_documents):
    """It differs by the rounding of its inputs alone."""
    assert find_disagreement(_play(scan, kind), scan, kind, FORM._replace(has_documents=has_documents)) is None


@pytest.mark.parametrize(("scan", "kind"), KINDS, ids=["rwkv7", "rwkv5"])
@pytest.mark.parametrize("wrong", [{"factor": 1.2}, {"forgets_documents": True}], ids=["scale", "documents"])
def test_a_wrong_kernel_is_not_used(scan, kind, wrong, caplog):
    """And that is said, once."""
    run = _play(scan, kind, **wrong)
    with caplog.at_level(logging.WARNING):
        found = [find_disagreement(run, scan, kind, FORM) for _ in range(2)]
    assert found[0] is not None
    assert "they are off by" in found[0]
    assert [record.getMessage().partition(" (")[0] for record in caplog.records] == [
        "the kernels of flash-linear-attention are not used"
    ]


def test_models_do_not_wait_for_the_compiler():
    """It takes seconds to load, and only a model that is compiled needs it."""
    program = "import sys; import whelp.model.build; print('torch._dynamo' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout == "False\n"


def test_each_form_is_compared():
    """A kernel is compiled anew for another number of heads, another width or documents; one that is wrong there alone is found."""
    right = _play(delta_rule.scan, delta_rule.Inputs)

    def run(*parts, **options):
        out, after = right(*parts, **options)
        return (out * 2 if parts[0].shape[2] == 3 or options["cu_seqlens"] is None else out), after

    forms = [FORM, FORM._replace(num_heads=3), FORM._replace(has_documents=False)]
    found = [find_disagreement(run, delta_rule.scan, delta_rule.Inputs, form) is None for form in forms]
    assert found == [True, False, False]


def test_a_kernel_that_fails_is_not_used(caplog):
    """Of another release, say."""

    def run(*parts, **options):
        raise TypeError("chunk_rwkv7() got an unexpected keyword argument")

    found = find_disagreement(run, delta_rule.scan, delta_rule.Inputs, FORM)
    assert found == "TypeError: chunk_rwkv7() got an unexpected keyword argument"
