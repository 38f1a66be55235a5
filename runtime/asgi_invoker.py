"""Calls an ASGI app: counts it as an event, and answers 504 if it does not begin to answer in time.

A response that has begun may take as long as it likes: streams and WebSockets do. What does not belong here:
speaking HTTP to the app (`http/asgi`), and handlers of events (`invoker`).
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from .metrics import TriggerMetrics

logger = logging.getLogger(__name__)

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[MutableMapping[str, Any], Receive, Send], Awaitable[None]]

_TIMED_OUT = b'{"error":"the function took too long"}'
_HEADERS = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(_TIMED_OUT))]


class AsgiInvoker:
    """An ASGI app around an app.

    Args:
        app: The function.
        counts: Of its HTTP trigger.
        timeout_s: Until its response begins; WebSockets: until they are accepted or refused.
    """

    def __init__(self, app: App, counts: TriggerMetrics, timeout_s: float) -> None:
        self._app = app
        self._counts = counts
        self._timeout_s = timeout_s
        # Those that have not begun to answer, the oldest first: one timer looks at all, none is set per request.
        self._waiting: dict[asyncio.Task[Any], float] = {}
        self._expired: set[asyncio.Task[Any]] = set()
        self._sweeping = False

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        """One request or WebSocket connection; runs in a task of its own."""
        counts, waiting = self._counts, self._waiting
        counts.received += 1
        started = time.monotonic()
        task = asyncio.current_task()
        assert task is not None
        waiting[task] = started
        if not self._sweeping:
            self._sweep()

        def sending(message: Message) -> Awaitable[None]:
            waiting.pop(task, None)
            return send(message)

        try:
            await self._app(scope, receive, sending)
        except asyncio.CancelledError:
            if task not in self._expired:
                counts.failed("client")
                raise
            task.uncancel()
            counts.failed("timeout")
            logger.error("app timed out path=%s expected_within_s=%g", scope.get("path"), self._timeout_s)
            await _answer_timeout(scope, send)
        except Exception:
            counts.failed("handler")
            raise
        else:
            counts.ok += 1
        finally:
            waiting.pop(task, None)
            self._expired.discard(task)
            counts.duration.observe(time.monotonic() - started)

    def _sweep(self) -> None:
        """Cancel what is late, at most a quarter of the timeout after its time; end when nothing waits."""
        latest = time.monotonic() - self._timeout_s
        for task, started in list(self._waiting.items()):
            if started > latest:
                break
            del self._waiting[task]
            self._expired.add(task)
            task.cancel()
        self._sweeping = bool(self._waiting)
        if self._sweeping:
            asyncio.get_running_loop().call_later(min(1.0, self._timeout_s / 4), self._sweep)


async def _answer_timeout(scope: MutableMapping[str, Any], send: Send) -> None:
    if scope["type"] == "websocket":
        await send({"type": "websocket.close", "code": 1013, "reason": "the function took too long"})
        return
    await send({"type": "http.response.start", "status": 504, "headers": _HEADERS})
    await send({"type": "http.response.body", "body": _TIMED_OUT})
