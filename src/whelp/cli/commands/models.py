"""`whelp init` and `whelp export`."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from whelp.base.counts import say_count
from whelp.base.paths import as_path
from whelp.cli.commands.options import (
    AsJson,
    Overrides,
    Scale,
    need,
)
from whelp.cli.commands.shared import FormatName


def init(
    recipe: Annotated[
        str | None,
        typer.Argument(metavar="RECIPE", help="A YAML file or a shipped recipe, or give --family.", show_default=False),
    ] = None,
    overrides: Overrides = None,
    out: Annotated[Path | None, typer.Option(metavar="DIR", help="The model folder.")] = None,
    family: Annotated[
        str | None, typer.Option(help="gpt2, qwen3, rwkv7, rwkv6, rwkv5, rwkv4, or hf with model.hf_config=KIND.")
    ] = None,
    n_layer: Annotated[int | None, typer.Option("--n_layer", "--n-layer", metavar="N", help="Number of blocks.")] = None,
    n_head: Annotated[
        int | None,
        typer.Option("--n_head", "--n-head", metavar="N", help="Number of heads. With --n_embd, by default heads of 64."),
    ] = None,
    n_embd: Annotated[int | None, typer.Option("--n_embd", "--n-embd", metavar="N", help="Width.")] = None,
    vocab_size: Annotated[
        str | None,
        typer.Option(
            "--vocab_size",
            "--vocab-size",
            metavar="N|NAME",
            help="So many ids, or a vocabulary's name, folder or token store, which is saved along.",
        ),
    ] = None,
    context_tokens: Annotated[
        int | None,
        typer.Option(
            "--context_tokens", "--context-tokens", metavar="N", help="Tokens it sees at once. Without a recipe, 1,024."
        ),
    ] = None,
    seed: Annotated[int | None, typer.Option(metavar="S", help="The same seed draws the same weights.")] = None,
    weights: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Official RWKV weights (.pth, .safetensors) instead of random ones; they say the sizes."
        ),
    ] = None,
    skip_if_exists: Annotated[
        bool, typer.Option("--skip-if-exists", help="Leave a model that stands at DIR as it is, and end well.")
    ] = False,
    scale: Scale = None,
    as_json: AsJson = False,
) -> None:
    """Write a model folder with random weights: what a run starts from (train.start_from=DIR), or a model to measure.

    Example:
      whelp init --family qwen3 --n_layer 6 --n_embd 512 --vocab_size gpt2 \\
        --out model

    Any architecture of transformers:
      whelp init --family hf model.hf_config=llama --vocab_size 32000 \\
        --out model

    RWKV, with model.pth beside:
      whelp init --family rwkv7 --n_layer 6 --n_embd 512 --vocab_size world \\
        --out model
    """
    from rich.markup import escape

    from whelp.cli.init import init as make_weights
    from whelp.cli.screens import show

    given = list(overrides or [])
    if recipe is not None and "=" in recipe and not Path(recipe).exists():
        given, recipe = [recipe, *given], None
    if recipe is None and family is None and weights is None:
        raise typer.BadParameter("is needed, or a RECIPE.", param_hint="'--family'")
    result = make_weights(
        recipe,
        out=need(out, "--out"),
        family=family,
        n_layer=n_layer,
        n_head=n_head,
        n_embd=n_embd,
        vocab_size=vocab_size,
        context_tokens=context_tokens,
        seed=seed,
        weights=weights,
        skip_if_exists=skip_if_exists,
        overrides=given,
        scale=scale,
    )
    if as_json:
        show.print_json(result)
        return
    if result.is_reused:
        show.say(f"[bold]{escape(result.folder)}[/] stands there already and is kept")
        return
    tokenizer = "with its tokenizer" if result.has_tokenizer else "without a tokenizer"
    show.say(
        f"[bold]{escape(result.folder)}[/]: {result.family}, {result.num_parameters:,} {'random ' if weights is None else ''}parameters, "
        f"{result.vocab_size:,} ids, {tokenizer}"
    )


class ModelFormat(Enum):
    """Formats of models."""

    hf = "hf"
    gguf = "gguf"
    onnx = "onnx"
    pth = "pth"


class ExportName(Enum):
    """Formats of models, and of token ids."""

    hf = "hf"
    gguf = "gguf"
    onnx = "onnx"
    pth = "pth"
    megatron = "megatron"
    nanogpt = "nanogpt"
    llmc = "llmc"
    parquet = "parquet"


def export(
    source: Annotated[
        str, typer.Argument(metavar="MODEL|STORE", help="A run, a checkpoint, a model folder; or a token store.")
    ],
    out: Annotated[Path, typer.Option(metavar="DIR", help="Where it goes; must be empty or new.")],
    format: Annotated[
        ExportName | None,
        typer.Option(
            help="Of a model: hf (a folder for transformers, vLLM, ...; the default), gguf (llama.cpp), onnx (a graph "
            "from ids to logits) or pth (RWKV's own tools). Of a store: megatron (RWKV's binidx, too), nanogpt, llmc or parquet."
        ),
    ] = None,
    dtype: Annotated[
        str | None,
        typer.Option(help="Model: f32, f16, bf16; gguf also q8_0, onnx f32. Default: as stored (hf, pth), f16 (gguf)."),
    ] = None,
    name: Annotated[
        str | None,
        typer.Option(
            metavar="TEXT",
            help="Model: its name. Default: of the run's folder, or of DIR where that says nothing (run, run-2).",
        ),
    ] = None,
    license: Annotated[str | None, typer.Option(metavar="TEXT", help="Model: of the weights, for the model card.")] = None,
    check: Annotated[
        bool,
        typer.Option(
            "--check",
            help="Model: open what was written with the program that it is for (transformers, llama.cpp, onnxruntime, rwkv), and "
            "compare its logits and ids with ours. Where they differ, nothing stays. onnx: always.",
        ),
    ] = False,
    split: Annotated[
        list[str] | None, typer.Option(metavar="train|test", help="Store: only this split; may be repeated. Default: all.")
    ] = None,
    context_tokens: Annotated[
        int | None, typer.Option(metavar="N", help="Store, parquet: packed rows of N ids. Default: one document a row.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Write a model for other programs, with a model card of its data, recipe and numbers; or a store for other trainers.

    A model for llama.cpp:
      whelp export run --format gguf --dtype q8_0 --out my-model-gguf

    A model that transformers has opened:
      whelp export run --check --out my-model

    Ids for Megatron:
      whelp export store --format megatron --out ids
    """
    from rich.markup import escape

    from whelp.artifacts.manifest import find_kind
    from whelp.base.errors import ConfigError
    from whelp.cli.exchange import export_store
    from whelp.cli.export import export as write_model
    from whelp.cli.screens import show

    if format is None and find_kind(as_path(source)) == "token_store":
        names = ", ".join(name.value for name in FormatName)
        raise ConfigError("whelp export", [f"{source} is a token store, and no --format is given"], f"Choose one of {names}.")
    chosen = "hf" if format is None else format.value
    is_of_ids = chosen in {name.value for name in FormatName}
    if is_of_ids or find_kind(as_path(source)) == "token_store":
        if check:
            raise ConfigError("whelp export", [f"--check is for models, and {source} is written as ids"], "Leave it out.")
        with show.waiting("writing"):
            written = export_store(source, format=chosen, out=out, splits=split, context_tokens=context_tokens)
        if as_json:
            show.print_json(written)
            return
        for side, counts in written.splits.items():
            show.say(
                f"[bold]{side:<10}[/] {say_count(counts['documents'], 'document')}, {say_count(counts['tokens'], 'token')}"
            )
        show.say(f"[bold]exported[/]   {escape(written.folder)}/ holds {', '.join(written.files)}, and tokenizer/")
        return
    with show.waiting("writing"):
        result = write_model(source, out=out, format=chosen, dtype=dtype, name=name, license=license, check=check)
    if as_json:
        show.print_json(result)
        return
    show.say(f"[bold]{escape(result.folder)}[/]: {result.format}, {result.dtype}, {show.megabytes(result.num_bytes)}")
    show.say(f"           {escape(', '.join(result.files))}")
    if result.check is not None:
        found = result.check
        near = f"{found.largest_difference:.1g} of the largest (allowed: {found.tolerance:g})"
        show.say(f"[bold]checked[/]    {found.opened_by} opens it: the same ids, and the same logits to {near}", wraps=False)
    if name is None and result.name != Path(result.folder).name:
        show.say(f"           the model is called {escape(result.name)}; --name calls it otherwise")
