"""The writing half of a connection: `Channel` joins, holds back and ends what is written.

What does not belong here: what is written, and reading (`protocol`).
"""

import asyncio
import enum
from typing import Any

from .edge import Edge
from .errors import ClientDisconnected

# Parts of responses up to this are joined into one write
_JOIN_BYTES = 64 * 1024


class Phase(enum.Enum):
    """What a connection does with the next byte it receives."""

    HEAD = "head"
    """It belongs to a request's head."""
    BODY = "body"
    """It is received in place, into a body of known length."""
    FEED = "feed"
    """It is decoded, or passed on to an endpoint that streams bodies."""
    WAIT = "wait"
    """It is kept: a request is being handled, or waits for room."""
    LINGER = "linger"
    """It is dropped: the last response was sent."""


class Channel(asyncio.BufferedProtocol):
    """A connection's transport, written to.

    Attributes:
        transport: The loop's.
        lost: It is gone.
        blocked: The client does not read what was written to it.
    """

    __slots__ = (
        "_addresses", "_drained", "_edge", "_eof", "_hung_up", "_idle_since", "_looping", "_out", "_phase", "_unsent",
        "blocked", "lost", "transport",
    )  # fmt: skip

    def __init__(self, edge: Edge) -> None:
        self._edge = edge
        self.transport: Any = None  # uvloop's, which is no asyncio.Transport for the type checker
        self._addresses: dict[str, object] = {}
        self._phase = Phase.HEAD
        self._out: list[bytes | memoryview] = []  # responses of this wake-up
        self._looping = False  # bytes are being read: what is answered meanwhile is written at the end
        self._eof = False  # the client sends no more
        self._hung_up = False  # nothing more is written
        self._drained: asyncio.Future[None] | None = None
        self._idle_since = 0.0
        self._unsent = 0  # bytes that the client had not read at the last sweep
        self.blocked = False
        self.lost = False

    @property
    def edge(self) -> Edge:
        """What all connections of the listener share."""
        return self._edge

    @property
    def ended(self) -> bool:
        """The client sends no more."""
        return self._eof

    def address(self, which: str) -> object:
        """`peername` or `sockname`; each costs a system call, once."""
        address = self._addresses.get(which)
        if address is None:
            address = self._addresses[which] = self.transport.get_extra_info(which)
        return address

    def pause_writing(self) -> None:
        """The client reads too slowly."""
        self.blocked = True
        self._unsent = 0
        self._idle_since = self._edge.now

    def part(self) -> None:
        """The replica drains: nothing is to be told to the client before its next response."""

    def send(self, parts: tuple[bytes | memoryview, ...]) -> None:
        """Write a part of a streamed response."""
        if self.lost:
            return
        self._out += parts
        self._flush()

    async def drained(self) -> None:
        """Return when the client has read enough for more to be written.

        Raises:
            ClientDisconnected: It never will.
        """
        while self.blocked and not self.lost:
            if self._drained is None:
                self._drained = asyncio.get_running_loop().create_future()
            await asyncio.shield(self._drained)
        if self.lost:
            raise ClientDisconnected("response: the client is gone")

    def _flush(self) -> None:
        out = self._out
        if out and not self.lost and not self._hung_up:
            if len(out) == 1:
                self.transport.write(out[0])
            elif sum(map(len, out)) <= _JOIN_BYTES:
                self.transport.write(b"".join(out))
            else:
                self.transport.writelines(out)
        if out:
            self._out = []
        if self._phase is Phase.LINGER and not self.lost:
            self._hang_up()

    def _hang_up(self) -> None:
        """Close without losing the last response: closing while the client still sends would reset it."""
        if self._hung_up:
            return
        self._hung_up = True
        if self._eof or self._edge.secure:
            self.transport.close()
            return
        self._resume_reading()
        self.transport.write_eof()

    def _resume_reading(self) -> None:
        if not self._eof and not self.lost:
            self.transport.resume_reading()

    def _wake_writers(self) -> None:
        if self._drained is not None:
            drained, self._drained = self._drained, None
            drained.set_result(None)
