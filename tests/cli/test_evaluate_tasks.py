"""Tasks of lm-evaluation-harness: the scores are those of its own model for transformers, on the same weights."""

from __future__ import annotations

import json
import random
import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file

from whelp.base.config import load_config
from whelp.base.errors import MissingExtraError, PlanError, SourceError
from whelp.cli.evaluate_tasks import evaluate_tasks
from whelp.cli.init import init
from whelp.cli.tokenizer import make_source_config, train_tokenizer
from whelp.tokenizer import load_tokenizer
from whelp.tokenizer.config import LearnConfig

from .helpers import Project, Whelp, snapshot

pytest.importorskip("lm_eval", reason="pip install 'whelp[tasks]'")

SENTENCE = "the quick brown fox jumps over lazy dogs and naïve café while seven old men read long books in rain"
WORDS = SENTENCE.split()


@pytest.fixture(scope="session", autouse=True)
def own_hub_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Data sets are unpacked in a folder of this run, and no hub is asked."""
    import datasets

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path_factory.mktemp("datasets"))
        patch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
        yield


@pytest.fixture(scope="module")
def tasks(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Three tasks of our own, one of each question that the harness has; data beside them."""
    folder = tmp_path_factory.mktemp("tasks")
    draw = random.Random(0)
    rows = []
    for _ in range(12):
        words = [draw.choice(WORDS) for _ in range(draw.randint(2, 14))]
        choices = [" ".join(draw.choice(WORDS) for _ in range(draw.randint(1, 4))) for _ in range(3)]
        rows.append({"text": " ".join(words), "choices": choices, "answer": draw.randrange(3)})
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    common: dict[str, Any] = {
        "dataset_path": "json",
        "dataset_kwargs": {"data_files": {"test": "rows.jsonl"}},
        "test_split": "test",
        "num_fewshot": 0,
    }
    special: dict[str, dict[str, Any]] = {
        "own_choice": {
            "output_type": "multiple_choice",
            "doc_to_text": "{{text}}",
            "doc_to_choice": "choices",
            "doc_to_target": "answer",
            "metric_list": [{"metric": "acc"}, {"metric": "acc_norm"}],
        },
        "own_perplexity": {
            "output_type": "loglikelihood_rolling",
            "doc_to_text": "",
            "doc_to_target": "{{text}}",
            "metric_list": [{"metric": "word_perplexity"}, {"metric": "byte_perplexity"}, {"metric": "bits_per_byte"}],
        },
        "own_answer": {
            "output_type": "generate_until",
            "doc_to_text": "{{text}}",
            "doc_to_target": "{{choices[answer]}}",
            "generation_kwargs": {"until": [" the", "."], "do_sample": False, "max_gen_toks": 8},
            "metric_list": [{"metric": "exact_match"}],
        },
    }
    paths = []
    for name, values in special.items():
        paths.append(folder / f"{name}.yaml")
        paths[-1].write_text(yaml.safe_dump({"task": name, **common, **values}))
    return paths


CONTEXT = 56
OURS = {"family": "qwen3", "n_layer": 2, "n_head": 4, "n_embd": 32}
FAMILIES: dict[str, dict[str, Any]] = {
    "gpt2": {**OURS, "family": "gpt2"},
    "qwen3": {**OURS, "n_kv_head": 2},
    "llama": {
        "family": "hf",
        "hf_config": "llama",
        "hf_overrides": {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4},
    },
}


_EMBEDDING = {"gpt2": "transformer.wte.weight", "qwen3": "model.embed_tokens.weight", "llama": "model.embed_tokens.weight"}


@pytest.fixture(scope="module", params=list(FAMILIES))
def model_folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model whose opinions are strong: two families of ours, and one that only transformers has.

    Its vocabulary is of characters: whatever it says is text, where the halves of characters are shown in many ways.
    """
    folder = tmp_path_factory.mktemp("models")
    (folder / "text").write_text(" ".join(WORDS) + ".", encoding="utf-8")
    learn = load_config(LearnConfig, {"learn": "chars"}, "the test")
    train_tokenizer(make_source_config([str(folder / "text")], []), out=folder / "tokenizer", learn=learn)
    recipe = {"pack": {"context_tokens": CONTEXT}, "model": FAMILIES[request.param]}
    init(recipe, out=folder / "first", vocab_size=str(folder / "tokenizer"))
    num_ids = load_tokenizer(folder / "tokenizer").size
    weights = load_file(folder / "first" / "model.safetensors")
    generator = torch.Generator().manual_seed(0)
    changed = {name: tensor + 0.3 * torch.randn(tensor.shape, generator=generator) for name, tensor in weights.items()}
    for tensor in changed.values():
        if tensor.shape == weights[_EMBEDDING[request.param]].shape:
            tensor[num_ids:] = 0  # the head is wider than the vocabulary; what is no id is not to be the likeliest
    shutil.copytree(folder / "first", folder / "model", ignore=shutil.ignore_patterns("manifest.json"))
    save_file(changed, folder / "model" / "model.safetensors", metadata={"format": "pt"})
    return folder / "model"


def test_scores_are_those_of_the_harness_itself(model_folder: Path, tasks: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """Multiple choice, perplexity and greedy text, against the harness's `hf` model on the same folder, answer by answer."""
    from lm_eval.models.huggingface import HFLM

    asked: dict[str, list[Any]] = {}
    theirs: dict[str, list[Any]] = {}
    reference = HFLM(pretrained=str(model_folder), device="cpu", batch_size=4, max_length=CONTEXT, add_bos_token=False)
    for name in ("loglikelihood", "loglikelihood_rolling", "generate_until"):
        asked[name] = []
        _listen(monkeypatch, name, asked[name])
    result = evaluate_tasks(model_folder, [str(path) for path in tasks], device="cpu")
    for name, heard in asked.items():
        assert heard, f"no task asked for {name}"
        theirs[name] = getattr(reference, name)([request for request, _ in heard], disable_tqdm=True)
        for (request, ours), expected in zip(heard, theirs[name], strict=True):
            assert ours == (expected if isinstance(expected, str) else pytest.approx(expected, abs=1e-3)), request.args
    assert set(result.tasks) == {"own_choice", "own_perplexity", "own_answer"}
    assert result.num_documents == {"own_choice": 12, "own_perplexity": 12, "own_answer": 12}
    assert result.num_requests == sum(map(len, asked.values()))
    assert result.num_shortened > 0, "no context was long enough to test how it is cut"


@pytest.fixture(scope="module")
def chat_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random weights with a vocabulary that has a chat template."""
    folder = tmp_path_factory.mktemp("chat")
    (folder / "text").write_text("".join(map(chr, range(32, 127))) + "\né" + SENTENCE, encoding="utf-8")
    learn = load_config(LearnConfig, {"learn": "chars", "special_tokens": ["chat"]}, "the test")
    train_tokenizer(make_source_config([str(folder / "text")], []), out=folder / "tokenizer", learn=learn)
    recipe = {"pack": {"context_tokens": 400}, "model": OURS}
    init(recipe, out=folder / "first", vocab_size=str(folder / "tokenizer"))
    return folder / "first"


def test_conversations_are_those_of_the_harness_itself(
    chat_model: Path, tasks: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a chat template the questions are the same texts as `hf` asks, solved examples as turns, and so are the scores."""
    from lm_eval import simple_evaluate
    from lm_eval.models.huggingface import HFLM
    from lm_eval.tasks import TaskManager

    shutil.copytree(tasks[0].parent, tmp_path / "tasks")
    values = yaml.safe_load(tasks[0].read_text())
    fewshot = {"fewshot_split": "test", "num_fewshot": 2, "description": "Go on.", "target_delimiter": ""}
    files = str(tmp_path / "tasks" / "rows.jsonl")
    values |= {**fewshot, "gen_prefix": "It is ", "dataset_kwargs": {"data_files": {"test": files}}}
    (tmp_path / "tasks" / "choice.yaml").write_text(yaml.safe_dump(values))
    heard: list[Any] = []
    _listen(monkeypatch, "loglikelihood", heard)
    options = {"apply_chat_template": True, "system_instruction": "Be brief.", "limit": 4}
    evaluate_tasks(chat_model, [str(tmp_path / "tasks" / "choice.yaml")], device="cpu", **options)  # type: ignore[arg-type]
    theirs: list[Any] = []
    reference = HFLM(pretrained=str(chat_model), device="cpu", batch_size=4, max_length=400, add_bos_token=False)
    original = reference.loglikelihood

    def answer(requests: list[Any], **options: Any) -> Any:
        answers = original(requests, **options)
        theirs.extend(zip(requests, answers, strict=True))
        return answers

    reference.loglikelihood = answer
    manager = TaskManager(include_defaults=False)
    task = manager.load([values])["tasks"]["own_choice"]
    simple_evaluate(reference, tasks=[task], task_manager=manager, fewshot_as_multiturn=True, bootstrap_iters=0, **options)
    assert len(heard) == len(theirs) == 12
    for (ours, score), (other, expected) in zip(heard, theirs, strict=True):
        assert ours.args == other.args
        assert score == pytest.approx(expected, abs=1e-3)
    context = heard[0][0].args[0]
    assert context.startswith("<|im_start|>system\nBe brief.")
    assert context.count("<|im_start|>user") == 3
    assert context.endswith("<|im_start|>assistant\nIt is ")


def test_an_answer_in_a_conversation_ends_with_its_turn(
    chat_model: Path, tasks: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The token that ends a turn ends the text, though it is not end-of-text."""
    seen: list[tuple[int, ...]] = []
    monkeypatch.setattr("whelp.cli.evaluate_tasks.open_engine", lambda loaded, **_: seen.append(loaded.end_ids) or 1 / 0)
    for apply in (True, False):
        with pytest.raises(ZeroDivisionError):
            evaluate_tasks(chat_model, [str(tasks[2])], limit=1, device="cpu", apply_chat_template=apply)
    end = load_tokenizer(chat_model).id_of("<|im_end|>")
    assert [end in ids for ids in seen] == [True, False]


def test_a_template_that_takes_no_system_message(caplog: pytest.LogCaptureFixture) -> None:
    """It is asked without one, and that is said once; what it refuses else is an error."""
    from whelp.base.errors import TokenizerError
    from whelp.evaluate.harness import ChatTemplate, HarnessModel

    def render(turns: Any, begins_answer: bool) -> str:
        if turns[0]["role"] != "user":
            raise TokenizerError("v", "its chat template fails")
        return f"U: {turns[0]['content'].strip()}<end>"

    model = HarnessModel.__new__(HarnessModel)
    model.template, model._takes_system = ChatTemplate(source="", name="v", render=render), True
    asked = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}]
    with caplog.at_level("WARNING", logger="whelp"):
        assert [model.apply_chat_template(asked) for _ in range(2)] == ["U: Hi<end>"] * 2
    assert caplog.text.count("takes no system message") == 1
    assert model.apply_chat_template(asked[1:], add_generation_prompt=False) == "U: Hi"
    with pytest.raises(TokenizerError):
        model.apply_chat_template([{"role": "assistant", "content": "Hi"}])


def test_conversations_need_a_template(made: Project, tasks: list[Path], whelp: Whelp) -> None:
    """A model that has none, and a system message without one, are told what to do."""
    said = whelp("evaluate", made.run, "--tasks", tasks[2], "--apply-chat-template").said
    assert "its vocabulary has no chat template, but expected one, for --apply-chat-template. Leave that out" in said
    said = whelp("evaluate", made.run, "--tasks", tasks[2], "--system-instruction", "Be brief.").said
    assert "Give --apply-chat-template, too." in said


def _listen(monkeypatch: pytest.MonkeyPatch, name: str, heard: list[Any]) -> None:
    from whelp.evaluate.harness import HarnessModel

    original = getattr(HarnessModel, name)

    def answer(self: HarnessModel, requests: list[Any], **options: Any) -> Any:
        answers = original(self, requests, **options)
        heard.extend(zip(requests, answers, strict=True))
        return answers

    monkeypatch.setattr(HarnessModel, name, answer)


def test_results_are_kept_beside_the_checkpoints(made: Project, tasks: list[Path], tmp_path: Path, whelp: Whelp) -> None:
    """A run gets a file in evaluations/, the same question the same file; what it was made from is as it was."""
    run = tmp_path / "run"
    shutil.copytree(made.run, run, symlinks=True)
    before, data = snapshot(run), snapshot(tasks[0].parent)
    asked = ("evaluate", run, "--tasks", f"{tasks[0]},{tasks[1]}", "--limit", 3, "--device", "cpu", "--json")
    scores = whelp(*asked).json["tasks"]
    assert scores["num_documents"] == {"own_choice": 3, "own_perplexity": 3}
    assert set(scores["tasks"]["own_choice"]) == {"acc", "acc_stderr", "acc_norm", "acc_norm_stderr"}
    file = Path(scores["file"])
    assert file.parent == run / "evaluations"
    assert re.fullmatch(r"step-00000004-tasks-[0-9a-f]{8}\.json", file.name)
    kept = json.loads(file.read_text())
    assert kept["asked"]["limit"] == 3
    assert kept["tasks"] == scores["tasks"]
    first = file.read_bytes()
    assert whelp(*asked).json["tasks"] == scores
    assert file.read_bytes() == first
    after = snapshot(run)
    new = {"evaluations", f"evaluations/{file.name}"}
    assert set(after) - set(before) == new
    assert {name: after[name] for name in before} == before
    assert snapshot(tasks[0].parent) == data


def test_what_people_see(
    made: Project, tasks: list[Path], tmp_path: Path, whelp: Whelp, capfd: pytest.CaptureFixture[str]
) -> None:
    """Scores on standard output, the rest beside; a model that is of no run says that nothing was kept."""
    shutil.copytree(made.run / "checkpoints" / "last", tmp_path / "model")
    outcome = whelp("evaluate", tmp_path / "model", "--tasks", tasks[2], "--limit", 2, "--device", "cpu")
    assert re.fullmatch(r"own_answer\n  exact_match +\d\.\d{4}( \+- \d\.\d{4})?\n", outcome.text)
    assert "aggregation" not in capfd.readouterr().err + outcome.said, "the harness's remarks on a task's defaults"
    assert "not kept: name a file with --out" in outcome.said
    outcome = whelp("evaluate", tmp_path / "model", "--tasks", tasks[2], "--limit", 2, "--out", tmp_path / "kept.json")
    assert json.loads((tmp_path / "kept.json").read_text())["num_documents"] == {"own_answer": 2}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("output_type: multiple_choice\n", "it has no `task`"),
        ("task: [\n", "cannot be read"),
        ("task: x\ndataset_path: json\ndataset_kwargs: {data_files: gone.jsonl}\n", "task x: its data cannot be had"),
        ("task: x\ndataset_path: nobody/nothing\n", "task x: its data cannot be had .*a hub that can be reached"),
    ],
)
def test_what_is_no_task(made: Project, tmp_path: Path, content: str, message: str) -> None:
    """A file that is none, data that is nowhere, a hub that is not asked."""
    (tmp_path / "task.yaml").write_text(content)
    with pytest.raises(SourceError, match=message):
        evaluate_tasks(made.run, [str(tmp_path / "task.yaml")], device="cpu")


def test_a_file_that_is_not_there(made: Project, whelp: Whelp) -> None:
    """One line and exit code 1."""
    outcome = whelp("evaluate", made.run, "--tasks", "gone.yaml")
    assert (outcome.code, outcome.text) == (1, "")
    assert "gone.yaml: there is no such file" in outcome.said


def test_a_name_that_the_harness_does_not_know(made: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """The nearest one is named. (Its list of thousands takes half a minute: a short one stands for it.)"""
    import lm_eval.tasks

    class ShortList:
        all_tasks: ClassVar = ["hellaswag", "arc_easy", "arc_challenge"]

        def __init__(self, include_defaults: bool) -> None:
            assert include_defaults

        def match_tasks(self, names: list[str]) -> list[str]:
            return [task for task in self.all_tasks if task in names]

    monkeypatch.setattr(lm_eval.tasks, "TaskManager", ShortList)
    with pytest.raises(SourceError, match=r"--tasks helaswag: there is no such task.*Did you mean hellaswag\?"):
        evaluate_tasks(made.run, ["helaswag"], device="cpu")


def test_tasks_that_run_programs_are_refused(made: Project, tasks: list[Path], tmp_path: Path) -> None:
    """The harness would run them in this process; we have a sandbox for that."""
    text = tasks[2].read_text().replace("rows.jsonl", str(tasks[2].parent / "rows.jsonl")) + "unsafe_code: true\n"
    (tmp_path / "task.yaml").write_text(text)
    with pytest.raises(PlanError, match=r"own_answer: it runs what the model writes.*--code-tasks"):
        evaluate_tasks(made.run, [str(tmp_path / "task.yaml")], device="cpu")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_gen_toks": 16}, r"it asks for 16 new tokens, but expected fewer than 16.*max_gen_toks"),
        ({"num_beams": 4, "max_gen_toks": 2}, "its generation_kwargs have num_beams"),
        ({"penalty_alpha": 0.6}, "its generation_kwargs have penalty_alpha"),
    ],
)
def test_what_generating_cannot_do(made: Project, tasks: list[Path], tmp_path: Path, options: Any, message: str) -> None:
    """A task that asks for more than there is says so instead of being answered otherwise."""
    values = yaml.safe_load(tasks[2].read_text())
    values |= {"generation_kwargs": {"until": ["."], **options}}
    values["dataset_kwargs"] = {"data_files": {"test": str(tasks[2].parent / "rows.jsonl")}}
    (tmp_path / "task.yaml").write_text(yaml.safe_dump(values))
    with pytest.raises(PlanError, match=message):
        evaluate_tasks(made.run, [str(tmp_path / "task.yaml")], device="cpu")


def test_a_missing_extra(made: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """Which pip install mends it."""
    monkeypatch.setitem(sys.modules, "lm_eval", None)
    with pytest.raises(MissingExtraError, match=r'pip install "whelp\[tasks\]"'):
        evaluate_tasks(made.run, ["hellaswag"], device="cpu")
