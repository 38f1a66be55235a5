"""The control loop over a platform and queues in memory."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager

import msgspec
import pytest
from support.scaler import Clock, MemoryBacklog, MemoryPlatform

from headrace.scaler.control import Change, Control
from headrace.scaler.platform import ReplicaState
from headrace.scaler.spec import Scale, ScalerSpec
from headrace.triggers.http.spec import HttpTrigger
from headrace.triggers.nats.spec import NatsTrigger
from headrace.triggers.units import Seconds


class Loop:
    """A control loop, and what it said."""

    def __init__(
        self, platform: MemoryPlatform, backlogs: Mapping[str, MemoryBacklog], replicas: int | None = None
    ) -> None:
        self.platform = platform
        self.clock = Clock()
        self.changes: list[Change] = []
        self.changed = asyncio.Event()
        streams = [NatsTrigger(name=name, stream=name) for name in backlogs]
        self.control = Control(
            ScalerSpec(
                name="detect",
                triggers=(HttpTrigger(name="http"), *streams),
                scale=Scale(cooldown_period=Seconds(5)),
            ),
            platform,
            backlogs,
            replicas=replicas,
            on_change=self.on_change,
            clock=self.clock,
            wall=self.clock,
        )

    def on_change(self, change: Change) -> None:
        self.changes.append(change)
        self.changed.set()

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(10):
            while not condition():
                await asyncio.sleep(0.002)


@asynccontextmanager
async def running(
    platform: MemoryPlatform, backlogs: Mapping[str, MemoryBacklog] | None = None, replicas: int | None = None
) -> AsyncGenerator[Loop]:
    loop = Loop(platform, backlogs or {}, replicas)
    task = asyncio.create_task(loop.control.run())
    try:
        yield loop
    finally:
        loop.control.stop()
        async with asyncio.timeout(10):
            await task


async def test_a_published_event_wakes_and_the_watch_ends() -> None:
    ticks = MemoryBacklog()
    async with running(MemoryPlatform(), {"ticks": ticks}) as loop:
        await loop.until(lambda: ticks.wake is not None)
        assert loop.platform.applied == [0]
        ticks.publish(2500)
        await asyncio.wait_for(loop.changed.wait(), 1)  # pushed: well before the poll
        await loop.until(lambda: ticks.wake is None)
        assert str(loop.changes[0]) == (
            "scaled 0 → 3: 3 replicas: backlog 2500, 100 events/s a replica to begin with, drain 10 s"
        )
    assert ticks.closed


async def test_a_burst_of_wakes_is_one_decision() -> None:
    ticks = MemoryBacklog()
    async with running(MemoryPlatform(), {"ticks": ticks}) as loop:
        await loop.until(lambda: ticks.wake is not None)
        reads = ticks.reads
        for _ in range(2500):
            ticks.publish()
        await asyncio.wait_for(loop.changed.wait(), 1)
        assert loop.platform.applied == [0, 3]
        assert ticks.reads <= reads + 2


async def test_a_waiting_request_wakes() -> None:
    async with running(MemoryPlatform()) as loop:
        await loop.until(lambda: loop.platform.looks > 0)
        loop.platform.waiting = 1
        loop.platform.wake()
        await asyncio.wait_for(loop.changed.wait(), 1)
        assert loop.platform.applied == [0, 1]


async def test_back_to_zero_after_the_cooldown_and_the_watch_is_back() -> None:
    ticks = MemoryBacklog(10)
    async with running(MemoryPlatform(), {"ticks": ticks}) as loop:
        await asyncio.wait_for(loop.changed.wait(), 5)
        ticks.pending = 0
        await loop.control.tick()
        assert loop.platform.applied[-1] == 1
        loop.clock.now += 6
        await loop.control.tick()
        assert loop.platform.applied[-1] == 0
        await loop.until(lambda: ticks.wake is not None)
        assert [(change.before, change.after) for change in loop.changes] == [(0, 1), (1, 0)]
        snapshot = loop.control.snapshot()
        assert (snapshot.scaled_out, snapshot.scaled_in, snapshot.reason) == (1, 1, "0 replicas: idle for 5 s")


async def test_a_broker_that_goes_away_holds() -> None:
    ticks = MemoryBacklog(2500)
    async with running(MemoryPlatform(), {"ticks": ticks}) as loop:
        await asyncio.wait_for(loop.changed.wait(), 5)
        ticks.down = True
        loop.clock.now += 100
        await loop.control.tick()
        loop.clock.now += 100
        await loop.control.tick()
        assert loop.platform.applied == [0, 3] or loop.platform.applied == [3]
        assert loop.control.snapshot().backlog == {"ticks": None}
        assert "can't be read" in loop.control.snapshot().reason


async def test_a_broker_that_comes_late_is_waited_for() -> None:
    ticks = MemoryBacklog(10)
    ticks.down = True
    async with running(MemoryPlatform(), {"ticks": ticks}) as loop:
        await loop.until(lambda: loop.control.snapshot().reason == "0 replicas: idle")
        ticks.down = False
        await asyncio.wait_for(loop.changed.wait(), 5)
        assert loop.platform.applied[-1] == 1


async def test_a_faulty_client_does_not_end_the_loop(caplog: pytest.LogCaptureFixture) -> None:
    ticks = MemoryBacklog(10)
    ticks.failure = RuntimeError("broken client")
    async with running(MemoryPlatform(), {"ticks": ticks}) as loop:
        await loop.until(lambda: ticks.reads > 0)
        ticks.failure = None
        loop.control.wake()
        await asyncio.wait_for(loop.changed.wait(), 5)
    assert "backlog failed trigger=ticks" in caplog.text


async def test_a_fixed_number_is_kept_whatever_flows() -> None:
    async with running(MemoryPlatform(cap=2), {"ticks": MemoryBacklog(10**6)}, replicas=5) as loop:
        await asyncio.wait_for(loop.changed.wait(), 5)
        assert str(loop.changes[0]) == "scaled 0 → 5: 5 replicas: as given"
        assert loop.control.snapshot().mode == "fixed"


async def test_paused_it_changes_nothing() -> None:
    ticks = MemoryBacklog()
    async with running(MemoryPlatform(), {"ticks": ticks}) as loop:
        await loop.until(lambda: ticks.wake is not None)
        loop.control.pause()
        ticks.publish(10)
        await loop.control.tick()
        assert (loop.platform.applied, loop.control.snapshot().mode) == ([0], "paused")
        loop.control.resume()
        await asyncio.wait_for(loop.changed.wait(), 1)
        assert (loop.platform.applied, loop.control.snapshot().mode) == ([0, 1], "auto")


async def test_the_cap_of_the_platform_holds() -> None:
    async with running(MemoryPlatform(cap=2), {"ticks": MemoryBacklog(10**6)}) as loop:
        await asyncio.wait_for(loop.changed.wait(), 5)
        assert loop.platform.applied[-1] == 2


async def test_cold_starts_are_told() -> None:
    ticks = MemoryBacklog()
    async with running(MemoryPlatform(slow=True), {"ticks": ticks}) as loop:
        await loop.until(lambda: ticks.wake is not None)
        ticks.publish()
        await asyncio.wait_for(loop.changed.wait(), 1)
        (replica,) = loop.platform.replicas
        loop.platform.replicas[0] = msgspec.structs.replace(
            replica, state=ReplicaState.READY, cold_start_s=0.25, first_event_s=1000.4
        )
        await loop.control.tick()
        (cold_start,) = loop.control.snapshot().cold_starts
        assert cold_start.woken_s == 1000.0
        assert cold_start.ready_s == 0.25
        assert cold_start.first_event_s == pytest.approx(0.4)


async def test_the_snapshot_adds_up() -> None:
    platform = MemoryPlatform()
    async with running(platform, {"ticks": MemoryBacklog(10)}) as loop:
        await asyncio.wait_for(loop.changed.wait(), 5)
        platform.completed = {"ticks": 4, "http": 1}
        platform.replicas[0] = msgspec.structs.replace(platform.replicas[0], in_flight=6)
        snapshot = loop.control.snapshot()
        assert (snapshot.name, snapshot.desired, snapshot.in_flight) == ("detect", 1, 6)
        assert snapshot.completed == {"ticks": 4, "http": 1}
        assert msgspec.json.decode(msgspec.json.encode(snapshot))["replicas"][0]["state"] == "ready"
