"""The HTTP data plane against its peers: ratios of runs that alternate within seconds. Nothing here is asserted.

The server has the first core, the client the second. A ratio is that of neighbouring runs, and the median of
all pairs is what counts; the ratio of CPU time per request, beside it, bears other work on the machine.
"""

import argparse
import json
import os
import platform
import shutil
import statistics
import sys
import tempfile
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
from benchmarks.http_load import Run, in_order, latency_us, wrk
from benchmarks.http_servers import Server, headrace, peer, versions
from rich.console import Console
from rich.table import Table

PAIRS, SECONDS = 9, 2.0
LARGE_BYTES = 4 * 2**20
TENSOR_BYTES = 3 * 224 * 224 * 4
CHEAP = ("bare", "bare body", "uvicorn+Starlette")
"""Peers of the short form: their environments are made in seconds."""

Load = Callable[[Server, float], Run]


class Figure(msgspec.Struct, kw_only=True):
    """One line of the table.

    Attributes:
        case: What was asked of the servers.
        peer: Who else was asked.
        ours: Our median, in `unit`.
        theirs: The peer's.
        ratio: Median of the pairs' ratios; absent where the goal is a figure of ours.
        ratios: Of each pair.
        cpu_ratio: The peer's CPU time per request through ours, median.
        goal: Least ratio, or most of a figure of ours.
        met: Whether it is reached.
    """

    case: str
    peer: str = ""
    ours: float
    theirs: float | None = None
    unit: str
    ratio: float | None = None
    ratios: list[float] = []
    cpu_ratio: float | None = None
    goal: float
    met: bool


class Case(msgspec.Struct, frozen=True, kw_only=True):
    """A load on one of our functions, and on peers.

    Attributes:
        name: For `--case`.
        title: In the table.
        function: Of `functions/`.
        sections: Of func.yaml.
        load: The same for all.
        unit: `req/s`, or `GiB/s` of bodies of `body_bytes`.
        goals: Least ratio to each peer.
    """

    name: str
    title: str
    function: str
    sections: dict[str, Any] = {}
    load: Load
    unit: str = "req/s"
    body_bytes: int = 1
    goals: dict[str, float]


def _wrk(connections: int, *arguments: str) -> Load:
    return lambda server, seconds: wrk(server, seconds, connections, *arguments)


_ROW: dict[str, Any] = {"row": {"dtype": "float32", "shape": [3, 224, 224]}}
_OF_64: dict[str, Any] = {"maxBatchSize": 64, "preferredBatchSize": [64], "maxQueueDelay": "20ms"}
_KIB, _LARGE, _TENSOR = "1024", str(LARGE_BYTES), str(TENSOR_BYTES)
_LARGE_GOALS = {"bare body": 0.9, "Granian RSGI": 1.05, "uvicorn+Starlette": 1.2}
CASES = (
    Case(
        name="small", title="1 KiB → length, 32 connections", function="length", load=_wrk(32, _KIB),
        goals={"bare": 0.68, "Granian RSGI": 2.4, "uvicorn+Starlette": 2.5},
    ),
    Case(
        name="small-differ", title="the same, no two heads alike", function="length", load=_wrk(32, _KIB, "differ"),
        goals={"bare": 0.68},
    ),
    Case(
        name="batch", title="1 KiB → length, batch handler, 256 connections", function="length_batch",
        load=_wrk(256, _KIB), goals={"bare": 0.70},
    ),
    Case(
        name="app", title="1 KiB → length, Starlette app, 32 connections", function="app", load=_wrk(32, _KIB),
        goals={"uvicorn+Starlette": 1.15},
    ),
    Case(
        name="large-1", title="4 MiB → length, 1 connection", function="length", load=_wrk(1, _LARGE), unit="GiB/s",
        body_bytes=LARGE_BYTES, goals=_LARGE_GOALS,
    ),
    Case(
        name="large-4", title="4 MiB → length, 4 connections", function="length", load=_wrk(4, _LARGE), unit="GiB/s",
        body_bytes=LARGE_BYTES, goals=_LARGE_GOALS,
    ),
    Case(
        name="json", title='JSON {"n": 5} → {"o": 5}, 32 connections', function="json",
        load=_wrk(32, "json", '{"n": 5}'), goals={"func-python": 6, "LitServe": 20, "BentoML": 20},
    ),
)  # fmt: skip


class Bench:
    """Runs cases and keeps figures.

    Args:
        work: A folder for what servers need.
        short: One pair of a second each, cheap peers only.
    """

    def __init__(self, work: Path, short: bool) -> None:
        self.figures: list[Figure] = []
        self.peers: set[str] = set()
        self._work = work
        self._short = short
        self._pairs, self._seconds = (1, 1.0) if short else (PAIRS, SECONDS)

    def compare(self, case: Case) -> None:
        """Our function and each peer in turn, `pairs` times."""
        goals = {name: goal for name, goal in case.goals.items() if not self._short or name in CHEAP}
        if not goals:
            return
        self.peers |= goals.keys()
        with ExitStack() as running:
            ours = running.enter_context(headrace(case.function, self._work, **case.sections))
            theirs = [running.enter_context(peer(name, self._work)) for name in goals]
            runs = self._alternate([(server, case.load) for server in (ours, *theirs)])
        for name, other in zip(goals, runs[1:], strict=True):
            self._add(case.title, name, case.unit, goals[name], runs[0], other, (case.body_bytes, case.body_bytes))

    def tensors(self) -> None:
        """Batches of tensors, against 4 MiB bodies of which only the length is told: by bytes."""
        with ExitStack() as running:
            length = running.enter_context(headrace("length", self._work))
            rows = running.enter_context(headrace("tensors", self._work, batching={**_OF_64, **_ROW}))
            gathered = running.enter_context(headrace("tensors", self._work, batching=_OF_64))
            tensors = partial(in_order, connections=64)
            runs = self._alternate([(length, _wrk(4, _LARGE)), (rows, tensors), (gathered, tensors)])
        title = "64 FP32 tensors of 600 KB → batch sum"
        for what, goal, run in (("rows consecutive", 0.8, runs[1]), ("one gather", 0.6, runs[2])):
            sizes = (TENSOR_BYTES, LARGE_BYTES)
            self._add(f"{title}, {what}", "our 4 MiB row", "GiB/s", goal, run, runs[0], sizes)

    def batcher(self) -> None:
        """What a batch handler adds to the latency of one client."""
        requests = 500 if self._short else 5000
        with headrace("length", self._work) as event, headrace("length_batch", self._work) as batch:
            for server in (event, batch):
                latency_us(server, 200)
            pairs = [(latency_us(event, requests), latency_us(batch, requests)) for _ in range(self._pairs)]
        added = statistics.median(batch - event for event, batch in pairs)
        self._add_own("added latency of the batcher, 1 client, p50", added, "µs", 60)

    def memory(self) -> None:
        """Most memory while 64 clients push 4 MiB bodies, over what is idle."""
        with headrace("length", self._work) as server:
            idle = server.memory_mb("VmRSS")
            wrk(server, 2 if self._short else 20, 64, _LARGE)
            peak = server.memory_mb("VmHWM")
        self._add_own("64 clients pushing 4 MiB, RSS over idle", peak - idle, "MB", (256 * 2**20) / 1e6 + 40)

    def wake_up(self) -> None:
        """How late the loop wakes up while a sync handler computes in its thread."""
        with headrace("compute", self._work) as server:
            server.ask(b"figures")
            wrk(server, 2 if self._short else 10, 1, "16")
            figures = json.loads(server.ask(b"figures"))
        self._add_own("loop wake-up while a sync handler computes, p99", figures["p99_ms"], "ms", 1.5)

    def _alternate(self, servers: Sequence[tuple[Server, Load]]) -> list[list[Run]]:
        """Runs of each server, in turns, after one that is not counted."""
        for server, load in servers:
            load(server, 1)
        runs: list[list[Run]] = [[] for _ in servers]
        for _ in range(self._pairs):
            for (server, load), done in zip(servers, runs, strict=True):
                done.append(load(server, self._seconds))
        return runs

    def _add(
        self, case: str, name: str, unit: str, goal: float, ours: list[Run], theirs: list[Run], sizes: tuple[int, int]
    ) -> None:
        """Compare runs by requests of `sizes` bytes, ours and theirs."""
        scale = sizes[0] / sizes[1]
        ratios = [mine.per_s / other.per_s * scale for mine, other in zip(ours, theirs, strict=True)]
        cpu = [other.cpu_us / mine.cpu_us * scale for mine, other in zip(ours, theirs, strict=True) if mine.cpu_us]
        ratio = statistics.median(ratios)
        factors = [size / 2**30 if unit == "GiB/s" else 1 for size in sizes]
        self.figures.append(
            Figure(
                case=case,
                peer=name,
                ours=statistics.median(run.per_s for run in ours) * factors[0],
                theirs=statistics.median(run.per_s for run in theirs) * factors[1],
                unit=unit,
                ratio=ratio,
                ratios=ratios,
                cpu_ratio=statistics.median(cpu) if cpu else None,
                goal=goal,
                met=ratio >= goal,
            )
        )

    def _add_own(self, case: str, measured: float, unit: str, most: float) -> None:
        self.figures.append(Figure(case=case, ours=measured, unit=unit, goal=most, met=measured <= most))


def table(figures: Sequence[Figure]) -> Table:
    """All figures, with goals and verdicts."""
    shown = Table(title=f"http, Python {platform.python_version()}, {os.cpu_count()} cores", header_style="cyan")
    for column in ("case", "peer"):
        shown.add_column(column)
    for column in ("ours", "theirs", "ratio (range)", "by CPU", "goal", ""):
        shown.add_column(column, justify="right", no_wrap=True)
    for figure in figures:
        shown.add_row(*cells(figure), "[green]met[/]" if figure.met else "[red]missed[/]")
    return shown


def cells(figure: Figure) -> list[str]:
    """What a table says of a figure, but for the verdict."""
    ratio = cpu = ""
    if figure.ratio is not None:
        ratio = f"{figure.ratio:.2f} ({min(figure.ratios):.2f}–{max(figure.ratios):.2f})"
    if figure.cpu_ratio is not None:
        cpu = f"{figure.cpu_ratio:.2f}"
    theirs = _number(figure.theirs, figure.unit) if figure.theirs is not None else ""
    goal = f"≥ {figure.goal:g}" if figure.ratio is not None else f"≤ {figure.goal:.4g} {figure.unit}"
    return [figure.case, figure.peer, _number(figure.ours, figure.unit), theirs, ratio, cpu, goal]


def _number(value: float, unit: str) -> str:
    return f"{value:,.0f} {unit}" if abs(value) >= 100 else f"{value:.2f} {unit}"


def report(bench: Bench) -> dict[str, Any]:
    """All that is needed to know what the figures mean."""
    model = next((line.partition(": ")[2] for line in _lines("/proc/cpuinfo") if line.startswith("model name")), "")
    return {
        "command": " ".join(["./scripts/bench", "http", *sys.argv[1:]]),
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        "machine": {"cpu": model, "cores": os.cpu_count(), "kernel": platform.release()},
        "python": platform.python_version(),
        "versions": versions(bench.peers),
        "figures": msgspec.to_builtins(bench.figures),
    }


def markdown(data: dict[str, Any]) -> str:
    """`docs/performance.md`."""
    figures = [msgspec.convert(figure, Figure) for figure in data["figures"]]
    machine = data["machine"]
    rows = ["| case | peer | ours | theirs | ratio (range) | by CPU | goal | |", "|---|---|--:|--:|--:|--:|--:|---|"]
    rows += ["| " + " | ".join([*cells(figure), "met" if figure.met else "**missed**"]) + " |" for figure in figures]
    pinned = ", ".join(f"{name} {version}" for name, version in data["versions"].items())
    return f"""# Performance

What the HTTP data plane does beside its peers. A server has one core and the load generator another; runs of
ours and of a peer alternate within seconds, a ratio is that of two neighbouring runs, and the median of all
pairs is shown with the least and the greatest. *By CPU* is the same ratio by the server's CPU time per request.
Ours runs as functions run: with metrics, limits and deadlines.

{chr(10).join(rows)}

*bare* is a uvloop protocol with httptools and no handler, limits or deadlines; *bare body* is one that receives
every body into the same buffer. Both are bounds, not alternatives.

Measured on {data["date"]}: {machine["cpu"]}, {machine["cores"]} cores, Linux {machine["kernel"]}, Python
{data["python"]}; {pinned}.

```sh
{data["command"]}
```

Written from the benchmark's JSON by `./scripts/bench http --docs FILE`.
"""


def _lines(path: str) -> list[str]:
    return Path(path).read_text().splitlines()


def main() -> None:
    parser = argparse.ArgumentParser(prog="scripts/bench http", description=__doc__)
    parser.add_argument("--short", action="store_true", help="one pair each, cheap peers only, at most 60 s")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the figures there")
    parser.add_argument("--case", action="append", metavar="NAME", help="only this one; may be repeated")
    parser.add_argument("--docs", type=Path, metavar="FILE", help="measure nothing: write docs/performance.md from it")
    options = parser.parse_args()
    if options.docs is not None:
        Path("docs/performance.md").write_text(markdown(json.loads(options.docs.read_text())))
        return
    with tempfile.TemporaryDirectory(prefix="headrace-bench-") as temporary:
        bench = Bench(Path(temporary), options.short)
        own = {"tensors": bench.tensors, "batcher": bench.batcher, "memory": bench.memory, "wake-up": bench.wake_up}
        work = {case.name: partial(bench.compare, case) for case in CASES} | own
        if unknown := set(options.case or ()) - work.keys():
            raise SystemExit(f"bench: expected cases of: {' '.join(work)}, got {' '.join(unknown)}")
        for name, measure in work.items():
            if not options.case or name in options.case:
                print(f"bench: {name}", file=sys.stderr)
                measure()
    Console(width=max(130, shutil.get_terminal_size((130, 40)).columns)).print(table(bench.figures))
    if options.json is not None:
        options.json.write_text(json.dumps(report(bench), indent=2) + "\n")


if __name__ == "__main__":
    main()
