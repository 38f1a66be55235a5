"""A replica's listening socket: `HttpListener` accepts, adopts, drains and hands over connections.

Several replicas share one listening socket, so each accepts one connection a loop turn, and only while it has
room: two that accept as fast as they can take 63 and 1 of a burst of 64. What does not belong here: HTTP.
"""

import asyncio
import errno
import logging
import os
import socket
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ..buffers import Slab
from ..inflight import InFlight
from ..metrics import Metrics
from ..spec import Limits
from .edge import Edge
from .exchange import Endpoint
from .probes import Probes
from .protocol import Connection

if TYPE_CHECKING:
    import ssl

    from .websocket import WebSocket

logger = logging.getLogger(__name__)

HandOver = Callable[[list[socket.socket]], None]

# triggers/wire.MAX_DESCRIPTORS: what one line to the platform can carry
_HAND_OVER_GROUP = 64
# How often a draining listener looks for connections that have become idle: a drain is short and rare
_DRAIN_POLL_S = 0.005
# Out of descriptors: accepting is tried again after this, instead of in every turn of the loop
_NO_DESCRIPTORS = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)
_RETRY_S = 0.5


class HttpListener:
    """Serves HTTP on a listening socket, and on connections that others accepted.

    Args:
        sock: Listening; it is made non-blocking.
        endpoint: Answers the requests.
        limits: Bounds on sizes, times and connections.
        in_flight: Counts requests; none is accepted while it has no room.
        metrics: Counts responses and refusals.
        probes: Answers health checks and scrapes.
        buffers: Where bodies lie.
        tls: Certificate and key; None: plain HTTP.
    """

    def __init__(
        self,
        sock: socket.socket,
        endpoint: Endpoint,
        *,
        limits: Limits,
        in_flight: InFlight,
        metrics: Metrics,
        probes: Probes,
        buffers: Slab,
        tls: "ssl.SSLContext | None" = None,
    ) -> None:
        self._sock: socket.socket | None = sock
        self._in_flight = in_flight
        self._max_connections = limits.max_connections
        self._edge = Edge(endpoint, limits=limits, in_flight=in_flight, metrics=metrics, probes=probes, buffers=buffers)
        self._edge.on_lost = self._connection_gone
        self._edge.secure = tls is not None
        self._metrics = metrics
        # A handshake is the beginning of a first request
        secured = {"ssl": tls, "ssl_handshake_timeout": float(limits.read_timeout)}
        self._transport_options: dict[str, Any] = secured if tls is not None else {}
        self._opening: dict[asyncio.Task[None], socket.socket] = {}
        self._accepting = False
        self._serving = False
        self._waits_for_room = False
        self._retry: asyncio.TimerHandle | None = None

    @property
    def connections(self) -> int:
        """Open connections, those being opened included."""
        return len(self._edge.connections) + len(self._opening)

    def start(self) -> None:
        """Begin to accept."""
        if self._sock is not None:
            self._sock.setblocking(False)
            self._serving = True
            self._watch()

    def adopt(self, sock: socket.socket) -> None:
        """Take over an established connection, on which the client may have begun to speak."""
        sock.setblocking(False)
        task = asyncio.get_running_loop().create_task(self._open(sock))
        self._opening[task] = sock
        task.add_done_callback(self._opened)

    def stop_accepting(self, close: bool = True) -> None:
        """Leave new connections to whoever else holds the listening socket.

        Args:
            close: Close this process's copy; with no other copy, what is queued on it is reset.
        """
        self._serving = False
        self._unwatch()
        if self._waits_for_room:
            self._waits_for_room = False
            self._in_flight.forget(self._room)
        if self._retry is not None:
            self._retry.cancel()
            self._retry = None
        if close and self._sock is not None:
            self._sock.close()
            self._sock = None

    async def drain(self, hand_over: HandOver | None = None) -> None:
        """Answer what is in progress, then part with every connection; returns when none is left.

        Args:
            hand_over: Given the sockets of idle connections, non-blocking, at most 64 at a time, nothing
                received and not answered on any; None, or TLS: they are closed, and responses say so.
        """
        if self._serving:
            self.stop_accepting(close=False)
        if self._edge.secure:  # another process does not have the keys of its connections
            hand_over = None
        self._edge.closing = hand_over is None
        for connection in tuple(self._edge.connections):
            connection.part()
        while True:
            idle = [connection for connection in self._edge.connections if connection.idle]
            for start in range(0, len(idle), _HAND_OVER_GROUP):
                group = idle[start : start + _HAND_OVER_GROUP]
                if hand_over is None:
                    for connection in group:
                        connection.transport.close()
                else:
                    hand_over([sock for connection in group if (sock := _detach(connection)) is not None])
            if not self.connections:
                return
            await asyncio.sleep(_DRAIN_POLL_S)

    def abort(self) -> None:
        """Close everything at once."""
        self.stop_accepting()
        for task in tuple(self._opening):
            task.cancel()
        for connection in tuple(self._edge.connections):
            connection.transport.abort()

    def _watch(self) -> None:
        if self._accepting or not self._serving or self._sock is None:
            return
        if self._in_flight.room <= 0:
            if not self._waits_for_room:
                self._waits_for_room = True
                self._in_flight.when_room(self._room)
        elif self.connections < self._max_connections and self._retry is None:
            self._accepting = True
            asyncio.get_running_loop().add_reader(self._sock, self._accept)

    def _unwatch(self) -> None:
        if self._accepting and self._sock is not None:
            self._accepting = False
            asyncio.get_running_loop().remove_reader(self._sock)

    def _room(self) -> None:
        self._waits_for_room = False
        self._watch()

    def _connection_gone(self) -> None:
        if self._serving and not self._accepting:
            self._watch()

    def _accept(self) -> None:
        """The listening socket is readable: take one connection."""
        assert self._sock is not None
        if self._in_flight.room <= 0 or self.connections >= self._max_connections:
            self._unwatch()
            self._watch()
            return
        try:
            sock, _ = self._sock.accept()
        except (BlockingIOError, InterruptedError, ConnectionAbortedError):
            return  # another replica took it, or the client is gone
        except OSError as exc:
            if exc.errno not in _NO_DESCRIPTORS:
                raise
            logger.error("accept failed error=%s retry_s=%s", exc.strerror, _RETRY_S)
            self._unwatch()
            self._retry = asyncio.get_running_loop().call_later(_RETRY_S, self._try_again)
            return
        self.adopt(sock)

    def _try_again(self) -> None:
        self._retry = None
        self._watch()

    async def _open(self, sock: socket.socket) -> None:
        try:
            loop = asyncio.get_running_loop()
            await loop.connect_accepted_socket(lambda: Connection(self._edge), sock, **self._transport_options)
        except OSError as exc:  # closed by the client meanwhile, or no TLS
            logger.debug("connection not opened error=%s", exc)
            if self._edge.secure:
                self._metrics.refused("handshake")
            sock.close()

    def _opened(self, task: asyncio.Task[None]) -> None:
        sock = self._opening.pop(task)
        if task.cancelled():
            sock.close()
        elif (error := task.exception()) is not None:
            logger.error("connection not opened", exc_info=error)
        self._connection_gone()


def _detach(connection: "Connection | WebSocket") -> socket.socket | None:
    """The connection's socket, parted from its transport: a second descriptor keeps it open when that closes."""
    transport = connection.transport
    transport.pause_reading()
    try:
        descriptor = os.dup(transport.get_extra_info("socket").fileno())
    except OSError as exc:  # no descriptors left: the client has to connect again
        logger.warning("connection not handed over error=%s", exc.strerror)
        transport.close()
        return None
    sock = socket.socket(fileno=descriptor)
    sock.setblocking(False)
    transport.abort()
    return sock
