"""The CPU as a device: what is shared, what is gathered, and what is kept."""

import ctypes
import gc
import weakref

import numpy as np
import pytest
from support.devices import slots

from headrace.runtime.device.cpu import CpuDevice


class Slab:
    """Slots that tell when nothing refers to them any more."""

    def __init__(self, count: int, size_bytes: int) -> None:
        self._memory = CpuDevice().allocate_host(count * size_bytes)
        self._size = size_bytes
        self.free: set[int] = set()

    def slot(self, index: int) -> memoryview:
        exporter = (ctypes.c_ubyte * self._size).from_buffer(self._memory, index * self._size)
        weakref.finalize(exporter, self.free.add, index)
        return memoryview(exporter).cast("B")


@pytest.fixture
def device() -> CpuDevice:
    return CpuDevice()


@pytest.mark.parametrize("pitch", [256, 320])
def test_consecutive_rows_share_memory(device: CpuDevice, pitch: int) -> None:
    rows = slots(device, 4, 256 if pitch == 256 else 300, pitch)
    array = device.stack(rows, "uint8", (rows[0].nbytes,))
    assert all(np.shares_memory(array[i], np.frombuffer(rows[i], np.uint8)) for i in range(4))
    array[2] = 9
    assert bytes(rows[2]) == bytes([9]) * rows[2].nbytes
    assert (array.flags.c_contiguous, device.gathered_bytes) == (pitch == 256, 0)


@pytest.mark.parametrize("order", [(0, 2), (1, 0), (0, 1, 0), (2, 3, 1), (0, 1, 3)])
def test_other_rows_are_gathered(device: CpuDevice, order: tuple[int, ...]) -> None:
    """Whatever looks consecutive at first, or at its ends."""
    for size in (64, 100):
        rows = slots(device, 4, size, 128)
        picked = [rows[i] for i in order]
        array = device.stack(picked, "uint8", (size,))
        assert array[:, -1].tolist() == list(order)
        assert not any(np.shares_memory(array, np.frombuffer(row, np.uint8)) for row in rows)
    assert device.gathered_bytes == len(order) * 164


def test_rows_of_different_sizes_in_slots_with_gaps_are_gathered(device: CpuDevice) -> None:
    slab = device.allocate_host(384)
    rows = [slab[0:100], slab[128:178], slab[256:356]]
    assert device.stack(rows, "uint8", (50,)).shape == (5, 50)
    assert device.gathered_bytes == 250


def test_read_only_rows_give_read_only_views(device: CpuDevice) -> None:
    data = bytes(range(8))
    rows = [memoryview(data)[:4], memoryview(data)[4:]]
    array = device.stack(rows, "uint8", (4,))
    assert (array.flags.writeable, array.tolist()) == (False, [[0, 1, 2, 3], [4, 5, 6, 7]])


def test_a_view_holds_all_its_slots(device: CpuDevice) -> None:
    slab = Slab(4, 64)
    array = device.stack([slab.slot(i) for i in range(4)], "uint8", (64,))
    kept = array[2, 10:12]
    del array
    gc.collect()
    assert slab.free == set()
    del kept
    assert slab.free == {0, 1, 2, 3}


def test_a_gather_holds_no_slot(device: CpuDevice) -> None:
    slab = Slab(4, 64)
    array = device.stack([slab.slot(i) for i in (2, 0)], "uint8", (64,))
    assert slab.free == {0, 2}
    assert array.shape == (2, 64)


def test_the_staging_block_is_used_again_once_nothing_refers_to_it(device: CpuDevice) -> None:
    rows = slots(device, 4, 64)
    first = device.stack(rows[::2], "uint8", (64,))
    address = first.ctypes.data
    view = first[1]
    del first
    second = device.stack(rows[1::2], "uint8", (64,))
    assert second.ctypes.data != address
    del view
    assert device.stack(rows[::-1], "uint8", (64,)).ctypes.data == address


def test_there_is_nothing_to_copy_ahead_or_behind(device: CpuDevice) -> None:
    device.upload([memoryview(b"a")])
    device.enter_thread()
    assert device.download(np.zeros(1)) is None
    assert device.memory() is None
    assert device.graphed(len) is len
    assert bytes(device.to_host(np.array([[1, 2], [3, 4]], "u1").T)) == bytes([1, 3, 2, 4])
