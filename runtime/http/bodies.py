"""Request bodies that are not received in place: chunked ones, and those that an endpoint streams.

`ChunkedBody` and `StreamedBody` are fed bytes until they are `done`; `BodyStream` is an endpoint's end of a
streamed one. What does not belong here: sockets, and when to read from them.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Protocol

from ..buffers.slab import SMALL_BYTES, Slab
from .chunks import ChunkDecoder
from .errors import ClientDisconnected
from .heads import CHUNKED

# First buffer of a chunked body, no slot; it grows fourfold, so that each byte is moved 1.33 times at most
_FIRST_BYTES = SMALL_BYTES
# Request body read ahead of an ASGI app: a loop turn's worth
_READ_AHEAD = 64 * 1024


class Receiver(Protocol):
    """Takes a body's bytes.

    Attributes:
        done: It has taken the last.
    """

    @property
    def done(self) -> bool: ...

    def feed(self, data: memoryview) -> int:
        """Take what of `data` belongs to the body; how many bytes that is. Raises `RequestError`."""
        ...


class ChunkedBody:
    """A chunked body, collected.

    Args:
        decoder: Fresh.
        slab: Gives it memory.
        max_body: The decoder's.

    Attributes:
        buffer: What it is collected in.
        filled: How much of that.
        wanted_bytes: Size of the buffer that it cannot go on without, and that there was no room for; else 0.
    """

    __slots__ = ("_decoder", "_max_body", "_slab", "_spilled", "buffer", "filled", "wanted_bytes")

    def __init__(self, decoder: ChunkDecoder, slab: Slab, max_body: int) -> None:
        self._decoder = decoder
        self._slab = slab
        self._max_body = max_body
        self.buffer = memoryview(bytearray())
        self.filled = 0
        self._spilled = bytearray()  # decoded while a buffer is wanted: a read's worth at most
        self.wanted_bytes = 0

    @property
    def done(self) -> bool:
        return self._decoder.done

    @property
    def body(self) -> memoryview:
        """What was collected."""
        return self.buffer[: self.filled]

    @property
    def has_slot(self) -> bool:
        """It keeps others from memory while it waits for more."""
        return len(self.buffer) > SMALL_BYTES

    def feed(self, data: memoryview) -> int:
        return self._decoder.feed(data, self._take)

    def supply(self, buffer: memoryview) -> None:
        """Here are `wanted_bytes`, which begin with what is `filled`; more may be wanted after that."""
        self.buffer = buffer
        self.wanted_bytes = 0
        spilled, self._spilled = self._spilled, bytearray()
        self._take(memoryview(spilled))

    def _take(self, piece: memoryview) -> None:
        if self.wanted_bytes:
            self._spilled += piece
            return
        start, end = self.filled, self.filled + len(piece)
        if end > len(self.buffer):
            # The decoder saw to it that no more than max_body is wanted
            size = _FIRST_BYTES
            while size < end:
                size *= 4
            size = min(size, self._max_body)
            try:
                self.buffer = self._slab.grow(self.buffer, start, size)
            except MemoryError:
                self.wanted_bytes = size
                self._spilled += piece
                return
        self.buffer[start:end] = piece
        self.filled = end


class StreamedBody:
    """A body of any framing, passed on.

    Args:
        stream: Where to.
        length: Bytes in it, or `CHUNKED`.
        decoder: Fresh; used where it is chunked.
    """

    __slots__ = ("_decoder", "_left", "stream")

    def __init__(self, stream: "BodyStream", length: int, decoder: ChunkDecoder) -> None:
        self.stream = stream
        self._decoder = decoder if length == CHUNKED else None
        self._left = length

    @property
    def done(self) -> bool:
        return self._left == 0 if self._decoder is None else self._decoder.done

    def feed(self, data: memoryview) -> int:
        if self._decoder is not None:
            used = self._decoder.feed(data, self.stream.feed)
        else:
            used = min(self._left, len(data))
            self._left -= used
            if used:
                self.stream.feed(data[:used])
        if self.done:
            self.stream.end()
        return used


class BodyStream:
    """A request body while it arrives; at most `_READ_AHEAD` bytes and one read of it wait in memory.

    Args:
        flow: Called with False when enough waits, with True when more is wanted.
        begin: Called at the first `read`: sends `100 Continue` where the client waits for it.
    """

    __slots__ = ("_begin", "_chunks", "_flow", "_size", "_waiter", "complete", "lost")

    def __init__(self, flow: Callable[[bool], None], begin: Callable[[], None] | None) -> None:
        self._chunks: deque[bytes] = deque()
        self._size = 0
        self._flow = flow
        self._begin = begin
        self._waiter: asyncio.Future[None] | None = None
        self.complete = False
        self.lost = False

    def feed(self, piece: memoryview) -> None:
        """A piece was received; it is copied."""
        if not self.lost:
            self._chunks.append(bytes(piece))
            self._size += len(piece)
            if self._size >= _READ_AHEAD:
                self._flow(False)
            self._wake()

    def end(self) -> None:
        """All was received."""
        self.complete = True
        self._wake()

    def lose(self) -> None:
        """The client is gone, or nobody will read any more."""
        self.lost = True
        self._chunks.clear()
        self._wake()

    async def read(self) -> bytes:
        """What has arrived since the last call, waiting for at least a byte; empty at the end.

        Raises:
            ClientDisconnected: It will never be complete.
        """
        if self._begin is not None:
            begin, self._begin = self._begin, None
            begin()
        while not self._chunks:
            if self.lost:
                raise ClientDisconnected("request body: the client is gone")
            if self.complete:
                return b""
            await self._wait()
        data = self._chunks.popleft() if len(self._chunks) == 1 else b"".join(self._chunks)
        self._chunks.clear()
        self._size = 0
        self._flow(True)
        return data

    @property
    def waiting(self) -> bool:
        """Some of it was received and not read."""
        return bool(self._chunks)

    @property
    def wants_more(self) -> bool:
        """Less waits than may."""
        return self._size < _READ_AHEAD

    def decline(self) -> bool:
        """The response begins: `100 Continue` will not be sent any more; whether the client waits for it."""
        awaited, self._begin = self._begin is not None, None
        return awaited

    async def gone(self) -> None:
        """Return when the client is gone, or its request was answered."""
        while not self.lost:
            await self._wait()

    async def _wait(self) -> None:
        waiter = self._waiter
        if waiter is None:
            waiter = self._waiter = asyncio.get_running_loop().create_future()
        await asyncio.shield(waiter)

    def _wake(self) -> None:
        if self._waiter is not None:
            waiter, self._waiter = self._waiter, None
            waiter.set_result(None)
