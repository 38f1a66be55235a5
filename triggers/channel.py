"""The control socket between a replica and its platform, the same at both ends: lines of JSON, and sockets.

A message is a line; the sockets that it names (`count`) are passed beside it by SCM_RIGHTS (unix(7)), in
order. What does not belong here: what the messages mean (`wire` declares them).
"""

import array
import asyncio
import errno
import logging
import os
import socket
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from .wire import MAX_DESCRIPTORS, MAX_LINE

logger = logging.getLogger(__name__)

MAX_QUEUED = 1024 * 1024
"""Bytes that may wait for a peer that does not read; beyond, it counts as gone."""

_INT_BYTES = array.array("i").itemsize
_RIGHTS_BYTES = socket.CMSG_SPACE(253 * _INT_BYTES)  # SCM_MAX_FD of Linux: no single sendmsg passes more
_RETRY_S = 0.01
_LATER = (errno.EAGAIN, errno.ENOBUFS, errno.ETOOMANYREFS)


class Channel:
    """One end of a connected AF_UNIX stream socket, served by the running loop.

    Sockets that are received belong to `on_message`; those that are sent belong to the channel, which closes
    this process's copy once they are sent, or can't be any more.

    Args:
        sock: Connected; owned by the channel from now on.
        receives: The union of messages that the peer may send.
        on_message: Called on the loop with each message and the sockets that came with it.
        on_close: Called once when the peer has closed, broke the protocol or stopped reading; not for `close`.
    """

    def __init__(
        self,
        sock: socket.socket,
        receives: Any,
        on_message: Callable[[Any, list[socket.socket]], None],
        on_close: Callable[[], None],
    ) -> None:
        sock.setblocking(False)
        self._sock = sock
        self._decoder: msgspec.json.Decoder[Any] = msgspec.json.Decoder(receives)
        self._encoder = msgspec.json.Encoder()
        self._on_message = on_message
        self._on_close = on_close
        self._loop: asyncio.AbstractEventLoop | None = None
        self._received = bytearray()
        self._descriptors: deque[int] = deque()
        self._queue: deque[tuple[bytes, Sequence[socket.socket]]] = deque()
        self._queued_bytes = 0
        self._waiting: asyncio.TimerHandle | None = None
        self._flushed: asyncio.Event | None = None
        self._lost = False
        self.closed = False

    def start(self) -> None:
        """Begin to read. Call it on the loop."""
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._sock.fileno(), self._read)
        self._write()

    @property
    def queued(self) -> int:
        """Lines that the peer has not taken yet; what only repeats itself need not be added to them."""
        return len(self._queue)

    def send(self, message: msgspec.Struct, sockets: Sequence[socket.socket] = ()) -> None:
        """Send `message` with `sockets` beside it, in order, after what is queued. A closed channel drops both.

        Raises:
            ValueError: The line is longer than `MAX_LINE`, or there are more than `MAX_DESCRIPTORS` sockets.
        """
        line = self._encoder.encode(message) + b"\n"
        if len(line) > MAX_LINE or len(sockets) > MAX_DESCRIPTORS:
            raise ValueError(
                f"control message {type(message).__name__}: expected at most {MAX_LINE} bytes and "
                f"{MAX_DESCRIPTORS} sockets, got {len(line)} and {len(sockets)}"
            )
        if self.closed:
            _close_all(sockets)
            return
        self._queue.append((line, sockets))
        self._queued_bytes += len(line)
        if len(self._queue) == 1:
            self._write()
        if self._queued_bytes > MAX_QUEUED:
            self._fail(f"expected a peer that reads, got {self._queued_bytes} bytes not taken")

    def read_rest(self) -> None:
        """Take what a peer said before it exited, without waiting for the loop to come round to it."""
        while not self.closed and self._read():
            pass

    async def flush(self, timeout_s: float) -> bool:
        """Wait until all that was sent is with the kernel; False if the peer did not take it in time."""
        if self._queue:
            self._flushed = asyncio.Event()
            try:
                await asyncio.wait_for(self._flushed.wait(), timeout_s)
            except TimeoutError:
                return False
        return not (self.closed or self._lost)

    def close(self) -> None:
        """Close, dropping what is queued."""
        if self.closed:
            return
        self.closed = True
        self._stop_waiting()
        if self._loop is not None:
            self._loop.remove_reader(self._sock.fileno())
        self._sock.close()
        for _, sockets in self._queue:
            _close_all(sockets)
        self._queue.clear()
        while self._descriptors:
            os.close(self._descriptors.popleft())
        if self._flushed is not None:
            self._flushed.set()

    # -- receiving ------------------------------------------------------------------------------------------

    def _read(self) -> bool:
        """Take one piece; False if there is none."""
        try:
            # cloexec at once: a process started meanwhile must not inherit a client's connection
            # (socket.recv_fds of Python 3.11 drops its `flags`)
            data, ancillary, flags, _ = self._sock.recvmsg(MAX_LINE, _RIGHTS_BYTES, socket.MSG_CMSG_CLOEXEC)
        except (BlockingIOError, InterruptedError):
            return False
        except OSError as exc:
            self._fail(f"expected data, got {exc.strerror}", level=logging.DEBUG)
            return False
        for _, _, rights in ancillary:  # SCM_RIGHTS: no other kind was asked for
            self._descriptors.extend(array.array("i", rights[: len(rights) // _INT_BYTES * _INT_BYTES]))
        if flags & socket.MSG_CTRUNC:
            self._fail("expected all sockets of a message, got some (too many open files)")
        elif data:
            self._received += data
            self._take_lines()
        else:
            self._end()
        return True

    def _take_lines(self) -> None:
        *lines, rest = self._received.split(b"\n")
        self._received = rest
        if any(len(line) >= MAX_LINE for line in (*lines, rest)):
            self._fail(f"expected lines of at most {MAX_LINE} bytes, got more")
            return
        for line in lines:
            if not self.closed:
                self._take(line)

    def _take(self, line: bytearray) -> None:
        try:
            message = self._decoder.decode(line)
        except (msgspec.DecodeError, UnicodeDecodeError) as exc:
            self._fail(f"expected a message, got a line that is none: {exc}")
            return
        count = getattr(message, "count", 0)
        if not 0 <= count <= min(MAX_DESCRIPTORS, len(self._descriptors)):
            self._fail(f"expected {count} sockets with {type(message).__name__}, got {len(self._descriptors)}")
            return
        sockets = [sock for _ in range(count) if (sock := _adopt(self._descriptors.popleft())) is not None]
        try:
            self._on_message(message, sockets)
        except Exception:
            logger.exception("control message failed kind=%s", type(message).__name__)
            _close_all(sockets)

    # -- sending --------------------------------------------------------------------------------------------

    def _write(self) -> None:
        self._stop_waiting()
        while self._queue and not self.closed:
            line, sockets = self._queue[0]
            try:
                sent = self._send_some(line, sockets)
            except OSError as exc:
                if exc.errno in _LATER:
                    self._wait(exc.errno)
                else:  # EPIPE or ECONNRESET: `_read` may still find what the peer said before it went
                    logger.debug("control socket not writable error=%s", exc.strerror)
                    self._drop_queue()
                return
            _close_all(sockets)  # they go with the first byte
            self._queued_bytes -= sent
            if sent < len(line):
                self._queue[0] = (line[sent:], ())
            else:
                self._queue.popleft()
        if not self._queue and self._flushed is not None:
            self._flushed.set()

    def _send_some(self, line: bytes, sockets: Sequence[socket.socket]) -> int:
        if not sockets:
            return self._sock.send(line)
        rights = array.array("i", [sock.fileno() for sock in sockets])
        return self._sock.sendmsg([line], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)])

    def _wait(self, reason: int) -> None:
        """Try again when there is room; for descriptors in flight beyond RLIMIT_NOFILE nothing signals it."""
        if self._loop is None:
            return
        if reason == errno.EAGAIN:
            self._loop.add_writer(self._sock.fileno(), self._write)
        else:
            self._waiting = self._loop.call_later(_RETRY_S, self._write)

    def _stop_waiting(self) -> None:
        if self._loop is not None:
            self._loop.remove_writer(self._sock.fileno())
        if self._waiting is not None:
            self._waiting.cancel()
            self._waiting = None

    def _drop_queue(self) -> None:
        self._lost = True
        for _, sockets in self._queue:
            _close_all(sockets)
        self._queue.clear()
        self._queued_bytes = 0
        if self._flushed is not None:
            self._flushed.set()

    # -- ending ---------------------------------------------------------------------------------------------

    def _fail(self, fault: str, level: int = logging.WARNING) -> None:
        logger.log(level, "control socket failed fault=%s", fault)
        self._end()

    def _end(self) -> None:
        if not self.closed:
            self.close()
            self._on_close()


def _adopt(descriptor: int) -> socket.socket | None:
    try:
        sock = socket.socket(fileno=descriptor)
    except OSError as exc:
        logger.warning("control socket passed no socket error=%s", exc.strerror)
        os.close(descriptor)
        return None
    sock.setblocking(False)
    return sock


def _close_all(sockets: Sequence[socket.socket]) -> None:
    for sock in sockets:
        sock.close()
