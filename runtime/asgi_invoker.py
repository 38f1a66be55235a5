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

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        """One request or WebSocket connection."""
        counts = self._counts
        counts.received += 1
        started = time.monotonic()
        begun = False
        timer = asyncio.timeout(self._timeout_s)

        async def sending(message: Message) -> None:
            nonlocal begun
            if not begun:
                begun = True
                timer.reschedule(None)
            await send(message)

        try:
            async with timer:
                await self._app(scope, receive, sending)
        except TimeoutError:
            if not timer.expired():  # the app's own
                counts.failed("handler")
                raise
            counts.failed("timeout")
            logger.error("app timed out path=%s expected_within_s=%g", scope.get("path"), self._timeout_s)
            await _answer_timeout(scope, send)
        except asyncio.CancelledError:
            counts.failed("client")
            raise
        except Exception:
            counts.failed("handler")
            raise
        else:
            counts.ok += 1
        finally:
            counts.duration.observe(time.monotonic() - started)


async def _answer_timeout(scope: MutableMapping[str, Any], send: Send) -> None:
    if scope["type"] == "websocket":
        await send({"type": "websocket.close", "code": 1013, "reason": "the function took too long"})
        return
    await send({"type": "http.response.start", "status": 504, "headers": _HEADERS})
    await send({"type": "http.response.body", "body": _TIMED_OUT})
