"""A million requests with random sizes, framings, pipelines and disconnects: every slot is free at the end.

It fails where an answer is wrong, a slot stays in use, or resident memory grows from the second tenth of the
requests to the end. What does not belong here: hostile bytes (`tests/fuzz`).
"""

import argparse
import asyncio
import os
import random
import re
import socket
import struct
import subprocess
import sys
import tempfile
import time
import urllib.request
import zlib
from pathlib import Path

import uvloop

CLIENTS = 32
SHORT_S = 40
# Of RSS after the first tenth, when the slab and all caches have been used: fragments of the allocator
ALLOWED_GROWTH_BYTES = 16 * 2**20
GAUGES = ("slab_used_bytes", "slots_held", "in_flight")
SLAB_BYTES = 8 * 2**20  # so small that clients wait for it
FUNCTION = """
import zlib

kept = []

async def handle(event):
    if len(event.data) > 100_000:
        kept.append(event.data[5:50])  # for a while, as careless functions do
        del kept[: len(kept) - 3]
    elif not event.data:
        kept.clear()
    return b"%d %d" % (len(event.data), zlib.crc32(event.data))
"""


class Soak:
    """Counts what clients do.

    Args:
        port: Of the function.
        requests: How many, in all.
        until: Monotonic seconds; no request is begun after it.
    """

    def __init__(self, port: int, requests: int, until: float) -> None:
        self._port = port
        self._left = requests
        self._until = until
        self.answered = 0
        self.broken_off = 0

    @property
    def going_on(self) -> bool:
        return self._left > 0 and time.monotonic() < self._until

    async def client(self, rng: random.Random) -> None:
        """Connect, send some requests, leave one way or another; again and again."""
        while self.going_on:
            try:
                await self._connection(rng)
            except ConnectionError:
                self.broken_off += 1

    async def _connection(self, rng: random.Random) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
        try:
            for _ in range(rng.randrange(1, 400)):
                if not self.going_on:
                    return
                pipeline = [_body(rng) for _ in range(1 if rng.random() < 0.8 else rng.randrange(2, 12))]
                data = b"".join(_request(rng, body) for body in pipeline)
                self._left -= len(pipeline)
                if rng.random() < 0.01:
                    await self._break_off(writer, data[: rng.randrange(len(data))], rng)
                    self.broken_off += len(pipeline)
                    return
                writer.write(data)
                for body in pipeline:
                    await _check(reader, body)
                    self.answered += 1
        finally:
            writer.close()

    async def _break_off(self, writer: asyncio.StreamWriter, part: bytes, rng: random.Random) -> None:
        """Vanish in the middle of a request: by a reset, or by closing."""
        writer.write(part)
        await asyncio.sleep(rng.choice((0, 0, 0.01)))
        if rng.random() < 0.5:
            raw: socket.socket = writer.get_extra_info("socket")
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            writer.transport.abort()


_BYTES = random.Random(0).randbytes(3 * 2**20)
_SIZES = ((0.85, 2_000), (0.97, 20_000), (0.995, 300_000), (1.0, 2_000_000))
_LENGTH = re.compile(rb"content-length: (\d+)\r\n")


def _body(rng: random.Random) -> memoryview:
    kind = rng.random()
    size = rng.randrange(next(most for share, most in _SIZES if kind <= share))
    start = rng.randrange(len(_BYTES) - size)
    return memoryview(_BYTES)[start : start + size]


def _request(rng: random.Random, body: memoryview) -> bytes:
    if rng.random() < 0.8:
        return b"POST / HTTP/1.1\r\nhost: soak\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body)
    cut = rng.randrange(len(body) + 1)
    chunks = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in (body[:cut], body[cut:]) if part)
    return b"POST / HTTP/1.1\r\nhost: soak\r\ntransfer-encoding: chunked\r\n\r\n" + chunks + b"0\r\n\r\n"


async def _check(reader: asyncio.StreamReader, body: memoryview) -> None:
    """Read an answer; 503 is right where the slab is full, and ends the connection."""
    try:
        head = await reader.readuntil(b"\r\n\r\n")
        length = _LENGTH.search(head)
        answer = await reader.readexactly(int(length[1]) if length else 0)
    except asyncio.IncompleteReadError as exc:
        raise ConnectionError from exc
    if b" 503 " in head[:14]:
        raise ConnectionError
    if b" 200 " not in head[:14] or answer != b"%d %d" % (len(body), zlib.crc32(body)):
        raise SystemExit(f"soak: expected the length and checksum of {len(body)} bytes, got {head!r} {answer!r}")


def _gauge(port: int, name: str) -> float:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as response:
        text = response.read().decode()
    found = re.search(rf"^headrace_{name} (\S+)$", text, re.MULTILINE)
    if found is None:
        raise SystemExit(f"soak: expected headrace_{name} among the metrics, got none")
    return float(found[1])


def _rss_bytes(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


async def _load(port: int, pid: int, requests: int, seconds: float, seed: int) -> None:
    soak = Soak(port, requests, time.monotonic() + seconds)
    began, warm_bytes = time.monotonic(), 0
    clients = [asyncio.create_task(soak.client(random.Random(f"{seed} {number}"))) for number in range(CLIENTS)]
    while not all(client.done() for client in clients):
        await asyncio.wait(clients, timeout=1)
        if not warm_bytes and (soak.answered > requests / 10 or time.monotonic() - began > seconds / 4):
            warm_bytes = _rss_bytes(pid)
    await asyncio.gather(*clients)
    grown = _rss_bytes(pid) - (warm_bytes or _rss_bytes(pid))
    took = time.monotonic() - began
    counts = f"{soak.answered} answered, {soak.broken_off} broken off in {took:.0f} s"
    print(f"soak: {counts}; RSS grew by {grown / 1e6:.1f} MB to {_rss_bytes(pid) / 1e6:.0f} MB")
    if grown > ALLOWED_GROWTH_BYTES:
        raise SystemExit(f"soak: expected RSS to grow by at most {ALLOWED_GROWTH_BYTES} bytes, got {grown}")
    for _ in range(100):
        await _ask_for_nothing(port)
        found = {name: await asyncio.to_thread(_gauge, port, name) for name in GAUGES}
        if not any(found.values()):
            print("soak: every slot is free")
            return
        await asyncio.sleep(0.1)
    raise SystemExit(f"soak: expected every slot to be free, got {found}")


async def _ask_for_nothing(port: int) -> None:
    """Lets the function drop what it keeps."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"POST / HTTP/1.1\r\nhost: soak\r\ncontent-length: 0\r\n\r\n")
    await reader.readuntil(b"\r\n\r\n")
    writer.close()


def main() -> None:
    parser = argparse.ArgumentParser(prog="scripts/soak", description=__doc__)
    parser.add_argument("--short", action="store_true", help=f"at most {SHORT_S} s")
    parser.add_argument("--requests", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="headrace-soak-") as folder, socket.create_server(("127.0.0.1", 0)) as sock:
        project = Path(folder)
        (project / "func.py").write_text(FUNCTION)
        (project / "spec.json").write_text(
            f'{{"name": "soak", "limits": {{"slab": {SLAB_BYTES}, "maxBody": {2**22}, "readTimeout": "2s"}}}}'
        )
        port = sock.getsockname()[1]
        environ = {
            **os.environ, "HEADRACE_PROJECT": folder, "HEADRACE_SPEC": str(project / "spec.json"),
            "HEADRACE_LISTEN_FD": str(sock.fileno()), "HEADRACE_LOG_LEVEL": "error",
        }  # fmt: skip
        command = [sys.executable, "-m", "headrace.runtime.main"]
        with subprocess.Popen(command, env=environ, pass_fds=[sock.fileno()]) as replica:
            try:
                seconds = SHORT_S if options.short else 3600
                with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                    runner.run(_load(port, replica.pid, options.requests, seconds, options.seed))
            finally:
                replica.terminate()


if __name__ == "__main__":
    main()
