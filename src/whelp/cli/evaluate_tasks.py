"""`whelp evaluate --tasks`: tasks of lm-evaluation-harness, with our own model, cache and generating."""

from __future__ import annotations

import contextlib
import dataclasses
import difflib
import logging
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from whelp.base.as_list import as_list
from whelp.base.errors import MissingExtraError, PlanError, SourceError, WhelpError, say_first_line
from whelp.base.paths import as_path
from whelp.base.result_repr import ResultRepr
from whelp.cli.evaluations import save_evaluation
from whelp.cli.generate import LoadedModel, load_model, make_settings, open_engine
from whelp.cli.screens.draw_events import Progress, watch_counts

if TYPE_CHECKING:
    from whelp.evaluate.harness import ChatTemplate, HarnessModel, TextRequest

_BOOTSTRAP_ITERATIONS = 1000  # for the standard errors of metrics without a formula


@dataclass(frozen=True, kw_only=True)
class TasksResult(ResultRepr):
    """Scores by task (and group of tasks), as the harness names them: `acc`, `acc_stderr`, `word_perplexity`, ..."""

    model: str
    tasks: dict[str, dict[str, Any]]
    versions: dict[str, Any]
    num_fewshot: dict[str, int]
    num_documents: dict[str, int]
    num_requests: int
    num_shortened: int  # requests whose context was longer than the model's, and lost its beginning
    harness_version: str
    file: str | None = None


def evaluate_tasks(
    model: str | Path | LoadedModel,
    tasks: str | Sequence[str],
    *,
    num_fewshot: int | None = None,
    limit: int | None = None,
    apply_chat_template: bool = False,
    system_instruction: str | None = None,
    out: str | Path | None = None,
    device: str = "auto",
    on_progress: Progress | None = None,
) -> TasksResult:
    """Score a model on tasks of lm-evaluation-harness; the scores are those of its own `hf` model for the same weights.

    Args:
        model: A run, a checkpoint or a Hugging Face model folder, or what `load_model` gave.
        tasks: Names (`hellaswag`, `arc_*`), or YAML files of your own in the harness's format; paths of data in them are
            relative to the file. Tasks of the hub need the hub, or its files in the local cache.
        num_fewshot: Solved examples before each question, where the task does not fix their number.
        limit: Only the first so many documents of each task: for trying out.
        apply_chat_template: Ask in conversations, by the vocabulary's own template: what a task says before its questions is the
            system message, solved examples are turns, and an answer ends with its turn.
        system_instruction: A system message before that of the task.
        out: Where the result goes. Default: of a run, `RUN/evaluations/`; of any other model, nowhere.
        on_progress: Is told what is done, how much of it, and how much there is. Default: bars where somebody looks on.

    Raises:
        SourceError: When there is no such task, or its data cannot be had.
        PlanError: When a task asks for what the model cannot do.
        MissingExtraError: When `lm_eval` is not installed.
    """
    try:
        import lm_eval
        from lm_eval.tasks import TaskManager
    except ImportError:
        raise MissingExtraError("whelp evaluate --tasks", "lm_eval", "tasks") from None

    tasks = as_list(tasks)
    with watch_counts(on_progress) as tell, _quiet():
        if not tasks:
            raise PlanError("whelp evaluate", "no task is named", "one at least", "Example: --tasks hellaswag,my-task.yaml")
        own = {name: _read_task(as_path(name)) for name in tasks if Path(name).suffix in (".yaml", ".yml")}
        needs_list = any(name not in own or "group" in own[name] for name in tasks)
        manager = TaskManager(include_defaults=needs_list)  # the list of all tasks takes seconds
        specifications = [spec for name in tasks for spec in ([own[name]] if name in own else _find_tasks(manager, name))]
        loaded = model if isinstance(model, LoadedModel) else load_model(model, device)
        template = _find_template(loaded) if apply_chat_template else None
        if template is not None:
            loaded = _end_with_turns(loaded)
        elif system_instruction is not None:
            raise PlanError(
                "--system-instruction", "is a turn of a conversation", "a chat template", "Give --apply-chat-template, too."
            )
        built = [_load_task(manager, spec) for spec in specifications]
        adapter = _make_adapter(loaded, tell, template)
        found = _run(adapter, manager, built, num_fewshot=num_fewshot, limit=limit, system_instruction=system_instruction)
    result: dict[str, Any] = {
        "model": str(loaded.folder.resolve()),
        "tasks": {
            name: _read_scores(scores) for name, scores in sorted({**found["results"], **found.get("groups", {})}.items())
        },
        "versions": dict(sorted(found["versions"].items())),
        "num_fewshot": dict(sorted(found["n-shot"].items())),
        "num_documents": {name: counts["effective"] for name, counts in sorted(found["n-samples"].items())},
        "num_requests": adapter.num_requests,
        "num_shortened": adapter.num_shortened,
        "harness_version": str(lm_eval.__version__),
    }
    asked: dict[str, Any] = {"tasks": tasks, "num_fewshot": num_fewshot, "limit": limit}
    if apply_chat_template:
        asked |= {"apply_chat_template": True, "system_instruction": system_instruction}
    file = save_evaluation(loaded.folder, "tasks", asked, result, out)
    return TasksResult(**result, file=None if file is None else str(file))


def _find_tasks(manager: Any, name: str) -> list[str]:
    """Names of the harness's tasks that a name or a pattern means."""
    matching: list[str] = manager.match_tasks([name])
    if not matching:
        near = difflib.get_close_matches(name, manager.all_tasks, n=1)
        raise SourceError(
            f"--tasks {name}",
            "there is no such task",
            "a task or group of lm_eval, or a YAML file",
            f"Did you mean {near[0]}?" if near else "`lm_eval ls tasks` lists them.",
        )
    return matching


def _read_task(path: Path) -> dict[str, Any]:
    """A task of one's own, with the paths of its data made whole."""
    from lm_eval.tasks._yaml_loader import load_yaml

    if not path.is_file():
        raise SourceError(path, "there is no such file", "a task of lm_eval as YAML", "Check the spelling.")
    try:
        values = dict(load_yaml(path.resolve(), resolve_func=True))
    except Exception as error:  # YAML, its includes, and the functions it names
        raise SourceError(path, f"cannot be read ({say_first_line(error)})", "a task of lm_eval as YAML") from None
    if not {"task", "group"} & set(values):
        raise SourceError(path, "it has no `task`", "a task of lm_eval as YAML", "Give it a name: `task: my_task`.")
    options = dict(values.get("dataset_kwargs") or {})
    if "data_files" in options:
        options["data_files"] = _make_whole(options["data_files"], path.resolve().parent)
        values["dataset_kwargs"] = options
    return values


def _make_whole(value: Any, folder: Path) -> Any:
    """Paths of data files relative to the task's own folder, where they are there."""
    if isinstance(value, dict):
        return {key: _make_whole(inner, folder) for key, inner in value.items()}
    if isinstance(value, list):
        return [_make_whole(inner, folder) for inner in value]
    return str(folder / value) if isinstance(value, str) and (folder / value).exists() else value


def _load_task(manager: Any, spec: Any) -> Any:
    """Build a task, or all of a group; this is when its data set is fetched."""
    name = spec if isinstance(spec, str) else spec.get("task", spec.get("group"))
    try:
        return manager.load([spec])
    except Exception as error:  # each kind of data set fails in its own way
        raise SourceError(
            f"task {name}",
            f"its data cannot be had ({say_first_line(error)})",
            "a local file, a data set in the local cache, or a hub that can be reached",
            "Name local files in a task of your own (dataset_path: json, dataset_kwargs: data_files).",
        ) from None


def _run(adapter: HarnessModel, manager: Any, built: list[Any], **options: Any) -> dict[str, Any]:
    """Let the harness ask its questions.

    Args:
        options: `num_fewshot`, `limit` and `system_instruction`, as it takes them.
    """
    from lm_eval import simple_evaluate

    wanted = [item for loaded in built for item in (loaded.get("groups") or loaded["tasks"]).values()]
    for task in (task for loaded in built for task in loaded["tasks"].values()):
        if getattr(task, "UNSAFE_CODE", False):
            raise PlanError(
                f"task {task.config.task}",
                "it runs what the model writes in this very process",
                "a task that only reads it",
                "For programs, use `whelp evaluate --code-tasks`, which runs them in a sandbox.",
            )
    try:
        found = simple_evaluate(
            model=adapter,
            tasks=wanted,
            apply_chat_template=adapter.template is not None,
            fewshot_as_multiturn=adapter.template is not None,
            bootstrap_iters=_BOOTSTRAP_ITERATIONS,
            task_manager=manager,  # without one, it lists all its tasks again
            log_samples=False,
            **options,
        )
    except WhelpError:
        raise
    except (ValueError, KeyError, TypeError) as error:
        raise PlanError(
            "the tasks", f"lm_eval cannot run them ({say_first_line(error)})", "", "Look at the task's YAML."
        ) from error
    assert found is not None, "one process has all results"
    return dict(found)


def _find_template(loaded: LoadedModel) -> ChatTemplate:
    """The vocabulary's own.

    Raises:
        PlanError: When it has none.
    """
    from whelp.evaluate.harness import ChatTemplate
    from whelp.generate.chat import render_chat

    vocabulary = loaded.vocabulary
    if vocabulary.chat_template is None:
        raise PlanError(
            f"{loaded.folder}",
            "its vocabulary has no chat template",
            "one, for --apply-chat-template",
            "Leave that out: a model that was not taught to talk is asked in plain text.",
        )
    return ChatTemplate(
        source=vocabulary.chat_template,
        name=vocabulary.fingerprint,
        render=lambda turns, begins_answer: render_chat(vocabulary, turns, add_generation_prompt=begins_answer),
    )


def _end_with_turns(loaded: LoadedModel) -> LoadedModel:
    from whelp.generate.chat import find_end_ids

    return dataclasses.replace(loaded, end_ids=(*loaded.end_ids, *find_end_ids(loaded.vocabulary)))


def _make_adapter(loaded: LoadedModel, on_progress: Progress, template: ChatTemplate | None) -> HarnessModel:
    from whelp.evaluate.harness import HarnessModel
    from whelp.model import HuggingFaceModel

    model = loaded.model
    return HarnessModel(
        loaded.vocabulary,
        context_tokens=model.context_tokens,
        vocab_size=model.spec.vocab_size,
        continue_texts=lambda requests: _continue_texts(loaded, requests),
        read_rows=model if isinstance(model, HuggingFaceModel) else None,
        make_reader=None if isinstance(model, HuggingFaceModel) else model.make_decoder,
        device=loaded.device,
        first_ids=_find_first_ids(loaded),
        template=template,
        on_progress=on_progress,
    )


def _continue_texts(loaded: LoadedModel, requests: list[TextRequest]) -> Iterator[str]:
    """Continue many prompts side by side, each its own way."""
    from whelp.generate import Completion

    longest = max((len(request.prompt) + request.settings["max_tokens"] for request in requests), default=1)
    with open_engine(loaded, max_context_tokens=longest) as engine:
        settings = [make_settings({**request.settings, "when_full": "end"}) for request in requests]
        waiting = [engine.submit(request.prompt, each)[0] for request, each in zip(requests, settings, strict=True)]
        for generation in waiting:
            yield Completion.collect(generation).text


def _find_first_ids(loaded: LoadedModel) -> list[int]:
    """What the tokenizer's own template puts before a text (of Llama: its beginning-of-text token)."""
    from tokenizers import Tokenizer

    return list(Tokenizer.from_str(loaded.vocabulary.to_json()).encode("", add_special_tokens=True).ids)


def _read_scores(scores: dict[str, Any]) -> dict[str, Any]:
    """The harness's names without its `,none`; what it has no value for is None."""
    names = {name: name.removesuffix(",none") for name in scores if name not in ("alias", "name", "sample_len", "sample_count")}
    return {short: None if scores[name] == "N/A" else _plain(scores[name]) for name, short in names.items()}


def _plain(value: Any) -> Any:
    return value.item() if hasattr(value, "item") else value


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Standard output is for our result; the harness prints there.

    Its remarks on what a task leaves to the defaults are left out, git's complaint where there is no repository, and the
    processes that it would start for its standard errors: they are copies of one that has threads.
    """
    import lm_eval.evaluator

    before = os.environ.get("DISABLE_MULTIPROC")
    os.environ["DISABLE_MULTIPROC"] = "1"
    logger, find_commit = logging.getLogger("lm_eval"), lm_eval.evaluator.get_git_commit_hash
    level = logger.level
    logger.setLevel(logging.ERROR)
    lm_eval.evaluator.get_git_commit_hash = lambda: None
    try:
        with contextlib.redirect_stdout(sys.stderr):
            yield
    finally:
        logger.setLevel(level)
        lm_eval.evaluator.get_git_commit_hash = find_commit
        if before is None:
            del os.environ["DISABLE_MULTIPROC"]
        else:
            os.environ["DISABLE_MULTIPROC"] = before
