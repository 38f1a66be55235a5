"""`KafkaSource` on a real broker, beyond the contract: members, ordering, positions, transactions, security."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer
from support.kafka import PASSWORD, USER, RunningKafka, make_topic, produce
from support.queues import fetch_all, killed

from headrace.runtime.buffers import FreshBuffers
from headrace.triggers.errors import BrokerUnavailable, StreamMissing
from headrace.triggers.events import Event, Trigger
from headrace.triggers.kafka.codec import KafkaEvent
from headrace.triggers.kafka.source import KafkaSource
from headrace.triggers.kafka.spec import KafkaTrigger, Security
from headrace.triggers.outcomes import Ack, Retry
from headrace.triggers.units import Seconds

pytestmark = pytest.mark.integration

Open = Callable[..., Awaitable[KafkaSource]]


@pytest.fixture
async def opened(kafka: RunningKafka) -> AsyncIterator[Open]:
    """Makes open sources of a topic, and closes them."""
    sources: list[KafkaSource] = []

    async def open_source(topic: str, **fields: Any) -> KafkaSource:
        given: dict[str, Any] = {
            "name": f"group-{topic}",
            "brokers": (kafka.address,),
            "topics": (topic,),
            "session_timeout": Seconds(1),
        }
        source = KafkaSource(KafkaTrigger(**(given | fields)), Trigger("work", "kafka"))
        await source.open(FreshBuffers(), None)
        sources.append(source)
        return source

    yield open_source
    for source in sources:
        await source.aclose()


def bodies(events: Sequence[Event]) -> list[bytes]:
    return [event.copy() for event in events]


def ack(source: KafkaSource, events: Sequence[Event]) -> None:
    for event in events:
        source.settle(event, Ack())


async def drained(source: KafkaSource, within_s: float) -> list[Event]:
    """What comes in that time."""
    events: list[Event] = []
    with suppress(TimeoutError):
        async with asyncio.timeout(within_s):
            while True:
                events += await source.fetch(100)
    return events


async def test_events_say_where_they_lie(kafka: RunningKafka, opened: Open) -> None:
    topic = await make_topic(kafka, 2)
    await produce(kafka, topic, [b"one"], key=b"k", partition=1, headers=[("ce_id", b"7"), ("x", b"y")])
    source = await opened(topic)
    (event,) = await fetch_all(source, 1)
    assert isinstance(event, KafkaEvent)
    assert (event.topic, event.partition, event.offset, event.key) == (topic, 1, 0, b"k")
    assert (event.id, event.source, event.headers["x"]) == ("7", f"kafka:{topic}", "y")
    assert event.time is not None
    assert event.time.endswith("Z")


async def test_one_event_of_a_key_at_a_time(kafka: RunningKafka, opened: Open) -> None:
    topic = await make_topic(kafka)
    await produce(kafka, topic, [b"a1", b"a2"], key=b"a")
    await produce(kafka, topic, [b"b1"], key=b"b")
    source = await opened(topic)
    first = await fetch_all(source, 2)
    assert bodies(first) == [b"a1", b"b1"]
    ack(source, first)
    assert bodies(await fetch_all(source, 1)) == [b"a2"]


async def test_a_retry_blocks_only_its_key(kafka: RunningKafka, opened: Open) -> None:
    topic = await make_topic(kafka)
    await produce(kafka, topic, [b"a1", b"a2"], key=b"a")
    await produce(kafka, topic, [b"b1", b"b2"], key=b"b")
    source = await opened(topic)
    a1, b1 = await fetch_all(source, 2)
    source.settle(a1, Retry(after_s=0.4))
    source.settle(b1, Ack())
    (b2,) = await fetch_all(source, 1)
    assert b2.copy() == b"b2"
    (again,) = await fetch_all(source, 1)
    assert (again.copy(), again.attempt) == (b"a1", 2)
    source.settle(again, Ack())
    assert bodies(await fetch_all(source, 1)) == [b"a2"]


async def test_one_event_of_a_partition_at_a_time(kafka: RunningKafka, opened: Open) -> None:
    topic = await make_topic(kafka)
    await produce(kafka, topic, [b"1", b"2", b"3"])
    source = await opened(topic, ordering="partition")
    (first,) = await source.fetch(10)
    source.settle(first, Retry(after_s=0.1))
    (again,) = await source.fetch(10)
    assert (again.copy(), again.attempt) == (b"1", 2)
    source.settle(again, Ack())
    assert bodies(await source.fetch(10)) == [b"2"]


async def test_no_more_than_max_uncommitted(kafka: RunningKafka, opened: Open) -> None:
    topic = await make_topic(kafka)
    await produce(kafka, topic, [b"%d" % index for index in range(30)])
    source = await opened(topic, ordering="none", max_uncommitted=10)
    first = await fetch_all(source, 10)
    ack(source, first[1:])
    assert await drained(source, 0.3) == []
    ack(source, first[:1])
    assert bodies(await fetch_all(source, 10)) == [b"%d" % index for index in range(10, 20)]


@pytest.mark.parametrize("compression", [None, "gzip", "snappy", "lz4", "zstd"])
async def test_compressions(kafka: RunningKafka, opened: Open, compression: str | None) -> None:
    topic = await make_topic(kafka)
    values = [b"%05d" % index * 20 for index in range(500)]
    await produce(kafka, topic, values, compression=compression)
    source = await opened(topic, ordering="none")
    assert bodies(await fetch_all(source, 500)) == values


async def test_two_members_share_the_partitions(kafka: RunningKafka, opened: Open) -> None:
    topic = await make_topic(kafka, 2)
    one, two = await opened(topic), await opened(topic)
    waiting = [asyncio.create_task(source.fetch(1)) for source in (one, two)]
    async with asyncio.timeout(20):
        while {len(source._partitions) for source in (one, two)} != {1}:
            await asyncio.sleep(0.02)
    for partition in (0, 1):
        await produce(kafka, topic, [b"%d" % partition], partition=partition)
    (a,), (b,) = await asyncio.wait_for(asyncio.gather(*waiting), 10)
    assert sorted([a.copy(), b.copy()]) == [b"0", b"1"]


async def test_a_rebalance_waits_for_what_is_in_flight(kafka: RunningKafka, opened: Open) -> None:
    topic = await make_topic(kafka)
    await produce(kafka, topic, [b"one", b"two"])
    source = await opened(topic)
    events = await fetch_all(source, 2)
    other = await opened(topic)
    waiting = asyncio.create_task(other.fetch(2))
    async with asyncio.timeout(20):
        while not source._revoking:
            await asyncio.sleep(0.02)
    ack(source, events)
    await produce(kafka, topic, [b"three"])
    waiting_here = asyncio.create_task(source.fetch(2))
    done, left = await asyncio.wait({waiting, waiting_here}, timeout=20, return_when=asyncio.FIRST_COMPLETED)
    assert [bodies(task.result()) for task in done] == [[b"three"]]
    for task in left:
        task.cancel()


async def test_what_killed_a_process_comes_alone_and_counted(kafka: RunningKafka, opened: Open) -> None:
    topic = await make_topic(kafka)
    await produce(kafka, topic, [b"%d" % index for index in range(5)])
    dying = await opened(topic)
    held = await fetch_all(dying, 3)
    ack(dying, held[:1])
    await dying._commits.flush()
    await killed(dying)
    source = await opened(topic)
    for body in (b"1", b"2"):
        (event,) = await source.fetch(10)
        assert (event.copy(), event.attempt) == (body, 2)
        source.settle(event, Ack())
    assert [event.attempt for event in await fetch_all(source, 2)] == [1, 1]


async def test_attempts_survive_an_orderly_end(kafka: RunningKafka, opened: Open) -> None:
    topic = await make_topic(kafka)
    await produce(kafka, topic, [b"one"])
    source = await opened(topic)
    for _ in range(3):
        (event,) = await fetch_all(source, 1)
        source.settle(event, Retry(after_s=0))
    await source.aclose()
    (event,) = await fetch_all(await opened(topic), 1)
    assert event.attempt == 4


async def test_a_static_member_keeps_its_partitions(kafka: RunningKafka, opened: Open) -> None:
    topic = await make_topic(kafka)
    fields: dict[str, Any] = {"group_instance_id": "me", "session_timeout": Seconds(20)}
    source = await opened(topic, **fields)
    await produce(kafka, topic, [b"one"])
    ack(source, await fetch_all(source, 1))
    generation = source._member._coordinator.generation
    await source.aclose()
    again = await opened(topic, **fields)
    await produce(kafka, topic, [b"two"])
    assert bodies(await fetch_all(again, 1)) == [b"two"]
    assert again._member._coordinator.generation == generation


async def test_latest_begins_at_the_end_and_stays_there(kafka: RunningKafka, opened: Open) -> None:
    topic = await make_topic(kafka)
    await produce(kafka, topic, [b"old"])
    source = await opened(topic, offset_reset="latest")
    waiting = asyncio.create_task(source.fetch(1))
    async with asyncio.timeout(10):
        while not any(partition.committed for partition in source._partitions.values()):
            await asyncio.sleep(0.02)
    waiting.cancel()
    await source.aclose()
    await produce(kafka, topic, [b"new"])
    assert bodies(await fetch_all(await opened(topic, offset_reset="latest"), 1)) == [b"new"]


async def test_a_pattern_finds_topics_made_later(kafka: RunningKafka, opened: Open) -> None:
    first = await make_topic(kafka, name="frames-eu")
    source = await opened("x", topics=(), topic_pattern="frames-.*")
    await produce(kafka, first, [b"one"])
    events = await fetch_all(source, 1)
    assert bodies(events) == [b"one"]


async def test_read_committed_sees_no_aborted_transaction(kafka: RunningKafka, opened: Open) -> None:
    topic = await make_topic(kafka)
    producer = AIOKafkaProducer(bootstrap_servers=kafka.address, transactional_id=f"tx-{topic}")
    await producer.start()
    for value, commit in ((b"aborted", False), (b"kept", True)):
        await producer.begin_transaction()
        await producer.send_and_wait(topic, value)
        await (producer.commit_transaction() if commit else producer.abort_transaction())
    await producer.stop()
    source = await opened(topic, isolation="readCommitted")
    assert bodies(await fetch_all(source, 1)) == [b"kept"]
    everything = await opened(topic, name="all")
    assert bodies(await fetch_all(everything, 2)) == [b"aborted", b"kept"]


@pytest.mark.parametrize("mechanism", ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"])
async def test_sasl(kafka: RunningKafka, opened: Open, mechanism: Any) -> None:
    topic = await make_topic(kafka)
    await produce(kafka, topic, [b"one"])
    security = Security(protocol="SASL_PLAINTEXT", mechanism=mechanism, username=USER, password=PASSWORD)
    source = await opened(topic, brokers=(kafka.sasl_address,), security=security)
    assert bodies(await fetch_all(source, 1)) == [b"one"]


async def test_wrong_credentials_are_named(kafka: RunningKafka, opened: Open) -> None:
    security = Security(protocol="SASL_PLAINTEXT", mechanism="PLAIN", username=USER, password="wrong")
    with pytest.raises(BrokerUnavailable, match=r"credentials were refused \(PLAIN\) - at `127") as caught:
        await opened("x", brokers=(kafka.sasl_address,), security=security)
    assert "wrong" not in str(caught.value)


async def test_a_missing_topic_is_named(opened: Open) -> None:
    with pytest.raises(StreamMissing, match="no topic `nowhere` - at `127"):
        await opened("nowhere")


async def test_a_missing_broker_is_named(opened: Open) -> None:
    with pytest.raises(BrokerUnavailable, match=r"connect: .* - at `127\.0\.0\.1:1`"):
        await opened("x", brokers=("127.0.0.1:1",))
