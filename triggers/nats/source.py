"""A durable JetStream pull consumer as a `Source`.

`fetch` keeps one pull request standing at the server for the room that the runtime has; messages land in a
local buffer as they come, and `fetch` returns what is there, the first one at once. While nobody fetches,
the request is withdrawn and what it had brought goes back, so that no replica hoards. What does not belong
here: streams and consumers (`jetstream`), and how an ack is spelled (`outbox`).
"""

import asyncio
import logging
from collections import deque
from collections.abc import Iterable, Sequence

import msgspec
from nats.aio.msg import Msg

from ..errors import TriggerError
from ..events import Event, Trigger
from ..outcomes import Ack, Outcome, Retry
from ..protocols import Buffers, Device
from .client import Connection, Subscription, backoff
from .codec import ACK_PREFIX, NatsEvent
from .jetstream import JetStream
from .keepalive import Keepalive
from .outbox import ACK, NAK, PROGRESS, TERM, Outbox, delayed_nak
from .spec import CAPABILITIES, NatsTrigger

logger = logging.getLogger(__name__)

EXPIRES_S = 30.0
"""A standing pull request is renewed this often; scaling.md §4.3, and nats.go's default for `Messages`."""
_ANSWER_MARGIN_S = 3.0
"""The server's 408 comes at `EXPIRES_S`; a request that says nothing for this much longer is lost."""
_MEND_MAX_S = 5.0
"""Between looks at a consumer or stream that is gone: somebody has to make it again."""
LINGER_S = 1.0
"""A runtime with room fetches again at once; one that has not for this long must not hold events."""
RETRY_MIN_S, RETRY_MAX_S = 0.1, 30.0
"""Redelivery after a `Retry` without `after_s`, by attempt: architecture.md §6."""


class JetStreamSource:
    """Brings a stream's messages to the replica, and settles them.

    Args:
        spec: References resolved.
        trigger: As handlers see it.
        url: The broker.
        create: Make a missing stream (the embedded broker) instead of failing.
    """

    capabilities = CAPABILITIES

    def __init__(self, spec: NatsTrigger, trigger: Trigger, url: str, *, create: bool) -> None:
        self._spec = spec
        self._trigger = trigger
        self._create = create
        self._connection = Connection(url, f"headrace {spec.name}")
        self._jetstream = JetStream(self._connection)
        self._outbox = Outbox(self._connection)
        self._buffer: deque[NatsEvent] = deque()
        self._credit = 0  # messages that the server may still send for requests of ours
        self._most = 0  # the consumer's own bound on a request; 0: none
        self._broken = ""
        self._waiting: asyncio.Future[None] | None = None
        self._inbox = ""
        self._subscription: Subscription | None = None
        self._withdrawing: asyncio.Task[None] | None = None
        self._linger: asyncio.TimerHandle | None = None
        self._left_at = 0.0
        self._keepalive = Keepalive(spec.ack_wait, self._touch)

    async def open(self, buffers: Buffers, device: Device | None) -> None:
        """Connect and make the consumer ready; raises `TriggerError` where it cannot be."""
        await self._connection.open()
        self._connection.on_change.append(self._on_change)
        try:
            await self._ensure()
        except BaseException:
            await self._connection.aclose()
            raise

    async def fetch(self, limit: int) -> Sequence[Event]:
        """Wait for events: at least one, at most `limit`; returns what is there as soon as one is."""
        delays = backoff(0.05, _MEND_MAX_S)
        try:
            while not self._buffer:
                if self._broken and not await self._mend():
                    await asyncio.sleep(next(delays))
                    continue
                await self._pull(limit)
                await self._arrival()
            await self._pull(limit - min(limit, len(self._buffer)))
        except asyncio.CancelledError:
            self._withdraw_soon()
            raise
        # taken last: a cancel cannot come between here and the caller
        taken = [self._buffer.popleft() for _ in range(min(limit, len(self._buffer)))]
        self._watch_linger()
        return taken

    def settle(self, event: Event, outcome: Outcome) -> None:
        """Ack, nak with a delay, or terminate."""
        assert isinstance(event, NatsEvent)
        if not self._keepalive.end(event.reply):
            return
        if isinstance(outcome, Ack):
            self._outbox.put(event.reply, ACK)
        elif isinstance(outcome, Retry):
            delay_s = outcome.after_s
            if delay_s is None:
                delay_s = min(RETRY_MAX_S, RETRY_MIN_S * 2 ** min(event.attempt - 1, 20))
            self._outbox.put(event.reply, delayed_nak(delay_s))
        else:
            self._outbox.put(event.reply, TERM)

    async def hand_back(self, events: Sequence[Event]) -> None:
        """Return `events`, and what is buffered beyond them, for another replica to take at once."""
        self._return(event for event in events if isinstance(event, NatsEvent))
        self._withdraw_soon()
        await self._settled_at_broker()

    async def aclose(self) -> None:
        """Withdraw, send what is still to be told to the broker, and disconnect."""
        self._connection.on_change.clear()
        self._withdraw_soon()
        if self._linger is not None:
            self._linger.cancel()
        await self._settled_at_broker()
        self._keepalive.close()
        await self._connection.aclose()

    # -- pulling -------------------------------------------------------------------------------------------

    async def _pull(self, room: int) -> None:
        """Have the server send up to `room` messages, those that are asked for already included."""
        connected = self._connection.connected
        if room <= 0 or self._broken or not connected or self._credit > room // 2:
            return
        if self._subscription is None:
            self._inbox = self._connection.inbox()
            self._subscription = await self._connection.subscribe(self._inbox, self._receive)
        batch = room - self._credit
        if self._most:
            batch = min(batch, self._most)
        self._credit += batch
        request = b'{"batch":%d,"expires":%d}' % (batch, EXPIRES_S * 1e9)
        subject = f"$JS.API.CONSUMER.MSG.NEXT.{self._spec.stream}.{self._spec.consumer}"
        await self._connection.publish(subject, request, self._inbox)

    async def _arrival(self) -> None:
        """Return when something happened that `fetch` has to look at."""
        if self._buffer or self._broken:
            return
        self._waiting = asyncio.get_running_loop().create_future()
        try:
            async with asyncio.timeout(EXPIRES_S + _ANSWER_MARGIN_S):
                await self._waiting
        except TimeoutError:
            self._credit = 0
        finally:
            self._waiting = None

    async def _receive(self, message: Msg) -> None:
        if message.reply.startswith(ACK_PREFIX):
            event = NatsEvent(message, self._trigger)
            self._credit = max(0, self._credit - 1)
            self._keepalive.add(event.reply)
            self._buffer.append(event)
        else:
            self._on_status(message.headers or {})
        self._wake()

    def _on_status(self, headers: dict[str, str]) -> None:
        """A pull request ended without (all of) its messages: ADR-13, "Pull Subscription Protocol"."""
        status, said = headers.get("Status", ""), headers.get("Description", "")
        if status == "100":
            return
        left = headers.get("Nats-Pending-Messages", "")
        self._credit = max(0, self._credit - int(left)) if left.isdigit() else 0
        if status not in ("404", "408"):
            self._broken = f"{status} {said}".strip()

    def _wake(self) -> None:
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(None)

    # -- outages -------------------------------------------------------------------------------------------

    def _on_change(self, connected: bool) -> None:
        # the server forgot our requests with the connection, and why it refused one
        self._credit = 0
        self._broken = ""
        if connected:
            self._wake()

    async def _mend(self) -> bool:
        """See to the consumer after the server refused a pull; False where that has to wait."""
        answer = self._broken
        try:
            await self._ensure()
        except TriggerError as exc:
            if self._connection.connected:  # the connection says itself when it is lost
                logger.warning("pull refused trigger=%s answer=%s error=%s", self._spec.name, answer, exc)
            return False
        logger.info("pulling again trigger=%s after=%s", self._spec.name, answer)
        self._broken = ""
        return True

    async def _ensure(self) -> None:
        spec = self._spec
        if self._create:
            await self._jetstream.ensure_stream(spec.stream, spec.subjects)
        info = await self._jetstream.ensure_consumer(spec)
        self._most = msgspec.convert(info.config.get("max_batch", 0), int)

    # -- giving back ---------------------------------------------------------------------------------------

    def _watch_linger(self) -> None:
        if self._credit or self._buffer:
            loop = asyncio.get_running_loop()
            self._left_at = loop.time()
            if self._linger is None:
                self._linger = loop.call_later(LINGER_S, self._lingered)

    def _lingered(self) -> None:
        self._linger = None
        if self._waiting is not None or not (self._credit or self._buffer):
            return
        loop = asyncio.get_running_loop()
        if (left_s := self._left_at + LINGER_S - loop.time()) > 0.001:
            self._linger = loop.call_later(left_s, self._lingered)
            return
        self._withdraw_soon()

    def _withdraw_soon(self) -> None:
        if self._withdrawing is None:
            self._withdrawing = asyncio.create_task(self._withdraw())

    async def _withdraw(self) -> None:
        """End the standing request and return what it brought, unless somebody fetches again by now."""
        subscription, self._subscription = self._subscription, None
        self._credit = 0
        if subscription is not None:
            await subscription.drain()
        self._withdrawing = None
        if self._waiting is None:
            self._return(self._buffer)
            self._buffer.clear()

    def _return(self, events: Iterable[NatsEvent]) -> None:
        for event in events:
            if self._keepalive.end(event.reply):
                self._outbox.put(event.reply, NAK)

    async def _settled_at_broker(self) -> None:
        if self._withdrawing is not None:
            await asyncio.shield(self._withdrawing)
        try:
            await self._outbox.flush()
        except TriggerError as exc:
            logger.warning("acks may be lost trigger=%s error=%s", self._spec.name, exc)

    def _touch(self, replies: Iterable[str]) -> None:
        # the buffer is touched too: it is as good as in the runtime's hands
        for reply in replies:
            self._outbox.put(reply, PROGRESS)
