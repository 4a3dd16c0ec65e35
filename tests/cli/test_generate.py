"""`whelp generate`: continuations, log-probabilities, many prompts, and the settings that reach the model."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from whelp.base.errors import TokenizerError
from whelp.cli.generate import generate

from .helpers import Project, Whelp, make_project, prepare_project, said_once, train_project


def test_generate(whelp: Whelp, made: Project) -> None:
    """The prompt and its continuation on standard output; the same seed, the same text; one JSON object of n of them."""
    arguments = ["generate", made.run, "--prompt", "The quick", "--max-tokens", 6, "--seed", 3, "--device", "cpu"]
    streamed = whelp(*arguments)
    assert streamed.code == 0, streamed.stderr
    assert streamed.text.startswith("The quick")
    assert streamed.text.endswith("\n")
    assert whelp(*arguments).stdout == streamed.stdout
    result = whelp(*arguments, "--json").json
    assert result["prompt"] == "The quick"
    assert f"The quick{result['completions'][0]['text']}\n" == streamed.text
    assert len(whelp(*arguments, "--n", 3, "--json").json["completions"]) == 3
    many = whelp(*arguments, "--n", 3).text
    assert many.count("The quick") == 3
    assert whelp(*arguments[:3], "-", *arguments[4:], stdin="The quick").stdout == streamed.stdout


@pytest.mark.parametrize("place", ["run", "run/checkpoints/last", "run/checkpoints/step-00000004", ""])
def test_model_may_be_a_run_or_a_checkpoint(whelp: Whelp, made: Project, place: str) -> None:
    """MODEL: a run, `last`, a checkpoint, or a folder with a run in it (as `whelp demo` makes)."""
    result = whelp("generate", made.folder / place, "--prompt", "a", "--max-tokens", 2, "--temperature", 0, "--json").json
    assert Path(result["model"]).resolve().name == "step-00000004"


def test_generate_quicker(whelp: Whelp, made: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """Guesses change no text; numbers that are rounded are for processors that compute with them, and other words are refused."""
    from whelp.model.cpu import few_rows as cpu_few_rows

    arguments = [
        "generate",
        made.run,
        "--prompt",
        "The quick the quick the quick",
        "--max-tokens",
        30,
        "--device",
        "cpu",
        "--json",
    ]
    texts = [whelp(*arguments, *options).json for options in ([], ["--prompt-lookup-tokens", 0], ["--prompt-lookup-tokens", 5])]
    assert texts[0] == texts[1] == texts[2]
    assert whelp(*arguments, "--prompt-lookup-tokens", 65).code == 1
    assert whelp(*arguments, "--draft-tokens", 64).code == 1
    outcome = whelp(*arguments, "--precision", "int8")
    assert (outcome.code, "--precision: it is 'int8', but expected auto, fp32 or bf16" in outcome.said) == (1, True)
    monkeypatch.setattr(cpu_few_rows, "has_bf16_instructions", lambda: False)
    outcome = whelp(*arguments, "--precision", "bf16")
    assert (outcome.code, "this processor does not compute with bf16" in outcome.said) == (1, True)
    monkeypatch.setattr(cpu_few_rows, "has_bf16_instructions", lambda: True)
    assert whelp(*arguments, "--precision", "bf16").json == texts[0]  # a model so small has no matrix worth rounding


def test_generate_many_prompts(whelp: Whelp, made: Project) -> None:
    """Prompts of a file, side by side: each gets what it gets alone; JSON lines may hold line breaks."""
    Path("prompts.txt").write_text("The quick\n\nNaïve\n")
    Path("prompts.jsonl").write_text('"The quick"\n{"prompt": "Na\\u00efve"}\n')
    options = ["--max-tokens", 5, "--seed", 3, "--device", "cpu"]
    alone = [whelp("generate", made.run, "--prompt", prompt, *options, "--json").json for prompt in ("The quick", "Naïve")]
    for name in ("prompts.txt", "prompts.jsonl"):
        result = whelp("generate", made.run, "--prompts", name, *options, "--json").json
        assert [(entry["prompt"], entry["completions"]) for entry in result["results"]] == [
            (entry["prompt"], entry["completions"]) for entry in alone
        ]
    shown = whelp("generate", made.run, "--prompts", "prompts.txt", *options).text
    assert shown == "".join(
        f"--- {number}\n{entry['prompt']}{entry['completions'][0]['text']}\n" for number, entry in enumerate(alone, 1)
    )
    for content, words in (('{"text": 1}', "line 1 holds no prompt"), ("\n", "there is no prompt in it")):
        Path("bad.jsonl").write_text(content)
        assert words in whelp("generate", made.run, "--prompts", "bad.jsonl").said
    assert whelp("generate", made.run, "--prompts", "prompts.txt", "--prompt", "a").code == 2


def test_a_prompt_that_a_vocabulary_cannot_write(whelp: Whelp, tmp_path: Path) -> None:
    """Which of them, and which character; a sample of a run before anything is written."""
    project = make_project(tmp_path / "letters", data={"tokenizer": {"learn": "chars"}}, train={"num_steps": 1})
    assert prepare_project(whelp, project).code == 0
    train = ["train", project.recipe, "train.sample_prompts=[The, ThenΩ]", "--store", project.store, "--out", project.run]
    said_once(whelp(*train), "train.sample_prompts, number 2, character 4: 'Ω' (U+03A9) is not among the")
    assert not project.run.exists()
    assert train_project(whelp, project).code == 0
    for options in (["--n", 2], ["--json"], []):
        said_once(whelp("generate", project.run, "--prompt", "TheΩ", *options), "error: the prompt, character 3: 'Ω' (U+03A9)")
    Path("prompts.txt").write_text("The\nquick\nΩ\n", encoding="utf-8")
    said_once(whelp("generate", project.run, "--prompts", "prompts.txt"), "error: prompt 3 of 3, character 0: 'Ω' (U+03A9)")
    with pytest.raises(TokenizerError, match=r"^the prompt: character 1 is half a surrogate pair"):
        generate(project.run, "T\ud800")


def test_generate_log_probabilities(whelp: Whelp, made: Project) -> None:
    """One line for each token after the text; in JSON, tokens with their bytes and the likeliest in their place."""
    options = [
        "generate",
        made.run,
        "--prompt",
        "The",
        "--max-tokens",
        3,
        "--temperature",
        0,
        "--logprobs",
        2,
        "--device",
        "cpu",
    ]
    (completion,) = whelp(*options, "--json").json["completions"]
    assert b"".join(bytes(entry["bytes"]) for entry in completion["logprobs"]).decode(errors="replace") == completion["text"]
    for entry in completion["logprobs"]:
        assert entry["top"][0]["id"] == entry["id"]
        assert entry["logprob"] == pytest.approx(entry["top"][0]["logprob"])
        assert len(entry["top"]) == 2
    for line, entry in zip(whelp(*options).text.splitlines()[-3:], completion["logprobs"], strict=True):
        assert line.lstrip().startswith(f"{entry['logprob']:.3f}")


def test_generate_settings_reach_the_model(whelp: Whelp, made: Project) -> None:
    """Penalties and what a full context does change the text as they say."""
    options = ["generate", made.run, "--prompt", "The", "--max-tokens", 40, "--temperature", 0, "--device", "cpu", "--json"]
    (plain,) = whelp(*options).json["completions"]
    assert (plain["num_tokens"], plain["reason"]) == (40, "length")
    for changed in (["--presence-penalty", 5], ["--frequency-penalty", 5], ["--repetition-penalty", 3]):
        assert whelp(*options, *changed).json["completions"][0]["text"] != plain["text"]
    (ended,) = whelp(*options, "--when-full", "end").json["completions"]
    assert ended["num_tokens"] < 17
    assert plain["text"].startswith(ended["text"].rstrip("\ufffd"))
    assert "when_full is 'stop', but expected one of end, slide" in whelp(*options, "--when-full", "stop").said


def test_generate_wants_sensible_settings(whelp: Whelp, made: Project) -> None:
    """Ranges are checked; all problems at once."""
    outcome = whelp("generate", made.run, "--prompt", "a", "--temperature", -1, "--top-p", 7)
    assert outcome.code == 1
    assert "temperature" in outcome.stderr
    assert "top_p" in outcome.stderr
    assert outcome.stdout == b""


def test_patterns(whelp: Whelp, made: Project, tmp_path: Path) -> None:
    """Each option's texts, one prompt and many, streamed and as JSON; what the files hold is checked."""
    pytest.importorskip("llguidance", reason='pip install "whelp[grammar]"')
    schema, grammar, prompts = tmp_path / "schema.json", tmp_path / "sum.lark", tmp_path / "prompts.txt"
    number = {"type": "integer", "maximum": 999}
    schema.write_text(
        json.dumps({"type": "object", "properties": {"n": number}, "required": ["n"], "additionalProperties": False})
    )
    grammar.write_text('start: /[0-9]/ ("+" /[0-9]/)~2\n')
    prompts.write_text("The quick\nA dog\n")
    start = ["generate", made.run, "--device", "cpu", "--temperature", 1.5, "--max-tokens", 100]
    one, many = [*start, "--prompt", "The quick "], [*start, "--prompts", prompts, "--n", 2, "--json"]
    for options, expected in (
        (["--regex", "[0-9]{4}"], r"[0-9]{4}"),
        (["--choice", "fox,dog", "--choice", "lazy cat"], r"fox|dog|lazy cat"),
        (["--json-schema", schema], r'\{"n": ?(-[0-9]+|[0-9]{1,3})\}'),
        (["--grammar", grammar], r"[0-9](\+[0-9]){2}"),
    ):
        outcome = whelp(*one, *options)
        assert outcome.code == 0, outcome.said
        assert re.fullmatch(expected, outcome.text.removeprefix("The quick ").removesuffix("\n"))
        found = [text for result in whelp(*many, *options).json["results"] for text in result["completions"]]
        assert len(found) == 4
        assert all(re.fullmatch(expected, text["text"]) and text["reason"] == "stop" for text in found)
    assert whelp(*one, "--json", "--regex", "[0-9]{200}").json["completions"][0]["reason"] == "length"
    schema.write_text("[1]")
    for options, message in (
        (["--regex", "("], "regex: '(' is none (missing ), unterminated subpattern at position 0)"),
        (["--regex", "a", "--choice", "b"], "generate: regex and choice are given, but a text follows one pattern"),
        (["--json-schema", schema], f"{schema}: it is no JSON schema: an object is expected"),
        (["--json-schema", prompts], f"{prompts}: it is not JSON (Expecting value"),
        (["--grammar", tmp_path / "none.lark"], "none.lark: there is no such file"),
    ):
        outcome = whelp(*one, *options)
        assert (outcome.code, outcome.text) == (1, "")
        assert message in outcome.said
