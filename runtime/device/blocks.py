"""Contiguous host memory that is used again: gathers on the CPU, staging and results of a GPU.

A fresh block costs a page fault per 4 KiB (10 ms for 38 MB), or a call to pin it. A block comes back when
the last array that lies in it is gone. What does not belong here: the slab, which received bodies lie in.
"""

from collections import deque
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from .rows import Bytes, addresses_of

KEPT_BLOCKS = 4
"""Free blocks kept: one in use by each of copy in, compute and copy out, and one to come."""
SMALLEST_BLOCK_BYTES = 64 * 1024

Allocate = Callable[[int], memoryview]


class Block(NamedTuple):
    """Memory and where it lies."""

    memory: memoryview
    address: int


class Lease:
    """A block in use, until nothing refers to this any more.

    Attributes:
        address: Of its first byte.
    """

    __slots__ = ("__array_interface__", "_block", "_give_back", "address")

    def __init__(self, block: Block, size_bytes: int, give_back: Callable[[Block], None]) -> None:
        self._block = block
        self._give_back = give_back
        self.address = block.address
        self.__array_interface__: dict[str, Any] = {
            "version": 3,
            "typestr": "|u1",
            "data": (block.address, False),
            "shape": (size_bytes,),
        }

    def array(self) -> Bytes:
        """Its bytes, writable; the array keeps the lease."""
        return np.asarray(self)

    def __del__(self) -> None:
        self._give_back(self._block)


class HostBlocks:
    """Leases of blocks; at most `KEPT_BLOCKS` free ones are kept.

    Any thread may lease, and any may drop a lease, at any point of its code (a collection); so there are only
    single, atomic operations on the deque and no lock.

    Args:
        allocate: Makes memory for a block.
        scrub: Called with a block that comes back, to make stale reads show.
    """

    def __init__(self, allocate: Allocate, scrub: Callable[[memoryview], None] | None = None) -> None:
        self._allocate = allocate
        self._scrub = scrub
        self._free: deque[Block] = deque(maxlen=KEPT_BLOCKS)

    def lease(self, size_bytes: int) -> Lease:
        """A block of at least `size_bytes`, seen as exactly that; its bytes are what was left in it."""
        for _ in range(len(self._free)):
            try:
                block = self._free.popleft()
            except IndexError:
                break
            if block.memory.nbytes >= size_bytes:
                return Lease(block, size_bytes, self._take_back)
            self._free.append(block)
        memory = self._allocate(rounded(size_bytes))
        return Lease(Block(memory, addresses_of([memory])[0]), size_bytes, self._take_back)

    def _take_back(self, block: Block) -> None:
        if self._scrub is not None:
            self._scrub(block.memory)
        self._free.append(block)


def rounded(size_bytes: int) -> int:
    """`size_bytes` and up to an eighth more, so that batches of nearly one size share blocks."""
    step = max(SMALLEST_BLOCK_BYTES, (1 << size_bytes.bit_length()) // 16)
    return -(-size_bytes // step) * step
