"""The JetStream source, beyond the contract: consumers, pulling, withdrawing, and a broker that forgets."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from itertools import count
from typing import Any

import pytest
from support.nats import RunningBroker

from headrace.runtime.buffers import FreshBuffers
from headrace.triggers.errors import ConsumerConflict, StreamMissing, TriggerError
from headrace.triggers.events import Event, Trigger
from headrace.triggers.nats import source as source_module
from headrace.triggers.nats.client import Connection, connect
from headrace.triggers.nats.jetstream import JetStream, consumer_config
from headrace.triggers.nats.source import JetStreamSource
from headrace.triggers.nats.spec import NatsTrigger
from headrace.triggers.outcomes import Ack
from headrace.triggers.units import Seconds

pytestmark = pytest.mark.integration
NAMES = count()


@pytest.fixture
async def jetstream(broker: RunningBroker) -> AsyncIterator[JetStream]:
    connection = await connect(broker.url, "test")
    yield JetStream(connection)
    await connection.aclose()


@pytest.fixture
def spec() -> NatsTrigger:
    name = f"SRC{next(NAMES)}"
    return NatsTrigger(name="work", stream=name, subjects=(f"{name}.>",), ack_wait=Seconds(2))


@pytest.fixture
async def open_source(broker: RunningBroker) -> AsyncIterator[Callable[..., Awaitable[JetStreamSource]]]:
    opened: list[JetStreamSource] = []

    async def open_one(spec: NatsTrigger, create: bool = True) -> JetStreamSource:
        source = JetStreamSource(spec, Trigger("work", "nats"), broker.url, create=create)
        await source.open(FreshBuffers(), None)
        opened.append(source)
        return source

    yield open_one
    for source in opened:
        await source.aclose()


Open = Callable[..., Awaitable[JetStreamSource]]


async def put(connection: Connection, spec: NatsTrigger, number: int = 1) -> None:
    for index in range(number):
        await connection.request(f"{spec.stream}.a", b"%d" % index, 5)


async def fetch(source: JetStreamSource, number: int) -> list[Event]:
    events: list[Event] = []
    async with asyncio.timeout(10):
        while len(events) < number:
            events += await source.fetch(number - len(events))
    return events


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(10):
        while not await condition():
            await asyncio.sleep(0.01)


async def test_a_missing_stream_is_an_error_with_a_url_of_ones_own(broker: RunningBroker, open_source: Open) -> None:
    with pytest.raises(StreamMissing, match=r"no stream named `NONE` - at `nats://\*\*\*@127\.0\.0\.1:\d+`"):
        await open_source(NatsTrigger(name="t", stream="NONE"), create=False)


async def test_an_existing_consumer_is_brought_up_to_date(
    jetstream: JetStream, spec: NatsTrigger, open_source: Open
) -> None:
    await jetstream.ensure_stream(spec.stream, spec.subjects)
    old = NatsTrigger(name="work", stream=spec.stream, subjects=(f"{spec.stream}.a", f"{spec.stream}.b"))
    await jetstream.put_consumer(spec.stream, consumer_config(old), "create")
    await open_source(spec)
    info = await jetstream.consumer(spec.stream, "work")
    assert info is not None
    assert info.config["ack_wait"] == 2_000_000_000
    assert info.config["filter_subject"] == f"{spec.stream}.>"
    assert "filter_subjects" not in info.config


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"deliver_subject": "elsewhere"}, "expected a pull consumer with explicit acks, got a push consumer"),
        ({"ack_policy": "all"}, "expected a pull consumer with explicit acks, got ack policy `all`"),
    ],
)
async def test_a_consumer_of_another_sort_is_an_error(
    jetstream: JetStream, spec: NatsTrigger, open_source: Open, change: dict[str, Any], said: str
) -> None:
    await jetstream.ensure_stream(spec.stream, spec.subjects)
    await jetstream.put_consumer(spec.stream, consumer_config(spec) | change, "create")
    with pytest.raises(ConsumerConflict, match=f"trigger `work`: consumer `work` of stream `{spec.stream}`: {said}"):
        await open_source(spec)


async def test_a_filter_that_the_stream_does_not_take(
    jetstream: JetStream, spec: NatsTrigger, open_source: Open
) -> None:
    await jetstream.ensure_stream(spec.stream, spec.subjects)
    await jetstream.put_consumer(spec.stream, consumer_config(spec), "create")
    other = NatsTrigger(name="work", stream=spec.stream, subjects=("a", "a.>", ">"))
    with pytest.raises(ConsumerConflict, match=r"differs from func\.yaml and cannot be updated"):
        await open_source(other, create=False)
    fresh = NatsTrigger(name="fresh", stream=spec.stream, subjects=("a", "a.>", ">"))
    with pytest.raises(ConsumerConflict, match="consumer `fresh`"):
        await open_source(fresh, create=False)


async def test_many_sources_open_at_once(spec: NatsTrigger, open_source: Open) -> None:
    await asyncio.gather(*(open_source(spec) for _ in range(8)))


async def test_nothing_is_held_while_nobody_fetches(
    jetstream: JetStream, spec: NatsTrigger, open_source: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(source_module, "LINGER_S", 0.05)
    idle, other = await open_source(spec), await open_source(spec)
    await put(jetstream.connection, spec)
    (event,) = await idle.fetch(100)  # 99 more are asked for
    idle.settle(event, Ack())
    await put(jetstream.connection, spec, 20)
    assert len(await fetch(other, 20)) == 20


async def test_fetching_goes_on_after_a_withdrawal(
    jetstream: JetStream, spec: NatsTrigger, open_source: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(source_module, "LINGER_S", 0.02)
    source = await open_source(spec)
    for _ in range(5):
        await put(jetstream.connection, spec, 3)
        for event in await fetch(source, 3):
            source.settle(event, Ack())
        await source.hand_back([])


async def test_a_lost_request_is_sent_again(
    jetstream: JetStream, spec: NatsTrigger, open_source: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(source_module, "EXPIRES_S", 0.1)
    monkeypatch.setattr(source_module, "_ANSWER_MARGIN_S", 0.1)
    source = await open_source(spec)
    source._credit = 1000  # as if a request were out that the server knows nothing of
    waiting = asyncio.create_task(fetch(source, 1))
    await put(jetstream.connection, spec)
    assert len(await waiting) == 1


async def test_expired_requests_are_renewed(
    jetstream: JetStream, spec: NatsTrigger, open_source: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(source_module, "EXPIRES_S", 0.05)
    source = await open_source(spec)
    waiting = asyncio.create_task(fetch(source, 1))
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(asyncio.shield(waiting), 0.3)
    await put(jetstream.connection, spec)
    assert len(await waiting) == 1


async def test_a_deleted_consumer_is_made_again(jetstream: JetStream, spec: NatsTrigger, open_source: Open) -> None:
    source = await open_source(spec)
    waiting = asyncio.create_task(fetch(source, 1))
    await until(lambda: _pulling(jetstream, spec))
    await jetstream.drop_consumer(spec.stream, "work")
    await put(jetstream.connection, spec)
    assert len(await waiting) == 1


async def test_a_missing_consumer_is_made_again(jetstream: JetStream, spec: NatsTrigger, open_source: Open) -> None:
    source = await open_source(spec)
    await jetstream.drop_consumer(spec.stream, "work")
    await put(jetstream.connection, spec)
    assert len(await fetch(source, 1)) == 1


async def test_a_stream_that_is_gone_is_waited_for(
    jetstream: JetStream, spec: NatsTrigger, open_source: Open, caplog: pytest.LogCaptureFixture
) -> None:
    await jetstream.ensure_stream(spec.stream, spec.subjects)
    source = await open_source(spec, create=False)
    await jetstream._call(f"STREAM.DELETE.{spec.stream}", None, dict)
    waiting = asyncio.create_task(fetch(source, 1))
    await until(lambda: _said(caplog, "pull refused"))
    await jetstream.ensure_stream(spec.stream, spec.subjects)
    await put(jetstream.connection, spec)
    assert len(await waiting) == 1


async def test_a_consumers_own_bound_on_requests_is_kept(
    jetstream: JetStream, spec: NatsTrigger, open_source: Open
) -> None:
    await jetstream.ensure_stream(spec.stream, spec.subjects)
    await jetstream.put_consumer(spec.stream, consumer_config(spec) | {"max_batch": 2}, "create")
    source = await open_source(spec)
    await put(jetstream.connection, spec, 5)
    assert len(await fetch(source, 5)) == 5


async def test_closing_in_an_outage(broker: RunningBroker, jetstream: JetStream, spec: NatsTrigger) -> None:
    source = JetStreamSource(spec, Trigger("work", "nats"), broker.url, create=True)
    await source.open(FreshBuffers(), None)
    await put(jetstream.connection, spec)
    (event,) = await source.fetch(10)
    await asyncio.to_thread(broker.stop)
    source.settle(event, Ack())
    await source.aclose()
    await asyncio.to_thread(broker.start)


async def test_a_connection_that_the_server_ends_is_made_anew(
    jetstream: JetStream, spec: NatsTrigger, open_source: Open
) -> None:
    source = await open_source(spec)
    waiting = asyncio.create_task(fetch(source, 1))
    await until(lambda: _pulling(jetstream, spec))
    await source._connection.client._process_err("'user authentication expired'")
    await put(jetstream.connection, spec)
    assert len(await waiting) == 1


async def _pulling(jetstream: JetStream, spec: NatsTrigger) -> bool:
    try:
        answer = await jetstream._call(f"CONSUMER.INFO.{spec.stream}.work", None, dict[str, Any])
    except TriggerError:
        return False
    return bool(answer.get("num_waiting"))


async def _said(caplog: pytest.LogCaptureFixture, text: str) -> bool:
    return text in caplog.text
