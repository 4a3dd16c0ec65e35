"""YAML files of the infctx trainer: mapped option by option, and what is said of options that cannot be."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from whelp.base.config import load_config, read_yaml
from whelp.base.errors import ConfigError
from whelp.cli.infctx import is_infctx, map_infctx
from whelp.cli.infctx_options import NO_EFFECT, OPTIONS, REFUSED, USED, make_table
from whelp.cli.recipe import DataConfig

from .infctx_files import FILES, NAMES, minimal


def problems_of(values: dict[str, Any]) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        map_infctx(values, "a.yaml")
    return caught.value.problems


# --- the mapping ---

DATA = {
    "separator": "none",
    "min_token_size": 2,
    "max_token_size": -1,
    "test_split": 0.01,
    "test_split_by": "document",
    "test_split_shuffle": False,
    "special_tokens_in_text": True,
    "multi_column_keys": ["instruction", "input", "output"],
}
TRAIN = {
    "num_steps": 10,
    "batch_tokens": 32 * 1024,
    "optimizer": "adamw",
    "beta2": 0.99,
    "weight_decay": 0.01,
    "device": "auto",
    "precision": "auto",
    "warmup_share": 0.0,
    "schedule": "constant",
    "learning_rate": 1e-4,
}
BPTT = {"bptt_tokens": 1024, "bptt_truncated_learning": True, "bptt_learning_range": -1}
MODEL = {"family": "rwkv5", "n_layer": 6, "n_embd": 512, "n_head": 8}
EXPECTED: dict[str, dict[str, Any]] = {
    "enwiki": {
        "data": {
            **DATA,
            "source": "enwiki.parquet",
            "tokenizer": "neox",
            "custom_text_key": "text",
            "min_token_size": 64,
            "separator": "eos",
            "test_split_by": "auto",
        },
        "pack": {"context_tokens": 2048, "plan": "concat"},
        "model": MODEL,
        "train": {**TRAIN, **BPTT, "learning_rate": 3e-4, "batch_tokens": 32 * 2048},
    },
    "prompt-completion": {
        "data": {**DATA, "source": "self-instruct.jsonl", "tokenizer": "neox", "disable_prompt_completion_mask": False},
        "pack": {"context_tokens": 16 * 1024, "plan": "none"},
        "model": MODEL,
        "train": {**TRAIN, **BPTT, "batch_tokens": 32 * 16 * 1024},
    },
    "multi-column-keys": {
        "data": {
            **DATA,
            "source": "dolly.jsonl",
            "tokenizer": "neox",
            "multi_column_prefix": [r"Instruction:\n", r"Input:\n", r"Output:\n"],
            "multi_column_train_mask": [True, False, True],
            "multi_column_separator": r"\n\n",
        },
        "pack": {"context_tokens": 16 * 1024, "plan": "none"},
        "model": MODEL,
        "train": {**TRAIN, **BPTT, "batch_tokens": 32 * 16 * 1024},
    },
    "music-tokenizer": {
        "data": {
            **DATA,
            "source": "musenet.parquet",
            "tokenizer": "./tokenizer",
            "custom_text_key": "bing",
            "test_split": 0.005,
            "test_split_shuffle": True,
        },
        "pack": {"context_tokens": 16 * 4096, "plan": "none"},
        "model": MODEL,
        "train": {
            **TRAIN,
            "bptt_tokens": 4096,
            "bptt_truncated_learning": True,
            "bptt_learning_range": 1,
            "checkpoint_activations": True,
            "learning_rate": 6e-4,
            "schedule": "cosine",
            "final_learning_rate_share": pytest.approx(1 / 3),
            "beta1": 0.9,
            "epsilon": 1e-8,
            "batch_tokens": 32 * 16 * 4096,
        },
    },
}


@pytest.mark.parametrize("name", NAMES)
def test_the_four_files(name: str) -> None:
    """Every value of ours that comes of each, and no other; their data section is one of ours."""
    values = read_yaml(FILES / f"{name}.yaml")
    assert is_infctx(values)
    mapped = map_infctx(values, name)
    assert mapped.values == EXPECTED[name]
    load_config(DataConfig, mapped.values["data"], name)
    assert mapped.notices[0].startswith("L6-D512-")
    assert "is not there: a new rwkv5 of 6 layers and width 512 is trained" in mapped.notices[0]
    idle = [notice for notice in mapped.notices if notice.startswith("without effect here: ")]
    assert len(idle) == (name == "music-tokenizer")


@pytest.mark.parametrize(
    ("name", "family"),
    [
        ("RWKV-4-Pile-169M-20220807-8023.pth", "rwkv4"),
        ("RWKV-5-World-0.4B-v2-20231113-ctx4096.pth", "rwkv5"),
        ("RWKV-x060-World-1B6-v2.1-20240328-ctx4096.pth", "rwkv6"),
        ("RWKV-x070-World-0.1B-v2.8-20241210-ctx4096.pth", "rwkv7"),
        ("my-model.pth", "rwkv5"),
    ],
)
def test_the_name_of_a_published_file_says_the_generation(name: str, family: str) -> None:
    """Where the file is not there, a new model is at least of its kind."""
    mapped = map_infctx(minimal(model={"load_model": f"model/{name}", "n_layer": 12, "n_embd": 768}), "t")
    assert mapped.values["model"]["family"] == family
    assert mapped.notices[0].startswith(f"{name} is not there: a new {family} of 12 layers and width 768 is trained")


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"trainer": {}}, True),
        ({"data": {"data_path": "x", "source": "a.txt"}}, True),
        ({"model": {"load_model": "x.pth"}, "data": {}}, True),
        ({"model": {"ctx_len": 1024}}, True),
        ({"model": {"n_layer": 6}, "data": {"source": "a"}}, False),
        ({"train": {}, "model": None}, False),
        ({}, False),
    ],
)
def test_which_files_are_meant(values: dict[str, Any], expected: bool) -> None:
    """By the section trainer, or by what only such models have."""
    assert is_infctx(values) is expected


@pytest.mark.parametrize(
    ("data", "pack", "separator", "row"),
    [
        ({}, "none", "none", 16 * 64),
        ({"max_token_size": 100}, "none", "none", 100),
        ({"packing_enable": True}, "best_fit", "eos", 64),
        ({"text_rechunk_force": True, "text_rechunk_size": 128}, "concat", "eos", 128),
        ({"text_rechunk_force": True, "packing_enable": True}, "concat", "eos", 4096),
        ({"text_rechunk_force": True, "text_rechunk_size": 0}, "none", "none", 16 * 64),
        ({"text_rechunk_force": True, "text_rechunk_separator": "newline"}, "concat", "newline", 4096),
        ({"source": "text", "source_data_dir": "x/"}, "concat", "eos", 4096),
        ({"source": "book.txt", "text_rechunk_size": 32}, "concat", "eos", 32),
        ({"source": "book.txt", "text_rechunk_auto": False}, "none", "none", 16 * 64),
    ],
)
def test_how_rows_are_made(data: dict[str, Any], pack: str, separator: str, row: int) -> None:
    """Rechunked, packed, or a document a row; what stands between documents; chunks of ctx_len where rows are longer."""
    mapped = map_infctx(minimal(trainer={"target_batch_size": 8}, model={"ctx_len": 64}, data=data), "t").values
    assert mapped["pack"] == {"context_tokens": row, "plan": pack}
    assert mapped["data"]["separator"] == separator
    assert mapped["train"]["batch_tokens"] == 8 * row
    assert mapped["train"].get("bptt_tokens") == (64 if row > 64 else None)


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        ({"lr_init": "6e-4"}, {"schedule": "constant", "learning_rate": 6e-4}),  # YAML reads 6e-4 as text
        ({"lr_final": 1e-3}, {"schedule": "constant", "learning_rate": 1e-3}),
        ({"lr_final": 5e-4}, {"schedule": "cosine", "learning_rate": 1e-3, "final_learning_rate_share": 0.5}),
        ({"lr_final": 5e-4, "lr_type": "linear"}, {"schedule": "linear", "final_learning_rate_share": 0.5}),
        ({"lr_final": 5e-4, "lr_period": 0}, {"schedule": "constant", "learning_rate": 5e-4}),
        ({"lr_final": 0, "lr_period": 3}, {"schedule": "cosine", "final_learning_rate_share": 0.0}),
        ({"warmup_steps": 5}, {"warmup_steps": 5, "schedule": "constant"}),
        ({"warmup_steps": -1}, {"warmup_share": 0.0}),
        (
            {"weight_decay": 0.2, "beta1": 0.8, "beta2": 0.9, "adam_eps": 1e-6},
            {"weight_decay": 0.2, "beta1": 0.8, "epsilon": 1e-6},
        ),
    ],
)
def test_learning_rates(model: dict[str, Any], expected: dict[str, Any]) -> None:
    """Constant without a final rate, else down to it."""
    train = map_infctx(minimal(model=model), "t").values["train"]
    assert {name: train[name] for name in expected} == pytest.approx(expected)
    assert ("warmup_share" in train) is ("warmup_steps" not in train)


@pytest.mark.parametrize(
    ("trainer", "expected"),
    [
        ({"max_steps": -1, "max_epochs": 3}, {"num_epochs": 3.0}),
        ({"max_steps": 7, "max_epochs": 3}, {"num_steps": 7}),
        ({"max_steps": None}, {"num_epochs": 1.0}),
        ({"accumulate_grad_batches": 4, "microbatch_size": 2}, {"batch_tokens": 8 * 16 * 2048, "micro_batch_rows": 2}),
        ({"accelerator": "cpu", "precision": 32}, {"device": "cpu", "precision": "fp32"}),
        ({"accelerator": "gpu", "precision": "bf16-mixed"}, {"device": "auto", "precision": "auto"}),
        (
            {"val_check_interval": 50, "log_every_n_steps": 5, "gradient_clip_val": 0.5},
            {"evaluate_every_steps": 50, "log_every_steps": 5},
        ),
        ({"val_check_interval": 0.5, "limit_train_batches": 1.0}, {"num_steps": 10}),
        (
            {
                "callbacks": {
                    "class_path": "lightning.pytorch.callbacks.ModelCheckpoint",
                    "init_args": {"every_n_train_steps": 100, "save_top_k": 3, "dirpath": "/x"},
                }
            },
            {"save_every_steps": 100, "keep_checkpoints": 3},
        ),
    ],
)
def test_trainer_options(trainer: dict[str, Any], expected: dict[str, Any]) -> None:
    """How long, how much at a time, on what."""
    train = map_infctx(minimal(trainer=trainer), "t").values["train"]
    assert {name: train[name] for name in expected} == expected


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        ({"test_split": 0}, {"test_split": 1}),
        ({"test_split": -1}, {"test_split": 1}),
        ({"test_split": 5}, {"test_split": 5}),
        ({"test_split": 5.0}, {"test_split": 5}),
        ({"test_split": 0.5, "test_split_shuffle": True}, {"test_split": 0.5, "test_split_shuffle": True}),
        ({"min_token_size": -1, "max_token_size": 0}, {"min_token_size": 2, "max_token_size": -1}),
        ({"dataset_offset": -1, "dataset_length": 0.5}, {"dataset_length": 0.5}),
        ({"tokenizer": "world"}, {"special_tokens_in_text": True}),
        ({"tokenizer": "world", "world_add_endoftext_token": False}, {"special_tokens_in_text": False}),
        ({"world_add_endoftext_token": False}, {"tokenizer": "neox", "special_tokens_in_text": True}),
        ({"source_dataset_params": {"language": "en"}}, {"source_dataset_params": {"language": "en"}}),
        ({"multi_column_keys": [], "conversation_format": None}, {"multi_column_keys": []}),
    ],
)
def test_data_options(data: dict[str, Any], expected: dict[str, Any]) -> None:
    """A whole number of documents stays one, and a share a share; at least one document is held out."""
    section = map_infctx(minimal(data=data), "t").values["data"]
    assert {name: section[name] for name in expected} == expected
    assert type(section["test_split"]) is type(expected.get("test_split", 0.01))
    assert "dataset_offset" not in section
    assert "conversation_format" not in section


@pytest.mark.parametrize(("source", "expected"), [("wiki.txt", "auto"), ("rows.jsonl", "document")])
def test_one_large_text_has_a_test_split(source: str, expected: str) -> None:
    """Of rechunked text, blocks are held out there: a single file loses its end, in place of being an error."""
    assert map_infctx(minimal(data={"source": source}), "t").values["data"]["test_split_by"] == expected


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        ({"load_model": "/a/b/RWKV-L12-D768-world.pth"}, {"n_layer": 12, "n_embd": 768, "n_head": 12}),
        ({"load_model": "L6-D96-x.pth"}, {"n_layer": 6, "n_embd": 96, "n_head": 3}),
        ({"load_model": "L6-D512.pth", "n_layer": 3}, {"n_layer": 3, "n_embd": 512}),
        ({"load_model": None, "n_layer": 3, "n_embd": 128}, {"n_layer": 3, "n_embd": 128, "n_head": 2}),
        ({"dim_ffn": 2048, "vocab_size": 20259, "dim_att": 512}, {"ffn_width": 2048, "vocab_size": 20259}),
    ],
)
def test_the_size_of_the_model(model: dict[str, Any], expected: dict[str, Any]) -> None:
    """From the options, or from the name of the file."""
    section = map_infctx(minimal(model=model), "t").values["model"]
    assert {name: section[name] for name in expected} == expected


# --- what is known, and what is not ---


def test_every_option_has_a_fate() -> None:
    """All options of the data module, of the model and of the full example are known; nothing else is."""
    data = """skip_datapath_setup datapack_config_path data_path data_path_storage_options source source_data_dir
        source_dataset_params test_split test_split_shuffle text_rechunk_size text_rechunk_auto text_rechunk_force tokenizer
        autoTokenizer world_add_endoftext_token min_token_size max_token_size sort_by_length sort_asc dataset_offset
        dataset_length custom_text_key multi_column_keys multi_column_prefix multi_column_suffix multi_column_train_mask
        multi_column_separator conversation_format conversation_key conversation_input_key_prefix_map
        conversation_input_key_mask conversation_sender_key conversation_sender_value_map conversation_input_key_map
        conversation_sender_suffix conversation_sender_mask conversation_end_of_conversation disable_prompt_completion_mask
        data_prefix_skip_mask packing_enable packing_batchsize packing_chunksize packing_min_ctx_len packing_in_sequence
        reverse_train_dataset_before_save processing_max_batch_size dataloader_shuffle_training dataloader_prefetch_factor
        dataloader_pin_memory dataloader_swap_train_test_split source_dataset_split dataset_name dataset_index
        is_random_datapack"""
    model = """load_model n_embd n_layer vocab_size ctx_len ctx_len_cutoffs ctx_len_warmup_steps lr_init lr_final lr_period
        lr_period_type lr_type dropout beta1 beta2 adam_eps weight_decay warmup_steps position_loss_bias
        position_loss_bias_in_validation token_loss_threshold token_dropout_rate grad_cp bptt_learning bptt_learning_range
        bptt_truncated_learning layerwise_lr dim_att dim_ffn substep_cuda_cache_clear substep_logging
        torch_set_float32_matmul_precision target_lr_init target_lr_final"""
    known = {name for name in OPTIONS if not name.startswith("trainer.")}
    theirs = {*(f"data.{name}" for name in data.split()), *(f"model.{name}" for name in model.split())}
    assert known == theirs | {"seed_everything", "ckpt_path", "data.text_rechunk_separator"}
    assert {known.fate for known in OPTIONS.values()} == {USED, NO_EFFECT, REFUSED}


def test_used_options_do_something() -> None:
    """Set to something else than the default, each option said to be used changes the recipe; no other one does."""
    changed: dict[str, Any] = {
        "trainer.accelerator": "cpu",
        "trainer.accumulate_grad_batches": 8,
        "trainer.callbacks": [{"class_path": "ModelCheckpoint", "init_args": {"save_top_k": 9}}],
        "trainer.max_epochs": None,  # with max_steps it is out; see test_trainer_options
        "trainer.precision": "32-true",
        "model.lr_final": 5e-4,
        "model.lr_period": 0,
        "model.lr_type": "linear",
        "model.load_model": "L4-D128.pth",
        "model.bptt_learning": False,
        "data.conversation_format": "iopairs",
        "data.test_split_shuffle": True,
        "data.text_rechunk_auto": False,
        "data.text_rechunk_force": False,
        "data.text_rechunk_separator": "newline",
        "data.world_add_endoftext_token": False,
        "data.data_path": None,  # see test_data_path
        "data.packing_enable": None,  # rechunking wins; see test_how_rows_are_made
    }
    base = minimal(model={"lr_final": 1e-4}, data={"text_rechunk_force": True, "tokenizer": "world", "source": "b.txt"})
    before = map_infctx(base, "t").values
    for name, known in OPTIONS.items():
        if known.fate == REFUSED or changed.get(name, 0) is None:
            continue
        section, _, option = name.rpartition(".")
        value = changed.get(name, 3)
        values = {**base, option: value} if not section else {**base, section: {**base[section], option: value}}
        if name == "data.text_rechunk_auto":
            values["data"]["text_rechunk_force"] = False
        if name == "data.text_rechunk_force":
            values["data"]["text_rechunk_auto"] = False
        assert (map_infctx(values, "t").values != before) is (known.fate == USED), name


def test_problems_are_said_all_at_once() -> None:
    """Unknown options with the nearest known one, refused ones with what to do."""
    values = minimal(
        trainer={"max_step": 5, "max_time": "00:01:00:00"},
        model={"ctx_len_cutoffs": [512], "droput": 0},
        data={"multi_column_seperator": " ", "autoTokenizer": {"kwargs": {}}},
    )
    assert problems_of({**values, "pack": {}}) == [
        "unknown option trainer.max_step of the infctx trainer. Did you mean trainer.max_steps?",
        "trainer.max_time is '00:01:00:00', which whelp does not do: "
        "set `train.minutes=N train.num_steps=null train.num_epochs=null`",
        "model.ctx_len_cutoffs is [512], which whelp does not do: set `model.ctx_len`",
        "unknown option model.droput of the infctx trainer. Did you mean model.dropout?",
        "unknown option data.multi_column_seperator of the infctx trainer. Did you mean data.multi_column_separator?",
        "data.autoTokenizer is {'kwargs': {}}, which whelp does not do: save the tokenizer as you want it, and name its folder",
        "unknown option pack of the infctx trainer. Sections: trainer, model, data.",
    ]


@pytest.mark.parametrize(
    ("values", "problem"),
    [
        (minimal(data={"source": None}), "data.source is missing"),
        (minimal(data={"source": "json"}), "data.source is json, but nothing says which files: set data.source_data_dir"),
        (minimal(data={"tokenizer": "binidx"}), "data.tokenizer is binidx, which is no tokenizer"),
        (minimal(data={"data_path": "s3://bucket/x"}), "a token store is a folder of this machine"),
        (minimal(data={"test_split": "many"}), "data.test_split is 'many', but expected a number"),
        (minimal(data={"text_rechunk_force": True, "text_rechunk_separator": " "}), "data.text_rechunk_separator is ' '"),
        (minimal(model={"load_model": "rwkv.pth"}), "does not say how large the model is: call it L6-D512-..."),
        (minimal(model={"lr_init": None}), "model.lr_init is missing, but expected a learning rate above 0"),
        (minimal(model={"lr_final": 1.0}), "model.lr_final (1) is above model.lr_init (0.001)"),
        (minimal(model={"ctx_len": 10.5}), "model.ctx_len is 10.5, but expected a whole number"),
        (minimal(trainer={"max_steps": -1, "max_epochs": -1}), "so there is no end: set trainer.max_steps"),
        (minimal(trainer={"target_batch_size": 8, "accumulate_grad_batches": 2}), "are both set. Keep one of them"),
        ({**minimal(), "model": "L6"}, "model is 'L6', but a mapping of options is expected"),
        ({**minimal(), "ckpt_path": "x.ckpt"}, "ckpt_path is 'x.ckpt', which whelp does not do: `whelp train` goes on"),
    ],
)
def test_values_that_cannot_be_mapped(values: dict[str, Any], problem: str) -> None:
    """Each names its option and what to do."""
    assert any(problem in found for found in problems_of(values)), problems_of(values)


def test_the_page_shows_the_table() -> None:
    """docs/infctx.md has every option as the code has it."""
    page = (Path(__file__).parents[2] / "docs" / "infctx.md").read_text(encoding="utf-8")
    assert make_table() in page
