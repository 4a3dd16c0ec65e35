"""What a model is called, where nobody says it: in its card, in a file's name, in what a file says of itself."""

from __future__ import annotations

import re
from pathlib import Path

from whelp.artifacts.run_folder import RunFolder

_SAYS_NOTHING = re.compile(
    r"(runs?|models?|train(ing|ed)?|checkpoints?|steps?|last|best|final|latest|ema|new|out(puts?)?|exports?|exported|results?|"
    r"release|hf|gguf|onnx|pth|te?mp|test)?[-_. ]?\d*",
    re.IGNORECASE,
)


def choose_model_name(model: Path, run: RunFolder | None, out: Path) -> str:
    """The name of the run's folder; where that would do for any model, of the folder that is written, or of the project.

    `fox/run` that is exported into `small-fox-gguf` is small-fox; into `out` it is fox. A model folder without a run has its own
    name, or else that of the folder that is written.

    Args:
        model: The model folder.
        out: The folder that is written.
    """
    own = (model if run is None else run.folder).resolve()
    written = re.sub(r"[-_.](hf|gguf|onnx|pth)\Z", "", out.resolve().name, flags=re.IGNORECASE)
    candidates = [own.name, written, *([own.parent.name] if run is not None else [])]
    return next((name for name in candidates if not _SAYS_NOTHING.fullmatch(name)), own.name)
