"""WebSocket on one connection (RFC 6455): `WebSocket`, from bytes to messages and back, after the handshake.

Frames are wsproto's; here are bounds, backpressure, pings and the closing handshake. Permessage-deflate is not
offered: what a few bytes inflate to is bounded by nobody. What does not belong here: the handshake, and ASGI
(`asgi_websocket`).
"""

import asyncio
import io
import logging
from collections import deque
from typing import TYPE_CHECKING, Any

from wsproto import events
from wsproto.connection import Connection as Frames
from wsproto.connection import ConnectionState, ConnectionType

from .edge import Edge
from .errors import ClientDisconnected

if TYPE_CHECKING:
    from .protocol import Connection

logger = logging.getLogger(__name__)

# Received and not yet taken by the app; beyond, the client's own socket holds it
_QUEUE_BYTES = 64 * 1024
_QUEUE_MESSAGES = 64
# From our Close frame to the client's; then it is cut off (RFC 6455 §7.1.1)
_CLOSE_S = 2.0

# RFC 6455 §7.4.1 and IANA's registry
GOING_AWAY, ABNORMAL, TOO_BIG, INTERNAL_ERROR, SERVICE_RESTART = 1001, 1006, 1009, 1011, 1012


class WebSocket(asyncio.BufferedProtocol):
    """An open WebSocket connection.

    Args:
        edge: Of its listener; it stays one of its connections.

    Attributes:
        transport: The loop's, taken over.
        closed: (code, reason) once nothing more is received; code 1006: no closing handshake was begun.
    """

    def __init__(self, edge: Edge) -> None:
        self._edge = edge
        self.transport: Any = None  # uvloop's, which is no asyncio.Transport for the type checker
        self.closed: tuple[int, str] | None = None
        self._frames = Frames(ConnectionType.SERVER)
        self._message: bytearray | io.StringIO | None = None  # the part of one that has come
        self._size = 0
        self._queue: deque[bytes | str] = deque()
        self._queue_bytes = 0
        self._paused = False
        self._blocked = False
        self._unsent = 0
        self._waiter: asyncio.Future[None] | None = None
        self._drained: asyncio.Future[None] | None = None
        self._heard_at = edge.now
        self._pinged = False
        self._closing_since: float | None = None
        self._lost = False
        self._failed = False  # what the client sends cannot be read any more

    def take_over(self, connection: "Connection", received: bytes) -> None:
        """Go on where HTTP ended.

        Args:
            connection: Its transport is this object's from now on.
            received: What the client sent behind its request.
        """
        self.transport = connection.transport
        self._blocked = connection.blocked
        self._edge.joined(self)
        self._edge.left(connection)
        self.transport.set_protocol(self)
        self._receive(received)
        if connection.ended and self._closing_since is None:  # nobody will tell of it again
            self._closing_since = self._edge.now
            self._end(ABNORMAL, "")
        if connection.ended:
            self.transport.close()
        else:
            self._flow()

    # -- called by the transport ---------------------------------------------------------------------------

    def get_buffer(self, sizehint: int) -> memoryview:
        """Where to receive into: what all connections share, and is never held over a turn."""
        return self._edge.view

    def buffer_updated(self, nbytes: int) -> None:
        """`nbytes` were received."""
        self._receive(bytes(self._edge.view[:nbytes]))

    def eof_received(self) -> bool:
        """The client sends no more: without a Close frame that is the end (RFC 6455 §7.1.4)."""
        return False

    def pause_writing(self) -> None:
        """The client reads too slowly."""
        self._blocked = True
        self._unsent = 0
        self._heard_at = self._edge.now

    def resume_writing(self) -> None:
        """It has caught up."""
        self._blocked = False
        self._wake_writers()

    def connection_lost(self, exc: Exception | None) -> None:
        """The last call."""
        self._lost = True
        self._end(ABNORMAL, "")
        self._wake_writers()
        self._edge.left(self)
        self._edge.in_flight.leave()

    # -- called by the listener ----------------------------------------------------------------------------

    @property
    def idle(self) -> bool:
        """It can't be handed over: another process knows nothing of its messages."""
        return False

    def part(self) -> None:
        """The replica drains: the client is to connect anew, which brings it to another."""
        self.close(SERVICE_RESTART, "")

    def check_deadlines(self, now: float) -> None:
        """Cut off a client that is silent, reads nothing, or does not end the closing handshake; ping a quiet one."""
        if self._closing_since is not None:
            if now - self._closing_since > _CLOSE_S:
                self.transport.abort()
            return
        if self._blocked:
            unsent = self.transport.get_write_buffer_size()
            if unsent != self._unsent:
                self._unsent, self._heard_at = unsent, now
        elif self._paused:  # the app takes its time, and nothing can be heard
            self._heard_at = now
        quiet_s = now - self._heard_at
        if quiet_s > self._edge.idle_s:
            self._end(ABNORMAL, "")
            self.transport.abort()
        elif quiet_s > self._edge.idle_s / 2 and not self._pinged and not self._blocked:
            self._pinged = True
            self.transport.write(self._frames.send(events.Ping()))

    # -- called by the app's side --------------------------------------------------------------------------

    async def receive(self) -> bytes | str | None:
        """The next message, waiting for one; None: there will be none, and `closed` says why."""
        while not self._queue:
            if self.closed is not None:
                return None
            if self._waiter is None:
                self._waiter = asyncio.get_running_loop().create_future()
            await asyncio.shield(self._waiter)
        message = self._queue.popleft()
        self._queue_bytes -= len(message)
        self._flow()
        return message

    async def send(self, data: bytes | str) -> None:
        """Send a message; returns when the client reads fast enough for more.

        Raises:
            ClientDisconnected: The connection is closed, or is being closed.
        """
        if self.closed is not None or self._closing_since is not None:
            raise ClientDisconnected("WebSocket: the connection is closed")
        message = events.TextMessage(data) if isinstance(data, str) else events.BytesMessage(data)
        self.transport.write(self._frames.send(message))
        while self._blocked and not self._lost:
            if self._drained is None:
                self._drained = asyncio.get_running_loop().create_future()
            await asyncio.shield(self._drained)

    def close(self, code: int, reason: str) -> None:
        """Begin the closing handshake; twice does nothing."""
        if self._closing_since is not None or self._lost:
            return
        self._closing_since = self._edge.now
        if self._frames.state in (ConnectionState.OPEN, ConnectionState.REMOTE_CLOSING):
            self.transport.write(self._frames.send(events.CloseConnection(code, reason)))
        self._end(code, reason)
        if self._frames.state is ConnectionState.CLOSED:
            self.transport.close()
        else:
            self._flow()

    # -- receiving -----------------------------------------------------------------------------------------

    def _receive(self, data: bytes) -> None:
        if not data or self._failed or self._frames.state is ConnectionState.CLOSED:
            return
        self._heard_at = self._edge.now
        self._pinged = False
        self._frames.receive_data(data)
        for event in self._frames.events():
            if isinstance(event, events.TextMessage | events.BytesMessage):
                self._take(event)
            elif isinstance(event, events.Ping):
                if self._closing_since is None:
                    self.transport.write(self._frames.send(event.response()))
            elif isinstance(event, events.CloseConnection):
                self._on_close(event)
                return
        self._flow()

    def _take(self, event: events.Message[Any]) -> None:
        if self.closed is not None:
            return
        message, data = self._message, event.data
        if message is None:
            message = self._message = io.StringIO() if isinstance(data, str) else bytearray()
            self._size = 0
        self._size += len(data) if not isinstance(data, str) or data.isascii() else len(data.encode())
        if self._size > self._edge.max_body:
            self._message = None
            self.close(TOO_BIG, f"expected at most {self._edge.max_body} bytes")
            return
        if isinstance(data, str):
            assert isinstance(message, io.StringIO)  # wsproto refuses a message in a message
            message.write(data)
        else:
            assert isinstance(message, bytearray)
            message += data
        if event.message_finished:
            self._message = None
            self._queue.append(message.getvalue() if isinstance(message, io.StringIO) else bytes(message))
            self._queue_bytes += len(self._queue[-1])
            self._wake()

    def _on_close(self, event: events.CloseConnection) -> None:
        if self._frames.state is ConnectionState.OPEN:  # not the client's: wsproto says what is wrong with its bytes
            self._edge.metrics.refused("malformed")
            self.close(int(event.code), event.reason or "")
            self._fail()
        elif self._frames.state is ConnectionState.CLOSED:  # the answer to ours
            self.transport.close()
        elif self._frames.state is ConnectionState.REMOTE_CLOSING:
            self._closing_since = self._edge.now
            self.transport.write(self._frames.send(event.response()))
            self._end(int(event.code), event.reason or "")
            self.transport.close()
        else:  # nonsense instead of the answer to ours
            self.transport.abort()

    def _fail(self) -> None:
        """End without waiting for an answer (RFC 6455 §7.1.7), and without losing our Close frame to a reset."""
        self._failed = True
        if self._edge.secure:
            self.transport.close()
        else:
            self.transport.write_eof()

    def _flow(self) -> None:
        """Stop or go on receiving; what comes after our Close frame is dropped."""
        full = self._queue_bytes >= _QUEUE_BYTES or len(self._queue) >= _QUEUE_MESSAGES
        if self._lost:
            return
        if full and self.closed is None:
            self._paused = True
            self.transport.pause_reading()
        else:
            self._paused = False
            self.transport.resume_reading()

    def _end(self, code: int, reason: str) -> None:
        if self.closed is None:
            self.closed = (code, reason)
            self._message = None
            self._wake()

    def _wake(self) -> None:
        if self._waiter is not None:
            waiter, self._waiter = self._waiter, None
            waiter.set_result(None)

    def _wake_writers(self) -> None:
        if self._drained is not None:
            drained, self._drained = self._drained, None
            drained.set_result(None)
