"""How much waits for a consumer group, as a `Backlog`.

A look asks the partitions' leaders where their logs begin and end, and the group's coordinator where the group
is. While nothing runs, a fetch that waits at the ends of the logs tells of what comes (`watch`). What does not
belong here: deciding what follows from it.
"""

import asyncio
import logging
import re
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

from aiokafka import AIOKafkaConsumer, errors
from aiokafka.client import CoordinationType
from aiokafka.protocol.commit import OffsetCommitRequest, OffsetFetchRequest
from aiokafka.structs import TopicPartition

from ..errors import StreamMissing, TriggerError
from ..protocols import Reading
from .client import CONNECT_TIMEOUT_S, as_trigger_error, backoff, connect, options
from .note import read
from .spec import KafkaTrigger

logger = logging.getLogger(__name__)

READ_TIMEOUT_S = 5.0
PAUSE_S = 0.25
"""Between two wake-ups: who is awake need not hear of each event."""
_FETCH_WAIT_S = 5.0
_LOOK_AGAIN_S = 10.0
"""A partition that was made since, or a topic that a pattern matches, is seen after this."""
_NONE = -1
_MOVING = (
    errors.GroupCoordinatorNotAvailableError,
    errors.NotCoordinatorForGroupError,
    errors.GroupLoadInProgressError,
)
_MOVING_S = 0.1


class KafkaBacklog:
    """Looks at a trigger's consumer group and its topics.

    Args:
        spec: References resolved.
    """

    def __init__(self, spec: KafkaTrigger) -> None:
        self._spec = spec
        self._place = ",".join(spec.brokers)
        self._consumer: Any = None
        self._coordinator: int | None = None
        self._pinned = spec.offset_reset == "earliest"
        self._watching: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Connect; the group need not exist yet. Raises `TriggerError`."""
        spec = self._spec
        client = await connect(spec.brokers, spec.security, f"headrace-backlog-{spec.name}")
        await client.close()
        self._consumer = self._make_consumer()
        try:
            async with self._mapped("connect", CONNECT_TIMEOUT_S):
                await self._consumer.start()
            await self.read()
        except BaseException:
            await self._consumer.stop()
            raise

    async def read(self) -> Reading:
        """What waits now; raises `TriggerError`.

        Where the group has no position yet, all of a partition waits with `offsetReset: earliest`, and nothing
        with `latest`, whose position is committed here once, so that the event that wakes the function is read.
        """
        return (await self._look())[0]

    def watch(self, wake: Callable[[], None]) -> None:
        """Call `wake` soon after an event arrives, until `unwatch`."""
        self.unwatch()
        self._watching = asyncio.create_task(self._watch(wake), name=f"watch {self._spec.name}")

    def unwatch(self) -> None:
        """End `watch`."""
        if self._watching is not None:
            self._watching.cancel()
            self._watching = None

    async def aclose(self) -> None:
        """Disconnect."""
        watching = self._watching
        self.unwatch()
        if watching is not None:
            await asyncio.gather(watching, return_exceptions=True)
        if self._consumer is not None:
            await self._consumer.stop()

    # -- looking -------------------------------------------------------------------------------------------

    async def _look(self) -> tuple[Reading, dict[TopicPartition, int]]:
        """What waits, and where the logs end."""
        async with self._mapped("backlog", READ_TIMEOUT_S):
            partitions = await self._partitions()
            ends: dict[TopicPartition, int] = await self._consumer.end_offsets(partitions)
            committed = await self._committed(partitions)
            fresh = [partition for partition in partitions if committed[partition][0] < 0]
            starts: Mapping[TopicPartition, int] = {}
            if fresh and self._spec.offset_reset == "earliest":
                starts = await self._consumer.beginning_offsets(fresh)
            elif fresh and not self._pinned:
                await self._pin({partition: ends[partition] for partition in fresh})
        pending = unsettled = 0
        for partition, end in ends.items():
            offset, metadata = committed[partition]
            position = starts.get(partition, end) if offset < 0 else offset
            begun = min(max(read(metadata, position).reach, position), end)
            unsettled += max(0, begun - position)
            pending += max(0, end - begun)
        total = sum(ends.values())
        reading = Reading(pending=pending, unsettled=unsettled, arrived_total=total, partitions=len(partitions))
        return reading, ends

    def _make_consumer(self) -> Any:
        spec = self._spec
        return AIOKafkaConsumer(
            **options(spec.brokers, spec.security, f"headrace-backlog-{spec.name}"),
            isolation_level="read_committed" if spec.isolation == "readCommitted" else "read_uncommitted",
            enable_auto_commit=False,
            fetch_max_wait_ms=round(_FETCH_WAIT_S * 1000),
            max_partition_fetch_bytes=1,  # a broker sends one batch at least: enough to know
        )

    async def _partitions(self) -> list[TopicPartition]:
        cluster = await self._consumer._client.fetch_all_metadata()
        there = cluster.topics(exclude_internal_topics=self._spec.topic_pattern is not None)
        if self._spec.topic_pattern is not None:
            topics = sorted(name for name in there if re.fullmatch(self._spec.topic_pattern, name))
        else:
            topics = list(self._spec.topics)
            if missing := [topic for topic in topics if topic not in there]:
                raise StreamMissing(f"no topic `{missing[0]}` - at `{self._place}`")
        return [
            TopicPartition(topic, number)
            for topic in topics
            for number in sorted(cluster.partitions_for_topic(topic) or ())
        ]

    async def _committed(self, partitions: list[TopicPartition]) -> dict[TopicPartition, tuple[int, str]]:
        nowhere: tuple[int, str] = (_NONE, "")
        found: dict[TopicPartition, tuple[int, str]] = dict.fromkeys(partitions, nowhere)
        request = OffsetFetchRequest(self._spec.group, _by_topic(partitions))
        while True:
            try:
                response = await self._ask_coordinator(request)
                for topic, parts in response.topics:
                    for number, offset, metadata, code in parts:
                        _check(code)
                        found[TopicPartition(topic, number)] = (offset, metadata or "")
            except _MOVING:  # the first group of a cluster waits for the topic that positions are kept in
                self._coordinator = None
                await asyncio.sleep(_MOVING_S)
            else:
                return found

    async def _pin(self, positions: Mapping[TopicPartition, int]) -> None:
        """Commit where a group that never was begins; a group with members does it itself."""
        request = OffsetCommitRequest(
            self._spec.group,
            OffsetCommitRequest.DEFAULT_GENERATION_ID,
            "",
            OffsetCommitRequest.DEFAULT_RETENTION_TIME,
            [
                (topic, [(number, positions[TopicPartition(topic, number)], "") for number in numbers])
                for topic, numbers in _by_topic(list(positions))
            ],
        )
        await self._ask_coordinator(request)
        self._pinned = True

    async def _ask_coordinator(self, request: Any) -> Any:
        client = self._consumer._client
        if self._coordinator is None:
            self._coordinator = await client.coordinator_lookup(CoordinationType.GROUP, self._spec.group)
        try:
            return await client.send(self._coordinator, request)
        except errors.KafkaError:
            self._coordinator = None
            raise

    @asynccontextmanager
    async def _mapped(self, what: str, timeout_s: float) -> AsyncGenerator[None, None]:
        try:
            async with asyncio.timeout(timeout_s):
                yield
        except (errors.KafkaError, OSError, TimeoutError) as exc:
            raise as_trigger_error(exc, what, self._place) from exc

    # -- watching ------------------------------------------------------------------------------------------

    async def _watch(self, wake: Callable[[], None]) -> None:
        pauses = backoff(0.05, 2.0)
        sentinel: Any = None
        try:
            while True:
                try:
                    if sentinel is None:
                        sentinel = await self._start_sentinel()
                    # what came before the watch, or while the brokers were away, is not told of by a fetch
                    reading, ends = await self._look()
                    if reading.backlog or await self._arrival(sentinel, ends):
                        wake()
                        await asyncio.sleep(PAUSE_S)
                    pauses = backoff(0.05, 2.0)
                except TriggerError as exc:
                    logger.debug("watch interrupted trigger=%s error=%s", self._spec.name, exc)
                    await asyncio.sleep(next(pauses))
        finally:
            if sentinel is not None:
                await sentinel.stop()

    async def _start_sentinel(self) -> Any:
        """A consumer of its own: a fetch that waits would hold up what is asked behind it on its connection."""
        sentinel = self._make_consumer()
        try:
            async with self._mapped("watch", CONNECT_TIMEOUT_S):
                await sentinel.start()
        except BaseException:
            await sentinel.stop()
            raise
        return sentinel

    async def _arrival(self, sentinel: Any, ends: Mapping[TopicPartition, int]) -> bool:
        """Wait at the ends of all logs; False where it is time to look again."""
        if not ends:  # of topics that are to be made yet
            await asyncio.sleep(PAUSE_S * 4)
            return False
        sentinel.assign(list(ends))
        for partition, offset in ends.items():
            sentinel.seek(partition, offset)
        async with self._mapped("watch", 2 * _LOOK_AGAIN_S):
            return bool(await sentinel.getmany(timeout_ms=round(_LOOK_AGAIN_S * 1000)))


def _check(code: int) -> None:
    if code:
        raise errors.for_code(code)()


def _by_topic(partitions: list[TopicPartition]) -> list[tuple[str, list[int]]]:
    topics: dict[str, list[int]] = {}
    for partition in partitions:
        topics.setdefault(partition.topic, []).append(partition.partition)
    return list(topics.items())
