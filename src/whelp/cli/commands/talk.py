"""`whelp generate`, `whelp chat`, `whelp compare` and `whelp serve`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from whelp.cli.commands.options import (
    AsJson,
    Choice,
    Device,
    Grammar,
    JsonSchema,
    MaxTokens,
    MinP,
    ModelPath,
    Precision,
    Regex,
    RepetitionPenalty,
    StateFile,
    Stop,
    Temperature,
    TopK,
    TopP,
)
from whelp.cli.commands.shared import hand_over, say_page


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
    regex: Regex = None,
    choice: Choice = None,
    json_schema: JsonSchema = None,
    grammar: Grammar = None,
    logprobs: Annotated[
        int | None, typer.Option(metavar="N", help="Give each token's log-probability, and the N likeliest in its place.")
    ] = None,
    when_full: Annotated[
        str, typer.Option(help="When the context is full: slide (read the later half anew) or end.")
    ] = "slide",
    prompt_lookup_tokens: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            help="Guess N tokens ahead from the text's own past and check them in one step; the text stays the same. 0: none. "
            "Default: as many as save time.",
            show_default=False,
        ),
    ] = None,
    draft_tokens: Annotated[
        int,
        typer.Option(
            metavar="N",
            help="Guess N tokens ahead with a copy of a large model's weights in 8 bits, on a CPU, and check them in one step; the "
            "text stays the same, and memory holds the weights twice. 0: none.",
        ),
    ] = 0,
    seed: Annotated[int, typer.Option(metavar="S", help="The same seed gives the same text.")] = 0,
    n: Annotated[int, typer.Option("--n", metavar="N", help="Independent continuations.")] = 1,
    state: StateFile = None,
    device: Device = "auto",
    precision: Precision = "auto",
    as_json: AsJson = False,
) -> None:
    """Continue a prompt. Text streams to standard output as it comes.

    Example:
      whelp generate run --prompt "def main():" --temperature 0.5 --n 3

    A text that follows a pattern (pip install "whelp[grammar]"):
      whelp generate run --prompt "The year was " --regex "1[0-9]{3}"
    """
    if (prompt is None) == (prompts is None):
        raise typer.BadParameter("give one of them.", param_hint="'--prompt' / '--prompts'")
    from whelp.cli.generate import describe, iter_completions, load_model, read_prompts, read_text, stream
    from whelp.cli.generate import generate as complete
    from whelp.cli.screens import show

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
        "regex": regex,
        "choice": [text for texts in choice or [] for text in texts.split(",")],
        "json_schema": json_schema,
        "grammar": None if grammar is None else read_text(grammar),
        "logprobs": logprobs,
        "when_full": when_full,
        "prompt_lookup_tokens": prompt_lookup_tokens,
        "draft_tokens": draft_tokens,
        "seed": seed,
    }
    clean = show.printable if sys.stdout.isatty() else str
    if prompts is not None:
        texts = read_prompts(prompts)
        loaded = load_model(model, device, state, precision=precision)
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
    loaded = load_model(model, device, state, precision=precision)
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
    precision: Precision = "auto",
    as_json: AsJson = False,
) -> None:
    """Talk to a model. /help lists the commands; Ctrl-C stops an answer, Ctrl-D leaves.

    With a chat template the model sees turns; without, it continues the text.
    With --json the conversation is printed at the end.

    Example:
      whelp chat run --set temperature=0.5

    Lines may be piped in:
      printf 'Hello!\\n/retry\\n' | whelp chat run
    """
    from whelp.cli.chat import Terminal
    from whelp.cli.chat import chat as open_chat
    from whelp.cli.generate import load_model
    from whelp.cli.screens import show

    conversation = open_chat(load_model(model, device, state, precision=precision), system=system, seed=seed)
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

    Example:
      whelp compare run other-run --prompt "Once" --text-file held-out.txt

    One run through time:
      whelp compare run --steps all --prompt "Once"
    """
    from whelp.base.files import write_atomic
    from whelp.cli.compare import compare as set_side_by_side
    from whelp.cli.generate import read_prompts
    from whelp.cli.screens import show

    asked = [*(prompt or []), *(read_prompts(prompts) if prompts is not None else [])]
    result = set_side_by_side(
        models,
        prompts=asked,
        text_file=text_file,
        steps=steps,
        n=n,
        device=device,
        on_progress=show.say_model,
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
    hand_over(result, show.show_comparison, as_json=as_json)
    if html is not None and not as_json:
        say_page(html)


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
    prefix_cache_bytes: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            help="Memory of each model for the beginnings of recent prompts, which are not read again; 0: none. Default: 512 MiB, "
            "of a GPU an eighth of what is free.",
            show_default=False,
        ),
    ] = None,
    max_body_bytes: Annotated[int, typer.Option(metavar="N", help="Largest request body; a larger one gets 413.")] = 1 << 20,
    request_seconds: Annotated[float, typer.Option(metavar="S", help="Longest that a request may take; then 504.")] = 300.0,
    renew_seconds: Annotated[
        float, typer.Option(metavar="S", help="How often to look for a newer checkpoint of a run; 0: never.")
    ] = 5.0,
    drain_seconds: Annotated[float, typer.Option(metavar="S", help="At the end: longest wait for what is running.")] = 30.0,
    device: Device = "auto",
    precision: Precision = "auto",
    as_json: AsJson = False,
) -> None:
    """Serve models over HTTP: a page to talk, compare and watch training, and an OpenAI-compatible API below /v1.

    A run can be watched while it trains. Nothing is written. Ctrl-C or SIGTERM ends it, after what is running.

    Example:
      whelp serve run --compare run/checkpoints/step-00000100
    """
    from rich.markup import escape

    from whelp.cli.screens import show
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
        precision=precision,
        on_ready=say_ready,
        host=host,
        port=port,
        token=token,
        allowed_hosts=allow_host or [],
        cors_origins=cors_origin or [],
        max_rows=max_rows,
        max_waiting=max_waiting,
        max_tokens=max_tokens,
        prefix_cache_bytes=prefix_cache_bytes,
        max_body_bytes=max_body_bytes,
        request_seconds=request_seconds,
        renew_seconds=renew_seconds,
        drain_seconds=drain_seconds,
    )
