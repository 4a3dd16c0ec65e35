"""`whelp serve`: models over HTTP, and a page for people."""

from __future__ import annotations

import dataclasses
import os
import secrets
import socket
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from whelp.artifacts.checkpoint import find_checkpoints, find_model_folder
from whelp.artifacts.token_store import TokenStore, open_store
from whelp.base.as_list import as_list
from whelp.base.config import load_config
from whelp.base.errors import ArtifactError, MissingExtraError, WhelpError
from whelp.base.files import read_json
from whelp.base.paths import as_path
from whelp.cli.generate import LoadedModel, load_model, open_engine
from whelp.cli.recipe import load_recipe
from whelp.cli.store_of_run import find_run, open_store_beside

if TYPE_CHECKING:
    import torch

    from whelp.cli.inspect import InspectedRow
    from whelp.generate import Engine
    from whelp.model import HuggingFaceModel, LanguageModel
    from whelp.serve import ServeConfig, ServedModel, ServedStore, Server

TOKEN_VARIABLE = "WHELP_TOKEN"
_TOKEN_BYTES = 24
_SHOWN_SOURCES = 8
_EVERYWHERE = ("0.0.0.0", "::")


@dataclass(frozen=True, kw_only=True)
class Serving:
    """A server that listens and has not begun to answer: `run` answers until it is told to end.

    Attributes:
        url: Where the page is; the API is below `url`/v1.
        token: What requests must carry; None when nothing is needed.
        is_new_token: The token was made up for this server: nobody knows it yet.
        notes: What people should know, in whole sentences.
    """

    server: Server
    url: str
    models: list[str]
    token: str | None
    is_new_token: bool
    notes: list[str]

    def run(self) -> None:
        """Answer until SIGTERM, Ctrl-C or `stop`; what is running then is finished first."""
        self.server.run()

    def stop(self) -> None:
        """End as SIGTERM does; may be called from another thread."""
        self.server.stop()

    def close(self) -> None:
        """Let go of the port and the models without having run."""
        self.server.close()


def serve(
    model: str | Path,
    *,
    compare: str | Path | Sequence[str | Path] = (),
    store: str | Path | None = None,
    device: str = "auto",
    precision: str = "auto",
    on_ready: Callable[[Serving], None] | None = None,
    **settings: Any,
) -> None:
    """Serve models over HTTP: an OpenAI-compatible API and a page. Returns when told to end (SIGTERM, Ctrl-C).

    Args:
        model: A run, a checkpoint or a Hugging Face model folder. A run without a checkpoint can be watched.
        compare: Further models, to ask by name and to put beside the first.
        precision: Of the models' numbers, as for `load_model`.
        store: The token store that the page shows; found beside a run when it is the one that the run was trained on.
        on_ready: Called once, before the first answer.
        settings: Any field of `ServeConfig`: host, port, token, allowed_hosts, cors_origins, max_rows, ...
    """
    serving = open_server(model, compare=compare, store=store, device=device, precision=precision, **settings)
    if on_ready is not None:
        on_ready(serving)
    serving.run()


def open_server(
    model: str | Path,
    *,
    compare: str | Path | Sequence[str | Path] = (),
    store: str | Path | None = None,
    device: str = "auto",
    precision: str = "auto",
    **settings: Any,
) -> Serving:
    """Load models and listen; nothing is answered before `run`. Arguments as for `serve`."""
    _check_packages()
    import whelp
    from whelp.serve import Server, make_app

    config, is_new_token = _make_config(settings)
    path = as_path(model)
    run = find_run(path)
    notes = []
    paths = [path, *map(Path, as_list(compare))]
    if run is not None and not compare and _has_no_checkpoint(path):
        notes.append(f"{path} has no checkpoint yet: its training can be watched; the model is there when it has one.")
        paths = []
    found_store = _find_store(store, run)
    names = _name_models(paths)
    served = [_open_model(name, each, device, precision, config) for name, each in zip(names, paths, strict=True)]

    def open_first() -> ServedModel | None:
        return None if _has_no_checkpoint(path) else _open_model(_name_models([path])[0], path, device, precision, config)

    app = make_app(
        served,
        config,
        run=run,
        store=_describe_store(found_store, run),
        version=whelp.__version__,
        open_first=None if paths else open_first,
    )
    try:
        server = Server(app, config)
    except WhelpError:
        app.close()
        raise
    host = socket.gethostname() if config.host in _EVERYWHERE else config.host.strip("[]")
    return Serving(
        server=server,
        url=f"http://[{host}]:{server.port}" if ":" in host else f"http://{host}:{server.port}",
        models=names,
        token=config.token,
        is_new_token=is_new_token,
        notes=notes,
    )


def _check_packages() -> None:
    for package in ("starlette", "uvicorn"):
        try:
            __import__(package)
        except ImportError:
            raise MissingExtraError("whelp serve", package, "serve") from None


def _make_config(settings: Mapping[str, Any]) -> tuple[ServeConfig, bool]:
    """The settings, with a token from the environment, or a new one where one is needed and none is given."""
    from whelp.serve import ServeConfig
    from whelp.serve.config import is_loopback

    values = dict(settings)
    values["token"] = values.get("token") or os.environ.get(TOKEN_VARIABLE) or None
    is_new = values["token"] is None and not is_loopback(str(values.get("host", "127.0.0.1")))
    if is_new:
        values["token"] = secrets.token_urlsafe(_TOKEN_BYTES)
    return load_config(ServeConfig, values, "whelp serve"), is_new


def _has_no_checkpoint(path: Path) -> bool:
    run = path if (path / "plan.json").is_file() else path / "run"
    return (run / "plan.json").is_file() and not find_checkpoints(run / "checkpoints")


def _name_models(paths: Sequence[Path]) -> list[str]:
    """A name for each model: its run's, with the checkpoint's where that was named, or where two would be the same.

    `demo/run` is called demo: every run that is called run would be the same.
    """
    folders = [find_model_folder(path) for path in paths]
    names = []
    for path, folder in zip(paths, folders, strict=True):
        resolved = folder.resolve()
        is_checkpoint = resolved.parent.name == "checkpoints"
        base = resolved.parent.parent if is_checkpoint else resolved
        name = base.parent.name if base.name == "run" and base.parent.name else base.name
        names.append(f"{name}@{resolved.name}" if is_checkpoint and path.resolve() == resolved else name)
    for index, name in enumerate(names):
        if name in names[:index]:
            resolved = folders[index].resolve()
            wanted = f"{name}@{resolved.name}"
            number = 2
            while wanted in names[:index]:
                wanted, number = f"{name}@{resolved.name}-{number}", number + 1
            names[index] = wanted
    return names


class _NamedSettings:
    """An engine that takes settings by name, as the server has them from a request."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    @property
    def num_running(self) -> int:
        return self._engine.num_running

    @property
    def num_waiting(self) -> int:
        return self._engine.num_waiting

    def submit(self, prompt: Sequence[int], settings: Mapping[str, Any], *, n: int = 1) -> Sequence[Any]:
        from whelp.generate import GenerateConfig

        return self._engine.submit(prompt, load_config(GenerateConfig, settings, "the request"), n=n)

    def close(self, *, drain: bool = True) -> None:
        self._engine.close(drain=drain)


def _open_model(name: str, path: Path, device: str, precision: str, config: ServeConfig) -> ServedModel:
    from whelp.generate.chat import find_end_ids

    loaded = load_model(path, device, precision=precision)
    if loaded.vocabulary.chat_template is not None:
        loaded = dataclasses.replace(loaded, end_ids=(*loaded.end_ids, *find_end_ids(loaded.vocabulary)))
    engine = open_engine(loaded, max_rows=config.max_rows, prefix_cache_bytes=config.prefix_cache_bytes)
    return _RenewedModel(name, path, loaded, engine).describe()


class _RenewedModel:
    """A model and the path that was given for it, which may lead to a newer checkpoint later."""

    def __init__(self, name: str, path: Path, loaded: LoadedModel, engine: Engine) -> None:
        self._name, self._path, self._loaded, self._engine = name, path, loaded, engine
        self._config = read_json(loaded.folder / "config.json")  # now: training may delete old checkpoints

    def describe(self) -> ServedModel:
        """The model as the server knows it."""
        from whelp.generate.call_form import find_call_form
        from whelp.generate.chat import make_chat_ids
        from whelp.serve import ServedModel

        loaded, vocabulary = self._loaded, self._loaded.vocabulary
        counts = _read_counts(loaded.folder)
        about = {
            "num_parameters": loaded.model.num_parameters(),
            "family": str(self._config.get("model_type", "")),
            "step": counts.get("step"),
            "test_loss": counts.get("test_nats_per_token"),
            "device": str(loaded.device),
        }
        has_template = vocabulary.chat_template is not None
        is_checkpoint = self._path.resolve() == loaded.folder.resolve()  # which stays what it is
        return ServedModel(
            id=self._name,
            engine=_NamedSettings(self._engine),
            vocabulary=vocabulary,
            context_tokens=min(loaded.model.context_tokens, self._engine.max_context_tokens),
            created=int((loaded.folder / "config.json").stat().st_mtime),
            fingerprint=f"{vocabulary.fingerprint[:12]}-{counts.get('step', 0)}",
            encode_chat=partial(make_chat_ids, vocabulary) if has_template else None,
            find_call_form=partial(find_call_form, vocabulary) if has_template else None,
            about=about,
            renew=None if is_checkpoint else self.renew,
        )

    def renew(self) -> ServedModel | None:
        """Put the weights of a newer checkpoint into the engine; None when there is none.

        Raises:
            ArtifactError: When it is of another model.
        """
        folder = find_model_folder(self._path)
        if folder == self._loaded.folder:
            return None
        newer = load_model(folder, "cpu")
        same = [
            read_json(folder / "config.json") == self._config,
            newer.vocabulary.fingerprint == self._loaded.vocabulary.fingerprint,
        ]
        if not all(same):
            raise ArtifactError(
                folder, "is another model than the one that is served", "the same sizes and ids", "Serve it anew."
            )
        model, weights = self._loaded.model, newer.model.state_dict()
        self._engine.exchange_weights(lambda: _put_weights(model, weights))
        self._loaded = dataclasses.replace(self._loaded, folder=folder)
        return self.describe()


def _put_weights(model: LanguageModel | HuggingFaceModel, weights: Mapping[str, torch.Tensor]) -> None:
    model.load_state_dict(weights)


def _read_counts(folder: Path) -> dict[str, Any]:
    """What a checkpoint's manifest says of it; nothing for folders of others."""
    try:
        return dict(read_json(folder / "manifest.json")["counts"])
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def _find_store(store: str | Path | None, run: Path | None) -> TokenStore | None:
    """The store that was named, or the one beside the run, when the run was trained on it."""
    if store is not None:
        return open_store(as_path(store))
    return None if run is None else open_store_beside(run)


def _describe_store(store: TokenStore | None, run: Path | None) -> ServedStore | None:
    """The store for the page; its rows are cut as the run cuts them."""
    if store is None:
        return None
    from whelp.serve import ServedStore
    from whelp.tokenizer import load_tokenizer

    vocabulary = load_tokenizer(store.tokenizer_folder)
    lock = threading.Lock()  # the store's views are made at their first use
    about = {
        **_read_packing(run),
        "splits": store.manifest.counts["splits"],
        "vocab_size": store.vocab_size,
        "ledger": store.ledger,
        "config": store.manifest.config,
        "num_sources": len(store.sources),
        "sources": store.sources[:_SHOWN_SOURCES],
    }

    def read_rows(split: str, first: int, count: int, context_tokens: int) -> list[dict[str, Any]]:
        from whelp.cli.inspect import inspect

        with lock:
            rows = inspect(
                store.folder,
                rows=f"{first}:{first + count}",
                split=split,
                context_tokens=context_tokens,
                recipe=None if run is None else run / "recipe.yaml",
            )
            return [_describe_row(row, vocabulary) for row in rows]

    return ServedStore(about=about, read_rows=read_rows)


def _read_packing(run: Path | None) -> dict[str, Any]:
    """How the run cuts its rows; nothing where that is not known."""
    try:
        pack = load_recipe(run / "recipe.yaml").pack if run is not None else None
    except WhelpError:  # there is none, or it is of another release
        pack = None
    return {} if pack is None else {"plan": pack.plan, "context_tokens": pack.context_tokens}


def _describe_row(row: InspectedRow, vocabulary: Any) -> dict[str, Any]:
    """A row with its tokens' texts."""
    tokens = [
        {
            "id": token_id,
            "text": vocabulary.token_text(token_id),
            "trained": is_trained,
            "padding": number < 0,
            "special": token_id in vocabulary.special_ids,
            "document": None if number < 0 else row.documents[number]["document"],
        }
        for token_id, is_trained, number in zip(row.ids, row.trained, row.document_numbers, strict=True)
    ]
    return {"row": row.row, "tokens": tokens, "documents": row.documents}
