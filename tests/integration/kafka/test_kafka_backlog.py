"""`KafkaBacklog` on a real broker, beyond the contract."""

import asyncio
from typing import Any

import pytest
from support.kafka import RunningKafka, make_topic, produce
from support.queues import fetch_all

from headrace.runtime.buffers import FreshBuffers
from headrace.triggers.errors import BrokerUnavailable, StreamMissing
from headrace.triggers.events import Trigger
from headrace.triggers.kafka.backlog import KafkaBacklog
from headrace.triggers.kafka.source import KafkaSource
from headrace.triggers.kafka.spec import KafkaTrigger

pytestmark = pytest.mark.integration


def trigger(kafka: RunningKafka, topic: str, **fields: Any) -> KafkaTrigger:
    given: dict[str, Any] = {"name": f"lag-{topic}", "brokers": (kafka.address,), "topics": (topic,)}
    return KafkaTrigger(**(given | fields))


async def test_partitions_bound_the_replicas(kafka: RunningKafka) -> None:
    topic = await make_topic(kafka, 3)
    await produce(kafka, topic, [b"one"] * 4, partition=2)
    backlog = KafkaBacklog(trigger(kafka, topic))
    await backlog.open()
    reading = await backlog.read()
    await backlog.aclose()
    assert (reading.pending, reading.partitions, reading.arrived_total) == (4, 3, 4)


async def test_with_latest_what_wakes_a_function_is_read(kafka: RunningKafka) -> None:
    topic = await make_topic(kafka)
    await produce(kafka, topic, [b"old"])
    spec = trigger(kafka, topic, offset_reset="latest")
    backlog = KafkaBacklog(spec)
    await backlog.open()
    assert (await backlog.read()).pending == 0
    woken = asyncio.Event()
    backlog.watch(woken.set)
    await produce(kafka, topic, [b"new"])
    await asyncio.wait_for(woken.wait(), 10)
    assert (await backlog.read()).pending == 1
    await backlog.aclose()
    source = KafkaSource(spec, Trigger("work", "kafka"))
    await source.open(FreshBuffers(), None)
    assert [event.copy() for event in await fetch_all(source, 1)] == [b"new"]
    await source.aclose()


async def test_a_pattern_counts_what_it_matches(kafka: RunningKafka) -> None:
    for name in ("lag-a", "lag-b"):
        await produce(kafka, await make_topic(kafka, name=name), [b"x"])
    spec = trigger(kafka, "x", topics=(), topic_pattern="lag-[ab]")
    backlog = KafkaBacklog(spec)
    await backlog.open()
    assert (await backlog.read()).pending == 2
    await backlog.aclose()


async def test_a_missing_topic_is_named(kafka: RunningKafka) -> None:
    with pytest.raises(StreamMissing, match="no topic `nowhere` - at `127"):
        await KafkaBacklog(trigger(kafka, "nowhere")).open()


async def test_a_missing_broker_is_named() -> None:
    spec = KafkaTrigger(name="x", brokers=("127.0.0.1:1",), topics=("x",))
    with pytest.raises(BrokerUnavailable, match=r"at `127\.0\.0\.1:1`"):
        await KafkaBacklog(spec).open()
