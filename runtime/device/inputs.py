"""Memory on the GPU that batches are copied into, used again as soon as the compute stream is past its last use.

It is none of the library's pool, which would give what one stream has freed to another that is ahead of it.
What does not belong here: the copies.
"""

from collections import deque
from contextlib import suppress
from typing import Any

from ..errors import DeviceOutOfMemory
from .blocks import KEPT_BLOCKS, rounded
from .completion import Watch
from .driver import Driver, DriverEvent


class InputLease:
    """Memory on the GPU for one batch, free again once nothing refers to this and the compute stream is past it.

    Attributes:
        memory: The driver's.
    """

    __slots__ = ("_blocks", "_size_bytes", "memory")

    def __init__(self, blocks: "InputBlocks", memory: Any, size_bytes: int) -> None:
        self._blocks = blocks
        self._size_bytes = size_bytes
        self.memory = memory

    def __del__(self) -> None:
        self._blocks.take_back(self.memory, self._size_bytes)


class InputBlocks:
    """Leases of such memory; at most `KEPT_BLOCKS` free ones are kept."""

    def __init__(self, driver: Driver, watch: Watch) -> None:
        self._driver = driver
        self._watch = watch
        self._free: deque[tuple[Any, int, DriverEvent]] = deque()

    def lease(self, size_bytes: int, patient: bool) -> InputLease:
        """Memory of at least `size_bytes`, which the copy-in stream may write to.

        Args:
            size_bytes: Of a batch.
            patient: Where there is none left, wait for the free blocks' last use and give them up for it.

        Raises:
            DeviceOutOfMemory: There is none.
        """
        for _ in range(len(self._free)):
            try:
                memory, size, free = self._free.popleft()
            except IndexError:
                break
            if size >= size_bytes:
                self._driver.copy_in_stream.wait_event(free)
                return InputLease(self, memory, size)
            self._free.append((memory, size, free))
        try:
            memory = self._driver.allocate(rounded(size_bytes))
        except Exception as exc:
            if not self._driver.is_out_of_memory(exc):
                raise
            if patient and self._free:
                self.clear()
                return self.lease(size_bytes, patient=False)
            text = f"device {self._driver.name}: expected {size_bytes} bytes of memory for a batch, got none"
            raise DeviceOutOfMemory(text) from exc
        return InputLease(self, memory, rounded(size_bytes))

    def take_back(self, memory: Any, size_bytes: int) -> None:
        """Called by any thread, at any point of its code."""
        self._driver.enter_thread()
        self._free.append((memory, size_bytes, self._driver.release(memory)))
        if len(self._free) > KEPT_BLOCKS:
            with suppress(IndexError):
                old, _, free = self._free.popleft()
                self._watch.keep(free, old)

    def clear(self) -> None:
        """Give up what is free."""
        with suppress(IndexError):
            while True:
                _, _, free = self._free.popleft()
                free.synchronize()
