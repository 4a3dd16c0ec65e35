"""The names that users and scripts may rely on. A change here is a change for them: make it on purpose."""

from __future__ import annotations

import importlib
import inspect
import subprocess
import sys
from pathlib import Path

import pytest

import whelp

CALLS = [
    "Recipe",
    "append",
    "chat",
    "collect_britannica",
    "collect_folder",
    "collect_urls",
    "collect_web_archive",
    "collect_wikipedia",
    "collect_wikipedia_dump",
    "collect_youtube",
    "compare",
    "compare_recipes",
    "convert",
    "curate",
    "demo",
    "docs",
    "evaluate",
    "evaluate_code",
    "evaluate_tasks",
    "export",
    "export_store",
    "generate",
    "guide_tokenizer",
    "import_store",
    "init",
    "inspect",
    "load_recipe",
    "new",
    "plan",
    "prepare",
    "push",
    "report",
    "report_corpus",
    "report_tokenizer",
    "save_state",
    "schema",
    "serve",
    "show_progress",
    "show_tokenizer",
    "split",
    "trace",
    "train",
    "train_tokenizer",
    "verify_resume",
]
DOORS = {
    "collect": [
        "Asking",
        "Britannica",
        "Client",
        "Collector",
        "Document",
        "Event",
        "Journal",
        "LeftOut",
        "MannersConfig",
        "Urls",
        "Wikipedia",
        "YouTube",
        "gather_documents",
        "make_line",
    ],
    "corpus": [
        "BadRow",
        "BadValue",
        "Partition",
        "RowShape",
        "SkippedFile",
        "Source",
        "SourceConfig",
        "SourceFile",
        "TextShape",
        "count_skipped",
        "iter_texts",
        "open_source",
    ],
    "curate": ["CurateConfig", "Ledger", "Pipeline", "SourceToCurate", "curate", "make_index"],
    "tokenizer": ["LearnConfig", "Vocabulary", "learn", "load_tokenizer", "make_tolerant", "measure_corpus", "shrink"],
    "prepare": [
        "MixtureRows",
        "MixtureSource",
        "PackConfig",
        "PackedRows",
        "PrepareConfig",
        "SourceToPrepare",
        "TemplateConfig",
        "make_template",
        "pack_rows",
        "prepare",
    ],
    "model": [
        "Cache",
        "HuggingFaceModel",
        "LanguageModel",
        "ModelConfig",
        "ModelSpec",
        "build_model",
        "check_model",
        "find_obstacle",
        "make_spec",
        "model_from_hugging_face",
        "open_hugging_face",
    ],
    "train": ["Progress", "StepReport", "TrainConfig", "TrainPlan", "build_optimizer", "make_plan"],
    "generate": [
        "Completion",
        "Engine",
        "GenerateConfig",
        "Generation",
        "PrefixCache",
        "TextPiece",
        "TokenLogprob",
        "complete",
        "stream_text",
    ],
    "evaluate": ["LossResult", "PairedDifference", "compare_paired", "evaluate_loss", "evaluate_text", "measure_texts"],
    "report": [
        "RunFacts",
        "RunRecords",
        "find_differences",
        "find_warnings",
        "list_facts",
        "make_compare_report",
        "make_corpus_report",
        "make_curate_report",
        "make_dataset_card",
        "make_model_card",
        "make_recipes_report",
        "make_rows_report",
        "make_run_report",
        "make_vocabulary_guide",
        "make_vocabulary_report",
        "say_difference",
        "sum_up",
    ],
    "serve": ["ServeConfig", "ServedModel", "ServedStore", "Server", "make_app"],
}
COMMANDS = ["curate", "prepare", "train", "generate", "evaluate", "serve", "report"]  # rooms that are calls, too


def test_names_of_the_package() -> None:
    """`whelp.NAME` for every command of the terminal."""
    assert sorted(whelp.__all__) == CALLS
    assert set(CALLS) <= set(dir(whelp))
    for name in CALLS:
        assert callable(getattr(whelp, name)), name


def test_every_door_is_pinned() -> None:
    """A new room gets its line above."""
    package = Path(whelp.__file__).parent
    rooms = {path.parent.name for path in package.glob("*/__init__.py")}
    assert rooms - {"base", "artifacts", "cli"} == set(DOORS)


@pytest.mark.parametrize("room", DOORS)
def test_names_of_a_door(room: str) -> None:
    """Each room's `__init__` hands out these names and no other."""
    door = importlib.import_module(f"whelp.{room}")
    assert sorted(door.__all__) == DOORS[room]
    for name in DOORS[room]:
        assert getattr(door, name).__name__ == name


@pytest.mark.parametrize("room", DOORS)
def test_everything_at_a_door_says_what_it_does(room: str) -> None:
    """A docstring of its own (a dataclass gets a generated one, which says nothing)."""
    door = importlib.import_module(f"whelp.{room}")
    assert door.__doc__
    for name in DOORS[room]:
        text = getattr(door, name).__doc__
        assert text, f"whelp.{room}.{name} has no docstring"
        assert not text.startswith(f"{name}("), f"whelp.{room}.{name} has no docstring of its own"


def test_every_call_says_what_it_does() -> None:
    """`help(whelp.train)` shows the command."""
    for name in CALLS:
        found = getattr(whelp, name)
        text = inspect.unwrap(found).__doc__
        assert text, f"whelp.{name} has no docstring"
        assert not text.startswith(f"{name}(")


def test_an_unknown_name_is_an_attribute_error() -> None:
    """A door does not hand out what it does not have."""
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = whelp.nonsense
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = importlib.import_module("whelp.model").nonsense


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("prepare", ["recipe", "out", "overrides", "rows", "engine", "workers", "scale"]),
        ("curate", ["recipe", "out", "source", "overrides", "rows", "engine", "workers", "scale"]),
        ("train", ["recipe", "store", "out", "overrides", "scale", "nproc"]),
        ("verify_resume", ["recipe", "store", "overrides", "scale", "num_steps", "nproc", "tolerance"]),
        ("plan", ["recipe", "store", "overrides", "scale", "price_per_hour"]),
        ("docs", ["words"]),
        ("generate", ["model", "prompt", "n", "device", "precision", "settings"]),
        ("evaluate", ["model", "store", "split", "num_rows", "device"]),
        (
            "evaluate_tasks",
            [
                "model",
                "tasks",
                "num_fewshot",
                "limit",
                "apply_chat_template",
                "system_instruction",
                "out",
                "device",
                "on_progress",
            ],
        ),
        (
            "evaluate_code",
            [
                *("model", "problems", "run_generated_code", "n", "k", "temperature", "top_p", "max_tokens", "seed", "limit"),
                *("timeout_seconds", "memory_megabytes", "out", "device", "on_progress"),
            ],
        ),
        ("chat", ["model", "system", "device", "precision", "settings"]),
        ("compare", ["models", "prompts", "text_file", "steps", "n", "device", "on_progress", "settings"]),
        ("export", ["model", "out", "format", "dtype", "name", "license", "check"]),
        (
            "push",
            [
                *("source", "name", "dataset", "format", "dtype", "license", "private", "revision", "message", "replace"),
                "dry_run",
            ],
        ),
        ("serve", ["model", "compare", "store", "device", "precision", "on_ready", "settings"]),
        (
            "inspect",
            ["store", "rows", "split", "context_tokens", "plan", "recipe", "overrides", "file", "find", "step", "html"],
        ),
        (
            "collect_wikipedia",
            [
                *("out", "search", "titles", "categories", "links_of", "starter_lists", "language", "category_depth"),
                *("max_per_search", "base_url", "max_documents", "max_minutes", "refresh", "finish", "manners"),
            ],
        ),
        (
            "collect_britannica",
            [
                "out",
                "permission",
                "search",
                "articles",
                "max_pages",
                "base_url",
                "max_documents",
                "max_minutes",
                "refresh",
                "finish",
                "manners",
            ],
        ),
        (
            "collect_urls",
            ["out", "urls", "sitemaps", "sites", "match", "max_documents", "max_minutes", "refresh", "finish", "manners"],
        ),
        (
            "collect_youtube",
            [
                *("out", "videos", "playlists", "channels", "languages", "kind", "with_times", "only_creative_commons"),
                *("api_url", "site_url", "max_documents", "max_minutes", "refresh", "finish", "manners"),
            ],
        ),
        ("demo", ["out", "corpus", "minutes"]),
        ("new", ["name"]),
        (
            "init",
            [
                *("recipe", "out", "family", "n_layer", "n_head", "n_embd", "vocab_size", "context_tokens", "seed"),
                *("weights", "skip_if_exists", "overrides", "scale"),
            ],
        ),
        ("train_tokenizer", ["source", "out", "learn"]),
        ("report", ["runs", "out"]),
        ("report_corpus", ["source", "overrides", "reference", "by", "columns", "html"]),
        ("report_tokenizer", ["names", "corpus", "texts", "by", "max_bytes", "html"]),
        ("show_tokenizer", ["name", "text", "num_samples"]),
        ("guide_tokenizer", ["corpus", "n_embd", "n_layer", "family", "sizes", "max_bytes", "html"]),
        ("export_store", ["store", "format", "out", "splits", "context_tokens"]),
        ("import_store", ["files", "format", "tokenizer", "out", "test", "test_split", "seed", "column", "rows"]),
        (
            "collect_web_archive",
            [
                *("files", "out", "extract", "languages", "domains", "statuses", "mime_types", "min_characters", "licence"),
                *("max_record_bytes", "max_page_seconds", "chosen", "base_url", "keep_fetched", "workers"),
            ],
        ),
        (
            "collect_folder",
            [
                *("folder", "out", "include_suffixes", "licence", "max_file_bytes", "max_unpacked_bytes"),
                "max_document_seconds",
            ],
        ),
        (
            "collect_wikipedia_dump",
            [
                "file",
                "out",
                "namespaces",
                "headings",
                "disambiguation",
                "formulas",
                "tables",
                "licence",
                "max_page_bytes",
                "workers",
            ],
        ),
        ("convert", ["files", "out", "columns", "separator", "encoding", "delimiter", "sheet", "element", "table"]),
        ("append", ["files", "out", "separator", "max_bytes"]),
        ("split", ["file", "out", "max_bytes", "parts", "document"]),
        ("load_recipe", ["recipe", "overrides", "scale"]),
        ("schema", []),
        ("show_progress", ["is_wanted"]),
    ],
)
def test_parameters_of_the_calls(name: str, parameters: list[str]) -> None:
    """The arguments of each call are pinned as its name is; rooms show those of their command."""
    assert list(inspect.signature(getattr(whelp, name)).parameters) == parameters


@pytest.mark.parametrize("room", COMMANDS)
def test_a_room_is_a_package_and_a_call(room: str) -> None:
    """`whelp.prepare(...)` is the command; `whelp.prepare.pack` is still the room."""
    found = getattr(whelp, room)
    assert inspect.ismodule(found)
    assert found is importlib.import_module(f"whelp.{room}")
    assert inspect.unwrap(found) is getattr(importlib.import_module(f"whelp.cli.{room}"), room)


def test_files_of_a_callable_room() -> None:
    """Files of a room are reached through it as of any package."""
    from whelp.prepare import pack, pack_rows

    assert whelp.prepare.pack is pack
    assert whelp.prepare.pack_rows is pack_rows


@pytest.mark.parametrize(
    "code",
    [
        "import whelp; whelp.prepare(1, 2, 3)",
        "import whelp.prepare; whelp.prepare(1, 2, 3)",
        "import whelp.prepare.pack, whelp; whelp.prepare(1, 2, 3)",
        "from whelp import prepare; prepare(1, 2, 3)",
        "from whelp.cli.prepare import iter_prepare; import whelp; whelp.prepare(1, 2, 3)",
    ],
)
def test_a_room_can_be_called_whatever_was_imported_first(code: str) -> None:
    """Each order of imports reaches the command, which here complains about its arguments."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert "TypeError: prepare() takes" in done.stderr
