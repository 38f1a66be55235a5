"""The JetStream backlog, beyond the contract: ways to watch, filters, and what it leaves behind."""

import asyncio
from collections.abc import AsyncIterator, Callable
from itertools import count
from typing import Any

import pytest
from support.nats import RunningBroker

from headrace.triggers.errors import StreamMissing
from headrace.triggers.nats import watch as watch_module
from headrace.triggers.nats.backlog import JetStreamBacklog
from headrace.triggers.nats.client import connect
from headrace.triggers.nats.jetstream import JetStream
from headrace.triggers.nats.spec import NatsTrigger

pytestmark = pytest.mark.integration
NAMES = count()


@pytest.fixture
async def jetstream(broker: RunningBroker) -> AsyncIterator[JetStream]:
    connection = await connect(broker.url, "test")
    yield JetStream(connection)
    await connection.aclose()


@pytest.fixture
def spec() -> NatsTrigger:
    name = f"LOG{next(NAMES)}"
    return NatsTrigger(name="work", stream=name, subjects=(f"{name}.>",))


async def consumers(jetstream: JetStream, stream: str) -> int:
    answer = await jetstream._call(f"STREAM.INFO.{stream}", None, dict[str, Any])
    return int(answer["state"]["consumer_count"])


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.01)


async def test_a_missing_stream(broker: RunningBroker) -> None:
    with pytest.raises(StreamMissing, match="no stream named `NONE`"):
        await JetStreamBacklog(NatsTrigger(name="t", stream="NONE"), broker.url, create=False).open()


async def test_counts_only_what_the_filters_take(
    broker: RunningBroker, jetstream: JetStream, spec: NatsTrigger
) -> None:
    await jetstream.ensure_stream(spec.stream, spec.subjects)
    for subject in ("a", "b", "c", "b"):
        await jetstream.connection.request(f"{spec.stream}.{subject}", b"x", 5)
    narrow = NatsTrigger(name="n", stream=spec.stream, subjects=(f"{spec.stream}.a", f"{spec.stream}.b"))
    wide = NatsTrigger(name="w", stream=spec.stream)
    for trigger, expected in ((narrow, 3), (wide, 4)):
        backlog = JetStreamBacklog(trigger, broker.url, create=False)
        await backlog.open()
        assert (await backlog.read()).pending == expected
        await jetstream.ensure_consumer(trigger)
        reading = await backlog.read()
        assert (reading.pending, reading.arrived_total) == (expected, expected)
        await backlog.aclose()


@pytest.mark.parametrize(
    ("retention", "way"), [("limits", "sentinel"), ("workqueue", "subscription"), ("interest", "poll")]
)
@pytest.mark.parametrize("filters", [0, 1, 2])
async def test_each_way_of_watching(
    broker: RunningBroker, jetstream: JetStream, spec: NatsTrigger, caplog: pytest.LogCaptureFixture,
    retention: str, way: str, filters: int,
) -> None:  # fmt: skip
    caplog.set_level("INFO")
    config = {"name": spec.stream, "subjects": [f"{spec.stream}.>"], "retention": retention}
    await jetstream._call(f"STREAM.CREATE.{spec.stream}", config, dict)
    subjects = (f"{spec.stream}.a", f"{spec.stream}.b")[:filters]
    trigger = NatsTrigger(name="work", stream=spec.stream, subjects=subjects)
    await jetstream.ensure_consumer(trigger)
    backlog = JetStreamBacklog(trigger, broker.url, create=False)
    await backlog.open()
    woken = asyncio.Event()
    backlog.watch(woken.set)
    await until(lambda: f"by={way}" in caplog.text)
    assert not woken.is_set()
    await jetstream.connection.request(f"{spec.stream}.a", b"x", 5)
    async with asyncio.timeout(5):
        await woken.wait()
    await backlog.aclose()
    assert await consumers(jetstream, spec.stream) == 1


async def test_a_stream_with_sources_that_is_no_log_is_polled() -> None:
    assert watch_module._way({"sources": [1], "retention": "workqueue"}) == "poll"
    assert watch_module._way({"mirror": {}, "sources": [1]}) == "sentinel"


async def test_watching_again_and_again_leaves_nothing(
    broker: RunningBroker, jetstream: JetStream, spec: NatsTrigger
) -> None:
    backlog = JetStreamBacklog(spec, broker.url, create=True)
    await backlog.open()
    for _ in range(5):
        backlog.watch(lambda: None)
        await until(lambda: bool(backlog._watch._sentinel))
        backlog.unwatch()
    await backlog.aclose()
    assert await consumers(jetstream, spec.stream) == 0


async def test_a_watch_outlives_its_requests_and_its_sentinel(
    broker: RunningBroker, jetstream: JetStream, spec: NatsTrigger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch_module, "EXPIRES_S", 0.05)
    backlog = JetStreamBacklog(spec, broker.url, create=True)
    await backlog.open()
    woken = asyncio.Event()
    backlog.watch(woken.set)
    await until(lambda: bool(backlog._watch._sentinel))
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(woken.wait(), 0.2)
    first = backlog._watch._sentinel
    await jetstream.drop_consumer(spec.stream, first)
    await until(lambda: backlog._watch._sentinel not in ("", first))
    await jetstream.connection.request(f"{spec.stream}.a", b"x", 5)
    async with asyncio.timeout(5):
        await woken.wait()
    await backlog.aclose()


async def test_a_watch_waits_for_its_stream(broker: RunningBroker, jetstream: JetStream, spec: NatsTrigger) -> None:
    backlog = JetStreamBacklog(spec, broker.url, create=True)
    await backlog.open()
    await jetstream._call(f"STREAM.DELETE.{spec.stream}", None, dict)
    with pytest.raises(StreamMissing, match=spec.stream):
        await backlog.read()
    woken = asyncio.Event()
    backlog.watch(woken.set)
    await asyncio.sleep(0)
    await jetstream.ensure_stream(spec.stream, spec.subjects)
    await jetstream.connection.request(f"{spec.stream}.a", b"x", 5)
    async with asyncio.timeout(10):
        await woken.wait()
    await backlog.aclose()
