"""One assigned partition: which of its records may be delivered now, and how far it may be committed.

Sans-I/O: records and outcomes in, events and the committed position out. A key whose event is being worked on
(or, with `ordering: partition`, the partition) holds back what follows it; a retried event waits here and blocks
no more than that. What does not belong here: the broker, and time passing.
"""

import heapq
from bisect import bisect_left
from collections import deque
from collections.abc import Iterator
from typing import Literal

from aiokafka.structs import TopicPartition

from ..events import Trigger
from .codec import NONE, KafkaEvent, headers_of
from .note import Note, write
from .records import Records, Row

MOST_AHEAD = 8192
"""Events claimed before they are taken: 20 ms of 400,000 a second."""

Ordering = Literal["key", "partition", "none"]


class Span:
    """The records of one fetch, and which are settled.

    Attributes:
        partition: Whose they are.
        settled: A byte for each record, 1 where it is done.
        left: Records not settled yet.
        taken: Records that events were made of.
    """

    __slots__ = ("_first", "left", "next_offset", "offsets", "partition", "rows", "settled", "taken")

    def __init__(self, partition: "Partition", records: Records) -> None:
        self.partition = partition
        self.offsets = records.offsets
        self.next_offset = records.next_offset
        self.rows: Iterator[Row] = records.rows()
        self.left = len(self.offsets)
        self.taken = 0
        self.settled = bytearray(self.left)
        self._first = 0

    @property
    def lowest(self) -> int:
        """Offset of the first record that is not settled; there is one."""
        self._first = self.settled.find(0, self._first)
        return self.offsets[self._first]


class Partition:
    """A partition while this member owns it.

    Args:
        topic: Its topic.
        number: Its number in the topic.
        position: The first offset to be delivered.
        note: What the owner before left.
        ordering: Of what one event at a time is delivered.
        max_uncommitted: Offsets that may be delivered beyond the lowest unsettled one.
        trigger: As handlers see it.

    Attributes:
        in_flight: Events delivered and not settled.
        key: (topic, number).
        dirty: Something was settled since the last look at `commitment`.
        committed: (offset, metadata) that the broker was last told; None: it may not have been.
    """

    def __init__(
        self,
        topic: str,
        number: int,
        position: int,
        note: Note,
        *,
        ordering: Ordering,
        max_uncommitted: int,
        trigger: Trigger,
    ) -> None:
        self.key = TopicPartition(topic, number)
        self.in_flight = 0
        self.dirty = False
        self.committed: tuple[int, str] | None = None
        self._note = note
        self._reach = position
        self._claimed = position
        self._unclaimed = 0
        self._ahead = 0
        self._seen = -1  # the reach at the last `unclaim`
        self._position = position
        self._ordering = ordering
        self._keyed = ordering == "key"
        self._max_uncommitted = max_uncommitted
        self._trigger = trigger
        self._spans: deque[Span] = deque()
        self._untaken: deque[Span] = deque()  # those with records that no event was made of yet
        self._ready: deque[KafkaEvent] = deque()
        self._held: dict[bytes, deque[KafkaEvent]] = {}  # by key that is busy: what follows its event
        self._parked: list[tuple[float, int, KafkaEvent]] = []
        self._deliveries: dict[int, int] = {}
        self._gone = False

    # -- records in, events out ----------------------------------------------------------------------------

    def add(self, records: Records) -> None:
        """Records that follow those added before."""
        span = Span(self, records)
        self._spans.append(span)
        if span.left:
            self._untaken.append(span)

    @property
    def hungry(self) -> bool:
        """Whether records could be added: all that were have been looked at, and there is room for more."""
        if self._untaken:
            return False
        return not self._spans or self._spans[-1].next_offset < self.watermark + self._max_uncommitted

    @property
    def suspect(self) -> bool:
        """Whether the next record was being worked on when the process that owned it died."""
        if not (self._note.running and self._untaken):
            return False
        span = self._untaken[0]
        return span.offsets[span.taken] < self._note.reach

    def take(self, limit: int) -> list[KafkaEvent]:
        """Events that may be delivered now, at most `limit`; they are in flight from then on."""
        events: list[KafkaEvent] = []
        if self._ordering == "partition":
            if self.in_flight or self._parked:
                return events
            limit = min(limit, 1)
        ready = self._ready
        while ready and len(events) < limit:
            events.append(ready.popleft())
        if len(events) < limit:
            self._take_fresh(limit, events)
        self.in_flight += len(events)
        self._unclaimed += len(events)
        for event in events:
            offset = event.offset or 0
            if offset >= self._reach:
                self._reach = offset + 1
            if event.attempt > 1:
                self._deliveries[offset] = event.attempt
        return events

    def _take_fresh(self, limit: int, events: list[KafkaEvent]) -> None:
        bound = self.watermark + self._max_uncommitted
        keyed, held = self._keyed, self._held
        (topic, number), trigger, note = self.key, self._trigger, self._note
        while self._untaken:
            span = self._untaken[0]
            index, offsets = span.taken, span.offsets
            stop = len(offsets) if offsets[-1] < bound else bisect_left(offsets, bound)
            rows = span.rows
            while index < stop and len(events) < limit:
                offset, timestamp_ms, key, value, headers = next(rows)
                event = KafkaEvent(
                    topic, number, offset, timestamp_ms, key, value or b"", headers_of(headers) if headers else NONE,
                    trigger, 1 if offset >= note.reach else note.attempt(offset), span, index,
                )  # fmt: skip
                index += 1
                if not keyed or key is None:
                    events.append(event)
                elif key in held:
                    held[key].append(event)
                else:
                    held[key] = deque()
                    events.append(event)
            span.taken = index
            if index < len(offsets):
                return
            self._untaken.popleft()

    def put_back(self, events: list[KafkaEvent]) -> None:
        """Events that were taken, and not delivered after all."""
        self.in_flight -= len(events)
        self._ready.extendleft(reversed(events))

    # -- outcomes in, positions out ------------------------------------------------------------------------

    def settle(self, event: KafkaEvent) -> bool:
        """`event` is done; False where that says nothing any more."""
        span: Span | None = event.place
        if span is None or self._gone:
            return False
        event.place = None
        self.in_flight -= 1
        span.settled[event.index] = 1
        span.left -= 1
        if self._deliveries:
            self._deliveries.pop(event.offset or 0, None)
        if self._keyed and event.key is not None:
            following = self._held[event.key]
            if following:
                self._ready.append(following.popleft())
            else:
                del self._held[event.key]
        return True

    def park(self, event: KafkaEvent, until: float, *, begun: bool = True) -> bool:
        """`event` is to be delivered again at `until`; False where that says nothing any more.

        Without `begun` no handler has seen it: the delivery does not count.
        """
        span: Span | None = event.place
        if span is None or self._gone:
            return False
        event.place = None
        self.in_flight -= 1
        again = event.again()
        if not begun:
            again.attempt = event.attempt
            self._deliveries[event.offset or 0] = event.attempt - 1
        again.place = span
        heapq.heappush(self._parked, (until, event.offset or 0, again))
        return True

    def due(self, now: float) -> float | None:
        """Make ready what was parked until `now`; when the next is due, None: nothing is parked."""
        parked = self._parked
        while parked and parked[0][0] <= now:
            self._ready.append(heapq.heappop(parked)[2])
        return parked[0][0] if parked else None

    @property
    def watermark(self) -> int:
        """The lowest offset that is not settled: what may be committed."""
        spans = self._spans
        while spans and not spans[0].left:
            self._position = spans.popleft().next_offset
        return spans[0].lowest if spans else self._position

    @property
    def unclaimed(self) -> bool:
        """Whether events were taken that no commitment tells of yet."""
        return self._reach > self._claimed

    @property
    def running_out(self) -> bool:
        """Whether most of what was claimed ahead is taken."""
        return self._claimed - self._reach < self._ahead // 2

    def claim(self, *, ahead: bool) -> None:
        """Have the next commitment tell of what was taken; and `ahead` of it, of as much again."""
        self._ahead = min(self._unclaimed, MOST_AHEAD) if ahead else 0
        self._claimed = self._reach + self._ahead
        self._unclaimed = 0

    @property
    def overclaimed(self) -> bool:
        """Whether commitments tell of more than was taken, and nothing is being worked on."""
        return self.in_flight == 0 and self._claimed > self._reach

    def unclaim(self) -> None:
        """Take back what is claimed too much, where nothing was taken since this was called last."""
        if self.overclaimed and self._reach == self._seen:
            self._claimed = self._reach
        self._seen = self._reach

    @property
    def commitment(self) -> tuple[int, str]:
        """(offset, metadata) to commit now."""
        self.dirty = False
        offset = self.watermark
        unmet = self._note.running and self._reach < self._note.reach
        note = Note(max(self._claimed, self._note.reach), self.in_flight > 0 or unmet, self._known(offset))
        return offset, write(note, offset)

    def _known(self, committed: int) -> dict[int, int]:
        """Deliveries of what is not settled: counted here, or by owners before and not met again yet."""
        before = {offset: count for offset, count in self._note.deliveries.items() if offset >= self._reach}
        return {**before, **{offset: n for offset, n in self._deliveries.items() if offset >= committed}}

    def release(self) -> None:
        """It is no longer ours: what is settled from now on says nothing."""
        self._gone = True
        self._spans.clear()
        self._untaken.clear()
        self._ready.clear()
        self._held.clear()
        self._parked.clear()
