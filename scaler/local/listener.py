"""The function's listening socket while no replica accepts from it: who waits there, and refusing them.

What does not belong here: when to watch and when to refuse.
"""

import asyncio
import json
import logging
import math
import select
import socket
import struct
from collections.abc import Callable

logger = logging.getLogger(__name__)

_UNACKED = 24  # offset of tcpi_unacked in struct tcp_info; of a listener it is the accept queue's length (tcp(7))
_REQUEST_BYTES = 64 * 1024
_LINGER_S = 2.0


class Listener:
    """Watches a listening socket without accepting.

    Args:
        sock: Bound and listening; owned from now on.
        on_waiting: Called once after `arm` when a connection waits.
    """

    def __init__(self, sock: socket.socket, on_waiting: Callable[[], None]) -> None:
        sock.setblocking(False)
        self._sock = sock
        self._on_waiting = on_waiting
        self._loop: asyncio.AbstractEventLoop | None = None
        self._armed = False
        self._refusing: set[asyncio.Task[None]] = set()

    @property
    def descriptor(self) -> int:
        """What replicas inherit."""
        return self._sock.fileno()

    def arm(self) -> None:
        """Tell of the next connection that waits, or of one that does now."""
        if not self._armed:
            self._armed = True
            self._loop = asyncio.get_running_loop()
            self._loop.add_reader(self._sock.fileno(), self._readable)

    def disarm(self) -> None:
        """A replica accepts now."""
        if self._armed and self._loop is not None:
            self._armed = False
            self._loop.remove_reader(self._sock.fileno())

    def waiting(self) -> int:
        """Connections that nobody has accepted."""
        if self._sock.family in (socket.AF_INET, socket.AF_INET6):
            info = self._sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _UNACKED + 4)
            return int(struct.unpack_from("I", info, _UNACKED)[0])
        poll = select.poll()
        poll.register(self._sock, select.POLLIN)
        return len(poll.poll(0))

    def accept_all(self) -> list[socket.socket]:
        """Take all that wait."""
        accepted: list[socket.socket] = []
        while True:
            try:
                accepted.append(self._sock.accept()[0])
            except OSError:  # none left (EAGAIN), or one that went meanwhile: the next look finds the rest
                return accepted

    def refuse(self, sock: socket.socket, reason: str, retry_after_s: float) -> None:
        """Answer whatever is asked on `sock` with 503 and close it, without waiting for that here."""
        task = asyncio.get_running_loop().create_task(_refuse(sock, refusal(reason, retry_after_s)))
        self._refusing.add(task)
        task.add_done_callback(self._refusing.discard)

    async def aclose(self) -> None:
        """Stop listening; refusals in progress are finished."""
        self.disarm()
        self._sock.close()
        if self._refusing:
            await asyncio.wait(self._refusing)

    def _readable(self) -> None:
        self.disarm()
        self._on_waiting()


def refusal(reason: str, retry_after_s: float) -> bytes:
    """A whole 503 response (RFC 9110 §15.6.4) that says why the function can't be started."""
    body = json.dumps({"error": "the function can't be started", "reason": reason}).encode()
    return (
        b"HTTP/1.1 503 Service Unavailable\r\n"
        b"content-type: application/json\r\n"
        b"content-length: %d\r\n"
        b"retry-after: %d\r\n"
        b"connection: close\r\n\r\n%b"
    ) % (len(body), max(1, math.ceil(retry_after_s)), body)


async def _refuse(sock: socket.socket, response: bytes) -> None:
    """Send `response`, then read until the client closes, for a while.

    Closing with unread bytes would reset the connection, and the client might lose the response (RFC 9112 §9.6).
    """
    loop = asyncio.get_running_loop()
    sock.setblocking(False)
    try:
        async with asyncio.timeout(_LINGER_S):
            await loop.sock_sendall(sock, response)
            sock.shutdown(socket.SHUT_WR)
            while await loop.sock_recv(sock, _REQUEST_BYTES):
                pass
    except (OSError, TimeoutError) as exc:
        logger.debug("refused client went error=%s", exc)
    finally:
        sock.close()
