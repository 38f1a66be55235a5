"""A member of a consumer group as a `Source`.

`fetch` hands on what the partitions may deliver, and tells the group beforehand that it is being worked on (the
commit's note), so that attempts are counted even if the process dies. Settled offsets are committed soon after.
A source that nobody fetches from, and that has nothing in flight, leaves its group. What does not belong here:
what may be delivered when (`partition`), and the protocol (`member`).
"""

import asyncio
import logging
from collections.abc import Sequence

from aiokafka.structs import TopicPartition

from ..errors import TriggerError
from ..events import Event, Trigger
from ..outcomes import Outcome, Retry
from ..protocols import Buffers, Device
from .client import backoff
from .codec import KafkaEvent
from .columnar import decode
from .commits import Commits
from .member import Fetched, Member, Offsets, rebalance_timeout_s
from .note import Note, read
from .partition import Partition
from .records import ColumnarRecords
from .spec import CAPABILITIES, KafkaTrigger

logger = logging.getLogger(__name__)

LINGER_S = 1.0
"""A runtime with room fetches again at once; one that has not for this long must not hold partitions."""
RETRY_MIN_S, RETRY_MAX_S = 0.1, 30.0
"""Redelivery after a `Retry` without `after_s`, by attempt: architecture.md §6."""
_DAMAGED_S = 1.0
"""Between fetches of what cannot be read."""
_LOOK_S = 1.0
"""Between looks at what the group said, where nothing else happens."""


class KafkaSource:
    """Brings the events of a group's topics to the replica, and settles them.

    Args:
        spec: References resolved.
        trigger: As handlers see it.
    """

    capabilities = CAPABILITIES

    def __init__(self, spec: KafkaTrigger, trigger: Trigger) -> None:
        self._spec = spec
        self._trigger = trigger
        self._member = Member(spec, self)
        self._partitions: dict[TopicPartition, Partition] = {}
        self._turn = 0
        self._in_flight = 0
        self._changed = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()
        self._commits = Commits(spec.name, self._member, self._partitions)
        self._positioning: asyncio.Task[None] | None = None
        self._fetching = 0
        self._waiting = False
        self._handed_back = False
        self._revoking = False
        self._linger: asyncio.TimerHandle | None = None
        self._leaving: asyncio.Task[None] | None = None
        self._joining: asyncio.Task[None] | None = None
        self._closing = False

    async def open(self, buffers: Buffers, device: Device | None) -> None:
        """Connect and begin to join the group; raises `TriggerError` where a topic is missing."""
        await self._member.start()
        self._watch_linger()

    async def fetch(self, limit: int) -> Sequence[Event]:
        """Wait for events: at least one, at most `limit`; returns what is there as soon as one is."""
        self._fetching += 1
        self._handed_back = False
        try:
            await self._ensure_member()
            while not (events := self._take(limit)):
                await self._arrival()
            try:
                await self._commits.claim()
            except asyncio.CancelledError:
                self._put_back(events)
                raise
            return events
        finally:
            self._fetching -= 1
            self._watch_linger()

    def settle(self, event: Event, outcome: Outcome) -> None:
        """Carry out `outcome`; what belongs to a partition that was taken from us meanwhile is left alone."""
        if type(event) is not KafkaEvent or event.place is None:
            return
        partition: Partition = event.place.partition
        if type(outcome) is Retry:
            delay_s = outcome.after_s
            if delay_s is None:
                delay_s = min(RETRY_MIN_S * 2.0 ** min(event.attempt - 1, 16), RETRY_MAX_S)
            settled = partition.park(event, asyncio.get_running_loop().time() + delay_s)
        else:
            settled = partition.settle(event)
        if settled:
            if not partition.dirty:
                self._commits.soon(partition)
            self._in_flight -= 1
            if self._waiting or self._in_flight == 0:
                self._left(0)

    async def hand_back(self, events: Sequence[Event]) -> None:
        """Give up what was not run: its partitions go to others once nothing else is in flight."""
        for event in events:
            if isinstance(event, KafkaEvent) and event.place is not None:
                partition: Partition = event.place.partition
                if partition.park(event, 0.0, begun=False):
                    self._commits.soon(partition)
                    self._left(1)
        self._handed_back = True
        if self._in_flight == 0:
            self._leave()
        if self._leaving is not None:
            await asyncio.shield(self._leaving)

    async def aclose(self) -> None:
        """Commit what is settled, leave the group and disconnect."""
        self._closing = True
        if self._linger is not None:
            self._linger.cancel()
        if self._leaving is not None:
            await asyncio.shield(self._leaving)
        await self._release()

    # -- delivering ----------------------------------------------------------------------------------------

    def _take(self, limit: int) -> list[KafkaEvent]:
        """What may be delivered now, from each partition in turn."""
        if self._revoking:
            return []
        partitions = list(self._partitions.items())
        now = asyncio.get_running_loop().time()
        for key, partition in partitions:
            partition.due(now)
            if partition.hungry and (fetched := self._member.take(key)) is not None:
                self._decode(key, partition, fetched)
        events: list[KafkaEvent] = []
        if any(partition.suspect for _, partition in partitions):
            # one of them may have killed a process: alone, it shows which
            if self._in_flight == 0:
                events = next((found for _, p in partitions if p.suspect and (found := p.take(1))), [])
        else:
            self._turn += 1
            for index in range(len(partitions)):
                if len(events) < limit:
                    events += partitions[(index + self._turn) % len(partitions)][1].take(limit - len(events))
        if events:
            self._in_flight += len(events)
            self._idle.clear()
        return events

    def _decode(self, key: TopicPartition, partition: Partition, found: Fetched) -> None:
        columns, next_offset, error = decode(
            found.data,
            topic=key.topic,
            partition=key.partition,
            fetch_offset=found.offset,
            aborted=found.aborted,
            read_committed=self._spec.isolation == "readCommitted",
        )
        if error is not None and not len(columns):
            # fetched again: it may have been damaged on its way; what is damaged on disk stops the partition here
            logger.error("fetch damaged topic=%s partition=%s error=%s", *key, error)
            self._member.pause(key, _DAMAGED_S)
            return
        partition.add(ColumnarRecords(columns, next_offset))
        self._member.advance(key, next_offset)
        if not len(columns):
            self._commits.soon(partition)

    def _put_back(self, events: list[KafkaEvent]) -> None:
        for event in events:
            if event.place is not None:
                event.place.partition.put_back([event])
        self._left(len(events))

    async def _arrival(self) -> None:
        """Return when something happened that `_take` has to look at."""
        now = asyncio.get_running_loop().time()
        due = [when for partition in self._partitions.values() if (when := partition.due(now)) is not None]
        self._changed.clear()
        self._waiting = True
        try:
            async with asyncio.timeout(min([_LOOK_S, *(max(0.0, when - now) for when in due)])):
                await self._changed.wait()
        except TimeoutError:
            pass
        finally:
            self._waiting = False
        if (failure := self._member.failure()) is not None:
            logger.warning("group failed trigger=%s error=%s", self._spec.name, failure)
        if self._member.ended:
            await self._release()
            await self._ensure_member()

    def arrived(self) -> None:
        """Something was fetched."""
        self._changed.set()

    def _left(self, events: int) -> None:
        self._in_flight -= events
        self._changed.set()
        if self._in_flight == 0:
            self._idle.set()
            if self._handed_back:
                self._leave()
            else:
                self._watch_linger()

    # -- owning partitions ---------------------------------------------------------------------------------

    async def assigned(self, partitions: Offsets) -> None:
        """`partitions` are ours from now on."""
        fresh = [key for key, (offset, _) in partitions.items() if offset < 0]
        for key, (offset, metadata) in partitions.items():
            if offset >= 0:
                self._own(key, offset, read(metadata, offset))
        if fresh:
            self._positioning = asyncio.create_task(self._position(fresh))
        self._revoking = False
        self._changed.set()
        names = ",".join(sorted(f"{topic}/{number}" for topic, number in partitions))
        logger.info("partitions assigned trigger=%s partitions=%s", self._spec.name, names or "none")

    async def revoked(self, *, lost: bool) -> None:
        """Finish or abandon what is in flight, commit, and let go; of what is `lost` nothing is committed."""
        self._revoking = True
        if self._positioning is not None:
            self._positioning.cancel()
        if self._partitions and not lost:
            try:
                async with asyncio.timeout(rebalance_timeout_s(self._spec) / 2):
                    await self._idle.wait()
            except TimeoutError:
                logger.warning("events abandoned trigger=%s count=%s", self._spec.name, self._in_flight)
            await self._commits.flush()
        self._drop()

    def _own(self, key: TopicPartition, position: int, note: Note) -> Partition:
        spec = self._spec
        partition = self._partitions[key] = Partition(
            key.topic,
            key.partition,
            position,
            note,
            ordering=spec.ordering,
            max_uncommitted=spec.max_uncommitted,
            trigger=self._trigger,
        )
        return partition

    async def _position(self, fresh: list[TopicPartition]) -> None:
        """Own those that the group has no position in, as soon as it is known where they begin."""
        for key in fresh:
            position = await self._member.positioned(key)
            partition = self._own(key, position, Note())
            if self._spec.offset_reset == "latest":  # else another might begin later, and skip what came between
                self._commits.soon(partition)
            self._changed.set()

    def _drop(self) -> None:
        for partition in self._partitions.values():
            partition.release()
            self._in_flight -= partition.in_flight
        self._partitions.clear()
        self._commits.forget()
        if self._in_flight == 0:
            self._idle.set()

    # -- leaving and coming back ---------------------------------------------------------------------------

    async def _ensure_member(self) -> None:
        """Join again after having left; outages are ridden out."""
        if self._leaving is not None:
            await asyncio.shield(self._leaving)
        if self._joining is None and self._member.ended:
            # a task of its own: a connection that is just being made must not be cut off with a fetch
            self._joining = asyncio.create_task(self._join())
            self._joining.add_done_callback(self._has_joined)
        if self._joining is not None:
            await asyncio.shield(self._joining)

    def _has_joined(self, _: asyncio.Task[None]) -> None:
        self._joining = None

    async def _join(self) -> None:
        for pause_s in backoff(0.05, 5.0):
            self._member = Member(self._spec, self)
            self._commits.member = self._member
            try:
                await self._member.start()
                return
            except TriggerError as exc:
                await self._member.aclose()
                logger.warning("not joined trigger=%s error=%s", self._spec.name, exc)
                if self._closing:
                    return
                await asyncio.sleep(pause_s)

    def _watch_linger(self) -> None:
        if self._linger is None:
            self._linger = asyncio.get_running_loop().call_later(LINGER_S, self._lingered)

    def _lingered(self) -> None:
        self._linger = None
        if not self._fetching and self._in_flight == 0:
            self._leave()

    def _leave(self) -> None:
        if self._leaving is None and not self._fetching:
            self._leaving = asyncio.create_task(self._release())
            self._leaving.add_done_callback(self._has_left)

    def _has_left(self, _: asyncio.Task[None]) -> None:
        self._leaving = None

    async def _release(self) -> None:
        """Commit what is settled, and be no member any more."""
        if self._joining is not None:
            await asyncio.shield(self._joining)
        if self._positioning is not None:
            self._positioning.cancel()
            await asyncio.gather(self._positioning, return_exceptions=True)
        self._revoking = True
        await self._commits.flush()
        self._drop()
        await self._member.aclose()
        self._revoking = False
