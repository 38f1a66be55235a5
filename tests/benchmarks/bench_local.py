"""The numbers of one machine: cold starts, wake-ups from zero, memory and idle CPU. Nothing here is asserted.

Every figure is the median of runs in fresh processes; goals stand beside what was measured.
"""

import argparse
import asyncio
import json
import os
import platform
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import nats
from rich.console import Console
from rich.table import Table

from headrace.func_cli import control_socket
from headrace.func_cli.runs import Registry, RunState
from headrace.triggers import wire

FUNC = Path(sys.executable).with_name("func")
TICKS_PER_S = os.sysconf("SC_CLK_TCK")

STREAM_FUNCTION = """
import time

async def handle(event):
    return {"began": time.time(), "sent": float(event.text())}
"""
STREAM_YAML = """
name: bench-stream
triggers: [{name: ticks, kind: nats, stream: TICKS, subjects: [ticks.>], sink: out}]
bindings: {out: {kind: nats, stream: OUT, subject: out.ticks}}
scale: {cooldownPeriod: 300ms}
"""


def milliseconds(action: Callable[[], object], runs: int) -> float:
    """Median wall time of `action`, after one run that is not counted."""
    action()
    taken = []
    for _ in range(runs):
        before = time.perf_counter()
        action()
        taken.append((time.perf_counter() - before) * 1000)
    return statistics.median(taken)


def python(code: str) -> Callable[[], object]:
    return lambda: subprocess.run([sys.executable, "-c", code], check=True)


def help_page() -> object:
    return subprocess.run([str(FUNC), "--help"], check=True, stdout=subprocess.DEVNULL)


def first_answer(project: Path) -> float:
    """Process start → first answered request of a replica, in ms: the request waits in the socket's backlog."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.set_inheritable(True)
        client = socket.create_connection(listener.getsockname())
        client.sendall(b"POST / HTTP/1.1\r\nhost: bench\r\ncontent-length: 2\r\n\r\n{}")
        environ = {**os.environ, wire.LISTEN_FD: str(listener.fileno()), wire.PROJECT: str(project)}
        before = time.perf_counter()
        command = [sys.executable, "-m", "headrace.runtime.main"]
        with subprocess.Popen(command, env=environ, pass_fds=[listener.fileno()], stderr=subprocess.DEVNULL) as replica:
            answer = client.recv(100)
            taken = (time.perf_counter() - before) * 1000
            replica.kill()
        client.close()
    if b" 200 " not in answer[:16]:
        raise SystemExit(f"bench: expected 200, got {answer[:50]!r}")
    return taken


@contextmanager
def running(project: Path, state: Path, *arguments: str) -> Generator[tuple[RunState, Path]]:
    """`func run` in the background; gives what it says of itself and its folder."""
    environ = {**os.environ, "XDG_STATE_HOME": str(state)}
    command = [str(FUNC), "run", str(project), "--address", "127.0.0.1:0", *arguments]
    with (
        (state.parent / "run.log").open("ab") as log,
        subprocess.Popen(command, env=environ, stdout=log, stderr=log) as run,
    ):
        registry = Registry.of(environ)
        try:
            yield wait_for_run(registry, run), registry.folder(project.name)
        finally:
            run.terminate()


def wait_for_run(registry: Registry, process: subprocess.Popen[bytes]) -> RunState:
    until = time.monotonic() + 60
    while time.monotonic() < until and process.poll() is None:
        for run in registry.running():
            if run.url is not None:
                return run
        time.sleep(0.05)
    raise SystemExit("bench: `func run` did not start")


def wait_for_replicas(folder: Path, count: int) -> dict[str, Any]:
    until = time.monotonic() + 60
    while time.monotonic() < until:
        described = control_socket.describe(folder)
        states = [replica["state"] for replica in described["replicas"]]
        if len(states) == count and all(state == "ready" for state in states):
            return described
        time.sleep(0.02)
    raise SystemExit(f"bench: expected {count} replicas within 60 s")


async def wakes(run: RunState, folder: Path, count: int) -> list[float]:
    """Message published at zero → its handler began, in ms."""
    client = await nats.connect(str(run.broker))
    js = client.jetstream()
    taken: list[float] = []
    for _ in range(count):
        await asyncio.to_thread(wait_for_replicas, folder, 0)
        await js.publish("ticks.a", repr(time.time()).encode())
        if not taken:
            await asyncio.to_thread(wait_for_replicas, folder, 1)
        results = await js.pull_subscribe("out.ticks", durable="bench", stream="OUT")
        message = (await results.fetch(1, timeout=30))[0]
        await message.ack()
        result = json.loads(message.data)
        taken.append((result["began"] - result["sent"]) * 1000)
    await client.close()
    return taken


def rss_mb(pid: int) -> float:
    """Resident memory of a process, in MB (10^6 bytes)."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024 / 1e6
    raise SystemExit(f"bench: process {pid} has no VmRSS")


def cpu_s(pid: int) -> float:
    """CPU seconds that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS_PER_S


def idle_http(project: Path, state: Path, seconds: float) -> tuple[float, float]:
    """(replica's RSS in MB, CPU of replica and platform over `seconds` in % of a core), one idle replica."""
    with running(project, state, "--set", "scale.minReplicaCount=1") as (run, folder):
        replica = wait_for_replicas(folder, 1)["replicas"][0]["pid"]
        time.sleep(2)  # what happens once after the start is over
        before = cpu_s(replica) + cpu_s(run.pid)
        time.sleep(seconds)
        used = cpu_s(replica) + cpu_s(run.pid) - before
        return rss_mb(replica), used / seconds * 100


def measure(work: Path, short: bool) -> list[tuple[str, float, float, str]]:
    """(what, measured, goal, unit) of every figure."""
    runs = 5 if short else 20
    state = work / "state"
    http, stream = work / "bench-http", work / "bench-stream"
    subprocess.run([str(FUNC), "create", str(http), "-t", "http"], check=True, capture_output=True)
    (stream / "function").mkdir(parents=True)
    (stream / "func.yaml").write_text(STREAM_YAML)
    (stream / "function/__init__.py").write_text(STREAM_FUNCTION)
    nats_replica = "import headrace.runtime.main, headrace.triggers.nats.source, headrace.triggers.nats.sink"
    answers = [first_answer(http) for _ in range(runs)]
    rows: list[tuple[str, float, float, str]] = [
        ("imports of an HTTP replica", milliseconds(python("import headrace.runtime.main"), runs), 120, "ms"),
        ("imports of a NATS replica", milliseconds(python(nats_replica), runs), 230, "ms"),
        ("process start → first answer (http template)", statistics.median(answers), 350, "ms"),
        ("func --help", milliseconds(help_page, runs), 200, "ms"),
    ]
    replica_mb, idle_cpu = idle_http(http, state, 5 if short else 60)
    with running(stream, state) as (run, folder):
        wait_for_replicas(folder, 0)
        platform_mb = rss_mb(run.pid)
        woken = asyncio.run(wakes(run, folder, runs))
    rows += [
        ("wake from zero: published → handler began, p50", statistics.median(woken), 500, "ms"),
        ("idle HTTP replica, RSS", replica_mb, 40, "MB"),
        ("platform at zero, RSS", platform_mb, 60, "MB"),
        (f"replica and platform idle for {5 if short else 60} s, CPU", idle_cpu, 0.5, "%"),
    ]
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(prog="scripts/bench local", description=__doc__)
    parser.add_argument("--short", action="store_true", help="fewer runs, at most 60 s")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the figures there")
    options = parser.parse_args()
    # A replica's imports are compiled once on every machine that people have; some test environments forbid it.
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    with tempfile.TemporaryDirectory(prefix="headrace-bench-") as temporary:
        rows = measure(Path(temporary), options.short)
    table = Table(title=f"local, Python {platform.python_version()}, {os.cpu_count()} cores", header_style="cyan")
    for column in ("figure", "measured", "goal"):
        table.add_column(column, justify="left" if column == "figure" else "right")
    for what, measured, goal, unit in rows:
        table.add_row(
            what, f"{measured:,.2f} {unit}" if measured < 10 else f"{measured:,.0f} {unit}", f"≤ {goal} {unit}"
        )
    Console(width=min(110, shutil.get_terminal_size((110, 40)).columns)).print(table)
    if options.json is not None:
        figures = [{"figure": w, "measured": m, "goal": g, "unit": u} for w, m, g, u in rows]
        options.json.write_text(json.dumps({"python": platform.python_version(), "figures": figures}, indent=2) + "\n")


if __name__ == "__main__":
    main()
