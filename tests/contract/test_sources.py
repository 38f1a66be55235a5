"""What every `Source` does, on the in-memory twin and on real brokers."""

import asyncio

import pytest
from support.queues import ACK_WAIT_S, Bench, fetch_all, message

from headrace.triggers.outcomes import Ack, Reject, Retry


def data(events: object) -> list[bytes]:
    return sorted(event.copy() for event in events)  # type: ignore[attr-defined]


async def assert_done(desk: Bench) -> None:
    """Nothing waits and nothing is unsettled, as soon as the broker has heard of it."""
    backlog = await desk.backlog()
    async with asyncio.timeout(5):
        while (await backlog.read()).backlog:
            await asyncio.sleep(0.01)


async def test_delivers_each_once_when_acked(desk: Bench) -> None:
    source = await desk.source()
    bodies = [b"%d" % index for index in range(50)]
    await desk.put(*bodies)
    events = await fetch_all(source, 50)
    assert data(events) == sorted(bodies)
    assert {event.attempt for event in events} == {1}
    for event in events:
        source.settle(event, Ack())
    await assert_done(desk)


async def test_fetch_returns_the_first_at_once(desk: Bench) -> None:
    source = await desk.source()
    waiting = asyncio.create_task(source.fetch(256))
    await desk.put(b"one")
    async with asyncio.timeout(5):
        events = await waiting
    assert data(events) == [b"one"]
    source.settle(events[0], Ack())


async def test_fetch_keeps_to_its_limit(desk: Bench) -> None:
    source = await desk.source()
    await desk.put(*(b"%d" % index for index in range(10)))
    first = await source.fetch(3)
    assert 1 <= len(first) <= 3
    rest = await fetch_all(source, 10 - len(first))
    assert len(data([*first, *rest])) == 10


async def test_events_say_what_they_are(desk: Bench) -> None:
    source = await desk.source()
    await desk.put(b"one")
    (event,) = await source.fetch(1)
    assert event.id
    assert event.source
    assert event.datacontenttype == "text/plain"
    assert event.headers["traceparent"] == "00-1-2-01"
    assert event.offset == desk.queue.first_offset
    source.settle(event, Ack())


async def test_retry_delivers_again_with_the_next_attempt(desk: Bench) -> None:
    source = await desk.source()
    await desk.put(b"one")
    for attempt in (1, 2, 3):
        (event,) = await fetch_all(source, 1)
        assert event.attempt == attempt
        source.settle(event, Retry(after_s=0))
    (event,) = await fetch_all(source, 1)
    source.settle(event, Ack())
    await assert_done(desk)


async def test_retry_waits_as_long_as_it_says(desk: Bench) -> None:
    source = await desk.source()
    await desk.put(b"one")
    (event,) = await source.fetch(1)
    started = asyncio.get_running_loop().time()
    source.settle(event, Retry(after_s=0.3))
    (again,) = await fetch_all(source, 1)
    # the broker's clock is not ours: a few ms of slack
    assert asyncio.get_running_loop().time() - started >= 0.29
    source.settle(again, Ack())


async def test_retry_without_a_delay_backs_off(desk: Bench) -> None:
    source = await desk.source()
    await desk.put(b"one")
    started = asyncio.get_running_loop().time()
    for _ in (1, 2):
        (event,) = await fetch_all(source, 1)
        source.settle(event, Retry())
    (event,) = await fetch_all(source, 1)
    assert asyncio.get_running_loop().time() - started >= 0.29  # 100 ms, then 200 ms
    source.settle(event, Ack())


async def test_rejected_events_are_done(desk: Bench) -> None:
    source = await desk.source()
    await desk.put(b"one")
    (event,) = await source.fetch(1)
    source.settle(event, Reject("no"))
    await assert_done(desk)


async def test_settling_twice_does_nothing(desk: Bench) -> None:
    source = await desk.source()
    await desk.put(b"one")
    (event,) = await source.fetch(1)
    source.settle(event, Ack())
    source.settle(event, Retry(after_s=0))
    await assert_done(desk)


async def test_what_a_dead_consumer_held_is_delivered_again(desk: Bench) -> None:
    dying, living = await desk.source(), await desk.source()
    await desk.put(b"one")
    (held,) = await fetch_all(dying, 1)
    assert held.attempt == 1
    await desk.kill(dying)
    (event,) = await fetch_all(living, 1)
    assert event.copy() == b"one"
    assert event.attempt == 2
    living.settle(event, Ack())


async def test_unsettled_events_are_not_delivered_elsewhere(desk: Bench) -> None:
    source, other = await desk.source(), await desk.source()
    await desk.put(b"one")
    (event,) = await fetch_all(source, 1)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(2.5 * ACK_WAIT_S):
            await other.fetch(1)
    source.settle(event, Ack())
    await assert_done(desk)


async def test_handed_back_events_go_to_another_at_once(desk: Bench) -> None:
    source, other = await desk.source(), await desk.source()
    await desk.put(b"one", b"two")
    events = await fetch_all(source, 2)
    await source.hand_back(events)
    async with asyncio.timeout(desk.queue.hand_over_s):
        again = await other.fetch(2)
        while len(again) < 2:
            again = [*again, *await other.fetch(2 - len(again))]
    assert data(again) == [b"one", b"two"]
    for event in again:
        other.settle(event, Ack())


async def test_a_cancelled_fetch_loses_nothing(desk: Bench) -> None:
    source, other = await desk.source(), await desk.source()
    sink = await desk.sink()
    for index in range(20):
        fetching = asyncio.create_task(source.fetch(8))
        publishing = asyncio.create_task(sink.publish([message(b"%d" % index)]))
        for _ in range(index):
            await asyncio.sleep(0)  # cancelled at every stage of the way
        fetching.cancel()
        await publishing
        for event in (await asyncio.gather(fetching, return_exceptions=True))[0:1]:
            if not isinstance(event, BaseException):
                await source.hand_back(event)
    async with asyncio.timeout(5):
        assert len(data(await fetch_all(other, 20))) == 20


async def test_an_outage_is_ridden_out(desk: Bench) -> None:
    source = await desk.source()
    await desk.put(b"before")
    (event,) = await fetch_all(source, 1)
    waiting = asyncio.create_task(source.fetch(8))
    await asyncio.sleep(0)
    await desk.queue.go_away()
    source.settle(event, Ack())
    await desk.queue.come_back()
    await desk.put(b"after")
    async with asyncio.timeout(20):
        events = list(await waiting)
        while b"after" not in data(events):
            events += await source.fetch(8)
    for event in events:
        source.settle(event, Ack())
    await assert_done(desk)
