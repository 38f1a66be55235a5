"""A listener on a real port, and raw clients for it."""

import asyncio
import contextlib
import re
import socket
import ssl
import struct
from collections.abc import AsyncGenerator, Callable
from typing import Any

import uvloop

from headrace.runtime.buffers import Slab
from headrace.runtime.device.cpu import CpuDevice
from headrace.runtime.http.events import EventEndpoint
from headrace.runtime.http.exchange import Endpoint
from headrace.runtime.http.listener import HttpListener
from headrace.runtime.http.probes import Probes
from headrace.runtime.inflight import InFlight
from headrace.runtime.metrics import Metrics
from headrace.runtime.spec import Limits
from headrace.triggers.events import Event, Trigger
from headrace.triggers.protocols import Settle
from headrace.triggers.units import Bytes, Seconds

Submit = Callable[[Event, Settle], None]

TRIGGER = Trigger("http", "http")
DEADLINE_S = 10


class FakeIntake:
    """An intake whose function is given: answers at once, later, or never."""

    def __init__(self, submit: Submit) -> None:
        self._submit = submit

    def submit(self, event: Event, settle: Settle) -> None:
        self._submit(event, settle)


def echo(event: Event, settle: Settle) -> None:
    """Answers `<method> <path> <body>` at once."""
    settle(event, b"%s %s " % (event.method.encode(), event.path.encode()) + bytes(event.data))  # type: ignore[attr-defined]


def echo_later(event: Event, settle: Settle) -> None:
    """The same in a later turn of the loop."""
    asyncio.get_running_loop().call_soon(echo, event, settle)


def answer(value: object) -> Submit:
    """Answers `value`."""
    return lambda event, settle: settle(event, value)


class Served:
    """A listener that serves."""

    def __init__(
        self,
        endpoint: Endpoint,
        limits: Limits,
        in_flight: int,
        metrics: Metrics,
        tls: ssl.SSLContext | None = None,
        row_bytes: int = 0,
    ) -> None:
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.port: int = self.socket.getsockname()[1]
        self.metrics = metrics
        self.in_flight = InFlight(in_flight)
        self.slab_memory = memoryview(b"")
        self.slab = Slab(limits.slab, self._allocate_slab, row_bytes=row_bytes, handler="test")
        self.health: tuple[bool, str] = (True, "")
        self.listener = HttpListener(
            self.socket,
            endpoint,
            limits=limits,
            in_flight=self.in_flight,
            metrics=metrics,
            probes=Probes(alive=lambda: (True, ""), ready=lambda: self.health, metrics=lambda: b"metrics 1\n"),
            tls=tls,
            buffers=self.slab,
        )

    def _allocate_slab(self, size_bytes: int) -> memoryview:
        self.slab_memory = CpuDevice().allocate_host(size_bytes)
        return self.slab_memory

    async def connect(self, tls: ssl.SSLContext | None = None) -> "Client":
        name = None if tls is None else "localhost"
        return Client(*await asyncio.open_connection("127.0.0.1", self.port, ssl=tls, server_hostname=name))

    async def ask(self, data: bytes) -> bytes:
        """Everything that comes back for `data`, until the server closes."""
        client = await self.connect()
        client.send(data)
        return await client.rest()


class Client:
    """A raw connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    def send(self, data: bytes) -> None:
        self.writer.write(data)

    async def response(self, head_only: bool = False) -> tuple[int, dict[str, str], bytes]:
        """(status, headers, body) of the next response of a known length or in chunks."""
        async with asyncio.timeout(DEADLINE_S):
            head = await self.reader.readuntil(b"\r\n\r\n")
            lines = head.decode("latin-1").split("\r\n")[:-2]
            headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:])}
            status = int(lines[0].split(" ")[1])
            body = b""
            if headers.get("transfer-encoding") == "chunked" and not head_only:
                while size := int((await self.reader.readuntil(b"\r\n")).strip(), 16):
                    body += (await self.reader.readexactly(size + 2))[:-2]
                await self.reader.readexactly(2)
            elif status >= 200 and not head_only:
                body = await self.reader.readexactly(int(headers.get("content-length", "0")))
            return status, headers, body

    async def rest(self) -> bytes:
        """What comes until the server closes; then this closes too."""
        async with asyncio.timeout(DEADLINE_S):
            data = await self.reader.read()
        await self.close()
        return data

    def reset(self) -> None:
        """Vanish: a reset, not the end of what is sent (which a half-closed client sends too)."""
        raw: socket.socket = self.writer.get_extra_info("socket")
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()

    async def close(self) -> None:
        self.writer.close()
        with contextlib.suppress(ConnectionError):
            await self.writer.wait_closed()


@contextlib.asynccontextmanager
async def serving(
    what: Submit | Endpoint = echo,
    *,
    in_flight: int = 256,
    accept: bool = True,
    tls: ssl.SSLContext | None = None,
    row_bytes: int = 0,
    **limits: Any,
) -> AsyncGenerator[Served]:
    """Serve an endpoint, or a function behind an `EventEndpoint`; `limits` by name, in seconds and bytes."""
    metrics = Metrics(["http"])
    endpoint: Endpoint = what if hasattr(what, "handle") else EventEndpoint(FakeIntake(what), TRIGGER, metrics)  # type: ignore[assignment]
    sized = {name: _limit(name, value) for name, value in limits.items()}
    served = Served(endpoint, Limits(**sized), in_flight, metrics, tls, row_bytes)
    if accept:
        served.listener.start()
    try:
        yield served
    finally:
        served.listener.abort()
        await until(lambda: served.listener.connections == 0)
        served.socket.close()


async def until(condition: Callable[[], bool]) -> None:
    """Return when `condition` holds, looking in each turn of the loop."""
    async with asyncio.timeout(DEADLINE_S):
        while not condition():
            await asyncio.sleep(0.001)


def on_uvloop(run: Callable[[], Any]) -> Any:
    """Run `run()`'s coroutine on a loop of its own, for tests that are not coroutines."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(run())


def without_date(data: bytes) -> bytes:
    """Responses without what changes with the clock."""
    return re.sub(rb"date: [^\r]*\r\n", b"", data)


def _limit(name: str, value: Any) -> Any:
    if name == "max_connections":
        return value
    return Bytes(value) if name in ("max_body", "max_header", "slab") else Seconds(value)
