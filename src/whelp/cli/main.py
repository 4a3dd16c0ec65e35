"""The commands of the terminal: their names, options and help. Each calls one function of the same name.

Standard output is for results (with `--json`: one JSON object); what is for people goes to standard error.
Exit codes: 0 done, 1 the user can mend it, 2 wrong usage, 130 interrupted (what was finished is kept).
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable
from typing import Annotated

import typer

from whelp.base.errors import WhelpError, explain_os_error
from whelp.cli.commands import (
    collect_local,
    compare_recipes,
    completion,
    corpus_report,
    curate,
    data,
    docs,
    evaluate,
    first_steps,
    models,
    push,
    report,
    state,
    talk,
    tokenizer,
    trace,
    train,
)
from whelp.cli.commands.convert import append, convert, split
from whelp.cli.usage import Commands

app = Commands(
    name="whelp",
    help="Raw text to a language model of your own.\n\nStart with `whelp demo`, then `whelp new my-model`.",
)

_PANELS: dict[str, list[tuple[str, Callable[..., None]]]] = {
    "Start here": [("demo", first_steps.demo), ("new", first_steps.new), ("docs", docs.docs)],
    "Text": [("curate", curate.curate), ("convert", convert), ("append", append), ("split", split)],
    "Steps": [("prepare", data.prepare), ("import", data.import_), ("init", models.init), ("train", train.train)],
    "Use it": [
        ("generate", talk.generate),
        ("chat", talk.chat),
        ("compare", talk.compare),
        ("serve", talk.serve),
        ("evaluate", evaluate.evaluate),
        ("state", state.state),
        ("export", models.export),
        ("push", push.push),
    ],
    "Look inside": [
        ("inspect", data.inspect),
        ("report", report.report),
        ("compare-recipes", compare_recipes.compare_recipes),
        ("trace", trace.trace),
        ("verify-resume", train.verify_resume),
        ("schema", report.schema),
        ("completion", completion.completion),
    ],
}
for _panel, _commands in _PANELS.items():
    for _name, _command in _commands:
        app.command(_name, rich_help_panel=_panel)(_command)
app.add_typer(collect_local.collect_app, name="collect", rich_help_panel="Text")
app.add_typer(corpus_report.app, name="corpus", rich_help_panel="Text")
app.add_typer(tokenizer.app, name="tokenizer", rich_help_panel="Steps")


_KEEPING = {"append", "collect", "compare-recipes", "curate", "demo", "prepare", "push", "train"}
"""Commands that go on where they were stopped; of the others nothing is left."""


def main() -> None:
    """Run a command; turn errors a user can mend into one message and exit code 1."""
    from whelp.cli.screens.stream_encodings import settle_encodings
    from whelp.cli.training.launched_process import leave

    settle_encodings()
    try:
        _main()
    except SystemExit as ending:
        leave(ending.code)
        raise


def _main() -> None:
    _set_up_log()
    completion.prepare_to_answer()
    try:
        app()
    except WhelpError as error:
        _fail(error)
    except SystemExit as ending:
        from whelp.cli.training.launched_process import is_spoken_for

        if ending.code == 130 and not is_spoken_for():  # what typer makes of KeyboardInterrupt; a launcher says it for all
            kept = "; what was finished is kept, and the same command goes on" if _KEEPING & set(sys.argv[1:2]) else ""
            sys.stderr.write(f"\ninterrupted{kept}\n")
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
    from whelp.cli.training.launched_process import fail

    fail(error)


def _set_up_log() -> None:
    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            from whelp.cli.screens.show import say_note  # not before there is something to say: rich takes long to import

            say_note(record)

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
