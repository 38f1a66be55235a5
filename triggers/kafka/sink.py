"""Results published to a topic, as a `Sink`.

The producer is idempotent, so that its own repetitions are stored once; a result that is published again after a
crash is a second record under the same `headrace-id`. What does not belong here: how a result becomes bytes.
"""

import asyncio
import logging
from collections.abc import Sequence
from typing import Any

from aiokafka import AIOKafkaProducer, errors
from aiokafka.structs import RecordMetadata

from ..errors import BrokerUnavailable, MessageRefused, StreamMissing, TriggerError
from ..protocols import Message
from .client import CONNECT_TIMEOUT_S, as_trigger_error, connect, mapped, options
from .spec import KafkaSink

logger = logging.getLogger(__name__)

ID = "headrace-id"
"""Header with `Message.id`, by which a consumer can drop what was published twice."""
LINGER_MS = 1
BATCH_BYTES = 256 * 1024
"""Of one partition in a request: 16 KiB, the client's own, makes small requests of a batch's results."""
MOST_BYTES = 64 * 2**20
"""In a request; the topic's `max.message.bytes` decides what is too large."""
_REFUSED = (errors.MessageSizeTooLargeError, errors.RecordTooLargeError, errors.CorruptRecordException)


class KafkaTopicSink:
    """Publishes messages and waits until the brokers have them.

    Args:
        spec: References resolved.
    """

    def __init__(self, spec: KafkaSink) -> None:
        self._spec = spec
        self._place = ",".join(spec.brokers)
        self._producer: Any = None

    async def open(self) -> None:
        """Connect; raises `TriggerError`."""
        spec = self._spec
        client = await connect(spec.brokers, spec.security, "headrace-sink")
        try:
            with mapped("topics", self._place):
                cluster = await client.fetch_all_metadata()
        finally:
            await client.close()
        if spec.topic not in cluster.topics(exclude_internal_topics=False):
            raise StreamMissing(f"no topic `{spec.topic}` - at `{self._place}`")
        await self._start()

    async def publish(self, messages: Sequence[Message]) -> None:
        """Return when the topic has all `messages`.

        Raises:
            BrokerUnavailable: The brokers were away, or silent, for `publish_timeout`.
            MessageRefused: Some are too large; the rest is stored.
            TriggerError: The topic may not be written to.
        """
        if not messages:
            return
        try:
            async with asyncio.timeout(self._spec.publish_timeout):
                results = await self._send(messages)
        except TimeoutError:
            # what waits in the producer would be stored behind our back, beside what is published again
            await self._renew()
            raise BrokerUnavailable(
                f"publish to `{self._spec.topic}`: not acknowledged within {self._spec.publish_timeout:g} s "
                f"- at `{self._place}`"
            ) from None
        self._check(messages, results)

    async def aclose(self) -> None:
        """Flush and disconnect."""
        producer, self._producer = self._producer, None
        if producer is not None:
            await _stop(producer)

    async def _send(self, messages: Sequence[Message]) -> list[RecordMetadata | BaseException]:
        producer: Any = self._producer or await self._start()
        topic, key = self._spec.topic, self._spec.key.encode() if self._spec.key is not None else None
        sent: list[Any] = []
        for message in messages:
            headers = [(ID, message.id.encode()), ("content-type", message.content_type.encode())]
            headers += [(_name(name), value.encode()) for name, value in message.headers]
            try:
                answer = await producer.send(
                    topic, bytes(message.data), key=message.key if key is None else key, headers=headers
                )
            except errors.KafkaError as exc:
                answer = asyncio.get_running_loop().create_future()
                answer.set_exception(exc)
            sent.append(answer)
        return await asyncio.gather(*sent, return_exceptions=True)

    def _check(self, messages: Sequence[Message], results: Sequence[object]) -> None:
        refused: dict[str, str] = {}
        for message, result in zip(messages, results, strict=True):
            if isinstance(result, _REFUSED):
                refused[message.id] = "larger than the broker or the client takes"
            elif isinstance(result, BaseException):
                raise as_trigger_error(result, f"publish to `{self._spec.topic}`", self._place) from result
        if refused:
            raise MessageRefused(
                f"publish to `{self._spec.topic}`: {len(refused)} of {len(messages)} refused: "
                f"{next(iter(refused.values()))} - at `{self._place}`",
                tuple(refused),
            )

    async def _start(self) -> Any:
        spec = self._spec
        producer = AIOKafkaProducer(
            **options(spec.brokers, spec.security, "headrace-sink"),
            enable_idempotence=spec.acks == "all",
            acks="all" if spec.acks == "all" else 1,
            compression_type=None if spec.compression == "none" else spec.compression,
            linger_ms=LINGER_MS,
            max_batch_size=BATCH_BYTES,
            max_request_size=MOST_BYTES,
        )
        try:
            with mapped("connect", self._place):
                async with asyncio.timeout(CONNECT_TIMEOUT_S):
                    await producer.start()
        except BaseException:
            await _stop(producer)
            raise
        self._producer = producer
        return producer

    async def _renew(self) -> None:
        producer, self._producer = self._producer, None
        if producer is not None:
            await _abandon(producer)


async def _stop(producer: Any) -> None:
    try:
        async with asyncio.timeout(CONNECT_TIMEOUT_S):
            await producer.stop()
    except (errors.KafkaError, TimeoutError, TriggerError) as exc:
        logger.warning("producer not flushed error=%s", exc)


async def _abandon(producer: Any) -> None:
    """End a producer without waiting for what it has not sent."""
    producer._closed = True
    await producer._sender.close()
    await producer.client.close()


def _name(name: str) -> str:
    """CloudEvents attributes are `ce_*` in Kafka (Kafka protocol binding §3.2.3.1)."""
    return f"ce_{name[3:]}" if name.lower().startswith("ce-") else name
