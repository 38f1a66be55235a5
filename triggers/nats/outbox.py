"""What a source tells the broker about deliveries: acks, naks, terms and signs of progress, in order.

`settle` is no coroutine, so acks are put here and written by one task for all of a loop turn. An ack that
the connection cannot keep while the broker is away is dropped: its event comes again (at least once).
What does not belong here: which event gets which.
"""

import asyncio
import logging
from collections import deque

from ..errors import BrokerUnavailable
from .client import Connection

logger = logging.getLogger(__name__)

ACK, NAK, TERM, PROGRESS = b"+ACK", b"-NAK", b"+TERM", b"+WPI"  # nats-server server/consumer.go


def delayed_nak(delay_s: float) -> bytes:
    """A nak after which the broker waits before it delivers again."""
    return b'-NAK {"delay": %d}' % round(delay_s * 1e9) if delay_s > 0 else NAK


class Outbox:
    """Writes acks soon after they are put."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._waiting: deque[tuple[str, bytes]] = deque()
        self._writer: asyncio.Task[None] | None = None

    def put(self, reply: str, payload: bytes) -> None:
        """Send `payload` to the ack subject `reply`, in the order of the calls."""
        self._waiting.append((reply, payload))
        if self._writer is None:
            self._writer = asyncio.create_task(self._write())

    async def flush(self) -> None:
        """Return when the broker has all that was put; raises `BrokerUnavailable`."""
        if self._writer is not None:
            await asyncio.shield(self._writer)
        await self._connection.flush()

    async def _write(self) -> None:
        waiting, publish = self._waiting, self._connection.publish
        lost = 0
        while waiting:
            reply, payload = waiting.popleft()
            try:
                await publish(reply, payload)
            except BrokerUnavailable:
                lost += 1
        self._writer = None
        if lost:
            logger.warning("acks dropped count=%d reason=%s", lost, "the broker is away; their events come again")
