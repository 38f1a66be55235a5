"""Requests for ASGI 3.0 apps: `AsgiEndpoint`, and their `Lifespan`.

Each request's app runs as a task of its own: anyio's cancel scopes and timeouts (Starlette, FastAPI) ask for
`asyncio.current_task()`, and context variables that it sets must not leak into the next request.
What does not belong here: finding the app, and HTTP itself.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine, MutableMapping
from typing import TYPE_CHECKING, Any

from ..eager import EagerRunner
from ..errors import HandlerLoadError
from .bodies import BodyStream
from .errors import ClientDisconnected, RequestError
from .responses import header_lines

if TYPE_CHECKING:
    from .exchange import Exchange

logger = logging.getLogger(__name__)

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[MutableMapping[str, Any], Receive, Send], Awaitable[None]]

# 2.4: `send` raises OSError once the client is gone
_VERSIONS = {"version": "3.0", "spec_version": "2.4"}
_NO_WEBSOCKETS = "WebSocket needs its library: pip install 'headrace[websocket]'"


class AsgiEndpoint:
    """`exchange.Endpoint` for ASGI apps.

    Args:
        app: The app.
        state: `Lifespan.state`, of which each request's scope gets a shallow copy.
    """

    streams_body = True
    owns_metrics_path = True
    admit = None

    def __init__(self, app: App, state: MutableMapping[str, Any] | None = None) -> None:
        self._app = app
        self._state = state if state is not None else {}
        self._runner: EagerRunner | None = None

    def handle(self, exchange: "Exchange") -> None:
        """Run the app on the request."""
        if (exchange.head.header(b"upgrade") or b"").lower() == b"websocket":
            self._handle_websocket(exchange)
        else:
            self._run(_Cycle(exchange).run(self._app, self._scope(exchange)))

    def _handle_websocket(self, exchange: "Exchange") -> None:
        exchange.keep_alive = False  # whatever refuses it
        try:
            from .asgi_websocket import WebSocketCycle, accept_key, scope_of
        except ModuleNotFoundError as exc:
            if exc.name != "wsproto":
                raise
            logger.error("WebSocket refused: pip install 'headrace[websocket]' path=%s", exchange.head.path)
            exchange.fail(501, _NO_WEBSOCKETS)
            return
        try:
            accept = accept_key(exchange.head)
        except RequestError as exc:
            exchange.fail(exc.status, exc.reason, exc.headers)
            return
        cycle = WebSocketCycle(exchange, accept, _Cycle(exchange).send)
        self._run(cycle.run(self._app, scope_of(self._scope(exchange), exchange.head)))

    def _run(self, cycle: Coroutine[Any, Any, None]) -> None:
        if self._runner is None:
            self._runner = EagerRunner(asyncio.get_running_loop(), None)
        self._runner.run(cycle, _ended)

    async def aclose(self) -> None:
        """Wait for what apps do after their responses (background tasks)."""
        if self._runner is not None:
            while tasks := self._runner.tasks:
                await asyncio.wait(tasks)
            self._runner.close()
            self._runner = None

    def _scope(self, exchange: "Exchange") -> dict[str, Any]:
        return {
            "type": "http",
            "asgi": _VERSIONS,
            "http_version": "1.1" if exchange.head.http_1_1 else "1.0",
            "method": exchange.head.method,
            "scheme": "https" if exchange.secure else "http",
            "path": exchange.head.path,
            "raw_path": exchange.head.raw_path,
            "query_string": exchange.head.query,
            "root_path": "",
            "headers": list(exchange.head.headers),
            "client": _address(exchange.peer),
            "server": _address(exchange.local),
            "state": dict(self._state),
            "extensions": {},
        }


def _ended(result: None, error: BaseException | None) -> None:
    if error is not None and not isinstance(error, asyncio.CancelledError):
        raise error


class _Cycle:
    """One request's `receive` and `send`."""

    __slots__ = ("_exchange", "_headers", "_length", "_status", "_stream")

    def __init__(self, exchange: "Exchange") -> None:
        assert exchange.stream is not None
        self._exchange = exchange
        self._stream: BodyStream | None = exchange.stream
        self._status = 0  # of a response that is begun and not yet sent: its first piece may be its last
        self._headers = b""
        self._length: int | None = None

    async def run(self, app: App, scope: dict[str, Any]) -> None:
        exchange = self._exchange
        try:
            await app(scope, self.receive, self.send)
        except ClientDisconnected:
            exchange.abort()
        except Exception as exc:
            logger.error("app failed path=%s", exchange.head.path, exc_info=exc)
        except BaseException:
            exchange.abort()
            raise
        if not exchange.answered:
            exchange.fail(500, "the function failed")

    async def receive(self) -> Message:
        body = self._stream
        if body is not None:
            try:
                data = await body.read()
            except ClientDisconnected:
                self._stream = None
                return {"type": "http.disconnect"}
            if body.complete and not body.waiting:
                self._stream = None
            return {"type": "http.request", "body": data, "more_body": self._stream is not None}
        assert self._exchange.stream is not None
        await self._exchange.stream.gone()
        return {"type": "http.disconnect"}

    async def send(self, message: Message) -> None:
        kind = message["type"]
        if kind == "http.response.start":
            if self._status:
                raise RuntimeError("expected `http.response.body`, got a second `http.response.start`")
            self._begin(message)
        elif kind == "http.response.body":
            if not self._status:
                raise RuntimeError("expected `http.response.start` before `http.response.body`")
            await self._send_body(message.get("body", b""), message.get("more_body", False))
        else:
            raise RuntimeError(f"expected `http.response.start` or `http.response.body`, got `{kind}`")

    def _begin(self, message: Message) -> None:
        pairs = [(bytes(name), bytes(value)) for name, value in message.get("headers", ())]
        for name, value in pairs:
            name = name.lower()
            if name == b"content-length":
                self._length = int(value)
            elif name == b"connection" and value.strip().lower() == b"close":
                self._exchange.keep_alive = False
        self._headers = header_lines(pairs)
        self._status = int(message["status"])

    async def _send_body(self, body: bytes | memoryview, more: bool) -> None:
        exchange = self._exchange
        if exchange.answered:
            return
        if not exchange.started:
            whole = not more and (self._length is None or self._length == len(body) or exchange.head.method == "HEAD")
            if whole:
                exchange.respond(self._status, self._headers, body, self._length)
                return
            exchange.start(self._status, self._headers, self._length)
        if body:
            await exchange.write(body)
        if not more:
            exchange.finish()


class Lifespan:
    """The app's startup and shutdown (ASGI lifespan protocol); apps without it are left alone.

    Args:
        app: The app.

    Attributes:
        state: What the app put into `scope["state"]`.
    """

    def __init__(self, app: App) -> None:
        self._app = app
        self.state: dict[str, Any] = {}
        self._to_app: asyncio.Queue[Message] = asyncio.Queue()
        self._from_app: asyncio.Queue[Message] = asyncio.Queue()
        self._task: asyncio.Task[None] | None = None

    async def startup(self) -> None:
        """Run the app's startup.

        Raises:
            HandlerLoadError: It says that it failed.
        """
        scope = {"type": "lifespan", "asgi": _VERSIONS, "state": self.state}
        self._task = asyncio.get_running_loop().create_task(self._run(scope))
        reply = await self._exchange("startup")
        if reply is None:
            self._task = None
        elif reply["type"] == "lifespan.startup.failed":
            await self._task
            self._task = None
            raise HandlerLoadError(f"startup of the ASGI app failed: {reply.get('message') or 'no message'}")

    async def shutdown(self) -> None:
        """Run the app's shutdown; a failing one is logged."""
        if self._task is None:
            return
        reply = await self._exchange("shutdown")
        if reply is not None:
            if reply["type"] == "lifespan.shutdown.failed":
                logger.error("shutdown of the ASGI app failed message=%s", reply.get("message", ""))
            await self._task
        self._task = None

    async def _exchange(self, what: str) -> Message | None:
        """Tell the app; its reply, or None where it ended without one."""
        task = self._task
        assert task is not None
        self._to_app.put_nowait({"type": f"lifespan.{what}"})
        reply = asyncio.get_running_loop().create_task(self._from_app.get())
        await asyncio.wait((task, reply), return_when=asyncio.FIRST_COMPLETED)
        if reply.done():
            return reply.result()
        reply.cancel()
        return None

    async def _run(self, scope: dict[str, Any]) -> None:
        try:
            await self._app(scope, self._to_app.get, self._from_app.put)
        except Exception as exc:  # the protocol's way of saying "not supported"
            logger.debug("lifespan is not supported error=%r", exc)


def _address(address: Any) -> tuple[str, int] | None:
    """Host and port; None for what is no Internet address."""
    if not isinstance(address, tuple) or len(address) < 2:
        return None
    return address if len(address) == 2 else address[:2]
