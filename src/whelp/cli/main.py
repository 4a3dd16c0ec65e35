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

AsJson = Annotated[bool, typer.Option("--json", help="Print the result as one JSON object on standard output.")]
RecipeName = Annotated[str, typer.Argument(metavar="RECIPE", help="A YAML file, or the name of a shipped recipe.")]
Overrides = Annotated[
    list[str] | None,
    typer.Argument(metavar="[section.field=value]...", help="Options that replace the recipe's.", show_default=False),
]
StorePath = Annotated[Path, typer.Option("--store", metavar="STORE", help="A token store made by `whelp prepare`.")]
ModelPath = Annotated[str, typer.Argument(metavar="MODEL", help="A run folder, a checkpoint, or a Hugging Face model folder.")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")]


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


class EngineName(Enum):
    """Where partitions are encoded."""

    local = "local"
    ray = "ray"


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
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be read, and write nothing.")] = False,
    as_json: AsJson = False,
) -> None:
    """Turn text into a token store: ids, splits, and a ledger of where everything went.

    Killed at any moment, the same command goes on. Example: whelp prepare recipe.yaml data.source=books/ --out store
    """
    from whelp.cli import show
    from whelp.cli.infctx import find_data_path
    from whelp.cli.prepare import StoreReady, iter_prepare, make_engine

    loaded = _load(recipe, overrides)
    if dry_run:
        _dry_run_prepare(loaded, as_json)
        return
    events = iter_prepare(loaded, _need(out or find_data_path(recipe), "--out"), engine=make_engine(engine.value, workers))
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
    from whelp.cli.prepare import open_recipe_source
    from whelp.corpus import count_skipped

    source = open_recipe_source(recipe)
    values = {
        "files": len(source.files),
        "bytes": source.num_bytes,
        "skipped": count_skipped(source.skipped),
        "document": source.document,
        "estimated_tokens": source.num_bytes // 4,
    }
    if as_json:
        show.print_json(values)
        return
    show.say_file_counts(len(source.files), source.num_bytes, source.name)
    show.say_left_out(count_skipped(source.skipped))
    show.say(f"           one document is: {source.document}; about {source.num_bytes // 4:,} tokens at 4 bytes each")


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
def train(
    recipe: RecipeName,
    overrides: Overrides = None,
    store: Annotated[
        Path | None,
        typer.Option(
            metavar="STORE",
            help="A token store made by `whelp prepare`. Default: store; of an infctx YAML, its data_path.",
        ),
    ] = None,
    out: Annotated[Path | None, typer.Option(metavar="RUN", help="The run folder.")] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the plan (timed by a short probe), and write nothing.")
    ] = False,
    nproc: Annotated[
        int, typer.Option("--nproc", metavar="N", min=1, help="Processes of this machine that train together; one for a GPU.")
    ] = 1,
    as_json: AsJson = False,
) -> None:
    """Train a model on a token store. Stopped or killed, the same command goes on, exactly.

    Example: whelp train recipe.yaml train.minutes=5 --store store --out run

    Four GPUs: whelp train recipe.yaml --nproc 4 --store store --out run (another number may go on)

    Signals: SIGTERM and SIGINT save and stop (exit code 130), SIGUSR1 saves and goes on.
    """
    from whelp.cli import show
    from whelp.cli.infctx import find_data_path
    from whelp.cli.launch import follow_launcher
    from whelp.cli.train import Finished, iter_train, plan_training
    from whelp.train.place import find_place

    follow_launcher()
    is_first = find_place().is_first
    loaded = _load(recipe, overrides)
    store = store or find_data_path(recipe) or Path("store")
    if nproc > 1:
        _train_together(loaded, store, out, nproc, dry_run=dry_run, as_json=as_json)
        return
    if dry_run:
        plan, session = plan_training(loaded, store)
        if not is_first:
            return
        if as_json:
            show.print_json({**plan.to_dict(), "ledger": session.ledger})
        else:
            show.show_plan(plan, session.ledger)
        return
    result = None
    with show.training_view() as view:
        for event in iter_train(loaded, store, _need(out, "--out")):
            if is_first:
                view.show(event)
            if isinstance(event, Finished):
                result = event.result
    assert result is not None, "a run always ends with a result"
    if not is_first:
        return
    if as_json:
        show.print_json(result)
        return
    show.say_result(result)


def _train_together(recipe: Recipe, store: Path, out: Path | None, nproc: int, *, dry_run: bool, as_json: bool) -> None:
    from whelp.cli import show
    from whelp.cli.launch import FirstProcessError
    from whelp.cli.train import plan_together, train_together

    try:
        if dry_run:
            sys.stdout.write(plan_together(recipe, store, nproc, as_json=as_json))
            return
        result = train_together(recipe, store, _need(out, "--out"), nproc)
    except FirstProcessError as error:
        sys.exit(error.code)
    if as_json:
        show.print_json(result)
        return
    show.say_result(result)


@app.command("verify-resume", rich_help_panel="Look inside")
def verify_resume(
    recipe: RecipeName,
    overrides: Overrides = None,
    store: StorePath = Path("store"),
    steps: Annotated[int, typer.Option("--steps", metavar="N", help="Steps of each run.")] = 20,
    nproc: Annotated[
        str,
        typer.Option(
            "--nproc", metavar="N,N,...", help="Numbers of processes: half a run on the first, half on each of the others."
        ),
    ] = "1,2",
    tolerance: Annotated[
        float,
        typer.Option(metavar="T", min=0.0, help="Largest difference of losses, in nats per token, where bits may differ."),
    ] = 1e-3,
    as_json: AsJson = False,
) -> None:
    """Prove that runs of this recipe go on exactly: short runs are killed, taken up, and compared with one left alone.

    Exit code 1 when something is not as promised. Example: whelp verify-resume recipe.yaml --store store --nproc 1,2,4
    """
    from whelp.cli import show
    from whelp.cli.verify_resume import VerifyResult, iter_verify

    try:
        counts = [int(count) for count in nproc.split(",")]
    except ValueError:
        raise typer.BadParameter(f"{nproc!r} is not a list of numbers such as 1,2.", param_hint="'--nproc'") from None
    result = None
    checks = iter_verify(recipe, store=store, overrides=overrides or [], num_steps=steps, nproc=counts, tolerance=tolerance)
    with show.waiting("training"):
        for check in checks:
            if isinstance(check, VerifyResult):
                result = check
    assert result is not None, "it ends with a result"
    if as_json:
        show.print_json(result)
    else:
        show.show_verify_result(result)
    if not result.holds:
        sys.exit(1)


@app.command(rich_help_panel="Use it")
def generate(
    model: ModelPath,
    prompt: Annotated[str, typer.Option(metavar="TEXT", help="What to continue; - reads standard input.")],
    max_tokens: Annotated[int, typer.Option(metavar="N", help="Most tokens to add.")] = 128,
    temperature: Annotated[float, typer.Option(metavar="T", help="0: always the likeliest token.")] = 0.8,
    top_k: Annotated[int, typer.Option(metavar="K", help="Choose among the K likeliest; 0: all.")] = 0,
    top_p: Annotated[float, typer.Option(metavar="P", help="Choose among the likeliest that together have P.")] = 1.0,
    min_p: Annotated[float, typer.Option(metavar="P", help="Leave out what is less likely than P x the likeliest.")] = 0.0,
    repetition_penalty: Annotated[float, typer.Option(metavar="R", help="Above 1: repeat less.")] = 1.0,
    stop: Annotated[list[str] | None, typer.Option(metavar="TEXT", help="End before this text; may be repeated.")] = None,
    seed: Annotated[int, typer.Option(metavar="S", help="The same seed gives the same text.")] = 0,
    n: Annotated[int, typer.Option("--n", metavar="N", help="Independent continuations.")] = 1,
    device: Device = "auto",
    as_json: AsJson = False,
) -> None:
    """Continue a prompt. Text streams to standard output as it comes.

    Example: whelp generate run --prompt "def main():" --temperature 0.5 --n 3
    """
    from whelp.cli import show
    from whelp.cli.generate import generate as complete
    from whelp.cli.generate import load_model, stream

    if prompt == "-":
        prompt = sys.stdin.read()
    settings: dict[str, Any] = {
        "max_tokens": max_tokens,
        "temperature": temperature,
        "top_k": top_k,
        "top_p": top_p,
        "min_p": min_p,
        "repetition_penalty": repetition_penalty,
        "stop": stop or [],
        "seed": seed,
        "n": n,
    }
    loaded = load_model(model, device)
    if as_json:
        completions = [vars(completion) for completion in complete(loaded, prompt, **settings)]
        show.print_json({"prompt": prompt, "completions": completions, "model": str(loaded.folder)})
    elif n == 1:
        pieces = stream(loaded, prompt, **settings)  # first: wrong settings are an error before any output
        clean = show.printable if sys.stdout.isatty() else str
        sys.stdout.write(prompt)
        for piece in pieces:
            sys.stdout.write(clean(piece.text))
            sys.stdout.flush()
        sys.stdout.write("\n")
    else:
        for number, completion in enumerate(complete(loaded, prompt, **settings), 1):
            sys.stdout.write(f"--- {number}\n{prompt}{completion.text}\n")


@app.command(rich_help_panel="Use it")
def evaluate(
    model: ModelPath,
    store: StorePath = Path("store"),
    split: Annotated[str, typer.Option(help="train or test.")] = "test",
    rows: Annotated[int | None, typer.Option(metavar="N", help="Only the first N rows.")] = None,
    device: Device = "auto",
    as_json: AsJson = False,
) -> None:
    """Loss, perplexity and bits per byte over all rows of a split."""
    from whelp.cli import show
    from whelp.cli.evaluate import evaluate as measure

    result = measure(model, store=store, split=split, num_rows=rows, device=device)
    if as_json:
        show.print_json(result.to_dict())
        return
    bits = f"{result.bits_per_byte:.4f}" if result.bits_per_byte is not None else "unknown"
    sys.stdout.write(
        f"loss          {result.nats_per_token:.4f} nats/token\nperplexity    {result.perplexity:.2f}\n"
        f"bits per byte {bits}\nover          {result.num_rows:,} rows, {result.num_tokens:,} tokens, {result.num_bytes:,} bytes\n"
    )


@app.command(rich_help_panel="Look inside")
def inspect(
    store: Annotated[Path, typer.Argument(metavar="STORE", help="A token store.")],
    overrides: Annotated[
        list[str] | None,
        typer.Argument(metavar="[pack.field=value]...", help="Options that replace the recipe's.", show_default=False),
    ] = None,
    rows: Annotated[str, typer.Option(metavar="FIRST:STOP", help="Which rows.")] = "0:3",
    split: Annotated[str, typer.Option(help="train or test.")] = "train",
    recipe: Annotated[str | None, typer.Option(metavar="RECIPE", help="Pack rows as this recipe (or run) does.")] = None,
    plan: Annotated[
        str | None,
        typer.Option(metavar="PLAN", help="concat (without a recipe), best_fit, none or stream."),
    ] = None,
    context_tokens: Annotated[int | None, typer.Option(metavar="N", help="Tokens in a row; without a recipe, 256.")] = None,
    as_json: AsJson = False,
) -> None:
    """Show rows as they are trained: text, ids, which tokens count, which file and line they are from.

    Example: whelp inspect store --plan best_fit --context-tokens 512 --rows 0:2
    """
    from whelp.cli import show
    from whelp.cli.inspect import inspect as read_rows

    found = read_rows(
        store, rows=rows, split=split, context_tokens=context_tokens, plan=plan, recipe=recipe, overrides=overrides or []
    )
    if as_json:
        show.print_json({"rows": [vars(row) for row in found]})
        return
    for row in found:
        sys.stdout.write(f"=== row {row.row}: {len(row.ids):,} tokens, {sum(row.trained):,} trained\n")
        for document in row.documents:
            place = f"{document['file']}, line {document['line']}"
            tokens = f"{document['length']:,} tokens from {document['start']:,} on"
            sys.stdout.write(f"    document {document['document']:,}: {place} ({tokens})\n")
        sys.stdout.write(f"{row.text}\nids: {row.ids[:16]} ...\n")


@app.command(rich_help_panel="Look inside")
def schema(
    as_json: Annotated[bool, typer.Option("--json", help="Accepted as everywhere: a schema is always JSON.")] = False,
) -> None:
    """Print the JSON schema of a recipe: every option, its meaning, default and range."""
    import json

    from whelp.cli.recipe import schema as make_schema

    sys.stdout.write(json.dumps(make_schema(), indent=2, ensure_ascii=False) + "\n")


def _load(recipe: str, overrides: list[str] | None) -> Recipe:
    from whelp.cli.recipe import load_recipe

    return load_recipe(recipe, overrides or [])


def _need(value: Path | None, name: str) -> Path:
    if value is None:
        raise typer.BadParameter("is needed (unless you ask for --dry-run).", param_hint=f"'{name}'")
    return value
