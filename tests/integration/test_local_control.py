"""The control loop over real processes: requests wake the function, silence takes it back to zero."""

import asyncio
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager

import pytest
from support.localplatform import Client, Local, local
from support.scaler import MemoryBacklog

from headrace.scaler.control import Control
from headrace.scaler.spec import Scale, ScalerSpec
from headrace.triggers.http.spec import HttpTrigger
from headrace.triggers.units import Seconds

pytestmark = pytest.mark.integration


@asynccontextmanager
async def controlled(
    environ: Mapping[str, str] | None = None, backlogs: Mapping[str, MemoryBacklog] | None = None
) -> AsyncGenerator[tuple[Local, Control]]:
    scale = Scale(cooldown_period=Seconds(0.5), max_replica_count=2)
    spec = ScalerSpec(name="test", triggers=(HttpTrigger(name="http"),), scale=scale)
    async with local(environ) as running:
        control = Control(spec, running.platform, backlogs or {})
        task = asyncio.create_task(control.run())
        try:
            yield running, control
        finally:
            control.stop()
            await asyncio.wait_for(task, 20)


async def test_requests_wake_and_silence_ends() -> None:
    async with controlled() as (running, control):
        caller = await Client.connect(running.address)
        for _ in range(2):
            assert await caller.get() == b"ok"
            await running.settled(0)
        await caller.aclose()
        snapshot = control.snapshot()
        assert (snapshot.scaled_out, snapshot.scaled_in, snapshot.completed) == (2, 2, {"http": 2})
        for cold_start in snapshot.cold_starts:
            assert cold_start.ready_s is not None
            assert cold_start.first_event_s is not None
            assert 0 < cold_start.ready_s < 5
            assert 0 < cold_start.first_event_s < 5


async def test_a_backlog_brings_as_many_as_it_needs() -> None:
    ticks = MemoryBacklog()
    async with controlled(backlogs={"ticks": ticks}) as (running, control):
        await running.until(lambda: ticks.wake is not None)
        ticks.publish(2000)
        await running.settled(2)
        assert control.snapshot().desired == 2
        ticks.pending = 0
        await running.settled(0)


async def test_a_function_that_never_starts_refuses_and_recovers_its_patience() -> None:
    async with controlled({"FAIL": "no handler"}) as (running, control):
        for _ in range(3):
            caller = await Client.connect(running.address)
            await caller.send()
            status, _, body = await caller.response()
            assert (status, b"no handler" in body) == (503, True)
            await caller.aclose()
        assert control.snapshot().failure == "no handler"
        assert control.snapshot().failed_starts >= 3
