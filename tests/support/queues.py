"""The queues that the contract suite of triggers runs on: the in-memory twin and a real broker.

A `Queue` makes sources, sinks and backlogs over one fresh queue, puts messages in, and can be away for a while.
"""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from itertools import count
from typing import Protocol, TypeVar

from headrace.runtime.buffers import FreshBuffers
from headrace.triggers.events import Event, Trigger
from headrace.triggers.kafka.backlog import KafkaBacklog
from headrace.triggers.kafka.sink import KafkaTopicSink
from headrace.triggers.kafka.source import KafkaSource
from headrace.triggers.kafka.spec import KafkaSink, KafkaTrigger
from headrace.triggers.memory.backlog import MemoryBacklog
from headrace.triggers.memory.queue import MemoryQueue
from headrace.triggers.memory.sink import MemorySink
from headrace.triggers.memory.source import MemorySource
from headrace.triggers.nats.backlog import JetStreamBacklog
from headrace.triggers.nats.sink import JetStreamSink
from headrace.triggers.nats.source import JetStreamSource
from headrace.triggers.nats.spec import NatsSink, NatsTrigger
from headrace.triggers.protocols import Backlog, Message, Sink, Source
from headrace.triggers.units import Seconds

from .kafka import RunningKafka, make_topic
from .nats import RunningBroker

P = TypeVar("P", Source, Sink, Backlog)

ACK_WAIT_S = 0.6
"""Long enough that a loaded machine settles in time, short enough to wait for."""


class Queue(Protocol):
    """One fresh queue of some kind.

    Attributes:
        first_offset: Of the first event.
        hand_over_s: How soon another gets what was handed back.
        deduplicates: Whether the broker stores what has the same id once.
    """

    first_offset: int
    hand_over_s: float
    deduplicates: bool

    async def source(self) -> Source:
        """A source on it, open."""
        ...

    async def sink(self) -> Sink:
        """A sink into it, open."""
        ...

    async def backlog(self) -> Backlog:
        """A backlog of it, open."""
        ...

    async def kill(self, source: Source) -> None:
        """End a source as SIGKILL does: nothing is said to the broker any more."""
        ...

    async def go_away(self) -> None:
        """The broker stops."""
        ...

    async def come_back(self) -> None:
        """The broker starts again, with all that it had."""
        ...


class InMemory:
    """`headrace.triggers.memory`."""

    first_offset = 1
    hand_over_s = ACK_WAIT_S / 2
    deduplicates = True

    def __init__(self) -> None:
        self.queue = MemoryQueue("work", asyncio.get_running_loop(), ACK_WAIT_S)

    async def source(self) -> Source:
        source = MemorySource(self.queue, Trigger("work", "memory"), keepalive_s=ACK_WAIT_S / 3)
        await source.open(FreshBuffers(), None)
        return source

    async def sink(self) -> Sink:
        sink = MemorySink(self.queue, publish_timeout_s=2.0)
        await sink.open()
        return sink

    async def backlog(self) -> Backlog:
        backlog = MemoryBacklog(self.queue)
        await backlog.open()
        return backlog

    async def kill(self, source: Source) -> None:
        await source.aclose()

    async def go_away(self) -> None:
        self.queue.available = False

    async def come_back(self) -> None:
        self.queue.available = True


class OnJetStream:
    """`headrace.triggers.nats` on a real server; each queue is a stream of its own."""

    first_offset = 1
    hand_over_s = ACK_WAIT_S / 2
    deduplicates = True
    _names = count()

    def __init__(self, broker: RunningBroker) -> None:
        self._broker = broker
        self.stream = f"WORK{next(self._names)}"
        self.subject = f"{self.stream.lower()}.in"

    def trigger(self) -> NatsTrigger:
        return NatsTrigger(
            name="work", stream=self.stream, subjects=(f"{self.stream.lower()}.>",), ack_wait=Seconds(ACK_WAIT_S)
        )

    async def source(self) -> Source:
        source = JetStreamSource(self.trigger(), Trigger("work", "nats"), self._broker.url, create=True)
        await source.open(FreshBuffers(), None)
        return source

    async def sink(self) -> Sink:
        spec = NatsSink(subject=self.subject, stream=self.stream, publish_timeout=Seconds(2))
        sink = JetStreamSink(spec, self._broker.url, create=True)
        await sink.open()
        return sink

    async def backlog(self) -> Backlog:
        backlog = JetStreamBacklog(self.trigger(), self._broker.url, create=True)
        await backlog.open()
        return backlog

    async def kill(self, source: Source) -> None:
        assert isinstance(source, JetStreamSource)
        source._keepalive.close()
        await source._connection.aclose()

    async def go_away(self) -> None:
        await asyncio.to_thread(self._broker.stop)

    async def come_back(self) -> None:
        await asyncio.to_thread(self._broker.start)


class OnKafka:
    """`headrace.triggers.kafka` on a real broker; each queue is a topic of one partition, and a group."""

    first_offset = 0
    hand_over_s = 5.0  # the members that are left have to hear of it, with a heartbeat
    deduplicates = False

    def __init__(self, broker: RunningKafka, topic: str) -> None:
        self._broker = broker
        self.topic = topic

    @classmethod
    async def make(cls, broker: RunningKafka) -> "OnKafka":
        return cls(broker, await make_topic(broker))

    def trigger(self) -> KafkaTrigger:
        return KafkaTrigger(
            name=self.topic, brokers=(self._broker.address,), topics=(self.topic,), session_timeout=Seconds(1)
        )

    async def source(self) -> Source:
        source = KafkaSource(self.trigger(), Trigger("work", "kafka"))
        await source.open(FreshBuffers(), None)
        return source

    async def sink(self) -> Sink:
        sink = KafkaTopicSink(KafkaSink(brokers=(self._broker.address,), topic=self.topic, publish_timeout=Seconds(10)))
        await sink.open()
        return sink

    async def backlog(self) -> Backlog:
        backlog = KafkaBacklog(self.trigger())
        await backlog.open()
        return backlog

    async def kill(self, source: Source) -> None:
        assert isinstance(source, KafkaSource)
        await killed(source)

    async def go_away(self) -> None:
        await asyncio.to_thread(self._broker.stop)

    async def come_back(self) -> None:
        await asyncio.to_thread(self._broker.start)


async def killed(source: KafkaSource) -> None:
    """End a source as SIGKILL does: its member says nothing to the group any more."""
    coordinator = source._member._coordinator
    source._partitions.clear()
    coordinator.generation = -1  # so that it cannot leave
    await source.aclose()


class Bench:
    """A queue with what a test has open on it, closed at its end."""

    def __init__(self, queue: Queue) -> None:
        self.queue = queue
        self._open: list[Source | Sink | Backlog] = []

    async def source(self) -> Source:
        return self._kept(await self.queue.source())

    async def backlog(self) -> Backlog:
        return self._kept(await self.queue.backlog())

    async def sink(self) -> Sink:
        return self._kept(await self.queue.sink())

    async def put(self, *bodies: bytes) -> None:
        """Put messages in, their ids their bodies."""
        sink = await self.queue.sink()
        await sink.publish([message(body) for body in bodies])
        await sink.aclose()

    async def kill(self, source: Source) -> None:
        self._open.remove(source)
        await self.queue.kill(source)

    async def aclose(self) -> None:
        for part in reversed(self._open):
            await part.aclose()
        if isinstance(self.queue, InMemory):
            self.queue.queue.close()

    def _kept(self, part: P) -> P:
        self._open.append(part)
        return part


def message(body: bytes, id: str | None = None) -> Message:
    return Message(
        id=id or body.decode(), data=body, content_type="text/plain", headers=(("traceparent", "00-1-2-01"),)
    )


@asynccontextmanager
async def bench(queue: Queue) -> AsyncGenerator[Bench, None]:
    """`queue`, and at the end everything on it closed."""
    opened = Bench(queue)
    try:
        yield opened
    finally:
        await opened.aclose()


async def fetch_all(source: Source, expected: int, within_s: float = 10.0) -> Sequence[Event]:
    """Fetch until `expected` events are there."""
    events: list[Event] = []
    async with asyncio.timeout(within_s):
        while len(events) < expected:
            events += await source.fetch(expected - len(events))
    return events
