"""Breaks a running function and keeps a ledger of what became of each event and request.

Exit code 0 only if nothing was lost: every event handled at least once, every request answered 200.
"""

import argparse
import asyncio
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import nats

from headrace.func_cli import control_socket
from headrace.func_cli.runs import Registry, RunState

FUNC = Path(sys.executable).with_name("func")

EVENTS_YAML = """
name: chaos-kills
triggers: [{name: numbers, kind: nats, stream: NUMBERS, subjects: [numbers.>], ackWait: 2s}]
scale: {cooldownPeriod: 1s}
"""
EVENTS_FUNCTION = """
import asyncio, os

LEDGER = os.open(os.environ["LEDGER"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)

async def handle(event):
    await asyncio.sleep(0.05)
    os.write(LEDGER, event.copy() + b"\\n")
"""
REQUESTS_YAML = "name: chaos-zero\nscale: {cooldownPeriod: 200ms}\n"
REQUESTS_FUNCTION = """
import os

async def handle(event):
    return {"pid": os.getpid(), "echo": event.text()}
"""


@contextmanager
def running(work: Path, yaml: str, function: str, **environ: str) -> Generator[tuple[RunState, Path]]:
    """`func run` of a function; gives what it says of itself and its folder."""
    project = work / yaml.split("name: ")[1].split("\n")[0]
    (project / "function").mkdir(parents=True)
    (project / "func.yaml").write_text(yaml)
    (project / "function/__init__.py").write_text(function)
    whole = {**os.environ, "XDG_STATE_HOME": str(work / "state"), **environ}
    log = work / f"{project.name}.log"
    with log.open("wb") as sink:
        command = [str(FUNC), "run", str(project), "--address", "127.0.0.1:0"]
        process = subprocess.Popen(command, env=whole, stdout=sink, stderr=sink)
    registry = Registry.of(whole)
    try:
        until = time.monotonic() + 60
        while (run := registry.find(project.name)) is None or run.url is None:
            if process.poll() is not None or time.monotonic() > until:
                sys.exit(f"chaos: `func run` did not start\n{log.read_text()}")
            time.sleep(0.05)
        yield run, registry.folder(project.name)
    finally:
        process.terminate()
        process.wait(60)


async def described(folder: Path) -> dict[str, Any]:
    return await asyncio.to_thread(control_socket.describe, folder)


async def until_zero(folder: Path, timeout_s: float = 60) -> None:
    async with asyncio.timeout(timeout_s):
        while (await described(folder))["replicas"]:
            await asyncio.sleep(0.02)


# -- kills -------------------------------------------------------------------------------------------------


async def kill_replicas(folder: Path, stop: asyncio.Event, killed: list[int]) -> None:
    """SIGKILL one replica a second."""
    while not stop.is_set():
        await asyncio.sleep(1)
        ready = [replica["pid"] for replica in (await described(folder))["replicas"] if replica["state"] == "ready"]
        if ready and not stop.is_set():
            killed.append(random.choice(ready))
            with suppress(ProcessLookupError):
                os.kill(killed[-1], signal.SIGKILL)


async def publish_numbers(run: RunState, events: int, seconds: float) -> None:
    client = await nats.connect(run.broker)
    js = client.jetstream()
    started = time.monotonic()
    for first in range(0, events, 100):
        await asyncio.gather(*(js.publish("numbers.n", b"%d" % n) for n in range(first, min(first + 100, events))))
        await asyncio.sleep(max(0.0, started + seconds * first / events - time.monotonic()))
    await client.close()


async def kills(work: Path, events: int, seconds: float) -> bool:
    """Publish over `seconds` while replicas die; wait for the backlog to be gone."""
    ledger = work / "ledger"
    with running(work, EVENTS_YAML, EVENTS_FUNCTION, LEDGER=str(ledger)) as (run, folder):
        stop, killed, started = asyncio.Event(), list[int](), time.monotonic()
        killer = asyncio.create_task(kill_replicas(folder, stop, killed))
        await publish_numbers(run, events, seconds)
        async with asyncio.timeout(120):
            while len(set(ledger.read_bytes().split())) < events if ledger.exists() else True:
                await asyncio.sleep(0.2)
        stop.set()
        await killer
        took = time.monotonic() - started
        await until_zero(folder)
    handled = Counter(ledger.read_bytes().split())
    lost = events - len(handled)
    again = sum(handled.values()) - len(handled)
    print(
        f"kills: {events:,} events in {took:.1f} s, {len(killed)} replicas killed, {lost} lost, {again} handled again"
    )
    return lost == 0 and len(killed) > 0


# -- zero --------------------------------------------------------------------------------------------------


class Client:
    """One HTTP/1.1 connection, which stays open."""

    def __init__(self, address: tuple[str, int]) -> None:
        self._address = address
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        self.connects = 0

    async def post(self, body: bytes) -> tuple[int, bytes]:
        """(status, body) of one request; raises OSError or EOFError where the connection broke."""
        if self._streams is None:
            self._streams = await asyncio.open_connection(*self._address)
            self.connects += 1
        reader, writer = self._streams
        writer.write(b"POST / HTTP/1.1\r\nhost: chaos\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body))
        head = await reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
        return int(head[9:12]), await reader.readexactly(length)

    def close(self) -> None:
        if self._streams is not None:
            self._streams[1].close()
            self._streams = None


async def zero(work: Path, requests: int, transitions: int) -> bool:
    """`requests` over `transitions` from zero to one and back, half of them on 20 connections that stay open."""
    with running(work, REQUESTS_YAML, REQUESTS_FUNCTION) as (run, folder):
        host, _, port = str(run.url).removeprefix("http://").rstrip("/").partition(":")
        address = (host, int(port))
        kept = [Client(address) for _ in range(20)]
        answers: Counter[str] = Counter()
        pids: set[str] = set()
        sent = 0

        async def one(client: Client, number: int, fresh: bool) -> None:
            try:
                async with asyncio.timeout(30):
                    status, body = await client.post(b"%d" % number)
                pids.add(body.split(b",")[0].decode())
                answers[str(status) if b'"echo":"%d"' % number in body else f"{status}, another's body"] += 1
            except (OSError, EOFError, TimeoutError) as exc:
                answers[type(exc).__name__] += 1
            finally:
                if fresh:
                    client.close()

        seen = 0
        for _ in range(transitions):
            await until_zero(folder)
            share = requests // transitions
            # Half at once, waking it; the rest spread over the cooldown, so that some meet the drain.
            rounds = [share // 4, share // 4, *[max(1, share // 20)] * 10]
            for count in rounds:
                work_now = []
                for index in range(min(count, share - seen)):
                    fresh = (sent + index) % 2 == 0
                    client = Client(address) if fresh else kept[((sent + index) // 2) % len(kept)]
                    work_now.append((client, sent + index, fresh))
                sent += len(work_now)
                seen += len(work_now)
                # one connection's requests follow each other
                lanes: dict[int, list[tuple[Client, int, bool]]] = {}
                for item in work_now:
                    lanes.setdefault(id(item[0]), []).append(item)

                async def lane(items: list[tuple[Client, int, bool]]) -> None:
                    for item in items:
                        await one(*item)

                await asyncio.gather(*map(lane, lanes.values()))
                await asyncio.sleep(random.uniform(0, 0.1) if count == rounds[-1] else 0)
            seen = 0
        await until_zero(folder)
        reconnects = sum(client.connects for client in kept) - len(kept)
        for client in kept:
            client.close()
    print(
        f"zero: {sent:,} requests, {transitions} transitions, answers {dict(answers)}, "
        f"{len(pids)} replicas, {reconnects} of 20 open connections broken"
    )
    return answers == {"200": sent} and reconnects == 0 and len(pids) >= transitions


def main() -> int:
    parser = argparse.ArgumentParser(prog="scripts/chaos", description=__doc__)
    parser.add_argument("what", nargs="?", choices=["kills", "zero", "all"], default="all")
    parser.add_argument("--short", action="store_true", help="at most 60 s")
    options = parser.parse_args()
    passed = True
    with tempfile.TemporaryDirectory(prefix="headrace-chaos-") as temporary:
        if options.what in ("kills", "all"):
            events, seconds = (4_000, 8.0) if options.short else (20_000, 40.0)
            passed &= asyncio.run(kills(Path(temporary), events, seconds))
        if options.what in ("zero", "all"):
            requests, transitions = (600, 3) if options.short else (2_000, 10)
            passed &= asyncio.run(zero(Path(temporary), requests, transitions))
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main())
