"""A model card: README.md beside exported weights, from the records of the run that made them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from whelp.base.counts import say_bytes, say_count, say_duration
from whelp.base.private_paths import leave_folders_out
from whelp.report._card import make_cell, make_head, make_table, name_license, say_license

_LIBRARIES = {"hf": "transformers", "gguf": "gguf", "onnx": "onnx"}
_TOKENS_PER_PARAMETER = 20  # Hoffmann et al. 2022
_MANY_EPOCHS = 8  # Muennighoff et al. 2023


@dataclass(frozen=True, kw_only=True)
class RunFacts:
    """What a run's folder says, as far as it is known.

    Attributes:
        recipe: What differs from the defaults, as YAML, without the names of folders.
        train, data: Those sections of the recipe, every value.
        plan: As in `plan.json`.
        corpus: `name`, `text_bytes`, `documents`, `tokens` (by split), `dropped` (documents by reason), `licences` (of its texts, as
            far as they are known), `sources` (by name, of a mixture: `documents`, `share` of the training, `licences`).
        numbers: The last measurements on the test split: a record of `metrics.jsonl`.
        lengths: Where the run's length was changed: `until_step`, `length`.
        precisions: Where its precision was changed: `until_step`, `precision`.
        versions: Of the packages.
        start_licenses: Of the weights that it began with; None of such that name none.
    """

    recipe: str
    train: Mapping[str, Any]
    data: Mapping[str, Any]
    plan: Mapping[str, Any]
    corpus: Mapping[str, Any]
    numbers: Mapping[str, Any]
    step: int
    tokens: int
    elapsed_seconds: float | None
    lengths: Sequence[Mapping[str, Any]]
    versions: Mapping[str, Any]
    start_licenses: Sequence[str | None] = ()
    precisions: Sequence[Mapping[str, Any]] = ()


def make_model_card(
    name: str,
    *,
    format: str,
    config: Mapping[str, Any],
    num_parameters: int,
    context_tokens: int | None,
    vocabulary: Mapping[str, Any],
    files: Sequence[str],
    usage: str,
    run: RunFacts | None = None,
    license_name: str | None = None,
) -> str:
    """Describe a model in Markdown with the hub's front matter; what is not known is left out, or said to be unknown.

    Args:
        config: Contents of `config.json`.
        context_tokens: What the model sees at once; None: as much as there is.
        vocabulary: `kind` and `size`.
        usage: How to load it, as Markdown.
    """
    sections = [
        _make_head(name, format, config, run, license_name),
        f"# {name}",
        _describe_model(config, num_parameters, context_tokens, vocabulary, run),
        "## Use it\n\n" + usage,
        "## What it was trained on\n\n" + _describe_data(run),
    ]
    if run is not None:
        sections.append("## How good it is\n\n" + _describe_numbers(run))
        sections.append("## How it was trained\n\n" + _describe_training(run))
    sections.append("## Limits\n\n" + _describe_limits(num_parameters, context_tokens, run))
    sections.append("## License\n\n" + _describe_license(license_name, run))
    sections.append("## Files\n\n" + "\n".join(f"- `{file}`" for file in files))
    return "\n\n".join(sections) + "\n"


def _make_head(name: str, format: str, config: Mapping[str, Any], run: RunFacts | None, license_name: str | None) -> str:
    """The front matter: https://huggingface.co/docs/hub/model-cards."""
    head: dict[str, Any] = name_license(license_name)
    if format in _LIBRARIES:
        head["library_name"] = _LIBRARIES[format]
    is_from_scratch = run is not None and not run.train.get("start_from")
    tags = ["whelp", str(config.get("model_type")), *(["from-scratch"] if is_from_scratch else [])]
    head |= {"pipeline_tag": "text-generation", "tags": tags}
    if run is not None and run.numbers:
        metrics = [
            {"name": text, "type": kind, "value": round(float(run.numbers[key]), 4)}
            for key, kind, text in (
                ("test_perplexity", "perplexity", "perplexity of a token"),
                ("test_bits_per_byte", "bits_per_byte", "bits a byte"),
            )
            if run.numbers.get(key) is not None
        ]
        dataset = {"name": f"held-out part of {run.corpus.get('name', 'the text')}", "type": "text"}
        results = [{"task": {"type": "text-generation"}, "dataset": dataset, "metrics": metrics}]
        head["model-index"] = [{"name": name, "results": results}]
    return make_head(head)


def _describe_model(
    config: Mapping[str, Any],
    num_parameters: int,
    context_tokens: int | None,
    vocabulary: Mapping[str, Any],
    run: RunFacts | None,
) -> str:
    begun = "made" if run is None else "trained from scratch" if not run.train.get("start_from") else "trained further"
    sees = (
        f"sees {context_tokens:,} tokens at once" if context_tokens else "reads token after token into a state of constant size"
    )
    return (
        f"A language model, {begun} with whelp: {config.get('model_type')}, {num_parameters:,} parameters, {sees}. "
        f"Its vocabulary is of kind {vocabulary['kind']} and has {vocabulary['size']:,} ids."
    )


def _describe_data(run: RunFacts | None) -> str:
    if run is None:
        return "The run that made it was not found beside it: unknown."
    corpus, tokens, documents = run.corpus, run.corpus.get("tokens", {}), run.corpus.get("documents", {})
    size = say_bytes(corpus["text_bytes"]) if corpus.get("text_bytes") else "Text"
    held = f", and {say_count(tokens['test'], 'token')} were held out to measure it" if tokens.get("test") else ""
    passes = run.tokens / tokens["train"] if tokens.get("train") else None
    lines = [
        f"{size} from `{corpus.get('name', 'text')}`: {say_count(documents.get('train', 0), 'document')}, "
        f"{say_count(tokens.get('train', 0), 'token')} to train on{held}."
    ]
    if passes is not None:
        often = f"{passes:,.1f} times over" if passes >= 1 else f"{passes:.1%} of them, once"
        lines.append(f"It was trained on {say_count(run.tokens, 'token')}: {often}.")
    learned = run.data.get("tokenizer")
    if isinstance(learned, Mapping):
        lines.append("Its vocabulary was learned from the same text.")
    elif learned:
        lines.append(f"Its vocabulary is `{leave_folders_out(str(learned))}`.")
    if corpus.get("dropped"):
        dropped = ", ".join(f"{reason} {count:,}" for reason, count in corpus["dropped"].items())
        lines.append(f"Documents left out: {dropped}.")
    if corpus.get("licences"):
        lines.append(f"The texts are under {', '.join(corpus['licences'])}.")
    text = " ".join(lines)
    if corpus.get("sources"):
        has_licences = any(entry.get("licences") for entry in corpus["sources"].values())
        more = (" licence |", "---|") if has_licences else ("", "")
        text += f"\n\n| source | share of the training | documents |{more[0]}\n|---|---|---|{more[1]}"
        for source, entry in corpus["sources"].items():
            share = "" if entry.get("share") is None else f"{entry['share']:.1%}"
            text += f"\n| {make_cell(source)} | {share} | {entry.get('documents', 0):,} |"
            text += f" {make_cell(', '.join(entry.get('licences', [])) or 'not known')} |" if has_licences else ""
    return text


def _describe_numbers(run: RunFacts) -> str:
    if not run.numbers:
        return "Unknown: nothing was held out to measure it on."
    rows = {
        "nats a token": run.numbers.get("test_nats_per_token"),
        "perplexity of a token": run.numbers.get("test_perplexity"),
        "bits a byte": run.numbers.get("test_bits_per_byte"),
    }
    of = f"{run.numbers['test_num_tokens']:,} " if run.numbers.get("test_num_tokens") else ""
    where = f"On {of}held-out tokens, at step {run.numbers['step']:,}."
    why = "Compare bits a byte with other models: the other two depend on the vocabulary."
    shown = {name: f"{value:,.4g}" if value > 100 else f"{value:.4f}" for name, value in rows.items() if value is not None}
    return f"{where} {why}\n\n{make_table(shown)}"


def _describe_training(run: RunFacts) -> str:
    plan, train = run.plan, run.train
    optimizer = {"muon": "Muon for the blocks' matrices, AdamW for the rest", "adamw": "AdamW"}.get(
        str(train.get("optimizer")), ""
    )
    end = train.get("final_learning_rate_share")
    course = str(train.get("schedule")).replace("_", " ")
    course += "" if train.get("schedule") == "constant" or end is None else f" to {end:.0%} of it"
    batch = say_count(plan.get("batch_tokens", 0), "token")
    smaller = plan.get("smaller_batch_rows") or []
    grown = (
        f", fewer over the first {min(plan['batch_ramp_share'], 1.0):.0%}: {', '.join(map(str, smaller))} rows"
        if smaller
        else ""
    )
    processes = f", {say_count(plan['num_processes'], 'process')}" if plan.get("num_processes", 1) > 1 else ""
    formerly = "".join(f"{one['precision']} until step {one['until_step']:,}, then " for one in run.precisions)
    facts = {
        "steps": f"{run.step:,}, each of {batch} ({plan.get('batch_rows', 0):,} rows of {plan.get('context_tokens', 0):,}){grown}",
        "optimizer": optimizer,
        "learning rate": f"{train.get('learning_rate'):g} at its peak, {course}"
        if train.get("learning_rate") != "auto"
        else "",
        "weight decay": f"{train.get('weight_decay', 0):g}",
        "arithmetic": f"{formerly}{plan.get('precision')}, on {plan.get('device')}{processes}",
        "seed": f"{train.get('seed', 0)}",
        "begun with": leave_folders_out(str(train["start_from"])) if train.get("start_from") else "random weights",
        "time": "" if run.elapsed_seconds is None else say_duration(run.elapsed_seconds),
        "made longer": ", ".join(f"it was to be {one['length']}, until step {one['until_step']:,}" for one in run.lengths),
        "software": ", ".join(f"{name} {run.versions[name]}" for name in ("whelp", "torch", "python") if name in run.versions),
    }
    table = make_table({name: value for name, value in facts.items() if value})
    recipe = f"```yaml\n{run.recipe.rstrip()}\n```"
    return f"{table}\n\n<details><summary>Recipe: what differs from whelp's defaults</summary>\n\n{recipe}\n\n</details>"


def _describe_limits(num_parameters: int, context_tokens: int | None, run: RunFacts | None) -> str:
    limits = [
        "It continues text as its training data would. It does not follow instructions unless that data taught it to.",
        "What it says is not checked by anybody, and may be wrong, unkind, or somebody's words.",
    ]
    if context_tokens:
        limits.append(f"It sees {context_tokens:,} tokens at once and was trained on no longer texts.")
    if run is not None:
        wanted = _TOKENS_PER_PARAMETER * num_parameters
        if run.tokens < wanted:
            limits.append(
                f"It was trained on {run.tokens:,} tokens, fewer than the {wanted:,} that would make the best use of its size "
                f"({_TOKENS_PER_PARAMETER} a parameter)."
            )
        trained = run.corpus.get("tokens", {}).get("train")
        if trained and run.tokens > _MANY_EPOCHS * trained:
            limits.append(f"It has read its text {run.tokens / trained:,.0f} times, and may know parts of it by heart.")
    return "\n".join(f"- {limit}" for limit in limits)


def _describe_license(license_name: str | None, run: RunFacts | None) -> str:
    texts = "The texts that it learned from have licenses of their own."
    starts = run.start_licenses if run is not None else ()
    named = list(dict.fromkeys(one for one in starts if one is not None))
    if named:
        texts = f"The weights that it began with are under {', '.join(named)}, which holds for what was made of them. {texts}"
    if None in starts:
        texts = f"It began with weights that name no license: ask whoever gave them. {texts}"
    return say_license(license_name, texts)
