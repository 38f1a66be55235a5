"""Events that wait for a batch: `TriggerQueue`, one per trigger, with Triton's priorities and queue policies.

Priorities are strict, as Triton's are: a level waits as long as a higher one has events, for ever if need be.
Within a level events keep their order, but for those that its policy delays. No clocks, no timers, no sockets:
times are passed in. What does not belong here: when a batch is made, and of how many.

Source: Triton model_config.proto (ModelDynamicBatching, ModelQueuePolicy) and its PriorityQueue.
"""

import math
from collections import deque
from collections.abc import Iterator

from headrace.triggers.events import Event
from headrace.triggers.protocols import Settle

from ..spec import Batching, QueuePolicy

_CLOUDEVENTS = "application/cloudevents"


class Queued:
    """An event that waits.

    Attributes:
        received: When it was submitted.
        rows: How much of a batch it takes.
        level: Its priority, 0 being the highest.
        deadline: When its time in the queue is over.
    """

    __slots__ = ("deadline", "event", "level", "received", "rows", "settle")

    def __init__(self, event: Event, settle: Settle, received: float, rows: int = 1) -> None:
        self.event = event
        self.settle = settle
        self.received = received
        self.rows = rows
        self.level = 0
        self.deadline = math.inf


class Level:
    """What waits at one priority.

    Attributes:
        timely: In the order of arrival.
        delayed: Those whose time is over, where the policy keeps them; they come after `timely`.
    """

    __slots__ = ("delayed", "policy", "timely")

    def __init__(self, policy: QueuePolicy) -> None:
        self.policy = policy
        self.timely: deque[Queued] = deque()
        self.delayed: deque[Queued] = deque()

    def __len__(self) -> int:
        return len(self.timely) + len(self.delayed)


class Policies:
    """What `batching` says of levels and times, and what an event says of its own.

    Attributes:
        plain: There is nothing to ask an event, and nothing that could refuse it.
    """

    def __init__(self, batching: Batching) -> None:
        count = max(1, batching.priority_levels)
        default = batching.default_queue_policy or QueuePolicy()
        own = batching.priority_queue_policy
        self.levels = [own.get(str(number), default) for number in range(1, count + 1)]
        self._default_level = (batching.default_priority_level or count) - 1
        self.plain = count == 1 and self.levels[0] == QueuePolicy()

    def read(self, item: Queued) -> None:
        """Set `item`'s level and deadline."""
        if len(self.levels) > 1:
            item.level = self._level(item.event)
        policy = self.levels[item.level]
        timeout_s = float(policy.default_timeout) or math.inf
        if policy.allow_timeout_override:
            timeout_s = min(timeout_s, _timeout_s(item.event))
        item.deadline = item.received + timeout_s

    def _level(self, event: Event) -> int:
        # An HTTP client may send the `Priority` of RFC 9218 (`u=3, i`), which is no level either.
        text = _said(event, "priority")
        if text.isascii() and text.isdecimal() and len(text) < 10 and 1 <= (level := int(text)) <= len(self.levels):
            return level - 1
        return self._default_level


class TriggerQueue:
    """Events of one trigger, in the order in which batches take them.

    Attributes:
        rows: Rows that wait, of all levels.
    """

    __slots__ = ("_levels", "_only", "rows")

    def __init__(self, policies: Policies) -> None:
        self._levels = [Level(policy) for policy in policies.levels]
        # Nearly always there is one level, whose events never change places
        self._only = self._levels[0].timely if policies.plain else None
        self.rows = 0

    def put(self, item: Queued) -> bool:
        """Let `item` wait; False where its level is full."""
        level = self._levels[item.level]
        if 0 < level.policy.max_queue_size <= len(level):
            return False
        level.timely.append(item)
        self.rows += item.rows
        return True

    @property
    def oldest(self) -> Queued:
        """The event that has waited longest, of those that a batch takes first in their level."""
        if self._only is not None:
            return self._only[0]
        return min(self._heads(), key=lambda item: item.received)

    @property
    def urgency(self) -> tuple[int, float]:
        """By this queues are compared, the least first: highest level, then longest wait."""
        if self._only is not None:
            return 0, self._only[0].received
        return next(self._heads()).level, self.oldest.received

    def take(self, limit: int) -> list[Queued]:
        """The first events of at most `limit` rows together; one at least, however many rows it has."""
        if self._only is not None and self.rows == len(self._only):
            count = min(limit, self.rows)
            self.rows -= count
            return [self._only.popleft() for _ in range(count)]
        taken: list[Queued] = []
        room = limit
        while (queue := self._next()) is not None and (not taken or queue[0].rows <= room):
            item = queue.popleft()
            room -= item.rows
            self.rows -= item.rows
            taken.append(item)
        return taken

    def expire(self, now: float) -> list[Queued]:
        """Take out the events whose time is over and whose policy rejects them; others are moved back."""
        rejected: list[Queued] = []
        for level in self._levels:
            late = [item for item in level.timely if item.deadline <= now]
            for item in late:
                level.timely.remove(item)  # cheap: they are the first ones, but for times of their own
                if level.policy.timeout_action == "delay":
                    level.delayed.append(item)
                else:
                    self.rows -= item.rows
                    rejected.append(item)
        return rejected

    @property
    def next_deadline(self) -> float:
        """When `expire` will find something; infinity: never."""
        return min((item.deadline for level in self._levels for item in level.timely), default=math.inf)

    def withdraw(self) -> list[Queued]:
        """Take everything out."""
        return self.take(self.rows) if self.rows else []

    def _heads(self) -> Iterator[Queued]:
        for level in self._levels:
            if level.timely:
                yield level.timely[0]
            if level.delayed:
                yield level.delayed[0]

    def _next(self) -> deque[Queued] | None:
        for level in self._levels:
            if level.timely:
                return level.timely
            if level.delayed:
                return level.delayed
        return None


def _timeout_s(event: Event) -> float:
    """What the event says, in seconds; infinity where it says nothing that makes sense."""
    text = _said(event, "timeout")
    try:
        milliseconds = float(text)
    except ValueError:
        return math.inf
    return milliseconds / 1000 if milliseconds > 0 else math.inf  # false for NaN, too


def _said(event: Event, name: str) -> str:
    """A header, or else the CloudEvents extension of that name; empty where there is neither."""
    headers = event.headers
    value = headers.get(name) or headers.get(f"ce-{name}")
    if value is None and headers.get("content-type", "").startswith(_CLOUDEVENTS):
        value = event.extensions.get(name)  # structured mode: it is in the body, which was read already
    return value or ""
