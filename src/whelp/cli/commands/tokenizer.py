"""`whelp tokenizer train`, `show`, `report`, `guide`, `encode` and `decode`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from whelp.cli.commands.options import AsJson
from whelp.cli.commands.shared import part_overrides, say_page
from whelp.cli.usage import Commands

VocabularyName = Annotated[
    str,
    typer.Argument(
        metavar="NAME_OR_DIR", help="A vocabulary: a name (gpt2, world, ...), a folder (a store, a run), a file, a hub id."
    ),
]
SourceOptions = Annotated[
    list[str] | None,
    typer.Argument(metavar="[data.field=value]...", help="Options of the source, as in a recipe.", show_default=False),
]
app = Commands(help="Learn a vocabulary, see how good it is, turn text into ids and back.")


@app.command("train")
def train(
    source: Annotated[
        list[str], typer.Option("--source", metavar="S", help="stdlib, a file, a folder or a glob; may be repeated.")
    ],
    out: Annotated[Path, typer.Option(metavar="DIR", help="Where the vocabulary goes.")],
    overrides: SourceOptions = None,
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

    Example:
      whelp tokenizer train --source books/ --vocab-size 8192 --out my-tokenizer

    Code, with chat tokens:
      whelp tokenizer train --source src/ --pattern code --special-token chat \\
        --out my-tokenizer

    Rows:
      whelp tokenizer train --source rows.jsonl --out my-tokenizer \\
        data.custom_text_key=body
    """
    from rich.markup import escape

    from whelp.base.config import load_config
    from whelp.cli.screens import show
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
    with show.waiting("learning"):
        result = train_tokenizer(make_source_config(source, overrides or []), out=out, learn=config)
    if as_json:
        show.print_json(result)
        return
    show.say(
        f"[bold]{escape(result.folder)}[/]: {result.kind}, {result.vocab_size:,} ids, from {show.megabytes(result.num_bytes)}"
    )


@app.command("show")
def show_(
    name: VocabularyName,
    text: Annotated[str | None, typer.Option("--text", metavar="T", help="Show how this text is cut, with its ids.")] = None,
    samples: Annotated[int, typer.Option(metavar="N", min=0, help="Tokens to show, spread over all of them.")] = 24,
    as_json: AsJson = False,
) -> None:
    """Say what a vocabulary is: kind, size, control tokens, how it cuts text, its fingerprint, where it was found, some tokens.

    Example:
      whelp tokenizer show run --text "Once upon a time"

    How good it is for a text of yours:
      whelp tokenizer report run --corpus my-text.txt
    """
    from whelp.cli.screens import show
    from whelp.cli.tokenizer_show import show_tokenizer

    result = show_tokenizer(name, text=text, num_samples=samples)
    if as_json:
        show.print_json(result)
        return
    from whelp.cli.screens.show_vocabulary import print_vocabulary

    print_vocabulary(result)


@app.command("report")
def report(
    names: Annotated[
        list[str],
        typer.Argument(
            metavar="NAME... [data.field=value]...",
            help="Vocabularies: folders, tokenizer.json files, or names. Options of the corpus, as in a recipe.",
            show_default=False,
        ),
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
            help="language (the first folder, or at the top the file's name), suffix, folder, file, or column:NAME. "
            "Default: language for up to 100 files in one folder, else folder.",
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

    Example:
      whelp tokenizer report gpt2 my-tokenizer --corpus stdlib \\
        --text "def main():" --html report.html

    Rows:
      whelp tokenizer report gpt2 --corpus rows.jsonl data.custom_text_key=body
    """
    from whelp.cli.screens import show
    from whelp.cli.tokenizer import make_source_config
    from whelp.cli.tokenizer_report import report_tokenizer

    names, overrides = part_overrides(names)
    if not names:
        raise typer.BadParameter("is needed.", param_hint="'NAME'")
    where = "whelp tokenizer report"
    source = make_source_config(corpus, overrides, where=where, custom_text_key=custom_text_key)
    with show.waiting("reading"):
        result = report_tokenizer(names, corpus=source, texts=text or [], by=by, max_bytes=max_bytes, html=html)
    if as_json:
        show.print_json(result)
        return
    from whelp.cli.screens.show_vocabulary import show_tokenizer_report

    show_tokenizer_report(result)
    say_page(html)


@app.command("guide")
def guide(
    corpus: Annotated[
        list[str], typer.Option("--corpus", metavar="SOURCE", help="stdlib, a file, a folder or a glob; may be repeated.")
    ],
    n_embd: Annotated[int, typer.Option("--n-embd", metavar="N", help="Width of the model.")],
    overrides: SourceOptions = None,
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

    Example:
      whelp tokenizer guide --corpus stdlib --n-embd 384 --n-layer 6 \\
        --sizes 1024,4096,16384
    """
    from whelp.cli.screens import show
    from whelp.cli.tokenizer import make_source_config
    from whelp.cli.tokenizer_report import guide_tokenizer

    try:
        numbers = [int(size) for size in sizes.split(",")]
    except ValueError:
        raise typer.BadParameter(f"{sizes!r} is not a list of numbers such as 1024,4096.", param_hint="'--sizes'") from None
    where = "whelp tokenizer guide"
    source = make_source_config(corpus, overrides or [], where=where, custom_text_key=custom_text_key)
    with show.waiting("learning"):
        result = guide_tokenizer(
            corpus=source, n_embd=n_embd, n_layer=n_layer, family=family, sizes=numbers, max_bytes=max_bytes, html=html
        )
    if as_json:
        show.print_json(result)
        return
    from whelp.cli.screens.show_vocabulary import show_tokenizer_guide

    show_tokenizer_guide(result)
    say_page(html)


@app.command("encode")
def encode(
    name: VocabularyName,
    file: Annotated[Path | None, typer.Option(metavar="F", help="Text to encode; default: standard input.")] = None,
    as_json: AsJson = False,
) -> None:
    """Text in (standard input or F), one JSON list of ids out.

    Example:
      echo "Once upon a time" | whelp tokenizer encode my-tokenizer
    """
    from whelp.base.errors import SourceError
    from whelp.cli.screens import show
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


@app.command("decode")
def decode(
    name: VocabularyName,
    as_json: AsJson = False,
) -> None:
    """A JSON list of ids in (standard input), exact bytes out.

    Example:
      echo "[72, 105]" | whelp tokenizer decode my-tokenizer
    """
    import json

    from whelp.base.errors import SourceError
    from whelp.cli.screens import show
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
