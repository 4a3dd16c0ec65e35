"""`whelp new`: a project folder with a commented recipe."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from whelp.artifacts.output_place import is_free
from whelp.base.errors import ArtifactError
from whelp.base.files import write_atomic
from whelp.base.paths import as_path
from whelp.base.result_repr import ResultRepr
from whelp.cli.recipe import find_recipe

_RECIPE = "project"
_README = """# {name}

A language model of your own, in four commands. `recipe.yaml` says everything; put text into `text/` first
(or set `data.source` to where it is).

    whelp prepare recipe.yaml --out store          # text -> token ids, with a ledger of where everything went
    whelp train recipe.yaml --store store --dry-run # the plan: parameters, tokens, steps, time, doubts
    whelp train recipe.yaml --store store --out run # trains; killed or stopped, the same command goes on
    whelp generate run --prompt "Once upon a time"

Then: `whelp chat run`, `whelp serve run` (a page to talk), `whelp evaluate run --store store` (loss, perplexity, bits per byte),
`whelp inspect store` (rows as trained). `run/report.html` draws the run.

More text makes a better model than more time. A run sees the text three times at most (`max_epochs`), since a model that sees it more
often learns it by heart; the end of a run says so where that happens. JSON, CSV, Parquet and spreadsheets are read as they are. With documents
(PDF, Word, LibreOffice, EPUB, HTML), mail, chats or subtitles instead of plain text, begin with `whelp collect folder FOLDER --out
text/pages.jsonl`; FOLDER is where they are, not `text/`. What to do with files of other programs: `whelp docs data`.

Any option can be overridden: `whelp train recipe.yaml train.learning_rate=1e-3 ...`. `whelp schema` lists them all.
"""


@dataclass(frozen=True, kw_only=True)
class NewResult(ResultRepr):
    """The files of a new project."""

    folder: str
    files: list[str]


def new(name: str | Path) -> NewResult:
    """Write a project folder: a commented recipe, a README of the commands, and a place for text.

    Raises:
        ArtifactError: When something stands there already.
    """
    folder = as_path(name)
    if not is_free(folder):
        raise ArtifactError(folder, "something stands there already", "a new name or an empty folder", "Choose another name.")
    (folder / "text").mkdir(parents=True)
    write_atomic(folder / "recipe.yaml", find_recipe(_RECIPE).read_text(encoding="utf-8"))
    write_atomic(folder / "README.md", _README.format(name=folder.name))
    return NewResult(folder=str(folder), files=["README.md", "recipe.yaml", "text/"])
