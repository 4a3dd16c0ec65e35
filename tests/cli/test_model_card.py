"""The model card of an export: what a stranger on the hub reads, and what the hub itself reads."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import yaml
from huggingface_hub import ModelCard

import whelp as package
from whelp.artifacts.token_store import open_store
from whelp.cli.export import export

from .helpers import Project, Whelp, make_project


def test_a_card_reads_like_one(whelp: Whelp, made: Project) -> None:
    """Counts are the store's, numbers the run's last; the recipe is what differs from the defaults, without folders of ours."""
    export(made.run, out="out", license="apache-2.0", name="fox")
    text = Path("out/README.md").read_text()
    splits = open_store(made.store).manifest.counts["splits"]
    records = [json.loads(line) for line in (made.run / "metrics.jsonl").read_text().splitlines()]
    measured = [record for record in records if "test_bits_per_byte" in record][-1]
    trained = [record for record in records if "tokens" in record][-1]["tokens"]
    for words in (
        "# fox",
        f"from `text`: {splits['train']['documents']} documents, {splits['train']['tokens']:,} tokens to train on, and "
        f"{splits['test']['tokens']:,} tokens were held out",
        f"It was trained on {trained:,} tokens",
        f"| bits a byte | {measured['test_bits_per_byte']:.4f} |",
        "| learning rate | 0.01 at its peak, cosine to 10% of it |",
        "vllm serve out",
        "llama-cli -m out-gguf/out-f16.gguf",
        "apache-2.0. The texts that it learned from have licenses of their own.",
        "It sees 16 tokens at once",
    ):
        assert words in text, words
    assert [line for line in text.splitlines() if line.startswith("## ")] == [
        *("## Use it", "## What it was trained on", "## How good it is", "## How it was trained"),
        *("## Limits", "## License", "## Files"),
    ]
    recipe = yaml.safe_load(re.search(r"```yaml\n(.*?)```", text, re.DOTALL)[1])  # type: ignore[index]
    assert recipe["data"]["source"] == "text"
    assert recipe["model"] == {"n_layer": 1, "n_head": 2, "n_embd": 16}
    assert "conversation" not in text
    assert str(made.folder.parent) not in text


@pytest.mark.parametrize(
    ("name", "format", "expected"),
    [
        ("MIT", "hf", ("mit", None, "transformers")),
        ("My own, v2", "gguf", ("other", "my-own-v2", "gguf")),
        (None, "gguf", (None, None, "gguf")),
    ],
)
def test_the_hub_reads_its_head(
    made: Project, tmp_path: Path, name: str | None, format: str, expected: tuple[str | None, str | None, str]
) -> None:
    """Its own reader finds license, library, tags and results."""
    export(made.run, out=tmp_path / "out", license=name, format=format, name="fox: a 'card'")
    data = ModelCard((tmp_path / "out/README.md").read_text()).data
    assert (data.license, data.license_name, data.library_name) == expected
    assert data.pipeline_tag == "text-generation"
    assert data.tags == ["whelp", "qwen3", "from-scratch"]
    assert data.model_name == "fox: a 'card'"
    assert {result.metric_type for result in data.eval_results} == {"perplexity", "bits_per_byte"}


def test_what_is_not_known_is_said(whelp: Whelp, made: Project) -> None:
    """A model of no run: no numbers are made up, and no claim of where it began."""
    vocabulary = made.run / "checkpoints/last"
    assert (
        whelp("init", "--family", "rwkv7", "--n_layer", 1, "--n_embd", 64, "--vocab_size", vocabulary, "--out", "r").code == 0
    )
    export("r", out="out")
    text = Path("out/README.md").read_text()
    assert "The run that made it was not found beside it: unknown." in text
    assert "No license was named" in text
    assert "reads token after token into a state" in text
    assert "How good it is" not in text
    assert "from-scratch" not in text
    assert "import fla" in text


def test_a_run_without_its_store_and_one_made_longer(whelp: Whelp, tmp_path: Path) -> None:
    """The ledger of the rows has the counts; where the length was changed is said; nothing held out, nothing measured."""
    project = make_project(tmp_path / "project", data={"test_split": 0})
    assert whelp("prepare", project.recipe, "--out", tmp_path / "elsewhere").code == 0
    for steps in (1, 2):
        arguments = [
            "train",
            project.recipe,
            f"train.num_steps={steps}",
            "--store",
            tmp_path / "elsewhere",
            "--out",
            project.run,
        ]
        assert whelp(*arguments).code == 0
    export(project.run, out=tmp_path / "out")
    text = (tmp_path / "out/README.md").read_text()
    ledger = json.loads((project.run / "plan.json").read_text())["ledger"]
    assert f"Text from `text`: {ledger['documents']} documents, {ledger['tokens']:,} tokens to train on." in text
    assert "| made longer | it was to be 1 step, until step 1 |" in text
    assert "Unknown: nothing was held out" in text
    assert "model-index" not in text


@pytest.mark.parametrize(
    ("card", "words"),
    [
        (
            "---\nlicense: cc-by-nc-4.0\n---\n# Theirs\n",
            "The weights that it began with are under cc-by-nc-4.0, which holds for",
        ),
        ("---\nlicense: other\nlicense_name: their-own\n---\n", "The weights that it began with are under their-own, which"),
        ("---\nbroken: [\n---\n", "It began with weights that name no license: ask whoever gave them."),
        (None, "It began with weights that name no license: ask whoever gave them."),
    ],
)
def test_the_license_of_weights_that_it_began_with(
    whelp: Whelp, made: Project, card: str | None, words: str, tmp_path: Path
) -> None:
    """What was made of somebody's weights is told with their license, also of a run that goes on from such a run."""
    assert whelp("init", made.recipe, "--vocab_size", made.store, "--out", "theirs").code == 0
    if card is not None:
        Path("theirs/README.md").write_text(card)
    for start, out in (("theirs", "first"), ("first", "second")):
        outcome = whelp(
            "train", made.recipe, f"train.start_from={start}", "train.num_steps=1", "--store", made.store, "--out", out
        )
        assert outcome.code == 0, outcome.stderr
        export(out, out=f"{out}-out", license="mit")
        assert f"mit. {words}" in Path(f"{out}-out/README.md").read_text()


def test_the_license_of_own_weights(whelp: Whelp, made: Project) -> None:
    """A run from random weights, and one that goes on from it, owe nobody else."""
    outcome = whelp(
        *("train", made.recipe, f"train.start_from={made.run}", "train.num_steps=1"),
        *("--store", made.store, "--out", "further"),
    )
    assert outcome.code == 0, outcome.stderr
    export("further", out="out", license="mit")
    assert "\nmit. The texts that it learned from have" in Path("out/README.md").read_text()


def test_the_example_of_a_card_runs(whelp: Whelp, tmp_path: Path) -> None:
    """Also of a model that sees few tokens; where there is a chat template, it is a chat."""
    project = make_project(tmp_path / "project", model={"family": "gpt2"}, pack={"context_tokens": 24})
    template = "{% for m in messages %}{{ m['content'] }}{% endfor %}"
    assert whelp("prepare", project.recipe, "--out", project.store).code == 0
    assert whelp("train", project.recipe, "--store", project.store, "--out", project.run).code == 0
    for name, chat in (("text", None), ("chat", template)):
        checkpoint = project.run / "checkpoints" / "last"
        settings = json.loads((checkpoint / "tokenizer_config.json").read_text())
        if chat is not None:
            (checkpoint / "tokenizer_config.json").write_text(json.dumps({**settings, "chat_template": chat}))
        export(project.run, out=name)
        text = Path(name, "README.md").read_text()
        assert ("apply_chat_template" in text) == (chat is not None)
        code = re.search(r"```python\n(.*?)```", text, re.DOTALL)[1]  # type: ignore[index]
        exec(code, {"print": lambda answer: None})


def test_a_licence_that_is_said_later_keeps_the_store(made: Project, tmp_path: Path) -> None:
    """No token depends on it."""
    recipe = package.load_recipe(made.recipe, ["data.licence=CC0"])
    assert package.prepare(recipe, out=made.store).is_reused
    assert package.train(recipe, store=made.store, out=tmp_path / "run").is_finished
