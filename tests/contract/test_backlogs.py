"""What every `Backlog` does, on the in-memory twin and on real brokers."""

import asyncio

import pytest
from support.queues import Bench, fetch_all

from headrace.triggers.errors import BrokerUnavailable
from headrace.triggers.outcomes import Ack


async def test_counts_before_there_is_a_consumer(desk: Bench) -> None:
    await desk.put(b"one", b"two")
    backlog = await desk.backlog()
    reading = await backlog.read()
    assert (reading.pending, reading.unsettled, reading.arrived_total) == (2, 0, 2)


async def test_counts_what_waits_and_what_is_unsettled(desk: Bench) -> None:
    backlog, source = await desk.backlog(), await desk.source()
    await desk.put(b"one", b"two", b"three")
    (first,) = await source.fetch(1)
    async with asyncio.timeout(5):  # a broker may hear of it a moment later
        while (reading := await backlog.read()).unsettled != 1:
            await asyncio.sleep(0.01)
    assert (reading.pending, reading.arrived_total) == (2, 3)
    rest = await fetch_all(source, 2)
    for event in (first, *rest):
        source.settle(event, Ack())
    async with asyncio.timeout(5):
        while (reading := await backlog.read()).backlog:
            await asyncio.sleep(0.01)
    assert reading.arrived_total == 3


async def test_wakes_on_a_new_event(desk: Bench) -> None:
    backlog = await desk.backlog()
    assert (await backlog.read()).backlog == 0
    woken = asyncio.Event()
    backlog.watch(woken.set)
    await desk.put(b"one")
    async with asyncio.timeout(5):
        await woken.wait()


async def test_wakes_for_what_waits_already(desk: Bench) -> None:
    backlog = await desk.backlog()
    await desk.put(b"one")
    woken = asyncio.Event()
    backlog.watch(woken.set)
    async with asyncio.timeout(5):
        await woken.wait()


async def test_unwatch_ends_it(desk: Bench) -> None:
    backlog = await desk.backlog()
    wakes: list[int] = []
    backlog.unwatch()
    backlog.watch(lambda: wakes.append(1))
    backlog.unwatch()
    await desk.put(b"one")
    assert (await backlog.read()).pending == 1
    assert wakes == []


async def test_a_watch_survives_an_outage(desk: Bench) -> None:
    backlog = await desk.backlog()
    woken = asyncio.Event()
    backlog.watch(woken.set)
    await desk.queue.go_away()
    with pytest.raises(BrokerUnavailable, match="at `"):
        await backlog.read()
    await desk.queue.come_back()
    assert not woken.is_set()
    await desk.put(b"one")
    async with asyncio.timeout(20):
        await woken.wait()
