"""When a batch is made and how large: the seam `Sizing`, and `FixedSizes` of func.yaml.

Times are passed in; who waits is `queues`' affair. `adaptive` learns instead.
"""

from collections.abc import Sequence
from typing import Protocol

# Loops' timers tick in milliseconds, and a turn too many would be another one
TIMER_TICK_S = 0.001


class Sizing(Protocol):
    """Decides over what waits while a worker is free."""

    def plan(self, rows: int, received: float, now: float, limit: int) -> tuple[int, float]:
        """What to do with a queue.

        Args:
            rows: Waiting.
            received: When the oldest of them was.
            now: Monotonic seconds, like all times here.
            limit: At most this many in a batch at present.

        Returns:
            (rows to take now, 0), or (0, when to ask again if nothing comes).
        """
        ...


class FixedSizes:
    """`preferredBatchSize` within `maxQueueDelay`, as Triton has it.

    Args:
        preferred: Sizes worth waiting for, beside the limit.
        delay_s: How long the oldest event may wait for one.
    """

    def __init__(self, preferred: Sequence[int], delay_s: float) -> None:
        self._preferred = sorted(preferred)
        self._delay_s = delay_s

    def plan(self, rows: int, received: float, now: float, limit: int) -> tuple[int, float]:
        """See `Sizing`: all at once without a delay, else the largest preferred size that is there."""
        if rows >= limit:
            return limit, 0
        due = received + self._delay_s
        if self._delay_s <= 0 or now >= due - TIMER_TICK_S:
            return rows, 0
        return max((size for size in self._preferred if size <= rows), default=0), due
