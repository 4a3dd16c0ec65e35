"""What a server has done, as Prometheus reads it."""

from __future__ import annotations

import bisect
import time
from collections import Counter
from collections.abc import Iterable, Sequence

from whelp.base.machine import count_peak_bytes

_FIRST_TOKEN_SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
_REQUEST_SECONDS = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)


class Histogram:
    """Counts of values by upper bound."""

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0

    def add(self, value: float) -> None:
        """Count one value."""
        self.counts[bisect.bisect_left(self.bounds, value)] += 1
        self.total += value

    @property
    def mean(self) -> float | None:
        """None before the first value."""
        number = sum(self.counts)
        return self.total / number if number else None

    def lines(self, name: str) -> list[str]:
        """The lines of the text format."""
        lines, so_far = [], 0
        for bound, count in zip([*self.bounds, float("inf")], self.counts, strict=True):
            so_far += count
            label = "+Inf" if bound == float("inf") else f"{bound:g}"
            lines.append(f'{name}_bucket{{le="{label}"}} {so_far}')
        return [*lines, f"{name}_sum {self.total:.6f}", f"{name}_count {so_far}"]


class Stats:
    """Counters of one server; only touched from its event loop."""

    def __init__(self) -> None:
        self.started = time.time()
        self.requests: Counter[tuple[str, int]] = Counter()
        self.prompt_tokens: Counter[str] = Counter()
        self.cached_tokens: Counter[str] = Counter()
        self.generated_tokens: Counter[str] = Counter()
        self.num_disconnects = 0
        self.first_token_seconds = Histogram(_FIRST_TOKEN_SECONDS)
        self.request_seconds = Histogram(_REQUEST_SECONDS)

    def render(self, engines: Iterable[tuple[str, int, int]]) -> str:
        """Prometheus' text format.

        Args:
            engines: Name, running texts and waiting texts of each model.
        """
        lines: list[str] = []

        def family(name: str, kind: str, about: str, samples: Iterable[str]) -> None:
            lines.extend([f"# HELP {name} {about}", f"# TYPE {name} {kind}", *samples])

        family(
            "whelp_requests_total",
            "counter",
            "Answered requests.",
            [f'whelp_requests_total{{path="{path}",status="{status}"}} {n}' for (path, status), n in self.requests.items()],
        )
        for name, about, counter in (
            ("whelp_prompt_tokens_total", "Tokens of prompts.", self.prompt_tokens),
            ("whelp_cached_tokens_total", "Tokens of prompts that had been read before.", self.cached_tokens),
            ("whelp_generated_tokens_total", "Tokens added.", self.generated_tokens),
        ):
            family(name, "counter", about, [f'{name}{{model="{_escape(model)}"}} {n}' for model, n in counter.items()])
        family(
            "whelp_disconnects_total",
            "counter",
            "Clients that went away before their answer was whole.",
            [f"whelp_disconnects_total {self.num_disconnects}"],
        )
        states = list(engines)
        for name, about, index in (
            ("whelp_running_texts", "Texts being continued.", 1),
            ("whelp_waiting_texts", "Texts waiting for a row.", 2),
        ):
            family(name, "gauge", about, [f'{name}{{model="{_escape(str(s[0]))}"}} {s[index]}' for s in states])
        for name, about, histogram in (
            ("whelp_first_token_seconds", "From a request to its first token.", self.first_token_seconds),
            ("whelp_request_seconds", "From a request to the end of its answer.", self.request_seconds),
        ):
            family(name, "histogram", about, histogram.lines(name))
        family(
            "whelp_largest_memory_bytes",
            "gauge",
            "Most memory held so far.",
            [f"whelp_largest_memory_bytes {count_peak_bytes()}"],
        )
        family(
            "whelp_start_time_seconds", "gauge", "When the server started.", [f"whelp_start_time_seconds {self.started:.3f}"]
        )
        return "\n".join(lines) + "\n"


def _escape(label: str) -> str:
    return label.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
