"""`whelp evaluate --code-tasks`: problems of the form of HumanEval; what the model writes is run in a sandbox."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from whelp.base.as_list import as_list
from whelp.base.errors import PlanError
from whelp.base.files import write_atomic
from whelp.base.hashing import hash_file
from whelp.base.log import log
from whelp.base.machine import count_cores
from whelp.base.paths import as_path
from whelp.base.result_repr import ResultRepr
from whelp.cli.evaluations import find_evaluation_path, save_evaluation
from whelp.cli.generate import LoadedModel, load_model, make_settings, open_engine
from whelp.cli.screens.draw_events import Progress, watch_counts

if TYPE_CHECKING:
    from whelp.evaluate.pass_at_k import Problem
    from whelp.evaluate.sandbox import Limits, Outcome

_PROTECTIONS = {
    "limits": "limits of time, memory and files",
    "seccomp": "no network, no other processes",
    "landlock": "no file outside a temporary folder is changed",
}


@dataclass(frozen=True, kw_only=True)
class CodeResult(ResultRepr):
    """pass@k over all problems; what became of the programs; how they were kept in check."""

    model: str
    num_problems: int
    num_samples: int  # programs for each problem
    pass_at_k: dict[str, float]
    reasons: dict[str, int]  # `passed`, `AssertionError`, `timeout`, ...: programs
    num_too_long: int  # problems whose prompt does not fit the model's context: none of their programs passed
    num_cut: int  # programs that were cut by `max_tokens` or the end of the context
    protections: list[str]
    file: str | None = None
    samples_file: str | None = None


@dataclass(frozen=True, kw_only=True)
class _Sample:
    """One program: the model's part of it, and how it ended."""

    task_id: str
    completion: str
    reason: str
    is_cut: bool
    protections: tuple[str, ...] = ()


def evaluate_code(
    model: str | Path | LoadedModel,
    problems: str | Path,
    *,
    run_generated_code: bool = False,
    n: int = 10,
    k: int | Sequence[int] = (1, 10),
    temperature: float = 0.8,
    top_p: float = 0.95,
    max_tokens: int = 512,
    seed: int = 0,
    limit: int | None = None,
    timeout_seconds: float = 5.0,
    memory_megabytes: int = 1024,
    out: str | Path | None = None,
    device: str = "auto",
    on_progress: Progress | None = None,
) -> CodeResult:
    """Let a model end functions, run them with their tests, and estimate pass@k without bias (Chen et al. 2021).

    Args:
        problems: JSON lines, gzipped or not: `task_id`, `prompt`, `test`, `entry_point`, as HumanEval has them.
        run_generated_code: Must be True: programs that nobody has read are run on this machine. They run in a process of
            their own with limits of time, memory and files, in a temporary folder, and, on Linux, without network, without
            further processes and without changing any other file. They can read what you can read.
        n: Programs for each problem.
        k: For which k; each at most `n`.
        limit: Only the first so many problems.
        timeout_seconds, memory_megabytes: Of one program.
        out: Where the result goes, the programs beside it. Default: of a run, `RUN/evaluations/`; else nowhere.
        on_progress: Is told what is done, how much of it, and how much there is. Default: bars where somebody looks on.

    Raises:
        PlanError: When it is not allowed to run programs, or a k is larger than `n`.
        SourceError: When the file is not of that form.
    """
    from whelp.evaluate.pass_at_k import estimate_pass_at_k, read_problems
    from whelp.evaluate.sandbox import Limits

    if not run_generated_code:
        raise PlanError(
            "whelp evaluate --code-tasks",
            "it runs programs that the model writes and nobody has read, on this machine",
            "your consent",
            "Add --run-generated-code. They run in a sandbox; use a machine or an account that has nothing to lose, too.",
        )
    wanted = as_list(k)
    for each in wanted:
        estimate_pass_at_k(n, 0, each)
    chosen = read_problems(as_path(problems))[:limit]
    loaded = model if isinstance(model, LoadedModel) else load_model(model, device)
    limits = Limits(timeout_seconds=timeout_seconds, memory_megabytes=memory_megabytes)
    settings = {"temperature": temperature, "top_p": top_p, "max_tokens": max_tokens, "seed": seed}
    with watch_counts(on_progress) as tell:
        samples, num_too_long = _sample(loaded, chosen, n, settings, limits, tell)
    passed = Counter(sample.task_id for sample in samples if sample.reason == "passed")
    result: dict[str, Any] = {
        "model": str(loaded.folder.resolve()),
        "num_problems": len(chosen),
        "num_samples": n,
        "pass_at_k": {
            f"pass@{each}": sum(estimate_pass_at_k(n, passed[problem.task_id], each) for problem in chosen) / len(chosen)
            for each in wanted
        },
        "reasons": dict(Counter(sample.reason.partition(":")[0] for sample in samples).most_common()),
        "num_too_long": num_too_long,
        "num_cut": sum(sample.is_cut for sample in samples),
        "protections": sorted({name for sample in samples for name in sample.protections}),
    }
    asked = {"problems": hash_file(as_path(problems)), "n": n, "k": wanted, "limit": limit, **settings, **asdict(limits)}
    path = as_path(out) if out is not None else find_evaluation_path(loaded.folder, "code", asked)
    if path is None:
        return CodeResult(**result)
    beside = path.with_suffix(".jsonl")
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(beside, _write_samples(samples))
    save_evaluation(loaded.folder, "code", asked, result, path)
    return CodeResult(**result, file=str(path), samples_file=str(beside))


def describe_protections(names: Iterable[str]) -> str:
    """In words.   ['limits'] -> 'limits of time, memory and files'"""
    return "; ".join(_PROTECTIONS[name] for name in names if name in _PROTECTIONS) or "none"


def _sample(
    loaded: LoadedModel, problems: list[Problem], n: int, settings: dict[str, Any], limits: Limits, tell: Progress
) -> tuple[list[_Sample], int]:
    """All programs, in the order of the problems; they are run while others are still being written."""
    from whelp.evaluate.pass_at_k import STOPS
    from whelp.generate import Completion

    config = make_settings({**settings, "stop": list(STOPS), "when_full": "end"})
    context = loaded.model.context_tokens
    prompts = [loaded.vocabulary.encode(problem.prompt) for problem in problems]
    fitting = [place for place, prompt in enumerate(prompts) if len(prompt) < context]
    too_long = [problem.task_id for place, problem in enumerate(problems) if place not in set(fitting)]
    if too_long:
        log.warning("%d prompts do not fit the model's context of %d tokens, such as %s", len(too_long), context, too_long[0])
    samples: dict[str, list[_Sample]] = {task_id: [_missing(task_id)] * n for task_id in too_long}
    longest = max((len(prompts[place]) for place in fitting), default=1) + config.max_tokens
    total, num_done = len(fitting) * n, 0
    with ThreadPoolExecutor(count_cores()) as runners, open_engine(loaded, max_context_tokens=longest) as engine:
        waiting = [(problems[place], engine.submit(prompts[place], config, n=n)) for place in fitting]
        running: list[tuple[_Sample, Future[Outcome]]] = []
        try:
            for problem, generations in waiting:
                for generation in generations:
                    completion = Completion.collect(generation)
                    sample = _Sample(
                        task_id=problem.task_id, completion=completion.text, reason="", is_cut=completion.reason == "length"
                    )
                    running.append((sample, runners.submit(_run, problem.make_program(completion.text), limits)))
                    tell("writing programs", len(running), total)
            for sample, future in running:
                outcome = future.result()
                finished = replace(sample, reason=outcome.reason, protections=outcome.protections)
                samples.setdefault(sample.task_id, []).append(finished)
                num_done += 1
                tell("running programs", num_done, total)
        except BaseException:
            for generation in (generation for _, generations in waiting for generation in generations):
                generation.cancel()
            runners.shutdown(wait=True, cancel_futures=True)
            raise
    return [sample for problem in problems for sample in samples[problem.task_id]], len(too_long)


def _run(program: str, limits: Limits) -> Outcome:
    from whelp.evaluate.sandbox import run_program

    return run_program(program, limits)


def _missing(task_id: str) -> _Sample:
    return _Sample(task_id=task_id, completion="", reason="prompt too long", is_cut=False)


def _write_samples(samples: list[_Sample]) -> str:
    """JSON lines in the form that HumanEval's own program reads (`task_id`, `completion`), with what became of them."""
    import json

    kept = ({name: value for name, value in asdict(sample).items() if name != "protections"} for sample in samples)
    return "".join(json.dumps({**values, "passed": values["reason"] == "passed"}, ensure_ascii=False) + "\n" for values in kept)
