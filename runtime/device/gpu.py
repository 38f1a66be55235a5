"""A GPU as a device: copies in, computation and copies out overlap, and nothing is used before its time.

A batch's bytes go from the slab straight to the GPU, one copy per stretch without gaps, or through a pinned
staging block where the stretches are short. Input memory is reused as soon as the compute stream is past it.
Who waits for whom is said to the streams by events; no call here blocks but those that say so.
What does not belong here: a GPU library's own names (`cuda`, `simulated`).
"""

import logging
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from headrace.triggers import arrays
from headrace.triggers.outcomes import Response
from headrace.triggers.protocols import DeviceMemory

from ..errors import DeviceOutOfMemory
from .blocks import HostBlocks
from .completion import Watch, Watcher
from .driver import Driver
from .graphs import Graphed
from .inputs import InputBlocks
from .rows import addresses_of, gather, merged
from .transfers import GpuDownload, GpuUpload, native

logger = logging.getLogger(__name__)

DIRECT_COPY_BYTES = 64 * 1024
"""Stretches of this size are worth a copy each: beginning one takes some 4 µs, copying it on the host as long."""
EARLY_GATHER_BYTES = 1 << 20
"""`upload` runs on the loop: more than this (0.3 ms) it leaves to `stack`, in the handler's thread."""
RESULT_ALIGNMENT = 64


class GpuDevice:
    """One GPU, behind a driver.

    Args:
        driver: The GPU's library.
        watch: Calls back when an event is done; a thread of its own unless given.

    Attributes:
        gathered_bytes: Copied into staging because rows were scattered, short or not in pinned memory.
    """

    def __init__(self, driver: Driver, watch: Watch | None = None) -> None:
        self.driver = driver
        self.name = driver.name
        self.xp = driver.xp
        self.gathered_bytes = 0
        self.watch: Watch = watch or Watcher(driver.enter_thread)
        self._host = HostBlocks(driver.allocate_host, driver.scrub)
        self._inputs = InputBlocks(driver, self.watch)
        self._pinned: list[range] = []

    # -- the way in ----------------------------------------------------------------------------------------

    def view(self, data: memoryview, dtype: str, shape: Sequence[int]) -> Any:
        resolved = arrays.view(data, dtype, shape).shape
        if not data.nbytes:
            return self.xp.empty(resolved, native(arrays.dtype_of(dtype)))
        return self._begin([data], addresses_of([data]), patient=True).array(dtype, resolved).reshape(resolved)

    def stack(self, rows: Sequence[memoryview], dtype: str, shape: Sequence[int]) -> Any:
        kind = native(arrays.fitting([row.nbytes for row in rows], dtype, shape))
        filled = [row for row in rows if row.nbytes]
        if not filled:
            return self.xp.empty((0, *shape), kind)
        return self._begin(filled, addresses_of(filled), patient=True).array(dtype, shape)

    def upload(self, rows: Sequence[memoryview]) -> "GpuUpload | None":
        filled = [row for row in rows if row.nbytes]
        if not filled:
            return None
        addresses = addresses_of(filled)
        size = sum(row.nbytes for row in filled)
        if size > EARLY_GATHER_BYTES and not self._direct(filled, addresses):
            return None
        try:
            return self._begin(filled, addresses, patient=False)
        except Exception as exc:
            # The batch before may leave enough memory; what else is wrong, `stack` tells the handler.
            logger.debug("not copied ahead size_bytes=%s reason=%r", size, exc)
            return None

    def _begin(self, rows: Sequence[memoryview], addresses: Sequence[int], patient: bool) -> "GpuUpload":
        self.driver.enter_thread()
        size = sum(row.nbytes for row in rows)
        stretches = self._direct(rows, addresses)
        kept: object = rows  # the copy reads their slots long after this returns
        memory = self._inputs.lease(size, patient)
        if not stretches:
            staging = self._host.lease(size)
            gather(rows, addresses, staging.array())
            self.gathered_bytes += size
            kept, stretches = staging, [(staging.address, size)]
        offset = 0
        for address, length in stretches:
            self.driver.copy_in(memory.memory, offset, address, length)
            offset += length
        return GpuUpload(
            self.driver, self.watch, memory, [row.nbytes for row in rows], kept, self.driver.copy_in_stream.record()
        )

    def _direct(self, rows: Sequence[memoryview], addresses: Sequence[int]) -> list[tuple[int, int]]:
        """The stretches to copy as they lie; none: gather them first."""
        stretches = merged(rows, addresses)
        long_enough = len(stretches) == 1 or all(length >= DIRECT_COPY_BYTES for _, length in stretches)
        return stretches if long_enough and all(self._is_pinned(*stretch) for stretch in stretches) else []

    def _is_pinned(self, address: int, size_bytes: int) -> bool:
        return any(address in area and address + size_bytes <= area.stop for area in self._pinned)

    # -- the way out ---------------------------------------------------------------------------------------

    def download(self, value: Any) -> "GpuDownload | None":
        self.driver.enter_thread()
        found: dict[int, Any] = {}
        _collect(value, self.driver.as_array, found)
        if not found:
            return None
        places, size = [], 0
        for array in found.values():
            places.append(size)
            size += -(-array.nbytes // RESULT_ALIGNMENT) * RESULT_ALIGNMENT
        lease = self._host.lease(max(size, 1))
        self.driver.copy_out_stream.wait_event(self.driver.compute_stream.record())
        joined = lease.array()
        arrived: dict[int, Any] = {}
        for (key, array), place in zip(found.items(), places, strict=True):
            if array.nbytes:
                self.driver.copy_out(array, lease.address + place)
            arrived[key] = joined[place : place + array.nbytes].view(array.dtype).reshape(array.shape)
        event = self.driver.copy_out_stream.record()
        # The arrays too: freed earlier, their memory would be computed into while it is being copied.
        kept = (*found.values(), lease)
        return GpuDownload(_replaced(value, arrived), event, kept, self.watch)

    def to_host(self, array: Any) -> memoryview:
        download = self.download(array)
        host = array if download is None else download.wait()
        return np.ascontiguousarray(host).reshape(-1).view(np.uint8).data

    # -- the rest ------------------------------------------------------------------------------------------

    def from_dlpack(self, value: Any) -> Any:
        self.driver.enter_thread()
        return self.driver.from_dlpack(value)

    def enter_thread(self) -> None:
        self.driver.enter_thread()

    def graphed(self, function: Callable[..., Any]) -> Callable[..., Any]:
        return Graphed(self.driver, function)

    def allocate_host(self, size_bytes: int) -> memoryview:
        self.driver.enter_thread()
        memory = self.driver.allocate_host(size_bytes)
        (start,) = addresses_of([memory])
        self._pinned.append(range(start, start + size_bytes))
        return memory

    def is_out_of_memory(self, error: BaseException) -> bool:
        return isinstance(error, DeviceOutOfMemory | MemoryError) or self.driver.is_out_of_memory(error)

    def is_lost(self, error: BaseException) -> bool:
        return self.driver.is_lost(error)

    def memory(self) -> DeviceMemory | None:
        self.driver.enter_thread()
        return self.driver.memory()

    def synchronize(self) -> None:
        self.driver.enter_thread()
        self.driver.synchronize()

    def close(self) -> None:
        self.synchronize()
        self.watch.close()
        self._inputs.clear()
        self.driver.close()


def _collect(value: Any, as_array: Callable[[Any], Any], found: dict[int, Any]) -> None:
    """The device's arrays in a result, by the id of what stands for them there."""
    if isinstance(value, list | tuple):
        for item in value:
            _collect(item, as_array, found)
    elif isinstance(value, Response):
        _collect(value.body, as_array, found)
    elif (array := as_array(value)) is not None:
        found[id(value)] = array


def _replaced(value: Any, arrived: dict[int, Any]) -> Any:
    if isinstance(value, list | tuple):
        return [_replaced(item, arrived) for item in value]
    if isinstance(value, Response):
        value.body = _replaced(value.body, arrived)
        return value
    return arrived.get(id(value), value)
