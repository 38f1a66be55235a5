"""Makes a function, runs it, publishes real files as events, shows what happens, and checks the results.

Exit code 0 only if every event has exactly one result and the function is back at zero replicas.
"""

import argparse
import asyncio
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import nats
from nats.js.api import ConsumerConfig, DeliverPolicy
from rich.console import Console, Group
from rich.live import Live
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from headrace.func_cli import control_socket
from headrace.func_cli.runs import Registry, RunState

FUNC = Path(sys.executable).with_name("func")
NAME = "demo-inference"
ROOTS = (Path("/usr/share"), Path("/usr/lib"), Path(sys.base_prefix) / "lib", Path("/usr/include"))
MAX_FILE_BYTES = 256 * 1024
WALK_FILES = 60_000
LIMIT_S = 170.0
BARS = " ▁▂▃▄▅▆▇█"


class Scene:
    """What the viewer sees, and the moments behind it."""

    def __init__(self, events: int) -> None:
        self.events = events
        self.started = time.monotonic()
        self.published = 0
        self.results = 0
        self.rate = 0.0
        self.working_s = 0.0
        self.peak = 0
        self.most_replicas = 0
        self.cold_start_ms: float | None = None
        self.now: dict[str, Any] = {}
        self.replicas: list[int] = []
        self.backlog: list[int] = []
        self.types: Counter[str] = Counter()
        self.stage = "starting"

    def take(self, described: dict[str, Any], results: int, interval_s: float) -> None:
        """A look at the run."""
        self.now = described
        ready = [replica for replica in described["replicas"] if replica["state"] == "ready"]
        self.replicas.append(len(described["replicas"]))
        self.backlog.append(described["backlog"] or 0)
        if results > self.results:
            self.rate = max(self.rate, (results - self.results) / interval_s)
            self.working_s += interval_s
        self.results = results
        self.peak = max(self.peak, self.backlog[-1])
        self.most_replicas = max(self.most_replicas, len(ready))
        for start in described["cold_starts"]:
            if start["first_event_ms"] is not None:
                self.cold_start_ms = self.cold_start_ms or start["first_event_ms"]

    @property
    def average(self) -> float:
        """Results a second while there were any."""
        return self.results / self.working_s if self.working_s else 0.0

    def render(self) -> Group:
        """The picture."""
        facts = Table.grid(padding=(0, 2))
        facts.add_column(style="cyan", no_wrap=True)
        facts.add_column()
        facts.add_row("stage", f"{self.stage}, {time.monotonic() - self.started:.1f} s")
        facts.add_row("published", f"{self.published:,} of {self.events:,} files")
        facts.add_row("results", f"{self.results:,}, {self.average:,.0f} a second, at most {self.rate:,.0f}")
        facts.add_row("backlog", Text(f"{strip(self.backlog)}  now {last(self.backlog)}, at most {self.peak:,}"))
        facts.add_row(
            "replicas", Text(f"{strip(self.replicas)}  now {last(self.replicas)}, at most {self.most_replicas}")
        )
        cold = (
            "-" if self.cold_start_ms is None else f"{self.cold_start_ms:,.0f} ms from the first event to its handling"
        )
        facts.add_row("cold start", cold)
        facts.add_row("why", str(self.now.get("reason", "-")))
        parts: list[Any] = [
            Panel(facts, title="func run: files in, types out", title_align="left", border_style="blue")
        ]
        if self.types:
            parts.append(types_table(self.types))
        return Group(*parts)


def strip(values: list[int], width: int = 40) -> str:
    """The history of a number as bars."""
    if not values:
        return ""
    step = max(1, -(-len(values) // width))
    points = [max(values[i : i + step]) for i in range(0, len(values), step)]
    top = max(max(points), 1)
    return "".join(BARS[-(-point * (len(BARS) - 1) // top)] for point in points)


def last(values: list[int]) -> int:
    return values[-1] if values else 0


def types_table(types: Counter[str]) -> Table:
    """What was recognised."""
    table = Table(title="recognised", title_justify="left", title_style="bold", header_style="cyan")
    for column in ("type", "files", "type", "files"):
        table.add_column(column, justify="right" if column == "files" else "left")
    rows = types.most_common(16)
    for (left, left_count), (right, right_count) in zip(rows[::2], [*rows[1::2], ("", 0)], strict=False):
        table.add_row(left, f"{left_count:,}", right, f"{right_count:,}" if right else "")
    others = sum(types.values()) - sum(count for _, count in rows)
    if others:
        table.caption = f"and {others:,} files of {len(types) - len(rows)} other types"
    return table


def real_files(count: int) -> list[Path]:
    """`count` files of this machine, of as many kinds as there are: suffixes take turns."""
    by_suffix: dict[str, list[Path]] = defaultdict(list)
    for seen, path in enumerate(walk()):
        by_suffix[path.suffix].append(path)
        if seen >= WALK_FILES:
            break
    queues = [iter(paths) for _, paths in sorted(by_suffix.items())]
    found: list[Path] = []
    while queues and len(found) < count:
        for queue in queues[:]:
            if (path := next(queue, None)) is None:
                queues.remove(queue)
            elif len(found) < count and 0 < path.stat().st_size <= MAX_FILE_BYTES:
                found.append(path)
    if len(found) < count:
        sys.exit(f"demo: expected {count} files to publish, found {len(found)} - at {', '.join(map(str, ROOTS))}")
    return found


def walk() -> Iterator[Path]:
    for root in ROOTS:
        for folder, folders, names in os.walk(root):
            folders.sort()
            for name in sorted(names):
                path = Path(folder, name)
                if path.is_file() and not path.is_symlink() and os.access(path, os.R_OK):
                    yield path


async def publish(js: Any, files: list[Path], scene: Scene) -> None:
    """All files as events, at most 64 on their way at a time."""
    window = asyncio.Semaphore(64)

    async def one(number: int, path: Path) -> None:
        async with window:
            headers = {"file-name": str(path), "Nats-Msg-Id": f"demo-{number}"}
            await js.publish("files.demo", path.read_bytes(), headers=headers)
            scene.published += 1

    await asyncio.gather(*(one(number, path) for number, path in enumerate(files)))


async def watch(js: Any, folder: Path, scene: Scene, live: Live, interval_s: float = 0.25) -> None:
    """Look at the run until it is at zero and everything is done."""
    while True:
        described = await asyncio.to_thread(control_socket.describe, folder)
        try:
            results = (await js.stream_info("RESULTS")).state.messages
        except nats.js.errors.NotFoundError:
            results = 0
        scene.take(described, results, interval_s)
        live.update(scene.render())
        done = scene.published == scene.events and scene.results >= scene.events
        scene.stage = "back to zero" if done else "working" if scene.results else "waking"
        if done and not described["replicas"]:
            scene.stage = "at zero again"
            return
        await asyncio.sleep(interval_s)


async def check(js: Any, files: list[Path], scene: Scene) -> list[str]:
    """Read the result stream as anyone would; what is wrong with it."""
    config = ConsumerConfig(deliver_policy=DeliverPolicy.ALL)
    subscription = await js.pull_subscribe("results.types", stream="RESULTS", config=config)
    per_event: Counter[str] = Counter()
    per_file: Counter[str] = Counter()
    total = (await js.stream_info("RESULTS")).state.messages
    while sum(per_event.values()) < total:
        for message in await subscription.fetch(500, timeout=5):
            per_event[(message.headers or {})["Nats-Msg-Id"]] += 1
            result = msgspec.json.decode(message.data)
            per_file[result["name"]] += 1
            scene.types[result["description"]] += 1
            await message.ack()
    faults = []
    if (wrong := len(files) - len(per_event)) != 0:
        faults.append(f"{wrong} events without a result")
    if twice := [id_ for id_, count in per_event.items() if count != 1]:
        faults.append(f"{len(twice)} events with more than one result, such as {twice[0]}")
    if per_file != Counter(map(str, files)):
        faults.append("results do not match the files that were published")
    return faults


async def perform(run: RunState, folder: Path, files: list[Path], console: Console) -> tuple[Scene, list[str]]:
    """Publish, watch and check."""
    scene = Scene(len(files))
    client = await nats.connect(run.broker)
    try:
        js = client.jetstream()
        with Live(scene.render(), console=console, refresh_per_second=8, transient=True) as live:
            scene.stage = "at zero"
            async with asyncio.timeout(LIMIT_S):
                await asyncio.gather(publish(js, files, scene), watch(js, folder, scene, live))
        return scene, await check(js, files, scene)
    finally:
        await client.close()


def start(project: Path, environ: dict[str, str], log: Path) -> subprocess.Popen[bytes]:
    with log.open("wb") as sink:
        command = [str(FUNC), "run", str(project), "--address", "127.0.0.1:0", "--name", NAME]
        return subprocess.Popen(command, env=environ, stdout=sink, stderr=sink)


def at_zero(registry: Registry, process: subprocess.Popen[bytes], console: Console, log: Path) -> RunState:
    """Wait until the function runs and, with nothing to do, is at zero."""
    until = time.monotonic() + 60
    with console.status("waiting for the function to be at zero"):
        while time.monotonic() < until:
            if process.poll() is not None:
                sys.exit(f"demo: `func run` ended with {process.returncode}\n{log.read_text()}")
            run = registry.find(NAME)
            if run is not None and run.url is not None and run.broker is not None:
                try:
                    if not control_socket.describe(registry.folder(NAME))["replicas"]:
                        return run
                except control_socket.Unanswered:
                    pass
            time.sleep(0.1)
    sys.exit(f"demo: expected the function at zero within 60 s\n{log.read_text()}")


def main() -> int:
    parser = argparse.ArgumentParser(prog="scripts/demo", description=__doc__.split("\n")[0])
    parser.add_argument("--events", type=int, default=2000, metavar="N", help="files to publish (default: 2000)")
    parser.add_argument("--svg", type=Path, metavar="FILE", help="save the last picture there")
    options = parser.parse_args()
    console = Console(record=options.svg is not None, width=100 if options.svg else None, highlight=False)
    with tempfile.TemporaryDirectory(prefix="headrace-demo-") as temporary:
        work = Path(temporary)
        environ = {**os.environ, "XDG_STATE_HOME": str(work / "state")}
        project = work / NAME
        create = [str(FUNC), "create", str(project), "-t", "stream-inference"]
        subprocess.run(create, check=True, env=environ, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        files = real_files(options.events)
        process = start(project, environ, work / "run.log")
        try:
            registry = Registry.of(environ)
            run = at_zero(registry, process, console, work / "run.log")
            scene, faults = asyncio.run(perform(run, registry.folder(NAME), files, console))
        finally:
            process.send_signal(signal.SIGTERM)
            code = process.wait(timeout=60)
        console.print(scene.render())
        for fault in faults:
            console.print(f"[red]{fault}")
        if not faults:
            took = time.monotonic() - scene.started
            console.print(
                f"[green]{options.events:,} events, each with exactly one result, in {took:.1f} s; at zero again"
            )
        if options.svg is not None:
            options.svg.write_text(console.export_svg(title="scripts/demo", code_format=SVG))
        if code != 0:
            console.print(f"[red]func run ended with {code}")
        return 1 if faults or code != 0 else 0


# rich's own picture of a terminal, with fonts that every machine has and nothing fetched from elsewhere
SVG = """<svg class="rich-terminal" viewBox="0 0 {width} {height}" xmlns="http://www.w3.org/2000/svg">
<style>
.{unique_id}-matrix {{ font-family: ui-monospace, Menlo, Consolas, "DejaVu Sans Mono", monospace;
  font-size: {char_height}px; line-height: {line_height}px; }}
.{unique_id}-title {{ font-size: 18px; font-weight: bold; font-family: sans-serif; }}
{styles}
</style>
<defs><clipPath id="{unique_id}-clip-terminal"><rect x="0" y="0" width="{terminal_width}" height="{terminal_height}"/>
</clipPath>{lines}</defs>
{chrome}
<g transform="translate({terminal_x}, {terminal_y})" clip-path="url(#{unique_id}-clip-terminal)">
{backgrounds}<g class="{unique_id}-matrix">{matrix}</g></g>
</svg>
"""

if __name__ == "__main__":
    sys.exit(main())
