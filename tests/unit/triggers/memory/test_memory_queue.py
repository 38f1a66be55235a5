"""The in-memory queue, with a clock that the test turns."""

import heapq
from collections.abc import Callable
from itertools import count

import pytest

from headrace.triggers.errors import BrokerUnavailable
from headrace.triggers.memory.queue import MemoryQueue


class Handle:
    def __init__(self, callback: Callable[[], object]) -> None:
        self.callback: Callable[[], object] | None = callback

    def cancel(self) -> None:
        self.callback = None


class ManualClock:
    """Stands still until `advance`."""

    def __init__(self) -> None:
        self.now = 0.0
        self._calls: list[tuple[float, int, Handle]] = []
        self._order = count()

    def time(self) -> float:
        return self.now

    def call_later(self, delay: float, callback: Callable[[], object]) -> Handle:
        handle = Handle(callback)
        heapq.heappush(self._calls, (self.now + delay, next(self._order), handle))
        return handle

    def advance(self, seconds: float) -> None:
        until = self.now + seconds
        while self._calls and self._calls[0][0] <= until:
            self.now, _, handle = heapq.heappop(self._calls)
            if handle.callback is not None:
                handle.callback()
        self.now = until


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def queue(clock: ManualClock) -> MemoryQueue:
    return MemoryQueue("q", clock, ack_wait_s=10)


def test_redelivers_after_ack_wait(queue: MemoryQueue, clock: ManualClock) -> None:
    queue.put(b"one")
    (stored,) = queue.take(5)
    clock.advance(9.9)
    assert (queue.pending, queue.unsettled) == (0, 1)
    clock.advance(0.2)
    assert (queue.pending, queue.unsettled) == (1, 0)
    assert queue.take(5)[0] is stored
    assert stored.attempts == 2


def test_a_sign_of_progress_puts_redelivery_off(queue: MemoryQueue, clock: ManualClock) -> None:
    queue.put(b"one")
    (stored,) = queue.take(1)
    for _ in range(5):
        clock.advance(8)
        queue.keep(stored.sequence)
    assert queue.unsettled == 1
    queue.ack(stored.sequence)
    queue.keep(stored.sequence)
    clock.advance(20)
    assert (queue.pending, queue.unsettled, queue.settled) == (0, 0, 1)


def test_delays_a_retry(queue: MemoryQueue, clock: ManualClock) -> None:
    queue.put(b"one")
    (stored,) = queue.take(1)
    queue.nak(stored.sequence, 3)
    assert queue.take(1) == []
    assert queue.pending == 1
    clock.advance(3)
    assert len(queue.take(1)) == 1


def test_stale_settlements_do_nothing(queue: MemoryQueue) -> None:
    queue.ack(7)
    queue.nak(7)
    assert (queue.pending, queue.settled) == (0, 0)


def test_drops_duplicates(queue: MemoryQueue) -> None:
    assert queue.put(b"one", id="a")
    assert not queue.put(b"one", id="a")
    assert queue.put(b"one")
    assert (queue.arrived, queue.pending) == (2, 2)


def test_an_outage(queue: MemoryQueue) -> None:
    told: list[bool] = []
    queue.listen(lambda: told.append(queue.available))
    queue.put(b"one")
    queue.available = False
    assert queue.take(1) == ()
    with pytest.raises(BrokerUnavailable, match="queue: not available - at `memory:q`"):
        queue.put(b"two")
    queue.available = True
    assert told == [True, False, True]
    assert len(queue.take(1)) == 1


def test_close_cancels_what_would_come(queue: MemoryQueue, clock: ManualClock) -> None:
    queue.put(b"one")
    queue.put(b"two")
    first, _ = queue.take(2)
    queue.nak(first.sequence, 5)
    queue.unlisten(lambda: None)
    queue.close()
    clock.advance(100)
    assert (queue.pending, queue.unsettled) == (1, 1)
