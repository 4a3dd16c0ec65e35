"""`whelp evaluate`: loss on a store, tasks, programs."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from whelp.base.counts import say_count
from whelp.base.paths import as_path
from whelp.cli.commands.options import AsJson, Device, ModelPath

if TYPE_CHECKING:
    from whelp.cli.evaluate_code import CodeResult
    from whelp.cli.evaluate_tasks import TasksResult
    from whelp.evaluate.loss import LossResult

_TASKS, _CODE = "Tasks", "Programs"


def evaluate(
    model: ModelPath,
    store: Annotated[
        Path | None,
        typer.Option(
            "--store",
            metavar="STORE",
            help="Loss on this token store. Default: store here, or the one beside the run; none for tasks.",
        ),
    ] = None,
    split: Annotated[str, typer.Option(help="train or test.")] = "test",
    rows: Annotated[int | None, typer.Option(metavar="N", help="Only the first N rows.")] = None,
    tasks: Annotated[
        str | None,
        typer.Option(
            "--tasks",
            metavar="NAME,FILE,...",
            help="Tasks of lm_eval: names, patterns (arc_*), YAML files of your own.",
            rich_help_panel=_TASKS,
        ),
    ] = None,
    num_fewshot: Annotated[
        int | None,
        typer.Option(metavar="N", min=0, help="Solved examples before each question.", rich_help_panel=_TASKS),
    ] = None,
    apply_chat_template: Annotated[
        bool,
        typer.Option(
            "--apply-chat-template",
            help="Ask tasks in conversations, by the vocabulary's chat template.",
            rich_help_panel=_TASKS,
        ),
    ] = False,
    system_instruction: Annotated[
        str | None,
        typer.Option(
            metavar="TEXT", help="With a chat template: a system message before the task's own.", rich_help_panel=_TASKS
        ),
    ] = None,
    code_tasks: Annotated[
        Path | None,
        typer.Option(
            "--code-tasks",
            metavar="FILE",
            help="Problems as in HumanEval: JSON lines, gzipped or not.",
            rich_help_panel=_CODE,
        ),
    ] = None,
    run_generated_code: Annotated[
        bool,
        typer.Option(
            "--run-generated-code",
            help="Needed for programs: run what the model writes, unread, on this machine. Each in a process of its own, with "
            "limits of time, memory and files, in a temporary folder; on Linux without network, other processes and changes "
            "to other files. It can read what you can read.",
            rich_help_panel=_CODE,
        ),
    ] = False,
    n: Annotated[int, typer.Option("--n", metavar="N", min=1, help="Programs for each problem.", rich_help_panel=_CODE)] = 10,
    k: Annotated[str, typer.Option("--k", metavar="K,K,...", help="pass@k for these k.", rich_help_panel=_CODE)] = "1,10",
    temperature: Annotated[
        float, typer.Option(metavar="T", min=0.0, help="0: the likeliest token.", rich_help_panel=_CODE)
    ] = 0.8,
    top_p: Annotated[
        float, typer.Option(metavar="P", min=0.0, max=1.0, help="Likeliest tokens to choose among.", rich_help_panel=_CODE)
    ] = 0.95,
    max_tokens: Annotated[int, typer.Option(metavar="N", min=1, help="Most tokens of a program.", rich_help_panel=_CODE)] = 512,
    seed: Annotated[int, typer.Option(metavar="S", min=0, help="The same seed, the same programs.", rich_help_panel=_CODE)] = 0,
    timeout: Annotated[
        float, typer.Option(metavar="SECONDS", min=0.1, help="Longest time of one program.", rich_help_panel=_CODE)
    ] = 5.0,
    limit: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="Only the first N documents of each task, or problems.")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Keep the result of tasks or programs here. Default: of a run, RUN/evaluations/."),
    ] = None,
    device: Device = "auto",
    as_json: AsJson = False,
) -> None:
    """Measure a model: its loss on all rows of a split, its scores on tasks, the programs it writes.

    Loss:
      whelp evaluate run --store store

    Tasks (pip install "whelp[tasks]"):
      whelp evaluate run --tasks hellaswag,my-task.yaml --limit 100

    Programs:
      whelp evaluate run --code-tasks HumanEval.jsonl.gz --n 10 --k 1,10 \\
        --run-generated-code
    """
    from whelp.cli.evaluate import evaluate as measure
    from whelp.cli.screens import show

    if tasks is not None and code_tasks is not None and out is not None:
        raise typer.BadParameter("is one file: ask for tasks or for programs.", param_hint="'--out'")
    results: dict[str, Any] = {}
    if store is not None or (tasks is None and code_tasks is None):
        loss = measure(model, store=store or _find_store(as_path(model)), split=split, num_rows=rows, device=device)
        results["loss"] = loss.to_dict()
        if not as_json:
            _write_loss(loss)
    if tasks is not None:
        from whelp.cli.evaluate_tasks import evaluate_tasks

        names = [name.strip() for name in tasks.split(",") if name.strip()]
        with show.progress_bars() as on_progress:
            scores = evaluate_tasks(
                model,
                names,
                num_fewshot=num_fewshot,
                limit=limit,
                apply_chat_template=apply_chat_template,
                system_instruction=system_instruction,
                out=out,
                device=device,
                on_progress=on_progress,
            )
        results["tasks"] = scores
        if not as_json:
            _write_tasks(scores)
    if code_tasks is not None:
        from whelp.cli.evaluate_code import evaluate_code

        with show.progress_bars() as on_progress:
            code = evaluate_code(
                model,
                code_tasks,
                run_generated_code=run_generated_code,
                n=n,
                k=_read_numbers(k),
                temperature=temperature,
                top_p=top_p,
                max_tokens=max_tokens,
                seed=seed,
                limit=limit,
                timeout_seconds=timeout,
                out=out,
                device=device,
                on_progress=on_progress,
            )
        results["code"] = code
        if not as_json:
            _write_code(code)
    if as_json:
        show.print_json(results["loss"] if list(results) == ["loss"] else _plain(results))


def _read_numbers(text: str) -> list[int]:
    try:
        return [int(number) for number in text.split(",")]
    except ValueError:
        raise typer.BadParameter(f"{text!r} is not a list of numbers such as 1,10.", param_hint="'--k'") from None


def _plain(results: dict[str, Any]) -> dict[str, Any]:
    import dataclasses

    return {
        name: dataclasses.asdict(value) if dataclasses.is_dataclass(value) and not isinstance(value, type) else value
        for name, value in results.items()
    }


def _find_store(model: Path) -> Path:
    """The store that is meant when none is named."""
    from whelp.cli.screens import show
    from whelp.cli.store_of_run import STORE, find_run, open_store_beside

    here = Path(STORE)
    run = None if here.exists() else find_run(model)
    beside = open_store_beside(run) if run is not None else None
    if beside is None:
        return here
    show.say_plain(f"store      {beside.folder}, which the run was trained on")
    return beside.folder


def _write_loss(result: LossResult) -> None:
    for name, part in {"": result, **result.sources}.items():
        bits = f"{part.bits_per_byte:.4f}" if part.bits_per_byte is not None else "unknown"
        sys.stdout.write(
            (f"--- {name}\n" if name else "")
            + f"loss          {part.nats_per_token:.4f} nats/token\nperplexity    {part.perplexity:.2f}\n"
            f"bits per byte {bits}\n"
            f"over          {say_count(part.num_rows, 'row')}, {say_count(part.num_tokens, 'token')}, "
            f"{say_count(part.num_bytes, 'byte')}\n"
        )


def _write_tasks(result: TasksResult) -> None:
    for task, scores in result.tasks.items():
        sys.stdout.write(f"{task}\n")
        for name, value in scores.items():
            error = scores.get(_name_error(name))
            if isinstance(value, (int, float)) and "_stderr" not in name:
                shown = f" +- {error:.4f}" if isinstance(error, float) else ""
                sys.stdout.write(f"  {name:<16} {value:.4f}{shown}\n")
    from whelp.cli.screens import show

    if result.num_shortened:
        show.say_plain(
            f"{result.num_shortened:,} of {result.num_requests:,} questions lost their beginning: too long a context"
        )
    _say_file(result.file)


def _name_error(name: str) -> str:
    """acc -> acc_stderr   exact_match,strict -> exact_match_stderr,strict"""
    metric, comma, rest = name.partition(",")
    return f"{metric}_stderr{comma}{rest}"


def _write_code(result: CodeResult) -> None:
    from whelp.cli.evaluate_code import describe_protections
    from whelp.cli.screens import show

    for name, value in result.pass_at_k.items():
        sys.stdout.write(f"{name:<8} {value:.4f}\n")
    reasons = ", ".join(f"{reason} {count:,}" for reason, count in result.reasons.items())
    show.say_plain(f"{result.num_problems:,} problems, {result.num_samples:,} programs each: {reasons}")
    if result.num_cut:
        were = "program was" if result.num_cut == 1 else "programs were"
        show.say_plain(f"{result.num_cut:,} {were} cut by --max-tokens or the model's context")
    show.say_plain(f"run with: {describe_protections(result.protections)}")
    _say_file(result.file)


def _say_file(file: str | None) -> None:
    from whelp.cli.screens import show

    show.say_plain("not kept: name a file with --out" if file is None else f"kept in {file}")
