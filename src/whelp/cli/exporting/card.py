"""What the model card of `whelp export` is made of: the run's records, and how the files are used."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from whelp.artifacts.checkpoint import AVERAGE, read_model_config
from whelp.artifacts.run_folder import RunFolder, iter_records
from whelp.base.config import map_paths
from whelp.base.errors import ArtifactError, TokenizerError
from whelp.base.files import read_json
from whelp.base.private_paths import leave_folders_out
from whelp.cli.exporting.origin import describe_start_licenses
from whelp.cli.recipe import Recipe, load_recipe
from whelp.cli.source_licences import list_licences
from whelp.cli.store_of_run import open_store_beside
from whelp.model.config import RECURRENT_FAMILIES, name_family

if TYPE_CHECKING:
    from whelp.artifacts.token_store import TokenStore
    from whelp.report import RunFacts

_TRANSFORMERS = """With [transformers](https://github.com/huggingface/transformers):

```python
from transformers import AutoModelForCausalLM, AutoTokenizer

model = AutoModelForCausalLM.from_pretrained("{opened}")
tokenizer = AutoTokenizer.from_pretrained("{opened}")
{ids}
print(tokenizer.decode(model.generate(**ids, {length})[0]))
```"""
_TEXT_IDS = 'ids = tokenizer("Once upon a time", return_tensors="pt")'
_CHAT_IDS = """messages = [{"role": "user", "content": "Hello!"}]
ids = tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_tensors="pt", return_dict=True)"""
_NEW_TOKENS, _MUCH_CONTEXT = 40, 256
_VLLM = """With [vLLM](https://github.com/vllm-project/vllm), as an OpenAI-compatible server:

```bash
vllm serve {opened}
```"""
_FLA = """With transformers, and [flash-linear-attention](https://github.com/fla-org/flash-linear-attention), which registers RWKV-7:

```python
import fla
from transformers import AutoModelForCausalLM, AutoTokenizer

model = AutoModelForCausalLM.from_pretrained("{opened}")
tokenizer = AutoTokenizer.from_pretrained("{opened}")
```"""
_TO_GGUF = """With [llama.cpp](https://github.com/ggml-org/llama.cpp):

```bash
whelp export {folder} --format gguf --out {folder}-gguf
llama-cli -m {folder}-gguf/{folder}-f16.gguf -p "Once upon a time" -n 40 -no-cnv
```"""
_TO_PTH = "For RWKV's own tools: `whelp export {folder} --format pth --out {folder}-pth`."
_WHELP = """With whelp:

```bash
whelp generate {folder} --prompt "Once upon a time"
```"""
_GGUF = """With [llama.cpp](https://github.com/ggml-org/llama.cpp):

```bash
llama-cli -m {folder}/{file} -p "Once upon a time" -n 40 -no-cnv
```

With [Ollama](https://ollama.com), from this folder:

```bash
echo "FROM ./{file}" > Modelfile
ollama create my-model -f Modelfile
```"""
_ONNX = """With [onnxruntime](https://onnxruntime.ai), any number of rows, and of tokens up to the context:

```python
import onnxruntime
from tokenizers import Tokenizer

session = onnxruntime.InferenceSession("{folder}/{file}")
ids = Tokenizer.from_file("{folder}/tokenizer.json").encode("Once upon a time").ids
(logits,) = session.run(["logits"], {{"input_ids": [ids]}})  # (1, tokens, vocabulary)
```"""
_PTH = """With the package [rwkv](https://pypi.org/project/rwkv/):

```python

os.environ["RWKV_V7_ON"] = "{is_v7}"
from rwkv.model import RWKV

model = RWKV(model="{folder}/{file}", strategy="cpu fp32")
logits, state = model.forward([1, 2, 3], None)
```"""


_FETCH = """What follows wants the files in a folder, which the command of `huggingface_hub` fetches:

```bash
hf download {opened} --local-dir {folder}
```"""


@dataclass(frozen=True)
class UsePlace:
    """Where those who use an export find it.

    Attributes:
        folder: What it is called, seen from the folder above it.
        hub_id: `owner/name` on a hub; None of one that is on this disk alone.
    """

    folder: str
    hub_id: str | None = None


def describe_usage(format: str, place: UsePlace, file: str, model: Path) -> str:
    """How an export is used, as Markdown.

    Args:
        file: The one file of formats that have one.
        model: The model folder that was exported.
    """
    from whelp.tokenizer import load_tokenizer

    config = read_model_config(model)
    family = name_family(config.get("model_type"))
    texts = {"gguf": [_GGUF], "onnx": [_ONNX], "pth": [_PTH]}.get(format)
    if texts is None:
        to_gguf = [_TO_GGUF] if _fits_gguf(model) else []
        opened_by = {"rwkv7": [_FLA], "rwkv4": [_TRANSFORMERS]}.get(family, [])
        if family == "rwkv4" and config["num_hidden_layers"] == 1:
            opened_by = []  # transformers divides by the number of layers less one
        texts = [*opened_by, *to_gguf, _WHELP, _TO_PTH]
        if family not in RECURRENT_FAMILIES:
            texts = [_TRANSFORMERS, _VLLM, *to_gguf, _WHELP]
    if place.hub_id is not None:
        texts.insert(next(index for index, text in enumerate(texts) if "{opened}" not in text), _FETCH)
    number = find_context(config)
    has_room = number is None or number >= _MUCH_CONTEXT  # positions of GPT-2 end there: more would be an error
    length = f"max_new_tokens={_NEW_TOKENS}" if has_room else f"max_length={number}"
    ids = _TEXT_IDS if load_tokenizer(model).chat_template is None else _CHAT_IDS
    if format == "pth" and family != "rwkv7":
        file = f"{file}.pth"  # for RWKV-7 the package adds the suffix by itself
    values = {"is_v7": int(family == "rwkv7"), "ids": ids, "length": length}
    values |= {"folder": place.folder, "opened": place.hub_id or place.folder, "file": file}
    return "\n\n".join(text.format(**values) for text in texts)


def find_context(config: Mapping[str, Any]) -> int | None:
    """Tokens that a model sees at once, by its `config.json`; None of one that reads into a state, or does not say."""
    if name_family(config.get("model_type")) in RECURRENT_FAMILIES:
        return None
    return next((number for key in ("max_position_embeddings", "n_positions") if (number := config.get(key))), None)


def _fits_gguf(model: Path) -> bool:
    from whelp.artifacts.gguf_file import check_fit
    from whelp.tokenizer import load_tokenizer

    try:
        check_fit(read_model_config(model), load_tokenizer(model).specification(), model.name)
    except (ArtifactError, TokenizerError):
        return False
    return True


def make_card(
    name: str,
    folder: Path,
    run: RunFolder | None,
    format: str,
    num_parameters: int,
    files: list[str],
    usage: str,
    license_name: str | None,
) -> str:
    """The card of a model folder, with all that its run knows."""
    from whelp.report import make_model_card
    from whelp.tokenizer import load_tokenizer

    vocabulary, config = load_tokenizer(folder), read_model_config(folder)
    return make_model_card(
        name,
        format=format,
        config=config,
        num_parameters=num_parameters,
        context_tokens=find_context(config),
        vocabulary={"kind": vocabulary.kind, "size": vocabulary.size},
        files=files,
        usage=usage,
        license_name=license_name,
        run=None if run is None else _read_facts(folder, run),
    )


def _read_facts(folder: Path, run: RunFolder) -> RunFacts:
    """What the run of a checkpoint, or of its averaged weights, says of it."""
    from whelp.report import RunFacts

    started = run.read_plan() or {}
    settings = started.get("recipe", {})
    is_average = folder.name == AVERAGE
    counts = read_json((folder.parent if is_average else folder) / "manifest.json")["counts"]
    before = [record for record in iter_records(run.metrics) if record["step"] <= counts.get("step", record["step"])]
    trained = [record for record in before if "tokens" in record]
    measured = [record for record in before if "test_nats_per_token" in record]
    numbers = measured[-1] if measured else {}
    if is_average:
        numbers = numbers | {name.removeprefix("ema_"): value for name, value in numbers.items() if name.startswith("ema_")}
    return RunFacts(
        recipe=_shorten_recipe(run),
        train=settings.get("train", {}),
        data=settings.get("data", {}),
        plan=started.get("plan", {}),
        corpus=_describe_corpus(started, open_store_beside(run.folder)),
        numbers=numbers,
        step=counts.get("step", 0),
        tokens=trained[-1]["tokens"] if trained else 0,
        elapsed_seconds=trained[-1].get("elapsed_seconds") if trained else None,
        lengths=started.get("lengths", []),
        precisions=started.get("precisions", []),
        versions=started.get("versions", {}),
        start_licenses=describe_start_licenses(started),
    )


def _describe_corpus(started: Mapping[str, Any], store: TokenStore | None) -> dict[str, Any]:
    """What was trained on, by the store where it stands beside the run, else by the ledger of the rows."""
    ledger = started.get("ledger", {})
    shares = {name: entry.get("share") for name, entry in ledger.get("sources", {}).items()}
    data = started.get("recipe", {}).get("data", {})
    said = {None: data, **{entry.get("name"): entry for entry in data.get("mixture", [])}}
    known = {name: [one["licence"]] for name, one in said.items() if one.get("licence")}
    if store is None:
        counts = {"tokens": {"train": ledger.get("tokens", 0)}, "documents": {"train": ledger.get("documents", 0)}}
        sources = {name: {"share": share, "licences": known.get(name, [])} for name, share in shares.items()}
        return {"name": _name_sources(data), **counts, "sources": sources, "licences": known.get(None, [])}
    splits = store.manifest.counts["splits"]
    fates = store.ledger["documents"]
    parts = store.ledger.get("sources", {})
    known = {**list_licences(store.manifest.inputs["source"]), **known}  # a recipe may say it later than its store was made
    return {
        "name": _name_corpus(store, started),
        "text_bytes": store.manifest.counts.get("text_bytes"),
        "tokens": {name: count["tokens"] for name, count in splits.items()},
        "documents": {name: count["documents"] for name, count in splits.items()},
        "dropped": {
            fate.removeprefix("dropped: "): count for fate, count in fates.items() if fate.startswith("dropped") and count
        },
        "sources": {
            name: {
                "share": share,
                "documents": parts.get(name, {}).get("documents", {}).get("train", 0),
                "licences": known.get(name, []),
            }
            for name, share in shares.items()
        },
        "licences": known.get(None, []),
    }


def _name_corpus(store: TokenStore, started: Mapping[str, Any]) -> str:
    """What the store calls its source; where that is a path, of which others should not read the folders, the recipe's names."""
    name = str(store.manifest.inputs["source"].get("name", ""))
    is_shown = name and name == leave_folders_out(name) and "imported" not in store.manifest.inputs["source"]
    return name if is_shown else _name_sources(started.get("recipe", {}).get("data", {}))


def _name_sources(data: Mapping[str, Any]) -> str:
    """The names of the sources, without their folders."""
    source = data.get("source") or "text"
    items = [source] if isinstance(source, str) else list(source)
    if data.get("mixture"):
        items = [str(entry.get("name") or entry.get("source")) for entry in data["mixture"]]
    return ", ".join(leave_folders_out(item) for item in items)


def _shorten_recipe(run: RunFolder) -> str:
    """What differs from the defaults; of paths the last part alone: a card is for others."""
    if not run.recipe.is_file():
        return ""
    values = yaml.safe_load(run.recipe.read_text(encoding="utf-8"))
    values = map_paths(Recipe, values, lambda word, _: leave_folders_out(word))
    defaults = load_recipe({}).to_values()
    short = {
        section: {key: value for key, value in options.items() if value != defaults[section].get(key)}
        for section, options in values.items()
    }
    return str(
        yaml.safe_dump({name: options for name, options in short.items() if options}, sort_keys=False, allow_unicode=True)
    )
