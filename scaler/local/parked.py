"""Keep-alive connections that no replica holds: idle ones are watched, those that speak are counted as waiting.

What does not belong here: reading requests, and choosing a replica.
"""

import asyncio
import socket
from collections import OrderedDict
from collections.abc import Callable


class Parked:
    """Holds clients' connections between a replica that drained and the next.

    Args:
        limit: Beyond it the longest idle are closed.
        idle_timeout_s: How long one may stay silent.
        on_speaking: Called when a client has begun to speak.
    """

    def __init__(self, limit: int, idle_timeout_s: float, on_speaking: Callable[[], None]) -> None:
        self._limit = limit
        self._idle_timeout_s = idle_timeout_s
        self._on_speaking = on_speaking
        self._idle: OrderedDict[socket.socket, float] = OrderedDict()  # by deadline: all wait equally long
        self._speaking: list[socket.socket] = []
        self._expiry: asyncio.TimerHandle | None = None

    @property
    def speaking(self) -> int:
        """Connections on which a request waits."""
        return len(self._speaking)

    def __len__(self) -> int:
        return len(self._idle) + len(self._speaking)

    def add(self, sock: socket.socket) -> None:
        """Watch `sock` from now on."""
        loop = asyncio.get_running_loop()
        sock.setblocking(False)
        self._idle[sock] = loop.time() + self._idle_timeout_s
        loop.add_reader(sock.fileno(), self._readable, sock)
        if len(self._idle) > self._limit:
            self._drop(next(iter(self._idle)))
        if self._expiry is None:
            self._expiry = loop.call_later(self._idle_timeout_s, self._expire)

    def take_all(self) -> list[socket.socket]:
        """Give all away, those that speak first."""
        taken = [*self._speaking, *self._idle]
        for sock in self._idle:
            asyncio.get_running_loop().remove_reader(sock.fileno())
        self._clear()
        return taken

    def take_speaking(self) -> list[socket.socket]:
        """Give those away on which a request waits."""
        taken, self._speaking = self._speaking, []
        return taken

    def close(self) -> None:
        """Close all."""
        for sock in self.take_all():
            sock.close()

    def _readable(self, sock: socket.socket) -> None:
        try:
            speaks = bool(sock.recv(1, socket.MSG_PEEK))
        except BlockingIOError:
            return
        except OSError:
            speaks = False
        if not speaks:  # the client has closed, or reset
            self._drop(sock)
            return
        asyncio.get_running_loop().remove_reader(sock.fileno())
        del self._idle[sock]
        self._speaking.append(sock)
        self._on_speaking()

    def _drop(self, sock: socket.socket) -> None:
        asyncio.get_running_loop().remove_reader(sock.fileno())
        del self._idle[sock]
        sock.close()

    def _expire(self) -> None:
        """Close those that were silent for too long; then wait for the next, if any."""
        loop = asyncio.get_running_loop()
        self._expiry = None
        while self._idle:
            sock, deadline = next(iter(self._idle.items()))
            if deadline > loop.time():
                self._expiry = loop.call_at(deadline, self._expire)
                return
            self._drop(sock)

    def _clear(self) -> None:
        self._idle.clear()
        self._speaking = []
        if self._expiry is not None:
            self._expiry.cancel()
            self._expiry = None
