"""Joins events into batches: a free worker takes what is queued, up to `maxBatchSize`.

With a `maxQueueDelay` it waits that long for a preferred size. There is no timer when nothing waits. A batch
never mixes triggers, and keeps their order. What does not belong here: calling the handler.

Source: Triton's dynamic batcher (docs/user_guide/batcher.md), whose names these are.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from typing import Protocol

from headrace.triggers.events import Batch, Event
from headrace.triggers.protocols import Settle

from .metrics import Metrics
from .spec import Batching


class Invoke(Protocol):
    """What batches are given to: `BatchInvoker.invoke`."""

    def __call__(self, batch: Batch, done: Callable[[Sequence[object]], None]) -> None: ...


class Queued:
    """An event that waits for its batch."""

    __slots__ = ("event", "received", "settle")

    def __init__(self, event: Event, settle: Settle, received: float) -> None:
        self.event = event
        self.settle = settle
        self.received = received


class Batcher:
    """An `Intake` that hands on batches.

    Args:
        invoke: Runs a batch and calls back.
        batching: Sizes and delay.
        workers: Batches that may run side by side.
        metrics: Queue delay is counted here.
        loop: The running loop; its clock is used.
    """

    def __init__(
        self, invoke: Invoke, batching: Batching, workers: int, metrics: Metrics, loop: asyncio.AbstractEventLoop
    ) -> None:
        self._invoke = invoke
        self._max = batching.max_batch_size
        self._preferred = sorted({*batching.preferred_batch_size, self._max})
        self._delay_s = float(batching.max_queue_delay)
        self._free = workers
        self._metrics = metrics
        self._loop = loop
        self._queues: dict[str, deque[Queued]] = {}
        self._scheduled = False
        self._timer: asyncio.TimerHandle | None = None

    def submit(self, event: Event, settle: Settle) -> None:
        queue = self._queues.get(event.trigger.name)
        if queue is None:
            queue = self._queues[event.trigger.name] = deque()
        queue.append(Queued(event, settle, self._loop.time()))
        self._schedule()

    def withdraw(self, trigger: str) -> list[Event]:
        """Events of `trigger` that are in no batch yet; they are not settled."""
        queue = self._queues.pop(trigger, None)
        return [item.event for item in queue] if queue else []

    def _schedule(self) -> None:
        # Once per loop turn: what arrived by the same wake-up shares a batch.
        if self._free and not self._scheduled:
            self._scheduled = True
            self._loop.call_soon(self._dispatch)

    def _dispatch(self) -> None:
        self._scheduled = False
        while self._free and (found := self._first_ready()):
            queue, count = found
            self._start([queue.popleft() for _ in range(count)])

    def _first_ready(self) -> tuple[deque[Queued], int] | None:
        """The queue whose head is the oldest of those that make a batch now; None: a timer is set if any waits."""
        waiting = sorted((queue for queue in self._queues.values() if queue), key=lambda queue: queue[0].received)
        for queue in waiting:
            if count := self._ready(len(queue), queue[0].received):
                return queue, count
        if waiting and self._timer is None:
            self._timer = self._loop.call_at(waiting[0][0].received + self._delay_s, self._time_out)
        return None

    def _ready(self, length: int, oldest: float) -> int:
        """How many of `length` events to take now; 0: better wait."""
        if length >= self._max:
            return self._max
        # 1 ms: the loop's clock ticks no finer, and a turn too many would be another millisecond
        if self._delay_s <= 0 or self._loop.time() >= oldest + self._delay_s - 0.001:
            return length
        return max((size for size in self._preferred if size <= length), default=0)

    def _time_out(self) -> None:
        self._timer = None
        self._dispatch()

    def _start(self, items: list[Queued]) -> None:
        self._free -= 1
        now = self._loop.time()
        counts = self._metrics.triggers[items[0].event.trigger.name]
        for item in items:
            counts.queue_delay.observe(now - item.received)

        def done(results: Sequence[object]) -> None:
            self._free += 1
            self._schedule()
            for item, result in zip(items, results, strict=True):
                item.settle(item.event, result)

        self._invoke(Batch([item.event for item in items]), done)
