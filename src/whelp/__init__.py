"""whelp: raw text to a language model of your own.

    import whelp

    whelp.prepare("recipe.yaml", out="store")
    whelp.train("recipe.yaml", store="store", out="run")
    print(whelp.generate("run", "Once upon a time")[0].text)

Every command of the terminal is one call here, with the same names. Rooms and commands share one word: `whelp.prepare`
is the room (a package) and, called, the command.
"""

from __future__ import annotations

import sys
import types
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from whelp.base.interactive import show_progress as show_progress
    from whelp.cli.append import append as append
    from whelp.cli.chat import chat as chat
    from whelp.cli.collect import collect_britannica as collect_britannica
    from whelp.cli.collect import collect_urls as collect_urls
    from whelp.cli.collect import collect_wikipedia as collect_wikipedia
    from whelp.cli.collect import collect_youtube as collect_youtube
    from whelp.cli.collect_dump import collect_wikipedia_dump as collect_wikipedia_dump
    from whelp.cli.collect_folder import collect_folder as collect_folder
    from whelp.cli.collect_web_archive import collect_web_archive as collect_web_archive
    from whelp.cli.compare import compare as compare
    from whelp.cli.compare_recipes import compare_recipes as compare_recipes
    from whelp.cli.convert import convert as convert
    from whelp.cli.corpus_report import report_corpus as report_corpus
    from whelp.cli.curate import curate as curate
    from whelp.cli.demo import demo as demo
    from whelp.cli.docs import docs as docs
    from whelp.cli.evaluate import evaluate as evaluate
    from whelp.cli.evaluate_code import evaluate_code as evaluate_code
    from whelp.cli.evaluate_tasks import evaluate_tasks as evaluate_tasks
    from whelp.cli.exchange import export_store as export_store
    from whelp.cli.exchange import import_store as import_store
    from whelp.cli.export import export as export
    from whelp.cli.generate import generate as generate
    from whelp.cli.init import init as init
    from whelp.cli.inspect import inspect as inspect
    from whelp.cli.new import new as new
    from whelp.cli.plan import plan as plan
    from whelp.cli.prepare import prepare as prepare
    from whelp.cli.push import push as push
    from whelp.cli.recipe import Recipe as Recipe
    from whelp.cli.recipe import load_recipe as load_recipe
    from whelp.cli.recipe import schema as schema
    from whelp.cli.report import report as report
    from whelp.cli.serve import serve as serve
    from whelp.cli.split import split as split
    from whelp.cli.state import save_state as save_state
    from whelp.cli.tokenizer import train_tokenizer as train_tokenizer
    from whelp.cli.tokenizer_report import guide_tokenizer as guide_tokenizer
    from whelp.cli.tokenizer_report import report_tokenizer as report_tokenizer
    from whelp.cli.tokenizer_show import show_tokenizer as show_tokenizer
    from whelp.cli.trace import trace as trace
    from whelp.cli.train import train as train
    from whelp.cli.verify_resume import verify_resume as verify_resume

_ROOMS = ("curate", "prepare", "train", "generate", "evaluate", "serve", "report")  # rooms that are also commands
_CALLS = {
    "append": "append",
    "chat": "chat",
    "collect_folder": "collect_folder",
    "collect_web_archive": "collect_web_archive",
    "collect_wikipedia_dump": "collect_dump",
    "collect_urls": "collect",
    "collect_youtube": "collect",
    "collect_britannica": "collect",
    "collect_wikipedia": "collect",
    "compare": "compare",
    "compare_recipes": "compare_recipes",
    "convert": "convert",
    "evaluate_code": "evaluate_code",
    "evaluate_tasks": "evaluate_tasks",
    "export": "export",
    "demo": "demo",
    "docs": "docs",
    "export_store": "exchange",
    "import_store": "exchange",
    "init": "init",
    "inspect": "inspect",
    "new": "new",
    "plan": "plan",
    "push": "push",
    "train_tokenizer": "tokenizer",
    "report_corpus": "corpus_report",
    "report_tokenizer": "tokenizer_report",
    "guide_tokenizer": "tokenizer_report",
    "show_tokenizer": "tokenizer_show",
    "load_recipe": "recipe",
    "schema": "recipe",
    "split": "split",
    "save_state": "state",
    "trace": "trace",
    "verify_resume": "verify_resume",
    "Recipe": "recipe",
}
__all__ = sorted([*_ROOMS, *_CALLS, "show_progress"])


class _Command(types.ModuleType):  # a room that can be called: `whelp.prepare(...)` runs the command of that name
    def __call__(self, *args: Any, **options: Any) -> Any:
        return _find_call(self.__name__.rpartition(".")[2])(*args, **options)

    def __repr__(self) -> str:
        return f"<the room {self.__name__}, and the call {self._signature}>"

    @property
    def _signature(self) -> str:
        import inspect

        return f"{self.__name__}{inspect.signature(self)}"

    @property
    def __doc__(self) -> str:  # type: ignore[override]  # of the call first: `help` takes all for a package
        return f"{self._signature}\n\n{_clean(self.__wrapped__)}\n\n{vars(self)['__doc__']}"

    @property
    def __wrapped__(self) -> Any:  # `help` and `inspect.signature` show the command
        return _find_call(self.__name__.rpartition(".")[2])


def _clean(call: Any) -> str:
    import inspect

    return inspect.getdoc(call) or ""


class _Package(types.ModuleType):
    """Makes each room callable as it is imported; so the order of imports does not matter."""

    def __setattr__(self, name: str, value: Any) -> None:
        if name in _ROOMS and isinstance(value, types.ModuleType):
            value.__class__ = _Command
        super().__setattr__(name, value)

    def __getattr__(self, name: str) -> Any:
        if name in _ROOMS:
            import importlib

            return importlib.import_module(f"{__name__}.{name}")
        if name in _CALLS:
            return _find_call(name)
        if name == "show_progress":
            from whelp.base.interactive import show_progress

            return show_progress
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

    def __dir__(self) -> list[str]:
        return [*super().__dir__(), *__all__]


def _find_call(name: str) -> Any:
    import importlib

    return getattr(importlib.import_module(f"{__name__}.cli.{_CALLS.get(name, name)}"), name)


sys.modules[__name__].__class__ = _Package
