"""What every `Sink` does, on the in-memory twin and on real brokers."""

import asyncio

import pytest
from support.queues import Bench, fetch_all, message

from headrace.triggers.errors import BrokerUnavailable


async def test_publishes_all(desk: Bench) -> None:
    sink, source = await desk.sink(), await desk.source()
    await sink.publish([message(b"%d" % index) for index in range(1200)])
    events = await fetch_all(source, 1200)
    assert {event.copy() for event in events} == {b"%d" % index for index in range(1200)}


async def test_a_repeated_id_is_stored_once_where_the_broker_tells_by_it(desk: Bench) -> None:
    sink, backlog = await desk.sink(), await desk.backlog()
    for _ in range(3):
        await sink.publish([message(b"one", "t/a/1"), message(b"two", "t/a/2")])
    assert (await backlog.read()).pending == (2 if desk.queue.deduplicates else 6)


async def test_nothing_to_publish(desk: Bench) -> None:
    sink, backlog = await desk.sink(), await desk.backlog()
    await sink.publish([])
    assert (await backlog.read()).pending == 0


async def test_memoryviews_are_published(desk: Bench) -> None:
    sink, source = await desk.sink(), await desk.source()
    await sink.publish([message(b"one")])
    body = memoryview(bytearray(b"xxtwoxx"))[2:5]
    await sink.publish([type(message(b""))(id="2", data=body, content_type="text/plain")])
    assert sorted(event.copy() for event in await fetch_all(source, 2)) == [b"one", b"two"]


async def test_a_short_outage_is_ridden_out(desk: Bench) -> None:
    sink, backlog = await desk.sink(), await desk.backlog()
    await desk.queue.go_away()
    publishing = asyncio.create_task(sink.publish([message(b"one")]))
    await desk.queue.come_back()
    await publishing
    async with asyncio.timeout(10):
        while True:
            try:
                assert (await backlog.read()).pending == 1
                return
            except BrokerUnavailable:
                await asyncio.sleep(0.02)


async def test_a_long_outage_fails(desk: Bench) -> None:
    sink = await desk.sink()
    await desk.queue.go_away()
    try:
        with pytest.raises(BrokerUnavailable, match="publish"):
            await sink.publish([message(b"one")])
    finally:
        await desk.queue.come_back()
