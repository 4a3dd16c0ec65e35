"""A model as an ONNX graph: ids in, logits out.

Shapes: B rows, T tokens, V vocabulary; any number of rows, and of tokens up to the context.
"""

from __future__ import annotations

import importlib.util
import logging
import warnings
from pathlib import Path
from typing import Any

import torch

from whelp.artifacts.checkpoint import read_model_folder
from whelp.base.errors import MissingExtraError, PlanError
from whelp.model import LanguageModel, model_from_hugging_face
from whelp.model.gpt2 import GPT2
from whelp.model.qwen3 import Qwen3

_MOST_BYTES = 1 << 30  # of weights inside the graph's own file, which may not have more than 2 GiB


def write_onnx(folder: Path, path: Path) -> int:
    """Write the graph of a model folder, float32, and the tokenizer's files beside it; the number of parameters.

    Raises:
        MissingExtraError: When a package for it is not installed.
        PlanError: When the model is of another family than gpt2 and qwen3.
    """
    for package in ("onnx", "onnxscript", "onnxruntime"):
        if importlib.util.find_spec(package) is None:
            raise MissingExtraError("--format onnx", package, "onnx")
    from whelp.tokenizer import load_tokenizer

    config, weights = read_model_folder(folder)
    model = model_from_hugging_face(config, weights, folder)
    if not isinstance(model, (GPT2, Qwen3)):
        reads = (
            "reads token after token into a state, which a graph over a whole text has not"
            if model.is_recurrent
            else "is not ours"
        )
        raise PlanError(
            folder,
            f"is a {config.get('model_type')}, which {reads}",
            "a model of the family gpt2 or qwen3",
            "Choose --format hf: exporters for other architectures start from there.",
        )
    load_tokenizer(folder).save(path.parent)
    model.float().eval()
    _write_graph(model, path)
    return model.num_parameters()


@torch.no_grad()
def _write_graph(model: LanguageModel, path: Path) -> None:
    """`input_ids` (B, T) int64 to `logits` (B, T, V) float32."""
    ids = torch.zeros(2, 2, dtype=torch.long)
    model(torch.zeros(1, 1, dtype=torch.long))  # makes the tables that are kept, which tracing must not do
    sizes = {0: torch.export.Dim("batch"), 1: torch.export.Dim("tokens", max=model.context_tokens)}
    chatty = logging.getLogger("torch.onnx._internal.exporter._registration")  # names packages that nobody asked for
    level = chatty.level
    chatty.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the exporter's own, about itself
            program = torch.onnx.export(
                model,
                (ids,),
                dynamo=True,
                verbose=False,
                input_names=["input_ids"],
                output_names=["logits"],
                dynamic_shapes={"ids": sizes},
            )
    finally:
        chatty.setLevel(level)
    assert program is not None, "the exporter gives a program"
    _forget_source_code(program.model)
    program.save(str(path), external_data=4 * model.num_parameters() > _MOST_BYTES)


def _forget_source_code(graph_model: Any) -> None:
    """Leave out what the exporter notes at each node: lines of the program, and the folders of this machine that it lies in."""
    from onnxscript import ir

    for graph in (graph_model.graph, *graph_model.functions.values()):
        for node in ir.traversal.RecursiveGraphIterator(graph):
            noted: Any
            for noted in (node, *node.outputs):
                noted.metadata_props.clear()
                noted.doc_string = None
