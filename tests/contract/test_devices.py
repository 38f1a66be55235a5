"""The contract of `Device`, on those that need no GPU."""

from collections.abc import Iterator

import pytest
from support.device_contract import DeviceContract
from support.devices import opened

from headrace.triggers.protocols import Device


@pytest.fixture(params=["cpu", "simulated"])
def device(request: pytest.FixtureRequest) -> Iterator[Device]:
    device = opened(request.param)
    yield device
    device.close()


class TestDevice(DeviceContract):
    pass
