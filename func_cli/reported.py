"""A platform that says when a replica becomes ready, and how long that took.

What does not belong here: starting replicas (the platform within) and deciding (the control loop).
"""

import logging
from collections.abc import Callable

from headrace.scaler.platform import Platform, ReplicaState, View

logger = logging.getLogger(__name__)


class ReportedPlatform:
    """Passes all on to `inner`, and logs replicas that have become ready.

    Args:
        inner: Does the work.
    """

    def __init__(self, inner: Platform) -> None:
        self._inner = inner
        self._known: set[int] = set()

    @property
    def cap(self) -> int | None:
        """As `inner`'s."""
        return self._inner.cap

    def watch(self, wake: Callable[[], None]) -> None:
        """As `inner`'s, after a look at who is ready."""

        def look_and_wake() -> None:
            self._look()
            wake()

        self._inner.watch(look_and_wake)

    def look(self) -> View:
        """As `inner`'s."""
        return self._inner.look()

    def apply(self, replicas: int) -> None:
        """As `inner`'s."""
        self._inner.apply(replicas)

    async def aclose(self) -> None:
        """As `inner`'s."""
        await self._inner.aclose()

    def _look(self) -> None:
        ready = {one.pid: one for one in self._inner.look().replicas if one.state is ReplicaState.READY}
        for pid in ready.keys() - self._known:
            logger.info("replica ready pid=%s cold_start_ms=%.0f", pid, 1000 * (ready[pid].cold_start_s or 0.0))
        self._known = set(ready)
