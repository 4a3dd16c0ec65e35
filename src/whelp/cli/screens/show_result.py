"""What a run came to: its last loss, where it stands, and whether an earlier checkpoint is better."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.markup import escape

from whelp.cli.screens.show import duration, say

if TYPE_CHECKING:
    from whelp.cli.training.events import TrainResult

_RISE = 0.01  # of the lowest test loss; less may be chance
_REPEATED = 1.5  # passes over the text from which on a rising test loss means learning by heart


def say_result(result: TrainResult) -> None:
    """The end of a run, and what to do where its test loss had been lower before."""
    if result.nats_per_token is not None and result.perplexity is not None:
        bits = f", {result.bits_per_byte:.3f} bits/byte" if result.bits_per_byte is not None else ""
        say(f"[bold]test[/]       {result.nats_per_token:.3f} nats/token, perplexity {result.perplexity:.1f}{bits}")
    verb = "finished" if result.is_finished else "stopped"
    spent = duration(result.elapsed_seconds)
    early = ", early: no lower test loss any more" if result.is_stopped_early else ""
    say(
        f"[bold]{verb}[/]   step {result.step:,} after {spent}{early}; run folder [bold]{escape(result.folder)}[/]", wraps=False
    )
    rise = describe_rise(result)
    if rise is not None:
        say(f"[yellow]note[/]  {escape(rise)}")


def describe_rise(result: TrainResult) -> str | None:
    """Where the test loss was lowest, and what to do about its rise since; None where it has not risen, but by chance."""
    best, last, step = result.best_test_nats_per_token, result.nats_per_token, result.best_step
    if best is None or last is None or step is None or last < (1 + _RISE) * best:
        return None
    said = f"the test loss was lowest at step {step:,} ({best:.3f} nats/token), and has risen since, to {last:.3f}"
    epochs = result.num_epochs or 0.0
    is_by_heart = epochs >= _REPEATED
    said += ": the model learns its text by heart. " if is_by_heart else ". "
    if result.best_checkpoint is not None:
        said += f"That checkpoint is kept: `whelp generate {result.folder}` takes it. "
    elif step:
        said += "That checkpoint is not kept: in another run, train.keep_best=true keeps it. "
    if not is_by_heart:
        return said + "A lower train.learning_rate may help."
    shorter = f"a run that ends about there (train.max_epochs={_round(epochs * step / result.step)}), or " if step else ""
    return said + f"What helps: {shorter}more text, or a smaller model."


def _round(number: float) -> str:
    """Two digits are enough for a piece of advice.   3.14159 -> '3.1'"""
    return f"{number:.2g}"
