"""The contract of `Device` on a real GPU."""

from collections.abc import Iterator

import pytest
from support.device_contract import DeviceContract
from support.devices import opened, slots

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
    xp = device.xp
    rows = slots(device, 2, 1 << 20)
    slow = xp.ones((4096, 4096), "float32")
    for _ in range(2):  # the first time compiles and allocates
        for _ in range(50):
            slow = slow @ slow
        computed = xp.cuda.get_current_stream().record()
        upload = device.upload(rows)
        assert upload is not None
        copied = upload._event
        copied.synchronize()
    assert not computed.done
    computed.synchronize()
