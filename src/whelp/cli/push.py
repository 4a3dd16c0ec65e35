"""`whelp push`: hand on a trained model, or a data set, through a hub."""

from __future__ import annotations

import contextlib
import dataclasses
import re
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from whelp.base.counts import list_some, say_bytes, say_count
from whelp.base.errors import HubError
from whelp.base.hub_repository import (
    DATASET,
    MODEL,
    NOTHING,
    REMOVED,
    REPLACED,
    UNCHANGED,
    HubRepository,
    Remote,
    compare_files,
)
from whelp.base.last_event import run_to_end
from whelp.base.links import follow_link
from whelp.base.log import log
from whelp.base.paths import as_path
from whelp.base.result_repr import ResultRepr
from whelp.cli.exporting.origin import read_license
from whelp.cli.pushing.dataset import check_dataset, lay_out_dataset
from whelp.cli.pushing.layout import CARD, check_private_words
from whelp.cli.pushing.model import check_model, lay_out_model
from whelp.cli.screens.draw_events import draw_pushing, watch

_OPENED = re.compile(r'from_pretrained\("([^"]+)"\)')


@dataclass(frozen=True, kw_only=True)
class PushedFile(ResultRepr):
    """A file, and what became of it there: `added`, `replaced` (it had other bytes), `unchanged`, or `removed`.

    Removed is what an earlier push left, and what would be read together with these files: shards of other weights, other rows.
    """

    file: str
    num_bytes: int
    change: str


@dataclass(frozen=True, kw_only=True)
class PushResult(ResultRepr):
    """What stands on the hub now; of a dry run what would.

    `is_private` is None where the owner's settings decide, or where nobody was asked; `commit` where nothing was brought;
    `is_new` where the hub was not asked. `others` stay there as they are. `card` is the text of README.md, and `license` what it
    names.
    """

    name: str
    repository: str
    url: str
    revision: str
    commit: str | None
    is_new: bool | None
    is_private: bool | None
    is_dry_run: bool
    license: str | None
    contents: list[PushedFile]
    others: list[str]
    card: str


@dataclass(frozen=True)
class PushPlanned:
    """What is about to be brought."""

    plan: PushResult


@dataclass(frozen=True)
class Pushed:
    """The end."""

    result: PushResult


def push(
    source: str | Path,
    name: str,
    *,
    dataset: bool = False,
    format: str | None = None,
    dtype: str | None = None,
    license: str | None = None,
    private: bool = False,
    revision: str | None = None,
    message: str | None = None,
    replace: bool = False,
    dry_run: bool = False,
) -> PushResult:
    """Hand a model, or a data set, on through a hub, with a card. Interrupted, the same call sends what has not arrived.

    The hub is that of `huggingface_hub`, and so is the token: `hf auth login`, or the variable HF_TOKEN.

    Args:
        source: A run, a checkpoint or a model folder, which is exported; a folder of `whelp export`, which goes as it stands.
            With `dataset`, a token store, a curated corpus, or a file or folder of rows or text.
        name: `owner/name` on the hub; made where it is not there.
        dataset: Push a data set, not a model.
        format: Of a run: as `whelp.export` takes it.
        dtype: Of a run: as `whelp.export` takes it.
        license: Of the weights or of the texts, for the card.
        private: Make the repository private; without, the owner's settings decide, which as a rule say public.
        revision: A branch; made where it is not there. Default: main.
        message: Of the commit.
        replace: Replace files that stand there with other bytes, and remove those of an earlier push that would be read together
            with these. Their old bytes stay in the history.
        dry_run: Only say what would be brought; no login is needed, nor a network.

    Raises:
        HubError: When nobody is logged in, the hub refuses or cannot be reached, or files there would be replaced.
        ConfigError: When the name is none, or options do not fit.
        ArtifactError: When there is nothing to push.
        MissingExtraError: Without `huggingface_hub`.
    """
    events = iter_push(
        source,
        name,
        dataset=dataset,
        format=format,
        dtype=dtype,
        license=license,
        private=private,
        revision=revision,
        message=message,
        replace=replace,
        dry_run=dry_run,
    )
    return run_to_end(watch(events, draw_pushing), Pushed).result


def iter_push(
    source: str | Path,
    name: str,
    *,
    dataset: bool,
    format: str | None,
    dtype: str | None,
    license: str | None,
    private: bool,
    revision: str | None,
    message: str | None,
    replace: bool,
    dry_run: bool,
) -> Iterator[PushPlanned | Pushed]:
    """Push, yielding what is going to be brought, and the end."""
    hub = HubRepository(name, DATASET if dataset else MODEL, revision)
    given = follow_link(as_path(source))
    check = check_dataset if dataset else check_model
    check(given, format=format, dtype=dtype, license=license)
    _check_rights(hub, is_needed=not dry_run)
    remote = _look(hub, is_needed=not dry_run)
    if remote is not None and remote.is_there and private and not remote.is_private:
        advice = "Make it private on its page first, or choose another name; nothing was changed."
        raise HubError(name, "it is there already, and public", "a private repository", advice)
    with tempfile.TemporaryDirectory(prefix="whelp-push-") as place, _quiet_library():
        folder = Path(place)
        if dataset:
            read_together = lay_out_dataset(given, folder, name, license=license)
        else:
            read_together = lay_out_model(given, folder, name, format=format, dtype=dtype, license=license)
        check_private_words(given, folder)
        plan = _make_plan(hub, folder, remote, read_together, private=private, dry_run=dry_run)
        _say_what_is_missing(plan, given)
        yield PushPlanned(plan)
        if dry_run:
            yield Pushed(plan)
            return
        assert remote is not None
        _check_replaced(hub, remote, plan, replace=replace)
        yield Pushed(_bring(hub, folder, remote, plan, private=private, message=message))


def _check_rights(hub: HubRepository, *, is_needed: bool) -> None:
    """Find out, before anything is laid out, whether the hub would take it; a dry run only says so, and needs no login."""
    if is_needed:
        hub.check_login()
    refusal = hub.find_refusal() if hub.is_logged_in else None
    if refusal is None:
        return
    if is_needed:
        raise refusal
    log.warning("a push would be refused: %s", refusal)


def _look(hub: HubRepository, *, is_needed: bool) -> Remote | None:
    """What stands there; None where a dry run could not ask."""
    try:
        remote = hub.look()
        if not remote.is_there and not hub.is_logged_in:
            log.info("nobody is logged in, so a private repository called %s would not be seen", hub.name)
        if not remote.is_there:
            for kind in hub.find_other_kinds():
                log.warning("%s is a %s there already; a %s of that name stands beside it", hub.name, kind, hub.kind)
    except HubError as error:
        if is_needed:
            raise
        log.warning("the hub was not asked what stands there: %s", error)
        return None
    return remote


def _make_plan(
    hub: HubRepository,
    folder: Path,
    remote: Remote | None,
    read_together: re.Pattern[str] | None,
    *,
    private: bool,
    dry_run: bool,
) -> PushResult:
    there = (remote or NOTHING).files
    changes = compare_files(folder, remote or NOTHING)
    others = sorted(there.keys() - changes.keys())
    removed = [file for file in others if read_together is not None and read_together.fullmatch(file)]
    contents = [
        PushedFile(file=file, num_bytes=(folder / file).stat().st_size, change=change) for file, change in changes.items()
    ]
    contents += [PushedFile(file=file, num_bytes=there[file][0], change=REMOVED) for file in removed]
    is_there = remote is not None and remote.is_there
    return PushResult(
        name=hub.name,
        repository=hub.kind,
        url=hub.url,
        revision=hub.revision,
        commit=None,
        is_new=None if remote is None else not remote.is_there,
        is_private=remote.is_private if remote is not None and is_there else private or None,
        is_dry_run=dry_run,
        license=read_license(folder),
        contents=contents,
        others=[file for file in others if file not in removed],
        card=(folder / CARD).read_text(encoding="utf-8") if (folder / CARD).is_file() else "",
    )


def _say_what_is_missing(plan: PushResult, given: Path) -> None:
    """Notes on a card that strangers could do little with."""
    if plan.license is None:
        what = "weights" if plan.repository == MODEL else "texts"
        advice = f"--license mit, or another, names that of the {what}"
        if (given / CARD).is_file():
            advice = f"`license:` in the head of {given / CARD} names one"
        log.warning("the card names no license, so nobody else may know what they may do with it: %s", advice)
    opened = next((name for name in _OPENED.findall(plan.card) if name != plan.name), None)
    if opened is not None:
        log.warning("the card opens %s, but there it is called %s: change it in %s", opened, plan.name, given / CARD)


def _check_replaced(hub: HubRepository, remote: Remote, plan: PushResult, *, replace: bool) -> None:
    replaced = [
        f"{one.file} ({say_bytes(remote.files[one.file][0])} there, {say_bytes(one.num_bytes)} here)"
        for one in plan.contents
        if one.change == REPLACED
    ]
    removed = [one.file for one in plan.contents if one.change == REMOVED]
    problems = [f"{say_count(len(replaced), 'file')} there would be replaced: {list_some(replaced)}"] if replaced else []
    if removed:
        what = f"{say_count(len(removed), 'file')} of an earlier push would be removed, else read together with these"
        problems.append(f"{what}: {list_some(removed)}")
    if problems and not replace:
        advice = (
            "--replace does it, and the history keeps the old ones; or choose another name, or --revision BRANCH. "
            "Nothing was changed."
        )
        raise HubError(hub.name, "; ".join(problems), "", advice)


def _bring(
    hub: HubRepository, folder: Path, remote: Remote, plan: PushResult, *, private: bool, message: str | None
) -> PushResult:
    """Bring what is not there, and look whether it has arrived."""
    if all(one.change == UNCHANGED for one in plan.contents) and remote.has_branch:
        return plan
    hub.prepare(remote, private=private)
    removed = [one.file for one in plan.contents if one.change == REMOVED]
    commit = hub.bring(folder, remote, message or f"Push a {hub.kind} with whelp", removed)
    after = hub.look()
    lost = [name for name, change in compare_files(folder, after).items() if change != UNCHANGED]
    if lost:
        found = f"{list_some(lost)} did not arrive, or not as sent"
        raise HubError(hub.name, found, "every file", "A .gitignore there may leave them out; else run the same command again.")
    return dataclasses.replace(plan, commit=commit, is_private=after.is_private)


@contextlib.contextmanager
def _quiet_library() -> Iterator[None]:
    """Inside, the library draws no bars, unless whoever draws the events says so; afterwards it does as before."""
    from huggingface_hub.utils import are_progress_bars_disabled

    shown = not are_progress_bars_disabled()
    show_library_bars(False)
    try:
        yield
    finally:
        show_library_bars(shown)


def show_library_bars(shown: bool) -> None:
    """Let the library draw bars of what it sends, or not; where its variable says which, that counts."""
    from huggingface_hub import constants
    from huggingface_hub.utils import disable_progress_bars, enable_progress_bars

    if constants.HF_HUB_DISABLE_PROGRESS_BARS is None:
        (enable_progress_bars if shown else disable_progress_bars)()
