import logging

import pytest
from support.scaler import MemoryPlatform

from headrace.func_cli.reported import ReportedPlatform


async def test_a_replica_that_becomes_ready_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    inner = MemoryPlatform(cap=3)
    platform = ReportedPlatform(inner)
    woken: list[int] = []
    platform.watch(lambda: woken.append(len(platform.look().replicas)))
    with caplog.at_level(logging.INFO, "headrace.func_cli.reported"):
        platform.apply(2)
        inner.wake()
        inner.wake()
        platform.apply(3)
        inner.wake()
    assert caplog.messages == [f"replica ready pid={pid} cold_start_ms=200" for pid in (1, 2, 3)]
    assert woken == [2, 2, 3]
    assert platform.cap == 3
    await platform.aclose()
