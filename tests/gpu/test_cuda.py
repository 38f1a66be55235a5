"""The contract of `Device` on a real GPU."""

from collections.abc import Iterator

import pytest
from support.device_contract import DeviceContract
from support.devices import opened, slots

from headrace.runtime.device.driver import DriverEvent
from headrace.runtime.device.gpu import GpuDevice
from headrace.runtime.device.transfers import GpuUpload
from headrace.triggers.protocols import Device

pytestmark = pytest.mark.gpu


@pytest.fixture
def device() -> Iterator[Device]:
    device = opened("cuda")
    yield device
    device.close()


class TestCuda(DeviceContract):
    pass


def test_memory_is_counted(device: Device) -> None:
    memory = device.memory()
    assert memory is not None
    assert 0 < memory.used_bytes < memory.total_bytes


def test_out_of_memory(device: Device) -> None:
    memory = device.memory()
    assert memory is not None
    with pytest.raises(MemoryError, match="Out of memory") as raised:
        device.xp.empty(memory.total_bytes * 2, "uint8")
    assert device.is_out_of_memory(raised.value)


def test_copies_overlap_computation(device: Device) -> None:
    """The copy of the next batch ends while the one before is still computed with."""
    rows = slots(device, 2, 1 << 20)
    multiply(device)  # the first time compiles and allocates
    device.synchronize()
    computed = multiply(device)
    upload = device.upload(rows)
    assert isinstance(upload, GpuUpload)
    upload._event.synchronize()
    assert not computed.done
    computed.synchronize()


def multiply(device: Device) -> DriverEvent:
    """An event behind some 50 ms of work."""
    x = device.xp.ones((8192, 8192), "float32")
    for _ in range(50):
        x = x @ x
    assert isinstance(device, GpuDevice)
    event: DriverEvent = device.driver.compute_stream.record()
    return event
