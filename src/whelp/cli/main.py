"""The commands of the terminal: their names, options and help. Each calls one function of the same name.

Standard output is for results (with `--json`: one JSON object); what is for people goes to standard error.
Exit codes: 0 done, 1 the user can mend it, 2 wrong usage, 130 interrupted (what was finished is kept).
"""

from __future__ import annotations

import logging
import os
import sys
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from whelp.base.errors import WhelpError, explain_os_error
from whelp.cli.commands import collect_local as _collect_local  # noqa: F401 (its commands join collect_app)
from whelp.cli.commands import corpus_report
from whelp.cli.commands import curate as commands_curate
from whelp.cli.commands import evaluate as commands_evaluate
from whelp.cli.commands import state as commands_state
from whelp.cli.commands import train as commands_train
from whelp.cli.commands.collect import collect_app
from whelp.cli.commands.corpus import add_corpus_commands
from whelp.cli.commands.options import (
    AsJson,
    Device,
    EngineName,
    MaxTokens,
    MinP,
    ModelPath,
    Overrides,
    RecipeName,
    RepetitionPenalty,
    Scale,
    StateFile,
    Stop,
    Temperature,
    TopK,
    TopP,
    need,
)

if TYPE_CHECKING:
    from whelp.cli.recipe import Recipe

app = typer.Typer(
    name="whelp",
    help="Raw text to a language model of your own.\n\nStart with [bold]whelp demo[/], then [bold]whelp new my-model[/].",
    no_args_is_help=True,
    rich_markup_mode="rich",
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
tokenizer_app = typer.Typer(
    help="Learn a vocabulary, see how good it is, turn text into ids and back.", no_args_is_help=True, rich_markup_mode="rich"
)
app.add_typer(tokenizer_app, name="tokenizer", rich_help_panel="Steps")
app.add_typer(collect_app, name="collect", rich_help_panel="Steps")
add_corpus_commands(app)
app.add_typer(corpus_report.app, name="corpus", rich_help_panel="Look inside")
app.command("curate", rich_help_panel="Steps")(commands_curate.curate)


def main() -> None:
    """Run a command; turn errors a user can mend into one message and exit code 1."""
    from whelp.cli.launch import leave

    try:
        _main()
    except SystemExit as ending:
        leave(ending.code)
        raise


def _main() -> None:
    _set_up_log()
    try:
        app()
    except WhelpError as error:
        _fail(error)
    except SystemExit as ending:
        if ending.code == 130:  # what typer makes of KeyboardInterrupt
            sys.stderr.write("\ninterrupted; what was finished is kept, and the same command goes on\n")
        raise
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except OSError as error:
        explained = explain_os_error(error)
        if explained is None:
            raise
        _fail(explained)


def _fail(error: WhelpError) -> None:
    from whelp.cli.launch import fail

    fail(error)


def _set_up_log() -> None:
    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            from rich.markup import escape

            from whelp.cli.show import console

            console.print(f"[yellow]note[/]  {escape(record.getMessage())}", soft_wrap=True)

    log = logging.getLogger("whelp")
    log.addHandler(Handler())
    log.setLevel(logging.INFO)


def _version(is_asked: bool) -> None:
    if is_asked:
        import whelp

        typer.echo(f"whelp {whelp.__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")] = False,
) -> None: ...


@app.command(rich_help_panel="Start here")
def demo(
    out: Annotated[Path, typer.Option(metavar="DIR", help="Gets tokenizer/, store/ and run/.")] = Path("whelp-demo"),
    corpus: Annotated[
        str | None, typer.Option(metavar="PATH", help="Your own text: a file or a folder. Default: Python's standard library.")
    ] = None,
    minutes: Annotated[float | None, typer.Option(metavar="N", help="Training time. Default: 2.")] = None,
    as_json: AsJson = False,
) -> None:
    """The whole path in a few minutes: text, vocabulary, training, and a model that talks. No download, no account.

    Run it again and it goes on where it stopped. Nothing outside DIR is touched.
    """
    from whelp.cli import show
    from whelp.cli.demo import DemoResult, iter_demo, make_demo_recipe

    recipe = make_demo_recipe(corpus, minutes)
    result = None
    with show.training_view() as view:
        for event in iter_demo(recipe, out):
            if isinstance(event, DemoResult):
                result = event
            else:
                _show_prepare_event(event)
                view.show(event)
    assert result is not None, "the demo ends with a result"
    if as_json:
        show.print_json(result)
        return
    from whelp.cli.show_demo import show_demo

    show_demo(result, out)


@app.command(rich_help_panel="Start here")
def new(name: Annotated[str, typer.Argument(metavar="NAME", help="The folder to make.")], as_json: AsJson = False) -> None:
    """Write a project folder: a commented recipe and a README of the commands."""
    from rich.markup import escape

    from whelp.cli import show
    from whelp.cli.new import new as make_new

    result = make_new(name)
    if as_json:
        show.print_json(result)
        return
    show.say(f"[bold]{escape(result.folder)}/[/] holds {', '.join(result.files)}")
    show.say(f"Next: put text into {escape(result.folder)}/text, then read {escape(result.folder)}/README.md")


@tokenizer_app.command("train")
def tokenizer_train(
    source: Annotated[
        list[str], typer.Option("--source", metavar="S", help="stdlib, a file, a folder or a glob; may be repeated.")
    ],
    out: Annotated[Path, typer.Option(metavar="DIR", help="Where the vocabulary goes.")],
    overrides: Annotated[
        list[str] | None,
        typer.Argument(metavar="[data.field=value]...", help="Options of the source, as in a recipe.", show_default=False),
    ] = None,
    vocab_size: Annotated[int, typer.Option(metavar="N", help="Ids to have, control tokens included.")] = 4096,
    learn: Annotated[str, typer.Option(help="bpe, unigram, wordpiece, chars or words.")] = "bpe",
    pattern: Annotated[
        str, typer.Option(help="bpe, unigram: how text is cut before merging: gpt2, gpt4, code or regex.")
    ] = "gpt2",
    pattern_regex: Annotated[
        str | None, typer.Option(metavar="R", help="With --pattern regex: one match is one piece.")
    ] = None,
    special_token: Annotated[
        list[str] | None,
        typer.Option("--special-token", metavar="T", help="chat, fim, or a control token of your own; may be repeated."),
    ] = None,
    max_bytes: Annotated[
        int | None, typer.Option(metavar="N", help="Learn from about so many bytes, spread over the source.")
    ] = None,
    max_documents: Annotated[int | None, typer.Option(metavar="N", help="Learn from at most so many documents.")] = None,
    unknown: Annotated[str, typer.Option(help="chars, words: what was never seen is an error, or a token.")] = "error",
    retrain: Annotated[
        str | None,
        typer.Option(metavar="NAME_OR_DIR", help="Keep the kind, the cutting and the special tokens of this vocabulary."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Learn a vocabulary from text.

    Example: whelp tokenizer train --source books/ --vocab-size 8192 --out my-tokenizer

    Code, with chat tokens: whelp tokenizer train --source src/ --pattern code --special-token chat --out my-tokenizer

    Rows: whelp tokenizer train --source rows.jsonl --out my-tokenizer data.custom_text_key=body
    """
    from rich.markup import escape

    from whelp.base.config import load_config
    from whelp.cli import show
    from whelp.cli.tokenizer import make_source_config, train_tokenizer
    from whelp.tokenizer.config import LearnConfig

    values = {
        "learn": learn,
        "vocab_size": vocab_size,
        "pattern": pattern,
        "pattern_regex": pattern_regex,
        "special_tokens": special_token or [],
        "max_bytes": max_bytes,
        "max_documents": max_documents,
        "unknown": unknown,
        "retrain": retrain,
    }
    config = load_config(LearnConfig, values, "whelp tokenizer train")
    result = train_tokenizer(make_source_config(source, overrides or []), out=out, learn=config)
    if as_json:
        show.print_json(result)
        return
    show.say(
        f"[bold]{escape(result.folder)}[/]: {result.kind}, {result.vocab_size:,} ids, from {show.megabytes(result.num_bytes)}"
    )


@tokenizer_app.command("report")
def tokenizer_report(
    names: Annotated[
        list[str], typer.Argument(metavar="NAME...", help="Vocabularies: folders, tokenizer.json files, or names.")
    ],
    corpus: Annotated[
        list[str], typer.Option("--corpus", metavar="SOURCE", help="stdlib, a file, a folder or a glob; may be repeated.")
    ],
    html: Annotated[Path | None, typer.Option(metavar="FILE", help="Write one page with pictures, too.")] = None,
    text: Annotated[
        list[str] | None, typer.Option("--text", metavar="T", help="Show how this word or text is cut; may be repeated.")
    ] = None,
    by: Annotated[
        str | None,
        typer.Option(
            metavar="GROUP",
            help="language (the first folder, or at the top the file's name), suffix, folder, file, or column:NAME.",
        ),
    ] = None,
    max_bytes: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="Read every k-th document, about so many bytes.")
    ] = None,
    custom_text_key: Annotated[
        str | None, typer.Option(metavar="COLUMN", help="In files of rows: the column that holds the text.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Say how good vocabularies are for a text, side by side.

    Bytes a token, tokens a word, words continued (split), what is never used, how numbers, indentation and keywords are cut.

    Example: whelp tokenizer report gpt2 my-tokenizer --corpus stdlib --text "def main():" --html report.html
    """
    from whelp.cli import show
    from whelp.cli.tokenizer_report import report_tokenizer
    from whelp.corpus.config import SourceConfig

    source = SourceConfig(source=corpus if len(corpus) > 1 else corpus[0], custom_text_key=custom_text_key)
    with show.waiting("reading"):
        result = report_tokenizer(names, corpus=source, texts=text or [], by=by, max_bytes=max_bytes, html=html)
    if as_json:
        show.print_json(result)
        return
    from whelp.cli.show_vocabulary import show_tokenizer_report

    show_tokenizer_report(result)
    _say_page(html)


@tokenizer_app.command("guide")
def tokenizer_guide(
    corpus: Annotated[
        list[str], typer.Option("--corpus", metavar="SOURCE", help="stdlib, a file, a folder or a glob; may be repeated.")
    ],
    n_embd: Annotated[int, typer.Option("--n-embd", metavar="N", help="Width of the model.")],
    n_layer: Annotated[int, typer.Option("--n-layer", metavar="N", help="Layers of the model.")] = 6,
    family: Annotated[str, typer.Option(help="gpt2 or qwen3.")] = "qwen3",
    sizes: Annotated[
        str, typer.Option(metavar="N,N,...", help="Vocabulary sizes to compare.")
    ] = "512,1024,2048,4096,8192,16384,32768",
    html: Annotated[Path | None, typer.Option(metavar="FILE", help="Write one page with pictures, too.")] = None,
    max_bytes: Annotated[int | None, typer.Option(metavar="N", min=1, help="Learn from about so many bytes.")] = None,
    custom_text_key: Annotated[
        str | None, typer.Option(metavar="COLUMN", help="In files of rows: the column that holds the text.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Help to choose a vocabulary size: what each costs in the model, and what it buys on your text.

    Example: whelp tokenizer guide --corpus stdlib --n-embd 384 --n-layer 6 --sizes 1024,4096,16384
    """
    from whelp.cli import show
    from whelp.cli.tokenizer_report import guide_tokenizer
    from whelp.corpus.config import SourceConfig

    try:
        numbers = [int(size) for size in sizes.split(",")]
    except ValueError:
        raise typer.BadParameter(f"{sizes!r} is not a list of numbers such as 1024,4096.", param_hint="'--sizes'") from None
    source = SourceConfig(source=corpus if len(corpus) > 1 else corpus[0], custom_text_key=custom_text_key)
    with show.waiting("learning"):
        result = guide_tokenizer(
            corpus=source, n_embd=n_embd, n_layer=n_layer, family=family, sizes=numbers, max_bytes=max_bytes, html=html
        )
    if as_json:
        show.print_json(result)
        return
    from whelp.cli.show_vocabulary import show_tokenizer_guide

    show_tokenizer_guide(result)
    _say_page(html)


def _say_page(html: Path | None) -> None:
    from rich.markup import escape

    from whelp.cli import show

    if html is not None:
        show.say(f"page: [bold]{escape(str(html))}[/]")


@tokenizer_app.command("encode")
def tokenizer_encode(
    name: Annotated[
        str, typer.Argument(metavar="NAME_OR_DIR", help="A vocabulary: a name (gpt2, world, ...), a folder, a file, a hub id.")
    ],
    file: Annotated[Path | None, typer.Option(metavar="F", help="Text to encode; default: standard input.")] = None,
    as_json: AsJson = False,
) -> None:
    """Text in (standard input or F), one JSON list of ids out."""
    from whelp.base.errors import SourceError
    from whelp.cli import show
    from whelp.tokenizer import load_tokenizer

    vocabulary = load_tokenizer(name)
    data = file.read_bytes() if file is not None else sys.stdin.buffer.read()
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        raise SourceError(
            file or "standard input", f"not UTF-8 (byte {error.start})", "UTF-8 text", "Convert it first."
        ) from None
    show.print_json(vocabulary.encode(text).tolist())


@tokenizer_app.command("decode")
def tokenizer_decode(
    name: Annotated[
        str, typer.Argument(metavar="NAME_OR_DIR", help="A vocabulary: a name (gpt2, world, ...), a folder, a file, a hub id.")
    ],
    as_json: AsJson = False,
) -> None:
    """A JSON list of ids in (standard input), exact bytes out."""
    import json

    from whelp.base.errors import SourceError
    from whelp.cli import show
    from whelp.tokenizer import load_tokenizer

    vocabulary = load_tokenizer(name)
    try:
        ids = json.loads(sys.stdin.read())
    except ValueError:
        ids = None
    if not isinstance(ids, list) or not all(type(token) is int for token in ids):  # true is an int, too
        raise SourceError("standard input", "not a JSON list of ids", "for example [1, 2, 3]", "")
    if as_json:
        show.print_json({"text": vocabulary.decode(ids, skip_special=False)})
        return
    sys.stdout.buffer.write(vocabulary.decode_bytes(ids, skip_special=False))
    sys.stdout.buffer.flush()


@app.command(rich_help_panel="Steps")
def prepare(
    recipe: RecipeName,
    overrides: Overrides = None,
    out: Annotated[
        Path | None,
        typer.Option(metavar="STORE", help="Where the token store goes. Of an infctx YAML: by default its data_path."),
    ] = None,
    engine: Annotated[
        EngineName, typer.Option(help="Encode on threads here, or on a Ray cluster (the bytes are the same).")
    ] = EngineName.local,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Threads, or encoders on the cluster. Nothing: one for each core.")
    ] = None,
    scale: Scale = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be read, and write nothing.")] = False,
    as_json: AsJson = False,
) -> None:
    """Turn text into a token store: ids, splits, and a ledger of where everything went.

    Killed at any moment, the same command goes on. Example: whelp prepare recipe.yaml data.source=books/ --out store
    """
    from whelp.base.engines import make_engine
    from whelp.cli import show
    from whelp.cli.infctx import find_data_path
    from whelp.cli.prepare import StoreReady, iter_prepare

    loaded = _load(recipe, overrides, scale)
    if dry_run:
        _dry_run_prepare(loaded, as_json)
        return
    events = iter_prepare(loaded, need(out or find_data_path(recipe), "--out"), engine=make_engine(engine.value, workers))
    first = next(events)
    _show_prepare_event(first)
    result = None
    for event in show.track(events, getattr(first, "num_bytes", 0), "prepare"):
        _show_prepare_event(event)
        if isinstance(event, StoreReady):
            result = event.result
    assert result is not None, "preparing ends with a store"
    if as_json:
        show.print_json(result)


def _dry_run_prepare(recipe: Recipe, as_json: bool) -> None:
    from whelp.cli import show
    from whelp.cli.prepare import OpenedSource, open_recipe_sources
    from whelp.corpus import count_skipped

    def describe(one: OpenedSource) -> dict[str, Any]:
        source = one.source
        return {
            "files": len(source.files),
            "bytes": source.num_bytes,
            "skipped": count_skipped(source.skipped),
            "document": source.document,
            "estimated_tokens": source.num_bytes // 4,
        }

    opened = open_recipe_sources(recipe)
    parts = {one.name: describe(one) for one in opened}
    if as_json:
        show.print_json(parts.get(None, {"sources": parts}))
        return
    for one, values in zip(opened, parts.values(), strict=True):
        show.say_file_counts(values["files"], values["bytes"], one.source.name if one.name is None else one.name)
        show.say_left_out(values["skipped"])
        show.say(
            f"           one document is: {values['document']}; about {values['estimated_tokens']:,} tokens at 4 bytes each"
        )


def _show_prepare_event(event: object) -> None:
    from whelp.cli import show
    from whelp.cli.prepare import SourceOpened, StoreReady, VocabularyReady

    if isinstance(event, SourceOpened):
        show.say_file_counts(event.num_files, event.num_bytes, event.name)
    elif isinstance(event, VocabularyReady):
        show.say(f"[bold]vocabulary[/] {event.kind}, {event.size:,} ids, {'learned' if event.is_learned else 'loaded'}")
    elif isinstance(event, StoreReady):
        if event.result.is_reused:
            show.say("           [dim]the store is finished and up to date[/]")
        show.show_ledger(event.result.ledger, event.result.splits, event.result.vocab_size)


@app.command(rich_help_panel="Steps")
def init(
    recipe: Annotated[
        str | None,
        typer.Argument(metavar="RECIPE", help="A YAML file or a shipped recipe, or give --family.", show_default=False),
    ] = None,
    overrides: Overrides = None,
    out: Annotated[Path | None, typer.Option(metavar="DIR", help="The model folder.")] = None,
    family: Annotated[str | None, typer.Option(help="gpt2, qwen3, rwkv7, rwkv5, or hf with model.hf_config=KIND.")] = None,
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

    Example: whelp init --family qwen3 --n_layer 6 --n_embd 512 --vocab_size gpt2 --out model

    Any architecture of transformers: whelp init --family hf model.hf_config=llama --vocab_size 32000 --out model

    RWKV, with model.pth beside: whelp init --family rwkv7 --n_layer 6 --n_embd 512 --vocab_size world --out model
    """
    from rich.markup import escape

    from whelp.cli import show
    from whelp.cli.init import init as make_weights

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


app.command(rich_help_panel="Steps")(commands_train.train)
app.command(rich_help_panel="Use it")(commands_state.state)
app.command("verify-resume", rich_help_panel="Look inside")(commands_train.verify_resume)


@app.command(rich_help_panel="Use it")
def generate(
    model: ModelPath,
    prompt: Annotated[str | None, typer.Option(metavar="TEXT", help="What to continue; - reads standard input.")] = None,
    prompts: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Many prompts: one a line, or JSON lines (texts, or {'prompt': ...}).")
    ] = None,
    max_tokens: MaxTokens = 128,
    temperature: Temperature = 0.8,
    top_k: TopK = 0,
    top_p: TopP = 1.0,
    min_p: MinP = 0.0,
    repetition_penalty: RepetitionPenalty = 1.0,
    presence_penalty: Annotated[
        float, typer.Option(metavar="P", help="Subtract P from what the continuation has already.")
    ] = 0.0,
    frequency_penalty: Annotated[float, typer.Option(metavar="P", help="The same, once for each time that it is there.")] = 0.0,
    stop: Stop = None,
    logprobs: Annotated[
        int | None, typer.Option(metavar="N", help="Give each token's log-probability, and the N likeliest in its place.")
    ] = None,
    when_full: Annotated[
        str, typer.Option(help="When the context is full: slide (read the later half anew) or end.")
    ] = "slide",
    seed: Annotated[int, typer.Option(metavar="S", help="The same seed gives the same text.")] = 0,
    n: Annotated[int, typer.Option("--n", metavar="N", help="Independent continuations.")] = 1,
    state: StateFile = None,
    device: Device = "auto",
    as_json: AsJson = False,
) -> None:
    """Continue a prompt. Text streams to standard output as it comes.

    Example: whelp generate run --prompt "def main():" --temperature 0.5 --n 3
    """
    if (prompt is None) == (prompts is None):
        raise typer.BadParameter("give one of them.", param_hint="'--prompt' / '--prompts'")
    from whelp.cli import show
    from whelp.cli.generate import describe, iter_completions, load_model, read_prompts, stream
    from whelp.cli.generate import generate as complete

    settings: dict[str, Any] = {
        "max_tokens": max_tokens,
        "temperature": temperature,
        "top_k": top_k,
        "top_p": top_p,
        "min_p": min_p,
        "repetition_penalty": repetition_penalty,
        "presence_penalty": presence_penalty,
        "frequency_penalty": frequency_penalty,
        "stop": stop or [],
        "logprobs": logprobs,
        "when_full": when_full,
        "seed": seed,
    }
    clean = show.printable if sys.stdout.isatty() else str
    if prompts is not None:
        texts = read_prompts(prompts)
        loaded = load_model(model, device, state)
        results = []
        for text, completions in zip(texts, iter_completions(loaded, texts, n=n, **settings), strict=True):
            if as_json:
                results.append({"prompt": text, "completions": [describe(completion) for completion in completions]})
                continue
            for completion in completions:
                sys.stdout.write(f"--- {len(results) + 1}\n{clean(text + completion.text)}\n")
                show.write_logprobs(completion.logprobs)
            results.append({})
            sys.stdout.flush()
        if as_json:
            show.print_json({"results": results, "model": str(loaded.folder)})
        return
    text = sys.stdin.read() if prompt == "-" else str(prompt)
    loaded = load_model(model, device, state)
    if as_json:
        found = [describe(completion) for completion in complete(loaded, text, n=n, **settings)]
        show.print_json({"prompt": text, "completions": found, "model": str(loaded.folder)})
    elif n == 1:
        pieces = stream(loaded, text, **settings)  # first: wrong settings are an error before any output
        entries = []
        sys.stdout.write(clean(text))
        for piece in pieces:
            sys.stdout.write(clean(piece.text))
            sys.stdout.flush()
            entries.extend(piece.logprobs or [])
        sys.stdout.write("\n")
        show.write_logprobs(entries)
    else:
        for number, completion in enumerate(complete(loaded, text, n=n, **settings), 1):
            sys.stdout.write(f"--- {number}\n{clean(text + completion.text)}\n")
            show.write_logprobs(completion.logprobs)


@app.command(rich_help_panel="Use it")
def chat(
    model: ModelPath,
    system: Annotated[str | None, typer.Option(metavar="TEXT", help="A system message, where the template knows one.")] = None,
    load: Annotated[Path | None, typer.Option(metavar="FILE", help="Go on with a conversation that /save wrote.")] = None,
    settings: Annotated[
        list[str] | None, typer.Option("--set", metavar="NAME=VALUE", help="As /set: temperature=0.2; may be repeated.")
    ] = None,
    seed: Annotated[int, typer.Option(metavar="S", help="The same seed and words give the same answers.")] = 0,
    state: StateFile = None,
    device: Device = "auto",
    as_json: AsJson = False,
) -> None:
    """Talk to a model. /help lists the commands; Ctrl-C stops an answer, Ctrl-D leaves.

    With a chat template the model sees turns; without, it continues the text. Lines may be piped in:
    printf 'Hello!\\n/retry\\n' | whelp chat run. With --json the conversation is printed at the end.
    """
    from whelp.cli import show
    from whelp.cli.chat import Terminal
    from whelp.cli.chat import chat as open_chat
    from whelp.cli.generate import load_model

    conversation = open_chat(load_model(model, device, state), system=system, seed=seed)
    for setting in settings or []:
        name, equals, value = setting.partition("=")
        if not equals:
            raise typer.BadParameter(f"{setting!r} is not of the form NAME=VALUE.", param_hint="'--set'")
        conversation.set(name, value)
    if load is not None:
        conversation.load(load)
    clean = show.printable if sys.stdout.isatty() else str

    def write(text: str) -> None:
        sys.stdout.write(clean(text))
        sys.stdout.flush()

    Terminal(conversation, say=show.say_plain, write=(lambda text: None) if as_json else write).run()
    if as_json:
        show.print_json(conversation.to_dict())


@app.command(rich_help_panel="Use it")
def compare(
    models: Annotated[list[str], typer.Argument(metavar="MODEL...", help="Runs, checkpoints or Hugging Face model folders.")],
    prompt: Annotated[list[str] | None, typer.Option(metavar="TEXT", help="What to continue; may be repeated.")] = None,
    prompts: Annotated[Path | None, typer.Option(metavar="FILE", help="Many prompts, as for `whelp generate`.")] = None,
    text_file: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Measure loss, perplexity and bits per byte on this text.")
    ] = None,
    steps: Annotated[
        str | None, typer.Option(metavar="STEPS", help="Checkpoints of each run: 0,500,last or all. Default: the last.")
    ] = None,
    max_tokens: MaxTokens = 64,
    temperature: Temperature = 0.8,
    top_k: TopK = 0,
    top_p: TopP = 1.0,
    min_p: MinP = 0.0,
    repetition_penalty: RepetitionPenalty = 1.0,
    stop: Stop = None,
    seed: Annotated[int, typer.Option(metavar="S", help="The same for every model.")] = 0,
    n: Annotated[int, typer.Option("--n", metavar="N", help="Continuations of each prompt.")] = 1,
    html: Annotated[Path | None, typer.Option("--html", metavar="FILE", help="Write a page that opens offline.")] = None,
    device: Device = "auto",
    as_json: AsJson = False,
) -> None:
    """Set models side by side: the same prompts and seeds, and how well each knows a text of yours.

    Example: whelp compare run other-run --prompt "Once" --text-file held-out.txt
    One run through time: whelp compare run --steps all --prompt "Once"
    """
    from whelp.base.files import write_atomic
    from whelp.cli import show
    from whelp.cli.compare import compare as set_side_by_side
    from whelp.cli.generate import read_prompts

    asked = [*(prompt or []), *(read_prompts(prompts) if prompts is not None else [])]
    result = set_side_by_side(
        models,
        prompts=asked,
        text_file=text_file,
        steps=steps,
        n=n,
        device=device,
        max_tokens=max_tokens,
        temperature=temperature,
        top_k=top_k,
        top_p=top_p,
        min_p=min_p,
        repetition_penalty=repetition_penalty,
        stop=stop or [],
        seed=seed,
    )
    if html is not None:
        write_atomic(html, result.to_html(f"Comparison of {len(result.models)} models"))
    if as_json:
        show.print_json(result)
        return
    show.show_comparison(result)
    if html is not None:
        show.say_plain(f"the page is {html}")


class FormatName(Enum):
    """Formats of token ids."""

    megatron = "megatron"
    nanogpt = "nanogpt"
    llmc = "llmc"
    parquet = "parquet"


class ExportName(Enum):
    """Formats of models, and of token ids."""

    hf = "hf"
    gguf = "gguf"
    pth = "pth"
    megatron = "megatron"
    nanogpt = "nanogpt"
    llmc = "llmc"
    parquet = "parquet"


@app.command(rich_help_panel="Use it")
def export(
    source: Annotated[
        str, typer.Argument(metavar="MODEL|STORE", help="A run, a checkpoint, a model folder; or a token store.")
    ],
    out: Annotated[Path, typer.Option(metavar="DIR", help="Where it goes; must be empty or new.")],
    format: Annotated[
        ExportName,
        typer.Option(
            help="Of a model: hf (a folder for transformers, vLLM, ...), gguf (llama.cpp) or pth (RWKV's own "
            "tools). Of a store: megatron (RWKV's binidx, too), nanogpt, llmc or parquet."
        ),
    ] = ExportName.hf,
    dtype: Annotated[
        str | None, typer.Option(help="Model: f32, f16, bf16; gguf also q8_0. Default: as stored (hf, pth), f16 (gguf).")
    ] = None,
    name: Annotated[str | None, typer.Option(metavar="TEXT", help="Model: its name. Default: the run's.")] = None,
    license: Annotated[str | None, typer.Option(metavar="TEXT", help="Model: of the weights, for the model card.")] = None,
    split: Annotated[
        list[str] | None, typer.Option(metavar="train|test", help="Store: only this split; may be repeated. Default: all.")
    ] = None,
    context_tokens: Annotated[
        int | None, typer.Option(metavar="N", help="Store, parquet: packed rows of N ids. Default: one document a row.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Write a model for other programs, with a model card of its data, recipe and numbers; or a store for other trainers.

    Examples: whelp export run --format gguf --dtype q8_0 --out my-model-gguf; whelp export store --format megatron --out ids
    """
    from rich.markup import escape

    from whelp.artifacts.manifest import find_kind
    from whelp.cli import show
    from whelp.cli.exchange import export_store
    from whelp.cli.export import export as write_model

    is_of_ids = format.value in {name.value for name in FormatName}
    if is_of_ids or find_kind(Path(source)) == "token_store":
        written = export_store(source, format=format.value, out=out, splits=split, context_tokens=context_tokens)
        if as_json:
            show.print_json(written)
            return
        for side, counts in written.splits.items():
            show.say(f"[bold]{side:<10}[/] {counts['documents']:,} documents, {counts['tokens']:,} tokens")
        show.say(f"[bold]exported[/]   {escape(written.folder)}/ holds {', '.join(written.files)}, and tokenizer/")
        return
    result = write_model(source, out=out, format=format.value, dtype=dtype, name=name, license=license)
    if as_json:
        show.print_json(result)
        return
    show.say(f"[bold]{escape(result.folder)}[/]: {result.format}, {result.dtype}, {show.megabytes(result.num_bytes)}")
    show.say(f"           {escape(', '.join(result.files))}")


app.command(rich_help_panel="Use it")(commands_evaluate.evaluate)


class RowsName(Enum):
    """What a row of a Parquet file is."""

    auto = "auto"
    documents = "documents"
    packed = "packed"


@app.command("import", rich_help_panel="Steps")
def import_(
    files: Annotated[
        list[Path], typer.Argument(metavar="FILE...", help="Files of token ids; megatron: also the path without .bin.")
    ],
    format: Annotated[FormatName, typer.Option(help="Who has written them; megatron is RWKV's binidx, too.")],
    tokenizer: Annotated[str, typer.Option(metavar="NAME_OR_DIR", help="The vocabulary that made the ids.")],
    out: Annotated[Path, typer.Option(metavar="STORE", help="Where the token store goes.")],
    test: Annotated[list[Path] | None, typer.Option(metavar="FILE", help="A file for the test split; may be repeated.")] = None,
    test_split: Annotated[float, typer.Option(metavar="SHARE", help="Or: hold out this share of the documents.")] = 0.0,
    seed: Annotated[int, typer.Option(metavar="S", help="Draws the held-out documents.")] = 0,
    column: Annotated[str, typer.Option(metavar="NAME", help="parquet: the column of ids.")] = "input_ids",
    rows: Annotated[
        RowsName, typer.Option(help="parquet: a row is a document, or rows are packed and cut at the end-of-text id.")
    ] = RowsName.auto,
    as_json: AsJson = False,
) -> None:
    """Make a token store of somebody's files of token ids; then train on it as on any other.

    Example: whelp import train.bin --test val.bin --format nanogpt --tokenizer gpt2 --out store
    """
    from whelp.cli import show
    from whelp.cli.exchange import FilesOpened, ImportRequest, iter_import
    from whelp.cli.prepare import PrepareResult, StoreReady

    request = ImportRequest(
        files=files,
        format=format.value,
        tokenizer=tokenizer,
        test=test or [],
        test_split=test_split,
        seed=seed,
        column=column,
        rows=rows.value,
    )
    events = iter_import(request, out)
    opened = next(events)
    assert isinstance(opened, FilesOpened), "importing begins with the files"
    show.say_file_counts(opened.num_files, opened.num_bytes, f"ids ({format.value})")
    result = None
    for event in show.track(events, opened.num_bytes, "import"):
        if isinstance(event, PrepareResult):
            result = event
    assert result is not None, "importing ends with a store"
    if as_json:
        show.print_json(result)
        return
    _show_prepare_event(StoreReady(result=result))


@app.command(rich_help_panel="Use it")
def serve(
    model: ModelPath,
    host: Annotated[str, typer.Option(metavar="H", help="Address to listen on; any but this machine's own needs a token.")] = (
        "127.0.0.1"
    ),
    port: Annotated[int, typer.Option(metavar="P", help="Port; 0: any free one.")] = 8000,
    compare: Annotated[
        list[str] | None, typer.Option(metavar="MODEL", help="A further model, to put beside the first; may be repeated.")
    ] = None,
    token: Annotated[
        str | None,
        typer.Option(metavar="TEXT", help="Bearer token that requests must carry. WHELP_TOKEN is seen by fewer eyes."),
    ] = None,
    store: Annotated[
        Path | None, typer.Option(metavar="STORE", help="The token store to show. Default: the run's, where it lies beside it.")
    ] = None,
    allow_host: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="A further name of this server; may be repeated.")
    ] = None,
    cors_origin: Annotated[
        list[str] | None,
        typer.Option(metavar="URL", help="A web origin whose pages may call this server; may be repeated."),
    ] = None,
    max_rows: Annotated[int, typer.Option(metavar="N", help="Texts that a model continues side by side.")] = 16,
    max_waiting: Annotated[int, typer.Option(metavar="N", help="Texts that wait for a row; more get status 429.")] = 64,
    max_tokens: Annotated[int, typer.Option(metavar="N", help="Most tokens that one request may add.")] = 4096,
    max_body_bytes: Annotated[int, typer.Option(metavar="N", help="Largest request body; a larger one gets 413.")] = 1 << 20,
    request_seconds: Annotated[float, typer.Option(metavar="S", help="Longest that a request may take; then 504.")] = 300.0,
    renew_seconds: Annotated[
        float, typer.Option(metavar="S", help="How often to look for a newer checkpoint of a run; 0: never.")
    ] = 5.0,
    drain_seconds: Annotated[float, typer.Option(metavar="S", help="At the end: longest wait for what is running.")] = 30.0,
    device: Device = "auto",
    as_json: AsJson = False,
) -> None:
    """Serve models over HTTP: a page to talk, compare and watch training, and an OpenAI-compatible API below /v1.

    A run can be watched while it trains. Nothing is written. Ctrl-C or SIGTERM ends it, after what is running.

    Example: whelp serve run --compare run/checkpoints/step-00000100
    """
    from rich.markup import escape

    from whelp.cli import show
    from whelp.cli.serve import Serving
    from whelp.cli.serve import serve as answer

    def say(text: str) -> None:
        show.console.print(text, soft_wrap=True)  # an address that is broken in two cannot be copied

    def say_ready(serving: Serving) -> None:
        for note in serving.notes:
            say(f"[yellow]note[/]       {escape(note)}")
        if as_json:
            show.print_json({"url": serving.url, "api": f"{serving.url}/v1", "models": serving.models, "token": serving.token})
            sys.stdout.flush()
            return
        if serving.is_new_token:
            say(f"[bold]token[/]      {escape(str(serving.token))}   (made for this start; choose one with WHELP_TOKEN)")
        key = f"#token={serving.token}" if serving.is_new_token else ""
        say(f"[bold]page[/]       {escape(serving.url)}/{escape(key)}")
        say(f"[bold]api[/]        {escape(serving.url)}/v1   models: {escape(', '.join(serving.models) or 'none yet')}")
        say("           [dim]Ctrl-C ends[/]")

    answer(
        model,
        compare=compare or [],
        store=store,
        device=device,
        on_ready=say_ready,
        host=host,
        port=port,
        token=token,
        allowed_hosts=allow_host or [],
        cors_origins=cors_origin or [],
        max_rows=max_rows,
        max_waiting=max_waiting,
        max_tokens=max_tokens,
        max_body_bytes=max_body_bytes,
        request_seconds=request_seconds,
        renew_seconds=renew_seconds,
        drain_seconds=drain_seconds,
    )


@app.command(rich_help_panel="Look inside")
def inspect(
    store: Annotated[Path, typer.Argument(metavar="STORE", help="A token store.")],
    overrides: Annotated[
        list[str] | None,
        typer.Argument(metavar="[pack.field=value]...", help="Options that replace the recipe's.", show_default=False),
    ] = None,
    rows: Annotated[
        str, typer.Option(metavar="FIRST:STOP", help="Which rows; with --file or --find, which of those found.")
    ] = "0:3",
    tokens: Annotated[bool, typer.Option("--tokens", help="Show position, id and spelling of every token.")] = False,
    file: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Only rows with a piece of this source file: a name, a path's end, or a pattern."),
    ] = None,
    find: Annotated[str | None, typer.Option(metavar="TEXT", help="Only rows that hold this text.")] = None,
    split: Annotated[str, typer.Option(help="train or test.")] = "train",
    recipe: Annotated[str | None, typer.Option(metavar="RECIPE", help="Pack rows as this recipe (or run) does.")] = None,
    plan: Annotated[
        str | None,
        typer.Option(metavar="PLAN", help="concat (without a recipe), best_fit, none or stream."),
    ] = None,
    context_tokens: Annotated[int | None, typer.Option(metavar="N", help="Tokens in a row; without a recipe, 256.")] = None,
    html: Annotated[Path | None, typer.Option(metavar="FILE", help="Write one page with pictures, too.")] = None,
    as_json: AsJson = False,
) -> None:
    """Show rows as they are trained: text or tokens, what is masked, where documents begin, which file and line they are from.

    On a terminal trained text is green, masked text magenta; without colours masked text stands in ⟦ ⟧.

    Example: whelp inspect store --plan best_fit --context-tokens 512 --rows 0:2 --html rows.html
    """
    from whelp.cli import inspect as looking
    from whelp.cli import show
    from whelp.cli.tokenizer_report import check_page_place

    check_page_place(html)
    config = looking.choose_packing(recipe, overrides or [], context_tokens=context_tokens, plan=plan)
    opened = looking.open_split(store, split, config)
    with show.waiting("looking"):
        views = list(opened.iter_views(rows, file=file, find=find))
        if html is not None:
            looking.write_page(opened, views, html)
    if as_json:
        show.print_json({"rows": [vars(looking.describe_row(view, opened)) for view in views]})
        return
    from whelp.cli.row_report import show_row
    from whelp.cli.show_rows import print_rows

    shown = (show_row(view, opened.packed, opened.store, opened.vocabulary) for view in views)
    print_rows(shown, opened, as_tokens=tokens, find=find)
    _say_page(html)


@app.command(rich_help_panel="Look inside")
def report(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN...", help="Run folders, finished or not.")],
    out: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="The page. Default: report.html, of one run in its folder, of several here."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Draw runs into one page that opens offline: what differs in their recipes, curves over each other, samples, plans.

    Example: whelp report run-1 run-2 --out compared.html
    """
    from rich.markup import escape

    from whelp.cli import show
    from whelp.cli.report import report as draw

    result = draw(runs, out=out)
    if as_json:
        show.print_json(result)
        return
    show.show_runs(result)
    show.say(f"page: [bold]{escape(result.page)}[/]")


@app.command(rich_help_panel="Look inside")
def schema(
    as_json: Annotated[bool, typer.Option("--json", help="Accepted as everywhere: a schema is always JSON.")] = False,
) -> None:
    """Print the JSON schema of a recipe: every option, its meaning, default and range."""
    import json

    from whelp.cli.recipe import schema as make_schema

    sys.stdout.write(json.dumps(make_schema(), indent=2, ensure_ascii=False) + "\n")


def _load(recipe: str, overrides: list[str] | None, scale: str | None = None) -> Recipe:
    from whelp.cli.recipe import load_recipe

    return load_recipe(recipe, overrides or [], scale)
