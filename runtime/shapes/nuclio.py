"""Nuclio's Python functions: `handler(context, event)` and `init_context(context)`, unchanged.

They become per-event handlers whose results are those of `nuclio_sdk.Response`: this module translates;
what the user's code is given lies in `nuclio_sdk`, imported only for such functions.
"""

import copy
import functools
import inspect
from collections.abc import AsyncGenerator, AsyncIterator, Generator, Iterator
from contextlib import aclosing, closing
from typing import TYPE_CHECKING, Any

import msgspec

from headrace.triggers.events import Event
from headrace.triggers.outcomes import Ack, Reject, Response, Retry
from headrace.triggers.spec import kind_of

from ..context import Context
from ..handlers import Handler, Shape
from ..spec import RuntimeSpec
from .lifecycle import Hooks, finished, start_of, stop_of
from .signatures import Candidate, Role, innermost, is_async

if TYPE_CHECKING:
    from .nuclio_sdk import Context as NuclioContext

FORM = "handler(context, event)"

_END = object()
_PAYLOADS = (Role.EVENT, Role.BATCH)
_TEXT = "text/plain"  # what Nuclio answers with unless the handler says otherwise, bytes included


def fits(found: Candidate) -> bool:
    """Two required parameters, the context first, that are not annotated with Headrace's own classes."""
    required = found.required
    if len(required) != 2 or any(one.annotated for one in required):
        return False
    first, second = required
    if first.role in _PAYLOADS or second.role is Role.CONTEXT:
        return False
    return first.role is Role.CONTEXT or second.role is Role.EVENT or found.attribute == "handler"


def adapt(found: Candidate, spec: RuntimeSpec, context: Context) -> Handler:
    """Give it Nuclio's context and events, and translate its results."""
    from .nuclio_sdk import Context as NuclioContext
    from .nuclio_sdk import Event as NuclioEvent
    from .nuclio_sdk import TriggerInfo

    first = spec.triggers[0]
    base = NuclioContext(context.logger, TriggerInfo(kind_of(first), first.name))
    contexts = _Contexts(base)
    handler = found.target
    if is_async(innermost(handler)):

        async def call(event: Event) -> Any:
            given = handler(contexts.of(event), NuclioEvent(event))
            return await _result_async(await given if inspect.isawaitable(given) else given, event)

        return Handler(shape=Shape.EVENT, call=call, is_async=True, name=found.name, **_hooks(found, base))

    def call_sync(event: Event) -> Any:
        return _result(handler(contexts.of(event), NuclioEvent(event)), event)

    return Handler(shape=Shape.EVENT, call=call_sync, is_async=False, name=found.name, **_hooks(found, base))


class _Contexts:
    """One Nuclio context per trigger, as Nuclio's workers have it; all share `user_data`.

    Args:
        base: That of the first trigger, which `init_context` was given. What it set is in all.
    """

    def __init__(self, base: "NuclioContext") -> None:
        self._base = base
        self._by_trigger = {base.trigger.name: base}

    def of(self, event: Event) -> "NuclioContext":
        """The context of the event's trigger."""
        context = self._by_trigger.get(event.trigger.name)
        if context is None:
            context = copy.copy(self._base)
            context.trigger = type(self._base.trigger)(event.trigger.kind, event.trigger.name)
            context.trigger_name = event.trigger.name
            self._by_trigger[event.trigger.name] = context
        return context


def _hooks(found: Candidate, base: "NuclioContext") -> Hooks:
    async def stop() -> None:
        for callback in base.platform.callbacks:
            await finished(callback)

    given: Hooks = {"stop": stop_of(stop, found)}
    init_context = getattr(found.owner, "init_context", None)
    if callable(init_context):
        given["start"] = start_of(functools.partial(init_context, base), "init_context", found)
    return given


def _result(value: Any, event: Event) -> Any:
    """A sync handler's result in our terms. A generator's first item may be a `Response`: it is made here."""
    body = _streamed(value)
    if not inspect.isgenerator(body):
        return _plain(value, event)
    first = next(body, _END)
    return _stream(value, first, _items(first, body), event)


async def _result_async(value: Any, event: Event) -> Any:
    """The same for an async handler."""
    body = _streamed(value)
    if inspect.isgenerator(body):
        return _result(value, event)
    if not inspect.isasyncgen(body):
        return _plain(value, event)
    first = await anext(body, _END)
    return _stream(value, first, _items_async(first, body), event)


def _streamed(value: Any) -> Any:
    """What may be a generator: the value itself, or its body."""
    return value.body if _is_response(value) else value


def _plain(value: Any, event: Event) -> Any:
    """A result that is not a generator, by the rules of `nuclio_sdk.Response.from_entrypoint_output`."""
    if value is None:  # nothing for a sink; on HTTP an empty 200
        return Response(b"", content_type=_TEXT) if event.trigger.kind == "http" else None
    if isinstance(value, Response | Ack | Retry | Reject):  # ours: a function on its way from Nuclio
        return value
    if _is_response(value):
        return _response(value, value.body)
    if isinstance(value, tuple) and len(value) == 2:
        status, body = value
        if isinstance(body, str | bytes):
            return Response(body, status=int(status), content_type=_TEXT)
        return Response(_json(body), status=int(status), content_type="application/json")
    if isinstance(value, dict | list):
        return Response(_json(value), content_type="application/json")
    if isinstance(value, str | bytes | bytearray | memoryview):
        return Response(value, content_type=_TEXT)
    return Response(str(value), content_type=_TEXT)


def _response(given: Any, body: Any) -> Response:
    content_type = given.content_type or _TEXT
    if isinstance(body, dict):
        body, content_type = _json(body), "application/json"
    elif body is None:
        body = b""
    elif not isinstance(body, str | bytes | bytearray | memoryview):
        body = str(body)
    headers = {str(name): str(value) for name, value in given.headers.items()}
    return Response(body, status=int(given.status_code), headers=headers, content_type=content_type)


def _stream(value: Any, first: Any, items: Any, event: Event) -> Any:
    """On HTTP a streamed response, whose status the value or its first item tells; else the items."""
    if event.trigger.kind != "http":
        return items
    head = value if _is_response(value) else first
    if not _is_response(head):
        return Response(items, content_type=_TEXT)
    response = _response(head, b"")
    response.body = items
    return response


def _items(first: Any, rest: Generator[Any, Any, Any]) -> Iterator[Any]:
    with closing(rest):
        if first is not _END:
            yield _chunk(first)
        for item in rest:
            yield _chunk(item)


async def _items_async(first: Any, rest: AsyncGenerator[Any, Any]) -> AsyncIterator[Any]:
    async with aclosing(rest):
        if first is not _END:
            yield _chunk(first)
        async for item in rest:
            yield _chunk(item)


def _chunk(item: Any) -> Any:
    return item.body if _is_response(item) else item


def _is_response(value: Any) -> bool:
    """Ours by Nuclio's name, or `nuclio_sdk.Response` itself where that package is installed."""
    return type(value).__name__ == "Response" and hasattr(value, "status_code")


def _json(value: Any) -> bytes:
    """As JSON; what has no JSON form becomes its `repr`, as Nuclio's encoder does."""
    return msgspec.json.encode(value, enc_hook=repr)
