"""A `MemoryQueue` as a `Source`."""

import asyncio
from collections.abc import Sequence

from ..events import Attributes, Event, Trigger
from ..outcomes import Ack, Outcome, Retry
from ..protocols import Buffers, Capabilities, Device
from .queue import MemoryQueue, Stored

CAPABILITIES = Capabilities(delayed_retry=True, delivery_count=True, backlog=True, wake=True)
RETRY_MIN_S, RETRY_MAX_S = 0.1, 30.0  # as every kind: architecture.md §6


class MemoryEvent(Event):
    """A message of a `MemoryQueue`."""

    __slots__ = ("queue_name",)

    def __init__(self, stored: Stored, queue_name: str, trigger: Trigger) -> None:
        super().__init__(
            stored.data,
            headers=stored.headers,
            offset=stored.sequence,
            attempt=stored.attempts,
            trigger=trigger,
        )
        self.queue_name = queue_name

    def _read_attributes(self) -> Attributes:
        return Attributes(
            id=f"{self.queue_name}/{self.offset}",
            source=f"memory:{self.queue_name}",
            type="dev.headrace.memory",
            datacontenttype=self.headers.get("content-type"),
        )


class MemorySource:
    """Takes messages from a queue.

    Args:
        queue: Shared with sinks and other sources.
        trigger: As handlers see it.
        keepalive_s: How often unsettled events are kept from redelivery; None: never.
    """

    capabilities = CAPABILITIES

    def __init__(self, queue: MemoryQueue, trigger: Trigger, *, keepalive_s: float | None = None) -> None:
        self._queue = queue
        self._trigger = trigger
        self._keepalive_s = keepalive_s
        self._unsettled: dict[int, int] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._changed = asyncio.Event()

    async def open(self, buffers: Buffers, device: Device | None) -> None:
        """Begin to listen; raises `BrokerUnavailable` during an outage."""
        self._queue.check_available()
        self._queue.listen(self._changed.set)

    async def fetch(self, limit: int) -> Sequence[Event]:
        """Wait for events: at least one, at most `limit`."""
        while not (taken := self._queue.take(limit)):
            self._changed.clear()
            await self._changed.wait()
        for stored in taken:
            self._unsettled[stored.sequence] = stored.attempts
        self._keep_later()
        return [MemoryEvent(stored, self._queue.name, self._trigger) for stored in taken]

    def settle(self, event: Event, outcome: Outcome) -> None:
        """Ack, or deliver again later; a rejected event is done."""
        if not self._end(event):
            return
        assert event.offset is not None
        if isinstance(outcome, Ack) or not isinstance(outcome, Retry):
            self._queue.ack(event.offset)
        else:
            delay_s = outcome.after_s
            if delay_s is None:
                delay_s = min(RETRY_MAX_S, RETRY_MIN_S * 2 ** min(event.attempt - 1, 20))
            self._queue.nak(event.offset, delay_s)

    async def hand_back(self, events: Sequence[Event]) -> None:
        """Return events for another source to take at once."""
        for event in events:
            if self._end(event) and event.offset is not None:
                self._queue.nak(event.offset)

    async def aclose(self) -> None:
        """Listen no more; what is unsettled comes again."""
        self._queue.unlisten(self._changed.set)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _end(self, event: Event) -> bool:
        """Whether `event` was unsettled: a stale delivery of it must not settle a newer one."""
        if event.offset is None or self._unsettled.get(event.offset) != event.attempt:
            return False
        del self._unsettled[event.offset]
        return True

    def _keep_later(self) -> None:
        if self._keepalive_s is not None and self._timer is None and self._unsettled:
            self._timer = asyncio.get_running_loop().call_later(self._keepalive_s, self._keep)

    def _keep(self) -> None:
        self._timer = None
        for sequence in self._unsettled:
            self._queue.keep(sequence)
        self._keep_later()
