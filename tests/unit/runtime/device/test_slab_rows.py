"""Slots of the real slab, on each device: consecutive rows are not gathered, and come back when they were used."""

import gc
from collections.abc import Iterator

import numpy as np
import pytest
from support.devices import on_host, opened, simulated

from headrace.runtime.buffers.slab import Slab
from headrace.runtime.device.cpu import CpuDevice
from headrace.triggers.protocols import Device

ROW_BYTES = 100_000  # slots of such rows have gaps


@pytest.fixture(params=["cpu", "simulated"])
def device(request: pytest.FixtureRequest) -> Iterator[Device]:
    device = opened(request.param)
    yield device
    device.close()


@pytest.mark.parametrize("row_bytes", [ROW_BYTES, 1 << 17])
def test_declared_rows_are_not_gathered(device: Device, row_bytes: int) -> None:
    slab = Slab(1 << 22, device.allocate_host, row_bytes=row_bytes)
    rows = [slab.allocate(row_bytes) for _ in range(4)]
    for index, row in enumerate(rows):
        row[:] = bytes([index]) * row_bytes
    array = device.stack(rows, "uint8", (row_bytes,))
    assert on_host(device, array)[:, -1].tolist() == [0, 1, 2, 3]
    assert device.gathered_bytes == 0


def test_on_the_cpu_the_array_is_the_slots() -> None:
    device = CpuDevice()
    slab = Slab(1 << 22, device.allocate_host, row_bytes=ROW_BYTES)
    rows = [slab.allocate(ROW_BYTES) for _ in range(4)]
    array = device.stack(rows, "uint8", (ROW_BYTES,))
    assert all(np.shares_memory(array[i], np.frombuffer(rows[i], np.uint8)) for i in range(4))
    del rows
    gc.collect()
    assert slab.used_bytes >= 4 * ROW_BYTES
    del array
    gc.collect()
    assert slab.used_bytes == 0


def test_on_a_gpu_slots_come_back_once_they_are_copied() -> None:
    device, _, watch = simulated()
    slab = Slab(1 << 22, device.allocate_host, row_bytes=ROW_BYTES)
    upload = device.upload([slab.allocate(ROW_BYTES) for _ in range(4)])
    del upload
    gc.collect()
    assert slab.used_bytes >= 4 * ROW_BYTES
    watch.catch_up()
    assert slab.used_bytes == 0
