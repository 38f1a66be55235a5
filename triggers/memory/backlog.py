"""A `MemoryQueue` as a `Backlog`."""

from collections.abc import Callable

from ..protocols import Reading
from .queue import MemoryQueue


class MemoryBacklog:
    """Looks at a queue."""

    def __init__(self, queue: MemoryQueue) -> None:
        self._queue = queue
        self._wake: Callable[[], None] | None = None

    async def open(self) -> None:
        """Raises `BrokerUnavailable` during an outage."""
        self._queue.check_available()

    async def read(self) -> Reading:
        """What waits now; raises `BrokerUnavailable` during an outage."""
        self._queue.check_available()
        return Reading(pending=self._queue.pending, unsettled=self._queue.unsettled, arrived_total=self._queue.arrived)

    def watch(self, wake: Callable[[], None]) -> None:
        """Call `wake` whenever something is there to take, until `unwatch`."""
        self._wake = wake
        self._queue.listen(self._changed)
        self._changed()

    def unwatch(self) -> None:
        """End `watch`."""
        self._wake = None
        self._queue.unlisten(self._changed)

    async def aclose(self) -> None:
        """End `watch`."""
        self.unwatch()

    def _changed(self) -> None:
        if self._wake is not None and self._queue.available and self._queue.pending:
            self._wake()
