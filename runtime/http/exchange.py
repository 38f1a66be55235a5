"""One request and its response: `Exchange`; and who answers it: `Endpoint`.

The seam inside this package: `protocol` makes exchanges out of bytes, `events` and `asgi` answer them.
What does not belong here: events, ASGI, sockets.
"""

from typing import TYPE_CHECKING, Protocol

from .errors import ClientDisconnected
from .heads import Head
from .responses import JSON_TYPE, error_body

if TYPE_CHECKING:
    from collections.abc import Callable

    from .bodies import BodyStream
    from .protocol import Connection
    from .websocket import WebSocket

# Larger bodies go to the transport as they are; below, one joined write is cheaper than two
_JOIN_BELOW = 16 * 1024

_NOTHING = memoryview(b"")


class Endpoint(Protocol):
    """Answers the requests of a listener.

    Attributes:
        streams_body: `handle` is called when the head is read, with `Exchange.stream`; else when the body is
            complete, with `Exchange.body`.
        owns_metrics_path: `/metrics` is the function's own; the runtime's are at `/health/metrics` alone.
        admit: Called with each head, before its body is received: gives header lines for the response, or raises
            `RequestError`; None: all are let in.
    """

    streams_body: bool
    owns_metrics_path: bool

    @property
    def admit(self) -> "Callable[[Head], bytes] | None": ...

    def handle(self, exchange: "Exchange") -> None:
        """Answer `exchange`, now or later: by `respond`, by `start` to `finish`, or by `abort`."""
        ...


class Exchange:
    """One request on a connection, and the way to answer it.

    Answering twice does nothing; neither does answering a client that is gone.

    Attributes:
        head: Method, target and fields; shared with other exchanges.
        keep_alive: The connection will be used again.
        body: The whole request body, unless the endpoint streams it.
        stream: The request body, where the endpoint streams it.
        fields: Header lines that the response has, whoever answers.
        on_lost: Called once if the client goes before the answer is complete.
    """

    __slots__ = ("_connection", "_left", "body", "fields", "head", "keep_alive", "on_lost", "stream")

    def __init__(self, head: Head, connection: "Connection") -> None:
        self.head = head
        self.keep_alive = head.keep_alive
        self._connection: Connection | None = connection
        self.body = _NOTHING
        self.fields = b""
        self.stream: BodyStream | None = None
        self.on_lost: Callable[[], None] | None = None
        self._left: int | None = None  # of the response: None not started, else bytes to come or one of the below

    @property
    def answered(self) -> bool:
        """The response is complete, or was given up."""
        return self._connection is None

    @property
    def started(self) -> bool:
        """A streaming response was begun."""
        return self._left is not None

    @property
    def secure(self) -> bool:
        """The connection is encrypted."""
        return self._connection is not None and self._connection.edge.secure

    @property
    def peer(self) -> object:
        """The client's address, as the socket has it."""
        return self._connection.address("peername") if self._connection is not None else None

    @property
    def local(self) -> object:
        """The server's address, as the socket has it."""
        return self._connection.address("sockname") if self._connection is not None else None

    def respond(
        self, status: int, headers: bytes = b"", body: bytes | memoryview = b"", length: int | None = None
    ) -> None:
        """Answer with all there is.

        Args:
            status: HTTP status code, 200 or more.
            headers: Header lines as `responses.header_lines` makes them.
            body: One-dimensional, of bytes; not to be changed any more.
            length: Content-Length where it is not the body's: answers to HEAD.
        """
        connection = self._connection
        if connection is None or self._left is not None:
            return
        self._connection = None
        start = connection.start_of(status, self)
        size = len(body) if length is None else length
        if status == 204 or status == 304 or self.head.method == "HEAD":
            body = b""
            if status == 204 or (status == 304 and not size):  # RFC 9110 §8.6
                connection.finish(self, (b"%b%b\r\n" % (start, headers),))
                return
        if size < _JOIN_BELOW or len(body) < _JOIN_BELOW:
            connection.finish(self, (b"".join((start, headers, b"content-length: %d\r\n\r\n" % size, body)),))
        else:
            connection.finish(self, (b"%b%bcontent-length: %d\r\n\r\n" % (start, headers, size), body))

    def fail(self, status: int, reason: str, headers: bytes = b"") -> None:
        """Answer with `{"error": reason}`; where the response has begun, cut it off."""
        if self._left is None:
            self.respond(status, JSON_TYPE + headers, error_body(reason))
        else:
            self.abort()

    def start(self, status: int, headers: bytes = b"", length: int | None = None) -> None:
        """Begin a response that is streamed: `write` and `finish` follow.

        Args:
            status: HTTP status code, 200 or more.
            headers: Header lines.
            length: Bytes in the body, where known; else it is chunked, or for HTTP/1.0 ends with the connection.
        """
        connection = self._connection
        if connection is None or self._left is not None:
            return
        if self.head.method == "HEAD" or status == 204 or status == 304:
            framing, self._left = b"", NO_BODY
            if length is not None and status != 204:
                framing = b"content-length: %d\r\n" % length
        elif length is not None:
            framing, self._left = b"content-length: %d\r\n" % length, length
        elif self.head.http_1_1:
            framing, self._left = b"transfer-encoding: chunked\r\n", IN_CHUNKS
        else:
            framing, self._left = b"", UNTIL_CLOSE
            self.keep_alive = False
        connection.send((b"%b%b%b\r\n" % (connection.start_of(status, self), headers, framing),))

    async def write(self, chunk: bytes | memoryview) -> None:
        """Send a piece of the body; returns when the client reads fast enough for more.

        Raises:
            ClientDisconnected: It reads no more.
            ValueError: More than `length` bytes.
        """
        connection = self._connection
        if connection is None or connection.lost:
            raise ClientDisconnected("response: the client is gone")
        left, size = self._left, len(chunk)
        if left is None:
            raise RuntimeError("response: `write` before `start`")
        if size and left != NO_BODY:
            if left >= 0:
                if size > left:
                    raise ValueError(f"response body: expected {left} bytes more, got {size}")
                self._left = left - size
            connection.send(_chunk(chunk) if left == IN_CHUNKS else (chunk,))
        if connection.blocked:
            await connection.drained()

    def finish(self) -> None:
        """End a streamed response; one that is shorter than its `length` is cut off."""
        left = self._left
        if left is None or left > 0:
            self.abort()
        elif self._connection is not None:
            connection, self._connection = self._connection, None
            connection.finish(self, (b"0\r\n\r\n",) if left == IN_CHUNKS else ())

    def upgrade(self, headers: bytes) -> "WebSocket":
        """Answer 101 and go over to WebSocket; the client is there, and the endpoint streams bodies.

        Args:
            headers: Header lines of the answer, the handshake's among them.
        """
        from .websocket import WebSocket

        connection, self._connection = self._connection, None
        assert connection is not None
        websocket = WebSocket(connection.edge)
        websocket.take_over(connection, connection.give_away(self, headers))
        return websocket

    def lose(self) -> None:
        """The client is gone; whoever answers is told."""
        if self.stream is not None:
            self.stream.lose()
        if self.on_lost is not None:
            self.on_lost()

    def abort(self) -> None:
        """Cut the connection off, so that the client can tell that the response is not whole."""
        if self._connection is not None:
            connection, self._connection = self._connection, None
            connection.cut(self)


# What `Exchange._left` is for a body of no declared length
IN_CHUNKS, UNTIL_CLOSE, NO_BODY = -1, -2, -3


def _chunk(chunk: bytes | memoryview) -> tuple[bytes | memoryview, ...]:
    size = len(chunk)
    if size < _JOIN_BELOW:
        return (b"".join((b"%x\r\n" % size, chunk, b"\r\n")),)
    return (b"%x\r\n" % size, chunk, b"\r\n")
