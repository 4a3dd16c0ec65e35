"""`whelp train` and `whelp verify-resume`."""

from __future__ import annotations

import logging
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from whelp.base.last_event import run_to_end
from whelp.cli.commands.options import AsJson, Overrides, RecipeName, Scale, StorePath, need
from whelp.cli.commands.shared import hand_over

if TYPE_CHECKING:
    from whelp.cli.recipe import Recipe
    from whelp.cli.training.events import TrainResult


def train(
    recipe: RecipeName,
    overrides: Overrides = None,
    store: Annotated[
        Path | None,
        typer.Option(
            "--store",
            metavar="STORE",
            help="A token store made by `whelp prepare`. Default: store; of an infctx YAML, its data_path.",
        ),
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", metavar="RUN", help="The run folder.")] = None,
    scale: Scale = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the plan (timed by a short probe), and write nothing.")
    ] = False,
    price_per_hour: Annotated[
        float | None,
        typer.Option(
            metavar="P", min=0.0, help="With --dry-run: what an hour of this machine costs; the plan says what the run does."
        ),
    ] = None,
    nproc: Annotated[
        int, typer.Option("--nproc", metavar="N", min=1, help="Processes of this machine that train together; one for a GPU.")
    ] = 1,
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="Say only warnings, errors and the result; the rest is in the run folder.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Train a model on a token store. Stopped or killed, the same command goes on, exactly.

    Example:
      whelp train recipe.yaml train.minutes=5 --store store --out run

    Longer than it was to be, also when it is done:
      whelp train recipe.yaml train.num_steps=8000 --store store --out run

    With train.num_steps=6000 in the recipe, let the rate come down after step 5,000, also when it has begun:
      whelp train recipe.yaml train.decay_from_step=5000 --store store --out run

    What it will take:
      whelp train recipe.yaml --store store --dry-run --price-per-hour 2.50

    Four GPUs (another number may go on):
      whelp train recipe.yaml --nproc 4 --store store --out run

    Signals: SIGTERM, SIGINT and SIGHUP (not under nohup) save and stop (exit code 130), SIGUSR1 saves and goes on.
    """
    from whelp.cli.training.signals import ignore_early_requests

    ignore_early_requests()

    from whelp.base.start_up import start_up
    from whelp.cli.infctx import find_data_path
    from whelp.cli.plan import plan
    from whelp.cli.recipe import load_recipe
    from whelp.cli.screens import show, show_training
    from whelp.cli.screens.draw_events import draw_training, drawn
    from whelp.cli.screens.lasting_stream import keep_standard_error
    from whelp.cli.train import iter_train
    from whelp.cli.training.events import Finished
    from whelp.cli.training.launched_process import follow_launcher
    from whelp.train.process_rank import find_process_rank

    if price_per_hour is not None and not dry_run:
        raise typer.BadParameter("is for --dry-run, which says what a run will take.", param_hint="'--price-per-hour'")
    if quiet:
        logging.getLogger("whelp").setLevel(logging.WARNING)
    start_up.begin(with_process=True)
    keep_standard_error()
    follow_launcher()
    is_first = find_process_rank().is_first
    loaded = load_recipe(recipe, overrides or [], scale)
    store = store or find_data_path(recipe) or Path("store")
    if nproc > 1:
        _train_together(loaded, store, out, nproc, dry_run=dry_run, price_per_hour=price_per_hour, quiet=quiet, as_json=as_json)
        return
    if dry_run:
        planned = plan(loaded, store=store, price_per_hour=price_per_hour)
        if not is_first:
            return
        if as_json:
            show.print_json(planned.to_dict())
        else:
            show_training.show_plan(planned.plan, planned.ledger, planned.costs)
        return
    events = iter_train(loaded, store, need(out, "--out"))
    result = run_to_end(drawn(events, draw_training) if is_first and not quiet else events, Finished).result
    if not is_first:
        return
    _hand_over(result, as_json=as_json, quiet=quiet)


def _hand_over(result: TrainResult, *, as_json: bool, quiet: bool) -> None:
    """The end of a run, and what to do with it."""
    from whelp.cli.screens import show
    from whelp.cli.screens.show_result import say_result

    hand_over(result, say_result, as_json=as_json)
    if result.is_finished and not (as_json or quiet):
        show.say_next("chat", result.folder)


def _train_together(
    recipe: Recipe,
    store: Path,
    out: Path | None,
    nproc: int,
    *,
    dry_run: bool,
    price_per_hour: float | None,
    quiet: bool,
    as_json: bool,
) -> None:
    from whelp.cli.train import plan_together, train_together
    from whelp.cli.training.launch import FirstProcessError

    try:
        if dry_run:
            sys.stdout.write(plan_together(recipe, store, nproc, price_per_hour=price_per_hour, as_json=as_json))
            return
        result = train_together(recipe, store, need(out, "--out"), nproc, quiet=quiet)
    except FirstProcessError as error:
        sys.exit(error.code)
    _hand_over(result, as_json=as_json, quiet=quiet)


def verify_resume(
    recipe: RecipeName,
    overrides: Overrides = None,
    store: StorePath = Path("store"),
    scale: Scale = None,
    steps: Annotated[int, typer.Option("--num-steps", "--steps", metavar="N", help="Steps of each run.")] = 20,
    nproc: Annotated[
        str,
        typer.Option(
            "--nproc", metavar="N,N,...", help="Numbers of processes: half a run on the first, half on each of the others."
        ),
    ] = "1,2",
    tolerance: Annotated[
        float,
        typer.Option(metavar="T", min=0.0, help="Largest difference of losses, in nats per token, where bits may differ."),
    ] = 1e-3,
    as_json: AsJson = False,
) -> None:
    """Prove that runs of this recipe go on exactly: short runs are killed, taken up, and compared with one left alone.

    Exit code 1 when something is not as promised.

    Example:
      whelp verify-resume recipe.yaml --store store --nproc 1,2,4
    """
    from whelp.cli.recipe import load_recipe
    from whelp.cli.screens import show_training
    from whelp.cli.screens.draw_events import draw_verifying, drawn
    from whelp.cli.training.launch import FirstProcessError
    from whelp.cli.verify_resume import VerifyResult, iter_verify

    try:
        counts = [int(count) for count in nproc.split(",")]
    except ValueError:
        raise typer.BadParameter(f"{nproc!r} is not a list of numbers such as 1,2.", param_hint="'--nproc'") from None
    loaded = load_recipe(recipe, overrides or [], scale)
    checks = iter_verify(loaded, store=store, num_steps=steps, nproc=counts, tolerance=tolerance)
    try:
        result = run_to_end(drawn(checks, draw_verifying), VerifyResult)
    except FirstProcessError as error:  # it has said why
        sys.exit(error.code)
    hand_over(result, show_training.show_verify_result, as_json=as_json)
    if not result.holds:
        sys.exit(1)
