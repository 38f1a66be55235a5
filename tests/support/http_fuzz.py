"""The HTTP edge without a network: one attacked connection and a well-behaved one beside it, on the same edge.

`attempt` is what every fuzzer calls; it raises AssertionError where the edge breaks its promise.
"""

import asyncio
import gc
import random
import re
from collections import deque
from pathlib import Path
from typing import Any

from support.http import TRIGGER, FakeIntake, echo, echo_later

from headrace.runtime.buffers import Slab
from headrace.runtime.device.cpu import CpuDevice
from headrace.runtime.http.api_keys import line_of
from headrace.runtime.http.asgi import AsgiEndpoint
from headrace.runtime.http.edge import Edge
from headrace.runtime.http.events import EventEndpoint
from headrace.runtime.http.exchange import Endpoint
from headrace.runtime.http.gate import guarded
from headrace.runtime.http.probes import Probes
from headrace.runtime.http.protocol import Connection
from headrace.runtime.inflight import InFlight
from headrace.runtime.metrics import Metrics
from headrace.runtime.spec import Limits
from headrace.triggers.events import Event
from headrace.triggers.http.spec import Cors, HttpTrigger
from headrace.triggers.protocols import Settle
from headrace.triggers.units import Bytes, Seconds

CORPUS = {file.name: file.read_bytes() for file in sorted((Path(__file__).parents[1] / "fuzz/corpus/http").iterdir())}
OPTIONS = 20
"""Values of the first byte that differ: five endpoints, and four ways to cut what follows into reads."""

SECRET = b"another-clients-secret"
_WORK = b"POST /s HTTP/1.1\r\nHost: x\r\nX-API-Key: key\r\nContent-Length: %d\r\n\r\n%b" % (len(SECRET), SECRET)
_PIECES = (
    b"\r\n", b"\n", b"\r", b" ", b":", b"\0", b"\xff", b"0", b"f" * 20, b"Host: x\r\n", b"Content-Length: 3\r\n",
    b"Transfer-Encoding: chunked\r\n", b"0\r\n\r\n", b"Connection: close\r\n", b"\x88\x80\0\0\0\0", b"\x81\xfe",
)  # fmt: skip
# A loop turn is a few callbacks; an answer takes a handful of turns at most
_TURNS = 60


class MemoryTransport:
    """A transport whose other end is this test: what is written is kept, nothing is sent."""

    def __init__(self) -> None:
        self.protocol: Any = None
        self.written = bytearray()
        self.reading = True
        self.ended = False  # our half
        self.closed = False

    def set_protocol(self, protocol: Any) -> None:
        self.protocol = protocol

    def get_extra_info(self, name: str) -> object:
        return ("127.0.0.1", 1)

    def get_write_buffer_size(self) -> int:
        return 0

    def write(self, data: bytes | memoryview) -> None:
        assert not self.ended, "written after the end"
        if not self.closed:
            self.written += data

    def writelines(self, parts: Any) -> None:
        for part in parts:
            self.write(part)

    def write_eof(self) -> None:
        self.ended = True

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True

    def close(self) -> None:
        if not self.closed:
            self.closed = True
            asyncio.get_running_loop().call_soon(self._lose)

    abort = close

    def _lose(self) -> None:
        self.protocol.connection_lost(None)


class Client:
    """The other end of a connection."""

    def __init__(self, edge: Edge) -> None:
        self.transport = MemoryTransport()
        self.transport.protocol = Connection(edge)
        self.transport.protocol.connection_made(self.transport)

    async def send(self, data: bytes, piece_bytes: int) -> None:
        """Deliver `data` in reads of `piece_bytes`, as far as the edge wants it."""
        unread = deque(data[at : at + piece_bytes] for at in range(0, len(data), piece_bytes))
        idle = 0
        while unread and not self.transport.closed and idle < _TURNS:
            if self.transport.reading:
                idle = 0
                self._deliver(unread.popleft())
            idle += 1
            await asyncio.sleep(0)

    def _deliver(self, piece: bytes) -> None:
        at = 0
        while at < len(piece) and not self.transport.closed:
            buffer = self.transport.protocol.get_buffer(-1)
            assert len(buffer) > 0, "an empty buffer is fatal to a connection"
            size = min(len(buffer), len(piece) - at)
            buffer[:size] = piece[at : at + size]
            self.transport.protocol.buffer_updated(size)
            at += size

    async def end(self) -> None:
        """Send no more, and wait for the end of the answers."""
        for _ in range(_TURNS):
            if self.transport.closed:
                break
            if self.transport.reading:
                if not self.transport.protocol.eof_received():
                    self.transport.close()
                break
            await asyncio.sleep(0)
        for _ in range(_TURNS):
            if self.transport.closed:
                break
            await asyncio.sleep(0)
        assert self.transport.closed, "it hangs"
        await asyncio.sleep(0)


class Target:
    """An edge with one kind of endpoint."""

    def __init__(self, endpoint: Endpoint, metrics: Metrics) -> None:
        self.in_flight = InFlight(4)
        self.slab = Slab(2**20, CpuDevice().allocate_host)
        self.edge = Edge(
            endpoint,
            limits=Limits(max_body=Bytes(100_000), max_header=Bytes(2048), read_timeout=Seconds(60)),
            in_flight=self.in_flight,
            metrics=metrics,
            probes=Probes(alive=lambda: (True, ""), ready=lambda: (True, ""), metrics=lambda: b"metrics 1\n"),
            buffers=self.slab,
        )


async def _app(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.accept"})
        while (message := await receive())["type"] == "websocket.receive":
            await send({**message, "type": "websocket.send"})
        return
    body, more = b"%b %b " % (scope["method"].encode(), scope["path"].encode()), True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        body, more = body + message["body"], message["more_body"]
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": body})


def _none(event: Event, settle: Settle) -> None:
    settle(event, b"POST /s " + SECRET if bytes(event.data) == SECRET else None)


def _targets() -> list[Target]:
    metrics = Metrics(["http"])
    trigger = HttpTrigger(
        name="http", cors=Cors(allow_origins=("https://a.example",)), api_keys=line_of("k", "key")
    )  # fmt: skip
    events = [EventEndpoint(FakeIntake(submit), TRIGGER, metrics) for submit in (echo, echo_later, _none)]
    endpoints: list[Endpoint] = [*events, AsgiEndpoint(_app), guarded(events[1], trigger, metrics)]
    return [Target(endpoint, metrics) for endpoint in endpoints]


_TARGETS = _targets()
_RUNNER = asyncio.Runner()


def attempt(data: bytes) -> None:
    """One attack: the first byte chooses the endpoint and the reads, the others are sent."""
    options, attack = (data[0] % OPTIONS, data[1:]) if data else (0, b"")
    _RUNNER.run(_attack(_TARGETS[options % len(_TARGETS)], options // len(_TARGETS), attack))


async def _attack(target: Target, cut: int, attack: bytes) -> None:
    raised: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: raised.append(context))
    attacker, other = Client(target.edge), Client(target.edge)
    half, piece_bytes = len(attack) // 2, (1 << 16, 7, 1, 100)[cut]
    await attacker.send(attack[:half], piece_bytes)
    await other.send(_WORK, 40)
    await attacker.send(attack[half:], piece_bytes)
    await attacker.end()
    await other.end()
    assert not raised, raised
    got = bytes(attacker.transport.written)
    assert SECRET not in got or SECRET in attack
    assert re.fullmatch(rb"(HTTP/1\.1 [1-5]\d\d [^\r\n]*\r\n.*)?", got, re.DOTALL), got[:200]
    assert other.transport.written.endswith(b"\r\n\r\nPOST /s " + SECRET), bytes(other.transport.written)
    for _ in range(_TURNS):  # an app learns of its client's end in a later turn
        if target.in_flight.count == 0:
            break
        await asyncio.sleep(0)
    assert target.in_flight.count == 0, "a request is never left"
    assert not target.edge.connections
    assert target.slab.used_bytes == 0 or (gc.collect() and target.slab.used_bytes == 0), "a slot leaks"


def mutated(rng: random.Random) -> bytes:
    """One to three of the corpus, broken in some places."""
    data = bytearray(b"".join(rng.choice(list(CORPUS.values())) for _ in range(rng.randint(1, 3))))
    for _ in range(rng.randint(0, 6)):
        at = rng.randrange(len(data))
        what = rng.random()
        if what < 0.4:
            data[at] = rng.randrange(256)
        elif what < 0.6:
            del data[at : at + rng.randint(1, 8)]
        else:
            data[at:at] = rng.choice(_PIECES)
        data = data or bytearray(b"x")
    return bytes([rng.randrange(OPTIONS)]) + bytes(data)
