"""A `LocalPlatform` over `support/replica.py`, a client for it, and waiting for what it comes to."""

import asyncio
import os
import socket
import sys
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from headrace.scaler.local.platform import LocalPlatform
from headrace.scaler.local.settings import Generation, Limits
from headrace.scaler.platform import ReplicaState

SUPPORT = Path(__file__).parent
PROGRAM = SUPPORT / "replica.py"
LIMITS = Limits(handler_timeout_s=0.3, drain_timeout_s=3, ping_interval_s=0.1, grace_s=0.3)


def generation(environ: Mapping[str, str] | None = None) -> Generation:
    """Replicas that do as `environ` says."""
    return Generation(
        command=(sys.executable, str(PROGRAM)), environ={**os.environ, **(environ or {})}, cwd=str(PROGRAM.parent)
    )


class Local:
    """The platform under test, with its address and what its replicas wrote."""

    def __init__(self, environ: Mapping[str, str] | None = None, limits: Limits = LIMITS) -> None:
        listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
        self.address: tuple[str, int] = listener.getsockname()
        self.lines: list[tuple[int, str]] = []
        self.woken = 0
        self.platform = LocalPlatform(
            listener, generation(environ), limits, on_output=lambda pid, line: self.lines.append((pid, line))
        )
        self.platform.watch(self._wake)

    def _wake(self) -> None:
        self.woken += 1

    async def until(self, condition: Callable[[], bool]) -> None:
        """Look again until `condition` holds."""
        async with asyncio.timeout(20):
            while not condition():
                await asyncio.sleep(0.005)

    async def scaled(self, replicas: int) -> None:
        """Apply, and wait until just that many are there and ready."""
        self.platform.apply(replicas)
        await self.settled(replicas)

    async def settled(self, replicas: int) -> None:
        """Wait until just that many are there and ready."""
        await self.until(lambda: self.states() == [ReplicaState.READY] * replicas)

    async def drained(self) -> None:
        """Go to zero; a request may well be waiting again by then."""
        self.platform.apply(0)
        await self.until(lambda: not self.states())

    async def replaced(self, count: int) -> None:
        """Wait until so many replicas have exited unasked."""
        await self.until(lambda: self.platform.look().replaced == count)

    def states(self) -> list[ReplicaState]:
        return [replica.state for replica in self.platform.look().replicas]

    def pids(self) -> set[int]:
        return {replica.pid for replica in self.platform.look().replicas}


@asynccontextmanager
async def local(environ: Mapping[str, str] | None = None, limits: Limits = LIMITS) -> AsyncGenerator[Local]:
    """A started platform, closed in the end."""
    made = Local(environ, limits)
    await made.platform.start()
    try:
        yield made
    finally:
        await made.platform.aclose()


class Client:
    """One keep-alive connection, spoken to by hand."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    @classmethod
    async def connect(cls, address: tuple[str, int]) -> "Client":
        return cls(*await asyncio.open_connection(*address))

    async def send(self, path: str = "/") -> None:
        self.writer.write(b"GET %b HTTP/1.1\r\nhost: test\r\n\r\n" % path.encode())
        await self.writer.drain()

    async def response(self) -> tuple[int, dict[str, str], bytes]:
        async with asyncio.timeout(20):
            head = (await self.reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
            headers = dict(line.split(": ", 1) for line in head[1:] if line)
            body = await self.reader.readexactly(int(headers["content-length"]))
        return int(head[0].split()[1]), headers, body

    async def get(self, path: str = "/") -> bytes:
        """The body; the status is 200."""
        await self.send(path)
        status, _, body = await self.response()
        assert status == 200
        return body

    async def closed(self) -> bool:
        """Whether the other end closes, given time."""
        async with asyncio.timeout(20):
            try:
                return await self.reader.read() == b""
            except ConnectionError:
                return True

    async def aclose(self) -> None:
        self.writer.close()
        with suppress(ConnectionError):
            await self.writer.wait_closed()
