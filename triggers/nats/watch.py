"""Tells of a new message on a stream without asking again and again.

On a stream with limits retention an ephemeral pull consumer that sees only headers of what is new; on a
work queue, where consumers must not overlap, a core subscription to the stream's subjects; elsewhere a look
every 500 ms. JetStream has no advisory for *a message waits* (scaling.md §4.3). All are hints. What does not
belong here: how much waits.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

from nats.aio.msg import Msg

from ..errors import TriggerError
from .client import Subscription, backoff
from .jetstream import ConsumerInfo, JetStream
from .spec import NatsTrigger

logger = logging.getLogger(__name__)

EXPIRES_S = 30.0
_INACTIVE_S = 90.0
"""The sentinel of a killed process is gone after this; three pulls, so that one may be late."""
_POLL_S = 0.5
_PAUSE_S = 0.25
"""Between two wake-ups: who is awake need not hear of each message."""


class Watch:
    """Watches between `start` and `stop`, as often as wanted.

    Args:
        spec: Which stream and subjects.
        jetstream: Stays open until `aclose` has returned.
        has_backlog: Whether something waits, for what came while nobody watched.
    """

    def __init__(self, spec: NatsTrigger, jetstream: JetStream, has_backlog: Callable[[], Awaitable[bool]]) -> None:
        self._spec = spec
        self._jetstream = jetstream
        self._connection = jetstream.connection
        self._has_backlog = has_backlog
        self._task: asyncio.Task[None] | None = None
        self._running = asyncio.Lock()  # held until what one run has at the broker is removed
        self._way = ""
        self._event = asyncio.Event()
        self._arrived = False
        self._status = ""
        self._sentinel = ""
        self._creating: asyncio.Future[ConsumerInfo] | None = None
        self._subscriptions: list[Subscription] = []

    def start(self, wake: Callable[[], None]) -> None:
        """Call `wake` once something may wait, until `stop`."""
        self.stop()
        self._task = asyncio.create_task(self._run(wake), name=f"watch {self._spec.name}")

    def stop(self) -> None:
        """End it; what it has at the broker is removed soon after."""
        # a second cancel would interrupt the tear-down
        if self._task is not None and not self._task.cancelling():
            self._task.cancel()

    async def aclose(self) -> None:
        """End it, and return when what it had at the broker is removed."""
        self.stop()
        async with self._running:
            pass

    async def _run(self, wake: Callable[[], None]) -> None:
        async with self._running:
            self._connection.on_change.append(self._on_change)
            try:
                await self._watch(wake)
            finally:
                self._connection.on_change.remove(self._on_change)
                await self._tear_down()

    async def _watch(self, wake: Callable[[], None]) -> None:
        delays = backoff(0.05, 5.0)
        while True:
            try:
                await self._set_up()
                delays = backoff(0.05, 5.0)
                # what came before the set-up, or while the connection was lost, is not told of
                if await self._has_backlog() or await self._next():
                    wake()
                    await asyncio.sleep(_PAUSE_S)
            except TriggerError as exc:
                logger.debug("watch interrupted trigger=%s error=%s", self._spec.name, exc)
                await self._pause(next(delays))
            await self._tear_down()

    async def _pause(self, delay_s: float) -> None:
        """Wait for `delay_s`, or until the connection changes."""
        self._event.clear()
        with suppress(TimeoutError):
            async with asyncio.timeout(delay_s):
                await self._event.wait()

    async def _set_up(self) -> None:
        self._event.clear()
        self._arrived = False
        info = await self._jetstream.stream(self._spec.stream)
        way = _way(info.config)
        if way != self._way:
            self._way = way
            logger.info("watching trigger=%s stream=%s by=%s", self._spec.name, self._spec.stream, way)
        if way == "sentinel":
            await self._make_sentinel()
        elif way == "subscription":
            for subject in self._spec.subjects or tuple(info.config.get("subjects") or ()):
                self._subscriptions.append(await self._connection.subscribe(subject, self._receive))

    async def _make_sentinel(self) -> None:
        self._sentinel = f"headrace-watch-{self._connection.inbox().rpartition('.')[2]}"
        config: dict[str, Any] = {
            "name": self._sentinel,
            "deliver_policy": "new",
            "ack_policy": "none",
            "headers_only": True,
            "mem_storage": True,
            "num_replicas": 1,
            "inactive_threshold": round(_INACTIVE_S * 1e9),
        }
        if len(self._spec.subjects) == 1:
            config["filter_subject"] = self._spec.subjects[0]
        elif self._spec.subjects:
            config["filter_subjects"] = list(self._spec.subjects)
        inbox = self._connection.inbox()
        self._subscriptions.append(await self._connection.subscribe(inbox, self._receive))
        # the server may see to a delete before a create that is under way: the tear-down waits for its end
        self._creating = asyncio.ensure_future(self._jetstream.put_consumer(self._spec.stream, config, "create"))
        await asyncio.shield(self._creating)
        await self._pull(inbox)

    async def _next(self) -> bool:
        """Wait; True if a message came, False if the watch has to be set up anew."""
        while not self._arrived:
            try:
                async with asyncio.timeout(_POLL_S if self._way == "poll" else EXPIRES_S + 3.0):
                    await self._event.wait()
                self._event.clear()
            except TimeoutError:
                if self._way == "sentinel":
                    return False
                if self._way == "poll" and await self._has_backlog():
                    return True
                continue
            if not self._arrived and not await self._renew():
                return False
        return True

    async def _renew(self) -> bool:
        """Ask again after a pull has expired; False where the sentinel or the connection is gone."""
        if self._way != "sentinel" or self._status != "408":
            return False
        await self._pull(self._subscriptions[0].subject)
        return True

    async def _pull(self, inbox: str) -> None:
        self._status = ""
        request = b'{"batch":1,"expires":%d}' % (EXPIRES_S * 1e9)
        await self._connection.publish(
            f"$JS.API.CONSUMER.MSG.NEXT.{self._spec.stream}.{self._sentinel}", request, inbox
        )

    async def _receive(self, message: Msg) -> None:
        self._status = (message.headers or {}).get("Status", "") if not message.data else ""
        self._arrived = self._arrived or not self._status
        self._event.set()

    def _on_change(self, _connected: bool) -> None:
        self._status = "lost"
        self._event.set()

    async def _tear_down(self) -> None:
        subscriptions, self._subscriptions = self._subscriptions, []
        sentinel, self._sentinel = self._sentinel, ""
        if self._creating is not None:
            await asyncio.wait((self._creating,))
            self._creating = None
        for subscription in subscriptions:
            await subscription.drain()
        if sentinel and self._connection.connected:
            try:
                await self._jetstream.drop_consumer(self._spec.stream, sentinel)
            except TriggerError as exc:  # it went with the server, or goes by itself after `_INACTIVE_S`
                logger.debug("sentinel left trigger=%s error=%s", self._spec.name, exc)


def _way(config: dict[str, Any]) -> str:
    """How a stream with this configuration is watched."""
    if config.get("mirror") or config.get("sources"):
        return "poll" if config.get("retention", "limits") != "limits" else "sentinel"
    # on an interest stream the sentinel would be one more that messages are kept for
    return {"limits": "sentinel", "workqueue": "subscription"}.get(config.get("retention", "limits"), "poll")
