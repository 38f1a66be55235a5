"""Slots: whose they are, when they come back, who waits for them."""

import asyncio
import gc
import logging
import threading
from collections.abc import Callable

import numpy as np
import pytest

from headrace.runtime.buffers import FreshBuffers, Slab, SlabFull, observe
from headrace.runtime.device.cpu import CpuDevice
from headrace.runtime.metrics import Metrics

KIB = 1024
SLOT = 64 * KIB


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def slab(slots: int = 4, row_bytes: int = 0, clock: Clock | None = None) -> Slab:
    size = slots * (row_bytes or SLOT)
    return Slab(size, CpuDevice().allocate_host, row_bytes=row_bytes, handler="mine", clock=clock or Clock())


def address(view: memoryview) -> int:
    return int(np.frombuffer(view, np.uint8).__array_interface__["data"][0])


def test_slots_are_bytes_of_the_asked_size_side_by_side() -> None:
    buffers = slab()
    first, second = buffers.allocate(SLOT), buffers.allocate(SLOT - 1)
    assert (first.format, first.ndim, first.readonly, len(first), len(second)) == ("B", 1, False, SLOT, SLOT - 1)
    assert address(second) == address(first) + SLOT
    assert buffers.slots == 2
    assert buffers.used_bytes == 2 * SLOT


def test_small_buffers_are_no_slots() -> None:
    buffers = slab()
    assert len(buffers.allocate(16 * KIB)) == 16 * KIB
    assert buffers.allocate(0).nbytes == 0
    assert buffers.used_bytes == 0


def test_rows_begin_at_multiples_of_64_bytes() -> None:
    row = 600_001
    buffers = slab(row_bytes=row)
    rows = [buffers.allocate(row) for _ in range(3)]
    pitch = 600_064
    assert [address(view) - address(rows[0]) for view in rows] == [0, pitch, 2 * pitch]
    assert address(rows[0]) % 64 == 0


def test_a_batch_of_rows_is_one_view() -> None:
    device = CpuDevice()
    row = 4 * 128 * 128
    buffers = Slab(8 * row, device.allocate_host, row_bytes=row)
    rows = [buffers.allocate(row), buffers.allocate(2 * row), buffers.allocate(row)]
    for number in range(3):
        rows[number][:] = bytes([number]) * len(rows[number])
    tensor = device.stack(rows, "uint8", (row,))
    assert device.gathered_bytes == 0
    assert all(np.shares_memory(tensor, np.frombuffer(view, np.uint8)) for view in rows)
    assert tensor[:, 0].tolist() == [0, 1, 1, 2]
    del rows
    assert buffers.used_bytes == 4 * row
    del tensor
    assert buffers.used_bytes == 0


KEPT: list[Callable[[memoryview], object]] = [
    lambda view: view[5:9],
    lambda view: view.cast("I"),
    lambda view: np.frombuffer(view, np.float32)[3:].reshape(-1, 1),
    memoryview,
]


@pytest.mark.parametrize("keep", KEPT, ids=["slice", "cast", "array", "view"])
def test_a_slot_comes_back_when_nothing_refers_to_it(keep: Callable[[memoryview], object]) -> None:
    buffers = slab()
    view = buffers.allocate(SLOT)
    kept = keep(view)
    del view
    assert buffers.used_bytes == SLOT
    del kept
    assert buffers.used_bytes == 0


def test_a_full_slab_says_so() -> None:
    buffers = slab(2)
    kept = [buffers.allocate(SLOT) for _ in range(2)]
    with pytest.raises(SlabFull, match=r"slab: expected room for 65536 bytes, got 2 slots in use"):
        buffers.allocate(SLOT)
    assert len(kept) == 2


def test_grows_in_place_or_elsewhere() -> None:
    buffers = slab(8)
    first = buffers.allocate(SLOT)
    first[:4] = b"abcd"
    grown = buffers.grow(first, 4, 2 * SLOT)
    assert address(grown) == address(first)
    del first
    behind = buffers.allocate(SLOT)
    moved = buffers.grow(grown, 3, 4 * SLOT)
    assert address(moved) == address(behind) + SLOT
    assert bytes(moved[:3]) == b"abc"
    del grown
    assert buffers.used_bytes == 5 * SLOT
    with pytest.raises(SlabFull, match="slab: expected room"):
        buffers.grow(behind, 0, 8 * SLOT)


def test_grows_out_of_what_is_no_slot() -> None:
    buffers = slab()
    small = buffers.grow(memoryview(bytearray(b"abc")), 3, 10)
    assert bytes(small[:3]) == b"abc"
    assert bytes(buffers.grow(small, 3, SLOT)[:3]) == b"abc"


def test_views_dropped_in_other_threads_and_cycles() -> None:
    buffers = slab()
    cycle: list[object] = [buffers.allocate(SLOT)]
    cycle.append(cycle)
    views = [buffers.allocate(SLOT)]
    thread = threading.Thread(target=views.clear)
    thread.start()
    thread.join()
    assert buffers.used_bytes == SLOT
    del cycle
    gc.collect()
    assert buffers.used_bytes == 0


async def test_waiters_are_served_in_order() -> None:
    buffers = slab(2)
    kept = [buffers.allocate(SLOT) for _ in range(2)]
    served: list[int] = []
    buffers.when_room(2 * SLOT, lambda view: served.append(len(view)))
    buffers.when_room(SLOT, lambda view: served.append(len(view)))
    with pytest.raises(SlabFull, match="got others that wait"):
        buffers.allocate(SLOT + 1)
    kept.pop()
    await asyncio.sleep(0.001)
    assert (served, buffers.waiting) == ([], 2)
    kept.pop()
    await asyncio.sleep(0.001)
    assert (served, buffers.waiting) == ([2 * SLOT, SLOT], 0)


async def test_a_waiter_that_is_forgotten_lets_the_next_pass() -> None:
    buffers = slab(2)
    kept = buffers.allocate(SLOT)
    served: list[int] = []

    def first(view: memoryview) -> None:
        raise AssertionError

    buffers.when_room(2 * SLOT, first)
    buffers.when_room(SLOT, lambda view: served.append(len(view)))
    buffers.forget(first)
    await asyncio.sleep(0)
    assert served == [SLOT]
    assert len(kept) == SLOT


def test_held_slots_are_told_of_once(caplog: pytest.LogCaptureFixture) -> None:
    clock = Clock()
    buffers = slab(clock=clock)
    metrics = Metrics([])
    observe(buffers, metrics)
    kept, flushing = buffers.allocate(SLOT), buffers.allocate(SLOT)
    buffers.settled(kept, lambda: 0)
    buffers.settled(flushing, lambda: 5)
    assert buffers.held == 2
    clock.now += 1.5
    with caplog.at_level(logging.WARNING):
        buffers.sweep()
        buffers.sweep()
    assert [record.getMessage() for record in caplog.records] == [
        "views of events are kept after they were settled handler=mine slots=1 waiting=0; `event.copy()` keeps no slot"
    ]
    assert b"headrace_slots_held 2.0" in metrics.render()
    del kept, flushing
    assert (buffers.held, buffers.used_bytes) == (0, 0)
    assert b"headrace_slab_used_bytes 0.0" in metrics.render()


async def test_garbage_is_looked_for_when_somebody_waits() -> None:
    clock = Clock()
    buffers = slab(1, clock=clock)
    cycle: list[object] = [buffers.allocate(SLOT)]
    cycle.append(cycle)
    buffers.settled(cycle[0], lambda: 0)  # type: ignore[arg-type]
    del cycle
    served: list[memoryview] = []
    buffers.when_room(SLOT, served.append)
    clock.now += 2
    buffers.sweep()
    await asyncio.sleep(0.001)
    assert len(served) == 1


def test_memory_is_made_when_it_is_needed() -> None:
    made: list[int] = []

    def allocate_host(size_bytes: int) -> memoryview:
        made.append(size_bytes)
        return memoryview(bytearray(size_bytes))

    buffers = Slab(4 * SLOT + 5, allocate_host)
    buffers.allocate(100)
    assert made == []
    view = buffers.allocate(SLOT)
    buffers.prepare()
    assert made == [4 * SLOT]
    assert len(view) == SLOT


def test_granules_of_a_large_slab_are_larger() -> None:
    buffers = Slab(1024**3, CpuDevice().allocate_host)
    view = buffers.allocate(SLOT - 1)
    assert buffers.used_bytes == SLOT
    assert len(view) == SLOT - 1


def test_a_slab_too_small_for_a_slot() -> None:
    assert Slab(100, CpuDevice().allocate_host).largest_bytes == 16 * KIB


def test_fresh_buffers_are_never_reused() -> None:
    assert FreshBuffers().allocate(5) == bytes(5)
