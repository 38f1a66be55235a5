"""How many events are received and not settled: the one number that bounds a replica.

HTTP and every source count here; accepting and fetching stop at the limit. What does not belong here:
deciding what to do about it.
"""

import time
from collections import deque
from collections.abc import Callable


class InFlight:
    """Counts events between receipt and settlement.

    Args:
        limit: `concurrency.inFlight`.
        clock: Monotonic seconds.

    Attributes:
        first_s: Wall clock (Unix time) at which the first event was received; 0 before.
        on_change: Called after each change, while it is set.
    """

    __slots__ = ("_busy_since", "_busy_total", "_clock", "_waiting", "count", "first_s", "limit", "on_change")

    def __init__(self, limit: int, clock: Callable[[], float] = time.monotonic) -> None:
        self.limit = limit
        self.count = 0
        self.first_s = 0.0
        self.on_change: Callable[[], None] | None = None
        self._clock = clock
        self._busy_since = 0.0
        self._busy_total = 0.0
        self._waiting: deque[Callable[[], None]] = deque()

    @property
    def room(self) -> int:
        """Events that may still be received."""
        return self.limit - self.count

    @property
    def busy_s(self) -> float:
        """Seconds during which anything was in flight."""
        return self._busy_total + (self._clock() - self._busy_since if self.count else 0.0)

    def enter(self, events: int = 1) -> None:
        """`events` were received. The caller saw to it that there is room, or that the excess is bounded."""
        if self.count == 0:
            self._busy_since = self._clock()
            self.first_s = self.first_s or time.time()
        self.count += events
        if self.on_change is not None:
            self.on_change()

    def leave(self, events: int = 1) -> None:
        """`events` were settled; whoever waits for room is called, in order, while there is some."""
        self.count -= events
        if self.count == 0:
            self._busy_total += self._clock() - self._busy_since
        while self._waiting and self.count < self.limit:
            self._waiting.popleft()()
        if self.on_change is not None:
            self.on_change()

    def when_room(self, resume: Callable[[], None]) -> None:
        """Call `resume` once as soon as there is room (not before this returns); it enters by itself."""
        self._waiting.append(resume)

    def forget(self, resume: Callable[[], None]) -> None:
        """Take a `when_room` back; nothing happens where it was called already."""
        if resume in self._waiting:
            self._waiting.remove(resume)
