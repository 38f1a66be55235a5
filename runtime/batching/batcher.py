"""Joins events into batches: a free worker takes what is queued, up to `maxBatchSize`.

With a `maxQueueDelay` it waits that long for a preferred size. There is no timer when nothing waits. A batch
never mixes triggers, and keeps their order. What does not belong here: calling the handler.

Source: Triton's dynamic batcher (docs/user_guide/batcher.md), whose names these are.
"""

import asyncio
import math
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Protocol

from headrace.triggers.events import Batch, Event
from headrace.triggers.outcomes import Reject
from headrace.triggers.protocols import Failure, Settle

from ..errors import QueueFull, QueueTimeout
from ..metrics import Metrics
from ..spec import Batching
from .memory import MemoryLimit
from .queues import Policies, Queued, TriggerQueue
from .sizing import TIMER_TICK_S, FixedSizes, Sizing


class Invoke(Protocol):
    """What batches are given to: `BatchInvoker.invoke`."""

    def __call__(self, batch: Batch, done: Callable[[Sequence[object]], None]) -> None: ...


class Batcher:
    """An `Intake` that hands on batches.

    Args:
        invoke: Runs a batch and calls back.
        batching: Sizes, delay, rows, priorities and policies.
        workers: Batches that may run side by side.
        metrics: Queue delay is counted here.
        loop: The running loop.
        sizing: When to make a batch; what `batching` says unless given.
        memory: Bounds batches further.
        arrived: Told of each event, and when it came.
        clock: Monotonic seconds.
    """

    def __init__(
        self,
        invoke: Invoke,
        batching: Batching,
        workers: int,
        metrics: Metrics,
        loop: asyncio.AbstractEventLoop,
        *,
        sizing: Sizing | None = None,
        memory: MemoryLimit | None = None,
        arrived: Callable[[float], None] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._invoke = invoke
        self._max = batching.max_batch_size
        self._row = batching.row
        self._row_bytes = batching.row.size_bytes if batching.row is not None else 0
        self._policies = Policies(batching)
        self._sizing = sizing or FixedSizes(batching.preferred_batch_size, float(batching.max_queue_delay))
        self._memory = memory or MemoryLimit(batching.max_batch_size)
        self._arrived = arrived
        self._free = workers
        self._metrics = metrics
        self._loop = loop
        self._clock = clock
        self._queues: dict[str, TriggerQueue] = {}
        self._scheduled = False
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = math.inf

    def submit(self, event: Event, settle: Settle) -> None:
        """Let `event` wait for a batch; what can be in none is settled before this returns."""
        name = event.trigger.name
        queue = self._queues.get(name)
        if queue is None:
            queue = self._queues[name] = TriggerQueue(self._policies)
        rows = 1
        if self._row_bytes and not (rows := self._rows_of(event, settle)):
            return
        item = Queued(event, settle, self._clock(), rows)
        if not self._policies.plain:
            self._policies.read(item)
        if not queue.put(item):
            settle(event, Failure(QueueFull(f"queue of trigger `{name}`: expected room, got a full one"), "overload"))
            return
        if item.deadline < self._timer_at:
            self._wake_at(item.deadline)
        if self._arrived is not None:
            self._arrived(item.received)
        # Once per loop turn: what arrived by the same wake-up shares a batch.
        if self._free and not self._scheduled:
            self._scheduled = True
            self._loop.call_soon(self._dispatch)

    def withdraw(self, trigger: str) -> list[Event]:
        """Events of `trigger` that are in no batch yet; they are not settled."""
        queue = self._queues.pop(trigger, None)
        return [item.event for item in queue.withdraw()] if queue is not None else []

    def _rows_of(self, event: Event, settle: Settle) -> int:
        """Rows that `event` holds; 0: it was rejected."""
        rows, rest = divmod(event.data.nbytes, self._row_bytes)
        if rest or not rows:
            assert self._row is not None
            row = f"{self._row.dtype} {list(self._row.shape)}"
            said = f"expected a multiple of {self._row_bytes} bytes (rows of {row}), got {event.data.nbytes}"
        elif rows > self._max:
            said = f"expected at most {self._max} rows, got {rows}"
        else:
            return rows
        settle(event, Reject(said))
        return 0

    # -- making batches ------------------------------------------------------------------------------------

    def _dispatch(self) -> None:
        self._scheduled = False
        if not self._policies.plain:
            self._expire()
        while self._free and (found := self._first_ready()) is not None:
            self._start(found[0].take(found[1]))

    def _first_ready(self) -> tuple[TriggerQueue, int] | None:
        """The most urgent queue of those that make a batch now; None: a timer is set if any waits."""
        waiting = [queue for queue in self._queues.values() if queue.rows]
        if not waiting:
            return None
        if len(waiting) > 1:
            waiting.sort(key=lambda queue: queue.urgency)
        now = self._clock()
        limit = min(self._max, self._memory.size)
        soonest = math.inf
        for queue in waiting:
            rows, ask_at = self._sizing.plan(queue.rows, queue.oldest.received, now, limit)
            if rows:
                return queue, rows
            soonest = min(soonest, ask_at)
        self._wake_at(soonest)
        return None

    def _start(self, items: list[Queued]) -> None:
        self._free -= 1
        now = self._clock()
        observe = self._metrics.triggers[items[0].event.trigger.name].queue_delay.observe
        for item in items:
            observe(now - item.received)
        self._invoke(Batch([item.event for item in items]), partial(self._done, items))

    def _done(self, items: list[Queued], results: Sequence[object]) -> None:
        self._free += 1
        if not self._scheduled:
            self._scheduled = True
            self._loop.call_soon(self._dispatch)
        for item, result in zip(items, results, strict=True):
            try:
                item.settle(item.event, result)
            except Exception as exc:  # one trigger's trouble must not cost the other events their settling
                self._loop.call_exception_handler({"message": "settling an event failed", "exception": exc})

    # -- time ----------------------------------------------------------------------------------------------

    def _wake_at(self, at: float) -> None:
        """Have `_time_out` called at `at`, or earlier."""
        if self._timer is not None:
            if self._timer_at <= at:
                return
            self._timer.cancel()
        self._timer_at = at
        self._timer = self._loop.call_later(max(0.0, at - self._clock()), self._time_out)

    def _time_out(self) -> None:
        self._timer = None
        self._timer_at = math.inf
        self._dispatch()
        if not self._policies.plain:
            soonest = min((queue.next_deadline for queue in self._queues.values()), default=math.inf)
            if soonest < math.inf:
                self._wake_at(soonest)

    def _expire(self) -> None:
        """Settle those whose time in the queue is over, and that are not to be kept."""
        now = self._clock() + TIMER_TICK_S
        late = [item for queue in self._queues.values() for item in queue.expire(now)]
        for item in late:
            waited_ms = (now - item.received) * 1000
            error = QueueTimeout(f"queue: expected a batch within the event's timeout, got none in {waited_ms:.0f} ms")
            item.settle(item.event, Failure(error, "queue_timeout"))
