"""Load `whelp serve`: many clients that stream, how soon and how fast text comes, whether any is dropped, what memory it holds.

    python benchmarks/serve.py run
    python benchmarks/serve.py run --clients 64 --requests 10000 --max-tokens 32 --json out.json
    python benchmarks/serve.py --url http://127.0.0.1:8000 --clients 16

Given a MODEL, the server is started here, in a process of its own, on a free port, and its memory is read while it works
(Linux). Given a URL, a server that is already running is loaded, of this project or of another with the same API.

Each client asks, reads its stream to the end, and asks again, until all requests are done. Counted are, for each request, the
seconds to its first token, and its tokens a second after that; over all, the tokens a second, the requests that failed or
whose stream was not whole, and the server's memory after each tenth of the requests. Memory counts as flat when from the
second tenth on (by then every row has been used) it grows by less than `--most-growth` megabytes: the middle of the last three
readings is compared with the middle of the first three. The exit code is 1 when a request failed or memory was not flat. A
server that dies ends the load at once.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import httpx

PROMPT = "The "
NUM_READINGS = 10  # of memory


@dataclass
class Tally:
    """What the clients saw."""

    first_token_seconds: list[float] = field(default_factory=list)
    tokens_per_second: list[float] = field(default_factory=list)
    num_tokens: int = 0
    failures: dict[str, int] = field(default_factory=dict)

    def fail(self, why: str) -> None:
        self.failures[why] = self.failures.get(why, 0) + 1


@dataclass(frozen=True, kw_only=True)
class Result:
    """The numbers of one load. Memory is None where it cannot be read."""

    clients: int
    requests: int
    max_tokens: int
    seconds: float
    tokens: int
    total_tokens_per_second: float
    requests_per_second: float
    first_token_seconds_p50: float
    first_token_seconds_p99: float
    tokens_per_second_p50: float
    tokens_per_second_p99: float
    failures: dict[str, int]
    memory_bytes: list[int]
    memory_growth_bytes: int | None


async def ask(client: httpx.AsyncClient, body: dict[str, Any], tally: Tally) -> None:
    """One streaming request, to its end."""
    started = time.perf_counter()
    first = None
    num_tokens, is_whole = 0, False
    try:
        async with client.stream("POST", "/v1/completions", json=body) as response:
            if response.status_code != 200:
                await response.aread()
                tally.fail(f"status {response.status_code}")
                return
            async for line in response.aiter_lines():
                if line == "data: [DONE]":
                    is_whole = True
                elif line.startswith("data: "):
                    event = json.loads(line[6:])
                    first = first or time.perf_counter()
                    if event.get("usage"):
                        num_tokens = event["usage"]["completion_tokens"]
    except (httpx.HTTPError, ValueError) as error:  # ValueError: an event that is no JSON
        tally.fail(type(error).__name__)
        return
    if not is_whole or first is None:
        tally.fail("a stream that was not whole")
        return
    ended = time.perf_counter()
    tally.num_tokens += num_tokens
    tally.first_token_seconds.append(first - started)
    if num_tokens > 1:
        tally.tokens_per_second.append((num_tokens - 1) / max(ended - first, 1e-9))


async def load(url: str, arguments: argparse.Namespace, process: subprocess.Popen[str] | None) -> Result:
    """Let all clients work until all requests are done."""
    process_id = None if process is None else process.pid

    def has_died() -> bool:
        return process is not None and process.poll() is not None

    tally = Tally()
    left = iter(range(arguments.requests))
    memory: list[int] = []
    num_done = 0
    every = max(arguments.requests // NUM_READINGS, 1)
    headers = {"authorization": f"Bearer {arguments.token}"} if arguments.token else {}
    limits = httpx.Limits(max_connections=arguments.clients, max_keepalive_connections=arguments.clients)
    async with httpx.AsyncClient(
        base_url=url, headers=headers, limits=limits, timeout=arguments.timeout, trust_env=False
    ) as client:

        async def work() -> None:
            nonlocal num_done
            for number in left:
                body = {
                    "prompt": arguments.prompt,
                    "max_tokens": arguments.max_tokens,
                    "seed": number,
                    "stream": True,
                    "stream_options": {"include_usage": True},
                }
                await ask(client, body, tally)
                num_done += 1
                held = read_memory(process_id) if num_done % every == 0 else None
                if held is not None:
                    memory.append(held)
                if has_died():
                    sys.exit(f"the server died after {num_done:,} requests")

        started = time.perf_counter()
        await asyncio.gather(*(work() for _ in range(arguments.clients)))
        seconds = time.perf_counter() - started
    return Result(
        clients=arguments.clients,
        requests=arguments.requests,
        max_tokens=arguments.max_tokens,
        seconds=seconds,
        tokens=tally.num_tokens,
        total_tokens_per_second=tally.num_tokens / seconds,
        requests_per_second=arguments.requests / seconds,
        first_token_seconds_p50=percentile(tally.first_token_seconds, 50),
        first_token_seconds_p99=percentile(tally.first_token_seconds, 99),
        tokens_per_second_p50=percentile(tally.tokens_per_second, 50),
        tokens_per_second_p99=percentile(tally.tokens_per_second, 1),  # the slow end
        failures=tally.failures,
        memory_bytes=memory,
        memory_growth_bytes=find_growth(memory),
    )


def percentile(values: list[float], percent: int) -> float:
    """The value below which `percent` of a hundred lie; nan without values."""
    if len(values) < 2:
        return values[0] if values else float("nan")
    return statistics.quantiles(values, n=100, method="inclusive")[percent - 1]


def find_growth(memory: list[int]) -> int | None:
    """How much more is held at the end than at the second tenth; None without enough readings.

    >>> find_growth([1, 50, 51, 52, 52, 53, 51, 52, 99, 53])
    2
    """
    settled = memory[1:]
    if len(settled) < 6:
        return None
    return sorted(settled[-3:])[1] - sorted(settled[:3])[1]


def read_memory(process_id: int | None) -> int | None:
    """Bytes a process holds now; None where the system does not say."""
    if process_id is None:
        return None
    try:
        pages = int(Path(f"/proc/{process_id}/statm").read_text().split()[1])
    except (OSError, IndexError, ValueError):
        return None
    return pages * os.sysconf("SC_PAGE_SIZE")


@contextmanager
def start_server(arguments: argparse.Namespace) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """`whelp serve MODEL` on a free port; its address and process."""
    code = "from whelp.cli.main import main; main()"
    command = [sys.executable, "-c", code, "serve", arguments.model, "--port", "0", "--json", "--device", arguments.device]
    command += ["--max-rows", str(arguments.max_rows), "--max-waiting", str(max(0, arguments.clients - arguments.max_rows))]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        if not line:
            sys.exit("the server did not start; it said why above")
        yield json.loads(line)["url"], process
    finally:
        process.terminate()
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            process.kill()


def main() -> None:
    """Read the arguments, load, and tell."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", nargs="?", help="a run, a checkpoint or a Hugging Face model folder; started here")
    parser.add_argument("--url", help="a server that is already running, instead of MODEL")
    parser.add_argument("--token", help="its bearer token")
    parser.add_argument("--clients", type=int, default=64)
    parser.add_argument("--requests", type=int, default=1000)
    parser.add_argument("--max-tokens", type=int, default=32)
    parser.add_argument("--max-rows", type=int, default=16, help="of the server that is started here")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--prompt", default=PROMPT)
    parser.add_argument("--most-growth", type=float, default=20.0, metavar="MB", help="of the server's memory; more is a leak")
    parser.add_argument("--timeout", type=float, default=300.0, help="seconds")
    parser.add_argument("--json", metavar="FILE", help="write the numbers there, too")
    arguments = parser.parse_args()
    if (arguments.model is None) == (arguments.url is None):
        parser.error("give MODEL or --url")
    if arguments.url:
        result = asyncio.run(load(arguments.url, arguments, None))
    else:
        with start_server(arguments) as (url, process):
            result = asyncio.run(load(url, arguments, process))
    tell(result)
    if arguments.json:
        Path(arguments.json).write_text(json.dumps(asdict(result), indent=2) + "\n", encoding="utf-8")
    growth = result.memory_growth_bytes
    if result.failures or (growth is not None and growth > arguments.most_growth * 1e6):
        sys.exit(1)


def tell(result: Result) -> None:
    """The numbers, for people."""
    memory = (
        ", ".join(f"{held / 1e6:.0f}" for held in result.memory_bytes) + " MB after each tenth"
        if result.memory_bytes
        else "not known"
    )
    if result.memory_growth_bytes is not None:
        memory += f"; {result.memory_growth_bytes / 1e6:+.1f} MB from the second on"
    lines = {
        "requests": f"{result.requests:,} by {result.clients} clients, up to {result.max_tokens} tokens each",
        "failed": ", ".join(f"{count} x {why}" for why, count in result.failures.items()) or "none",
        "time": f"{result.seconds:.1f} s, {result.requests_per_second:,.1f} requests a second",
        "tokens a second, all": f"{result.total_tokens_per_second:,.0f}",
        "tokens a second, each": f"median {result.tokens_per_second_p50:,.1f}, slowest of a hundred {result.tokens_per_second_p99:,.1f}",
        "to the first token": f"p50 {result.first_token_seconds_p50 * 1e3:,.0f} ms, p99 {result.first_token_seconds_p99 * 1e3:,.0f} ms",
        "memory": memory,
    }
    for name, value in lines.items():
        print(f"{name:<22} {value}")


if __name__ == "__main__":
    main()
