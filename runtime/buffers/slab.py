"""The slab: memory of a fixed size that received bodies lie in, each in a slot of its own.

A slot comes back when nothing refers to it any more, however that came about: an event settled, a response
flushed, a client gone. So a view that a handler keeps never shows another request's bytes; it only keeps
the slot, which is counted and told of. What does not belong here: who waits for what else (`http`).

How it is known that nothing refers to a slot: its memory is exported by a `Token`, a ctypes object over the
slab. Every view of a slot, and every array over a view, keeps the token; when the last is gone, so is the
token, and its `__del__` gives the slot back.
"""

import asyncio
import gc
import logging
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from ..metrics import Metrics
from .granules import Granules

logger = logging.getLogger(__name__)

SMALL_BYTES = 16 * 1024
"""Bodies up to this get fresh memory: a slot costs 4 µs, and small ones are bounded by `maxConnections`."""
# More granules than this make each search slow
_MAX_GRANULES = 16 * 1024
_ROW_ALIGNMENT = 64
_NOTHING = memoryview(bytearray())
# A view kept longer than this after its event was settled is told of
_HELD_S = 1.0

AllocateHost = Callable[[int], memoryview]
Resume = Callable[[memoryview], None]


class SlabFull(MemoryError):
    """There is no slot of that size at present."""


class Slab:
    """Slots of a slab. It is used by the loop's thread alone; views of slots may be dropped by any.

    Args:
        size_bytes: `limits.slab`.
        allocate_host: Makes the memory, once, when the first slot is needed; `Device.allocate_host`.
        row_bytes: Of the declared row: slots are rows then, side by side in the order in which they are
            allocated. 0: none is declared.
        handler: Named in warnings.
        clock: Monotonic seconds.

    Attributes:
        size_bytes: Of all slots together.
        largest_bytes: The largest buffer that there can be.
        slots: Slots in use.
    """

    def __init__(
        self,
        size_bytes: int,
        allocate_host: AllocateHost,
        *,
        row_bytes: int = 0,
        handler: str = "function",
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._granule_bytes = _granule_bytes(size_bytes, row_bytes)
        self._granules = Granules(size_bytes // self._granule_bytes)
        self.size_bytes = self._granules.count * self._granule_bytes
        self.largest_bytes = max(SMALL_BYTES, self.size_bytes)
        self._allocate_host = allocate_host
        self._handler = handler
        self._clock = clock
        self._new_token: Callable[[int, int], Any] | None = None
        # Tokens die in any thread, and at any point of this code, wherever the collector runs: they only
        # append here, and remove their own entry of `_settled`; both are atomic
        self._returned: deque[tuple[int, int]] = deque()
        self._settled: dict[int, _Settled] = {}
        self._waiters: deque[tuple[int, Resume, memoryview, int]] = deque()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._warned: set[int] = set()
        self.slots = 0

    # -- allocation ----------------------------------------------------------------------------------------

    def allocate(self, size_bytes: int) -> memoryview:
        """A writable buffer of exactly `size_bytes`, with whatever bytes were left in it.

        Raises:
            SlabFull: There is no room now, or others wait for it. `when_room` waits.
        """
        if size_bytes <= SMALL_BYTES:
            return memoryview(bytearray(size_bytes))
        if self._waiters:
            raise SlabFull(f"slab: expected room for {size_bytes} bytes, got others that wait")
        return self._take(size_bytes)

    def grow(self, buffer: memoryview, filled: int, size_bytes: int) -> memoryview:
        """A buffer of `size_bytes` that begins with the first `filled` bytes of `buffer`.

        It is the same slot where there is room behind it. Who has a slot goes before those who wait for
        their first: what is half received must be received before its slot can come back.

        Raises:
            SlabFull: There is no room now.
        """
        if self._waiters and type(buffer.obj) is bytearray and size_bytes > SMALL_BYTES:
            raise SlabFull(f"slab: expected room for {size_bytes} bytes, got others that wait")
        return self._grown(buffer, filled, size_bytes)

    def when_room(self, size_bytes: int, resume: Resume, grown: memoryview = _NOTHING, filled: int = 0) -> None:
        """Call `resume(buffer)` in a later turn of the loop, as soon as there is room, in the order of calls.

        Args:
            size_bytes: Of the buffer.
            resume: Called once, unless `forget` comes first.
            grown: What `buffer` is to begin with, as `grow` does it.
            filled: How much of `grown`.
        """
        self._loop = asyncio.get_running_loop()
        # First this: a token that dies from now on sees that somebody waits
        self._waiters.append((size_bytes, resume, grown, filled))
        self._serve()

    def forget(self, resume: Resume) -> None:
        """Take a `when_room` back; nothing happens where it was called already."""
        self._waiters = deque(waiter for waiter in self._waiters if waiter[1] != resume)
        self._serve()

    @property
    def waiting(self) -> int:
        """How many wait for room."""
        return len(self._waiters)

    @property
    def used_bytes(self) -> int:
        """Memory in slots."""
        self._collect()
        return (self._granules.count - self._granules.free) * self._granule_bytes

    def prepare(self) -> None:
        """Make the memory now, instead of when the first slot is needed: pinning takes its time."""
        if self._new_token is None:
            self._new_token = _tokens(self._allocate_host(self.size_bytes), self._give_back)

    # -- what is kept --------------------------------------------------------------------------------------

    def settled(self, buffer: memoryview, unsent: Callable[[], int]) -> None:
        """The event whose data lies in `buffer` is settled; who refers to it from now on holds the slot.

        Args:
            buffer: From `allocate` or `grow`.
            unsent: Bytes of responses that its client has not taken; while there are any, the slot may be theirs.
        """
        token: Any = buffer.obj
        if type(token) is not bytearray:
            self._settled[token.place[0]] = _Settled(self._clock(), unsent)

    @property
    def held(self) -> int:
        """Slots that are still referred to though their events are settled."""
        return len(self._settled)

    def sweep(self) -> None:
        """Called about once a second: tell of slots that are held, and free those that only garbage holds."""
        now = self._clock()
        held: set[int] = set()
        for start, settled in tuple(self._settled.items()):
            if settled.unsent():
                settled.since = now
            elif now - settled.since > _HELD_S:
                held.add(start)
        if held and self._waiters:
            gc.collect()
            held &= self._settled.keys()
        if held - self._warned:
            logger.warning(
                "views of events are kept after they were settled handler=%s slots=%s waiting=%s; "
                "`event.copy()` keeps no slot",
                self._handler, len(held), len(self._waiters),
            )  # fmt: skip
        self._warned = held

    # -- slots ---------------------------------------------------------------------------------------------

    def _grown(self, buffer: memoryview, filled: int, size_bytes: int) -> memoryview:
        token: Any = buffer.obj
        if type(token) is not bytearray:
            start, count = token.place
            wanted = -(-size_bytes // self._granule_bytes)
            self._collect()
            if wanted <= count or self._granules.extend(start, count, wanted):
                token.place = (start, max(count, wanted))
                begin = start * self._granule_bytes
                return memoryview(token).cast("B")[begin : begin + size_bytes]
        grown = self._take(size_bytes) if size_bytes > SMALL_BYTES else memoryview(bytearray(size_bytes))
        grown[:filled] = buffer[:filled]
        return grown

    def _take(self, size_bytes: int) -> memoryview:
        self._collect()
        count = -(-size_bytes // self._granule_bytes)
        start = self._granules.take(count)
        if start < 0:
            raise SlabFull(f"slab: expected room for {size_bytes} bytes, got {self.slots} slots in use")
        if self._new_token is None:
            self.prepare()
        assert self._new_token is not None
        self.slots += 1
        begin = start * self._granule_bytes
        return memoryview(self._new_token(start, count)).cast("B")[begin : begin + size_bytes]

    def _collect(self) -> None:
        """Free what has come back."""
        returned = self._returned
        while returned:
            self._granules.give(*returned.popleft())
            self.slots -= 1

    def _give_back(self, place: tuple[int, int]) -> None:
        """A token has died: nothing refers to its slot any more."""
        self._settled.pop(place[0], None)
        self._returned.append(place)
        if self._waiters and self._loop is not None:
            with suppress(RuntimeError):  # the loop is closed
                self._loop.call_soon_threadsafe(self._serve)

    def _serve(self) -> None:
        """Give room to those who wait, the first first."""
        while self._waiters:
            size_bytes, resume, grown, filled = self._waiters[0]
            try:
                buffer = self._grown(grown, filled, size_bytes)
            except SlabFull:
                return
            self._waiters.popleft()
            assert self._loop is not None
            self._loop.call_soon(resume, buffer)
            del buffer, grown


def observe(slab: Slab, metrics: Metrics) -> None:
    """Let `metrics` tell how full `slab` is, and what is kept of it."""
    metrics.gauge("slab_bytes", "Memory for received bodies", lambda: slab.size_bytes)
    metrics.gauge("slab_used_bytes", "Of it in slots in use", lambda: slab.used_bytes)
    metrics.gauge("slots_held", "Slots kept by views of settled events", lambda: slab.held)


class _Settled:
    """When a slot's event was settled, or its client last had something to take."""

    __slots__ = ("since", "unsent")

    def __init__(self, since: float, unsent: Callable[[], int]) -> None:
        self.since = since
        self.unsent = unsent


def _granule_bytes(size_bytes: int, row_bytes: int) -> int:
    if row_bytes > SMALL_BYTES:
        return -(-row_bytes // _ROW_ALIGNMENT) * _ROW_ALIGNMENT
    granule = SMALL_BYTES
    while size_bytes // granule > _MAX_GRANULES:
        granule *= 2
    return granule


def _tokens(memory: memoryview, give_back: Callable[[tuple[int, int]], None]) -> Callable[[int, int], Any]:
    """Makes tokens for slots of `memory`; each exports all of it and is the owner of one place.

    ctypes is imported here: 2 ms that a function which gets small bodies never pays. A token for the whole
    slab needs one ctypes type, where one of the slot's size would need a type for each size.
    """
    import ctypes

    class Token(ctypes.c_char * memory.nbytes):  # type: ignore[misc]
        place: tuple[int, int]

        def __del__(self) -> None:
            give_back(self.place)

    from_buffer = Token.from_buffer

    def make(start: int, count: int) -> Token:
        token: Token = from_buffer(memory)
        token.place = (start, count)
        return token

    return make
