"""A `MemoryQueue` as a `Sink`."""

import asyncio
from collections.abc import Sequence

from ..errors import BrokerUnavailable
from ..headers import Headers
from ..protocols import Message
from .queue import MemoryQueue


class MemorySink:
    """Puts messages into a queue.

    Args:
        queue: Shared with sources.
        publish_timeout_s: How long an outage is waited out.
    """

    def __init__(self, queue: MemoryQueue, *, publish_timeout_s: float = 5.0) -> None:
        self._queue = queue
        self._publish_timeout_s = publish_timeout_s
        self._changed = asyncio.Event()

    async def open(self) -> None:
        """Begin to listen; raises `BrokerUnavailable` during an outage."""
        self._queue.check_available()
        self._queue.listen(self._changed.set)

    async def publish(self, messages: Sequence[Message]) -> None:
        """Return when all are stored; raises `BrokerUnavailable` after an outage of `publish_timeout_s`."""
        try:
            async with asyncio.timeout(self._publish_timeout_s):
                while not self._queue.available:
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            raise BrokerUnavailable(
                f"publish: not available for {self._publish_timeout_s:g} s - at `memory:{self._queue.name}`"
            ) from None
        for message in messages:
            pairs = [("content-type", message.content_type), *message.headers]
            self._queue.put(bytes(message.data), Headers.of(pairs), message.id)

    async def aclose(self) -> None:
        """Listen no more."""
        self._queue.unlisten(self._changed.set)
