"""What other programs call things: their options and commands, and what to give here instead.

An option of a recipe that others merely name otherwise has that name beside it (`known_as`). Here is the rest: other units, what the
command line says, what a value of another option says, what happens by itself, what there is not.
"""

from __future__ import annotations

_ROWS = "A batch is given in tokens: train.batch_tokens is rows times pack.context_tokens; memory divides it by itself."
_END = "The end of the learning rate is given as a share of its peak: train.final_learning_rate_share=0.1."
_RUN = "The run folder is given on the command line: --out RUN."
_GOES_ON = "There is nothing to set: the same `whelp train` goes on where it stopped."
_RESUME = (
    "The same `whelp train` goes on where it stopped, with nothing to set; the weights of another run are train.start_from=DIR."
)
_WHOLE = "All weights are trained here: there are no adapters (LoRA, QLoRA), and no weights of 4 or 8 bits."
_START = "A model to begin with is train.start_from=DIR."
_VOCABULARY = "A vocabulary, by its name or its folder, is data.tokenizer."
_LEARN = "A vocabulary is learned by data.tokenizer={learn: bpe, vocab_size: 8192}."
_CONTEXT = "Tokens in a row are pack.context_tokens."
_GPUS = "Processes, one for a GPU, are given on the command line: --nproc N."
_SHARD = "Weights are divided over the processes by train.shard=true, and by nothing else."
_LENGTH = (
    "A run is as long as train.num_steps, train.num_epochs or train.minutes says; a step trains train.batch_tokens tokens."
)
_ATTENTION = "There is nothing to set: the fastest attention of the machine is taken."
_RATES = "Optimizers share one train.learning_rate; its moves are scaled to the shapes of the weights."
_DECAY = "The learning rate comes down as train.schedule, train.decay_share and train.final_learning_rate_share say."
_WORKERS = "Threads are given to `whelp prepare` on the command line: --workers N. Training needs none: it reads tokens from a memory map."
_HELD_OUT = "What is held out to measure on is data.test_split: a share, or a number of documents."
_SAVE = "A run always saves: every train.save_every_steps, at its end, and when it is stopped."
_EVALUATE = "How often is measured, on how much: train.evaluate_every_steps, train.evaluate_rows."
_TRACK = "Other tools are told of a run by train.track=[wandb]."
_COLUMN = "The column with the text is data.custom_text_key; several are data.multi_column_keys."
_PACKING = "How documents become rows is pack.plan: concat, best_fit, none or stream."
_SHUFFLED = "Rows always come in a new order, drawn by train.seed; pack.plan=stream draws that of documents, too."
_NONE = "There is no such option here."

OPTIONS = {
    **dict.fromkeys(
        (
            "batch_size",
            "global_batch_size",
            "train_batch_size",
            "target_batch_size",
            "local_batch_size",
            "train_micro_batch_size",
        ),
        _ROWS,
    ),
    **dict.fromkeys(("min_lr", "final_lr", "lr_final", "lr_min"), _END),
    **dict.fromkeys(("gradient_accumulation_steps", "gradient_accumulation", "accumulate_grad_batches"), _ROWS),
    **dict.fromkeys(
        ("output_dir", "out_dir", "save_dir", "checkpoint_dir", "overwrite_output_dir", "logging_dir", "run_name"), _RUN
    ),
    **dict.fromkeys(("resume", "auto_resume", "resume_from_step", "load"), _GOES_ON),
    **dict.fromkeys(("resume_from", "resume_from_checkpoint", "auto_resume_from_checkpoints"), _RESUME),
    **dict.fromkeys(
        (
            "adapter",
            "load_in_4bit",
            "load_in_8bit",
            "lora_alpha",
            "lora_dropout",
            "lora_r",
            "lora_rank",
            "lora_target_linear",
            "lora_target_modules",
            "peft",
            "use_lora",
            "use_peft",
        ),
        _WHOLE,
    ),
    **dict.fromkeys(("model_name_or_path", "base_model", "model_name", "pretrained", "initial_checkpoint_dir"), _START),
    **dict.fromkeys(
        (
            "tokenizer_name",
            "tokenizer_path",
            "tokenizer_dir",
            "tokenizer_name_or_path",
            "tokenizer_type",
            "vocab_file",
            "merge_file",
        ),
        _VOCABULARY,
    ),
    **dict.fromkeys(("max_seq_length", "max_position_embeddings", "max_sequence_length"), _CONTEXT),
    **dict.fromkeys(("num_gpus", "n_gpus", "gpus", "devices", "nproc_per_node", "world_size", "num_nodes"), _GPUS),
    **dict.fromkeys(("deepspeed", "zero_stage", "data_parallel_shard_degree", "tensor_parallel_degree"), _SHARD),
    **dict.fromkeys(
        ("max_tokens", "num_tokens", "total_tokens", "train_tokens", "target_param_data_ratio", "target_flops"), _LENGTH
    ),
    **dict.fromkeys(
        ("flash_attention", "flash_attn", "use_flash_attn", "xformers_attention", "attn_implementation"), _ATTENTION
    ),
    **dict.fromkeys(("embedding_lr", "unembedding_lr", "matrix_lr", "scalar_lr"), _RATES),
    **dict.fromkeys(("decay_lr", "lr_decay_iters", "lr_decay_style", "warmdown_ratio", "final_lr_frac"), _DECAY),
    **dict.fromkeys(("num_workers", "num_proc", "dataloader_num_workers", "preprocessing_num_workers"), _WORKERS),
    **dict.fromkeys(("val_set_size", "validation_file", "val_data_path", "train_split", "valid_split"), _HELD_OUT),
    **dict.fromkeys(("always_save_checkpoint", "save_strategy"), _SAVE),
    **dict.fromkeys(("do_train", "do_eval", "eval_only"), "`whelp train` trains and measures; `whelp evaluate` only measures."),
    **dict.fromkeys(
        ("push_to_hub", "hub_model_id"), "Nothing is sent while a run trains; `whelp push RUN OWNER/NAME` sends it."
    ),
    **dict.fromkeys(("evals_per_epoch", "eval_tokens"), _EVALUATE),
    **dict.fromkeys(("wandb_log", "wandb_project", "wandb_run_name", "logger_name", "use_wandb"), _TRACK),
    **dict.fromkeys(("text_column_name", "jsonl_keys", "json_keys"), _COLUMN),
    **dict.fromkeys(
        ("sample_packing", "eval_sample_packing", "pad_to_sequence_len", "pad_to_max_length", "group_texts"), _PACKING
    ),
    **dict.fromkeys(("shuffle", "shuffle_seed", "shuffle_buffer"), _SHUFFLED),
    **dict.fromkeys(("z_loss", "label_smoothing", "label_smoothing_factor", "neftune_noise_alpha"), _NONE),
    "activation_checkpoint": "Activations are computed again instead of kept by train.checkpoint_activations=true.",
    "recompute_activations": "Activations are computed again instead of kept by train.checkpoint_activations=true.",
    "aspect_ratio": "The width is model.n_embd.",
    "bf16": "It is train.precision=bf16; auto takes it on a GPU that has it.",
    "backend": "There is nothing to set: processes talk by NCCL on GPUs, by gloo on CPUs.",
    "chat_template": "A vocabulary's own chat template lays rows out by data.conversation_template=tokenizer.",
    "clip_grad": "It is train.clip_gradient_norm.",
    "config": "The recipe is the first argument: whelp train recipe.yaml.",
    "data_path": "Text is data.source; a store of tokens is given on the command line: --store STORE.",
    "dataset_prepared_path": "A store of tokens is written by `whelp prepare RECIPE --out STORE`.",
    "dataset_name": "A dataset of the hub is data.source=org/name.",
    "dataset_config_name": "What `load_dataset` takes is data.source_dataset_params={name: ...}.",
    "ffn_hidden_size": "It is model.ffn_width.",
    "fp16": "There is no fp16: train.precision is fp32, tf32, bf16 or fp8, and auto takes bf16 on a GPU that has it.",
    "group_by_length": "pack.plan=none puts rows of like lengths together.",
    "group_query_attention": "Keys and values are shared by model.n_kv_head.",
    "hidden_dim": "The width is model.n_embd, that of the feed-forward model.ffn_width.",
    "load_best_model_at_end": "The checkpoint of the lowest test loss is kept by train.keep_best=true.",
    "lr_warmup_iters": "It is train.warmup_steps.",
    "lr_warmup_steps": "It is train.warmup_steps.",
    "max_norm": "It is train.clip_gradient_norm.",
    "metric_for_best_model": "train.keep_best=true keeps the checkpoint of the lowest test loss.",
    "muon": "It is train.optimizer=muon.",
    "n_query_groups": "Keys and values are shared by model.n_kv_head.",
    "num_query_groups": "Keys and values are shared by model.n_kv_head.",
    "num_iterations": "It is train.num_steps.",
    "num_vocab": _LEARN,
    "optim": "It is train.optimizer: adamw or muon.",
    "per_device_eval_batch_size": "There is nothing to set: evaluation takes rows as training does.",
    "pretraining_dataset": "Text is data.source.",
    "rope_scaling": "The base of rotary positions is model.rope_base; they are not scaled.",
    "sample_every": "A sample is made at every evaluation: train.evaluate_every_steps, train.sample_prompts.",
    "save_every": "It is train.save_every_steps.",
    "saves_per_epoch": "It is train.save_every_steps.",
    "sliding_window": "Attention goes over the whole row here; with model.family=hf an architecture of transformers may have windows.",
    "special_tokens": "Control tokens of a vocabulary that is learned: data.tokenizer={learn: bpe, special_tokens: [chat]}.",
    "streaming": "It is data.source_streaming, for datasets of the hub.",
    "swiglu": "model.family=qwen3 has SwiGLU, gpt2 GELU.",
    "tf32": "It is train.precision=tf32.",
    "train_on_inputs": "Prompts are not trained; of other columns data.multi_column_train_mask says which are.",
    "train_iters": "It is train.num_steps.",
    "use_muon": "It is train.optimizer=muon.",
}
"""By the name of the option: what to do here, a sentence."""

COMMANDS = {
    **dict.fromkeys(("pretrain", "fit", "run"), "train"),
    **dict.fromkeys(("finetune", "fine-tune", "sft", "continue"), "train RECIPE train.start_from=MODEL"),
    **dict.fromkeys(("resume", "restart"), "train: the same command goes on where it stopped"),
    **dict.fromkeys(("plan", "estimate", "profile", "dry-run"), "train RECIPE --store STORE --dry-run"),
    **dict.fromkeys(("tokenize", "preprocess", "preprocess_data", "pretokenize", "pack"), "prepare"),
    **dict.fromkeys(("bpe", "learn", "vocab", "vocabulary"), "tokenizer train"),
    "encode": "tokenizer encode",
    "decode": "tokenizer decode",
    **dict.fromkeys(("sample", "complete", "infer", "inference", "predict", "prompt"), "generate"),
    **dict.fromkeys(("web", "ui", "chat-web", "chat_web", "api", "gradio"), "serve"),
    **dict.fromkeys(("eval", "lm_eval", "lm-eval", "test", "benchmark", "perplexity"), "evaluate"),
    **dict.fromkeys(("convert_to_hf", "convert-hf", "to-hf", "gguf", "onnx", "publish", "release"), "export"),
    "quantize": "export RUN --format gguf --dtype q8_0",
    **dict.fromkeys(("dedup", "deduplicate", "filter", "clean", "decontaminate", "decontam"), "curate"),
    **dict.fromkeys(("download", "scrape", "crawl", "fetch"), "collect"),
    **dict.fromkeys(("analyze", "analyse", "stats", "statistics"), "corpus report"),
    **dict.fromkeys(("view", "show", "preview", "look"), "inspect"),
    **dict.fromkeys(("config", "options", "config-schema"), "schema"),
    **dict.fromkeys(("merge", "concat", "join"), "append"),
    **dict.fromkeys(("create", "start", "setup"), "new"),
    **dict.fromkeys(("ablate", "ablation", "sweep"), "compare-recipes"),
}
"""By the name of the command: what follows `whelp` here."""


def explain_option(name: str) -> str | None:
    """What to give instead of `--name` to a command that takes a recipe; nothing where nobody calls anything so.

    >>> explain_option("--learning-rate")
    'It is an option of the recipe, and given without dashes: train.learning_rate=...'
    >>> explain_option("--resume")
    'There is nothing to set: the same `whelp train` goes on where it stopped.'
    """
    from whelp.base.config import list_names
    from whelp.cli.recipe import Recipe

    word = name.lstrip("-").replace("-", "_")
    if word in OPTIONS:
        return OPTIONS[word]
    places = list_names(Recipe)
    named = {place for found in places.values() for place in found}
    found = [word] if word in named else places.get(word, [])
    if not found:
        return None
    return f"It is an option of the recipe, and given without dashes: {' or '.join(f'{place}=...' for place in found)}"
