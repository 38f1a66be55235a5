"""`KafkaTopicSink` on a real broker, beyond the contract."""

from collections.abc import AsyncIterator

import pytest
from aiokafka import AIOKafkaConsumer
from support.kafka import RunningKafka, make_topic
from support.queues import message

from headrace.triggers.errors import BrokerUnavailable, MessageRefused, StreamMissing
from headrace.triggers.kafka.sink import KafkaTopicSink
from headrace.triggers.kafka.spec import KafkaSink
from headrace.triggers.protocols import Message

pytestmark = pytest.mark.integration


@pytest.fixture
async def topic(kafka: RunningKafka) -> str:
    return await make_topic(kafka)


@pytest.fixture
async def reader(kafka: RunningKafka, topic: str) -> AsyncIterator[AIOKafkaConsumer]:
    consumer = AIOKafkaConsumer(topic, bootstrap_servers=kafka.address, auto_offset_reset="earliest")
    await consumer.start()
    yield consumer
    await consumer.stop()


async def test_key_and_headers_are_carried(kafka: RunningKafka, topic: str, reader: AIOKafkaConsumer) -> None:
    sink = KafkaTopicSink(KafkaSink(brokers=(kafka.address,), topic=topic, compression="zstd"))
    await sink.open()
    sent = Message(id="t/s/1", data=b"x", content_type="text/plain", headers=(("ce-type", "made"),), key=b"k")
    await sink.publish([sent])
    await sink.aclose()
    record = await reader.getone()
    assert (record.key, record.value) == (b"k", b"x")
    assert dict(record.headers) == {"headrace-id": b"t/s/1", "content-type": b"text/plain", "ce_type": b"made"}


async def test_a_fixed_key_and_one_ack(kafka: RunningKafka, topic: str, reader: AIOKafkaConsumer) -> None:
    sink = KafkaTopicSink(KafkaSink(brokers=(kafka.address,), topic=topic, key="all", acks="leader"))
    await sink.open()
    await sink.publish([message(b"x")])
    await sink.aclose()
    assert (await reader.getone()).key == b"all"


async def test_only_what_is_too_large_is_refused(kafka: RunningKafka, topic: str, reader: AIOKafkaConsumer) -> None:
    sink = KafkaTopicSink(KafkaSink(brokers=(kafka.address,), topic=topic))
    await sink.open()
    large = Message(id="large", data=bytes(2 * 2**20), content_type="text/plain")
    with pytest.raises(MessageRefused, match="1 of 2 refused") as caught:
        await sink.publish([large, message(b"small")])
    await sink.aclose()
    assert caught.value.ids == ("large",)
    assert (await reader.getone()).value == b"small"


async def test_a_missing_topic_is_named(kafka: RunningKafka) -> None:
    with pytest.raises(StreamMissing, match="no topic `nowhere` - at `127"):
        await KafkaTopicSink(KafkaSink(brokers=(kafka.address,), topic="nowhere")).open()


async def test_a_missing_broker_is_named() -> None:
    with pytest.raises(BrokerUnavailable, match=r"at `127\.0\.0\.1:1`"):
        await KafkaTopicSink(KafkaSink(brokers=("127.0.0.1:1",), topic="x")).open()
