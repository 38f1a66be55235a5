"""Knative's Python functions (func-python 0.8.1): `handle(scope, receive, send)`, unchanged.

With `invoke: cloudevent`, `scope["event"]` is a CloudEvent and `send` takes one. `start` is given a dict of
the environment. What does not belong here: ASGI apps, and routing of health checks, which the protocol answers.
"""

import importlib
import inspect
import logging
from collections.abc import Awaitable, Callable, MutableMapping
from typing import TYPE_CHECKING, Any

from ..context import Context
from ..errors import HandlerLoadError
from ..handlers import Handler, Shape
from ..places import told
from ..spec import RuntimeSpec
from .asgi import check_async, takes_asgi
from .lifecycle import Hooks, hooks
from .signatures import Candidate, Role

if TYPE_CHECKING:
    from cloudevents.core.base import BaseCloudEvent

logger = logging.getLogger(__name__)

FORM = "handle(scope, receive, send)"

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

_REFUSAL = b"Bad Request: this endpoint expects CloudEvents"


def fits(found: Candidate) -> bool:
    """A `handle` of a module or an instance that takes ASGI's three arguments."""
    return found.attribute == "handle" and takes_asgi(found)


def adapt(found: Candidate, spec: RuntimeSpec, context: Context) -> Handler:
    """Decode and encode CloudEvents around it where func.yaml says `invoke: cloudevent`.

    Raises:
        HandlerLoadError: The package `cloudevents` is missing, and asked for.
    """
    check_async(found)
    call = found.target
    if spec.invoke == "cloudevent":
        require_cloudevents(found.place)
        call = CloudEventApp(found.target)
    # func-python calls `start` and so on of instances alone
    given: Hooks = {} if inspect.ismodule(found.owner) else hooks(found, context, default=Role.ENVIRON)
    return Handler(shape=Shape.ASGI, call=call, is_async=True, name=found.name, **given)


def require_cloudevents(place: str) -> None:
    """Import what CloudEvents need, so that its absence shows at the start and not on the first request.

    Raises:
        HandlerLoadError: Naming the line to install.
    """
    try:
        importlib.import_module("cloudevents.core.bindings.http")
    except ImportError as exc:
        raise HandlerLoadError(
            "`invoke: cloudevent`: expected the package `cloudevents` (pip install 'cloudevents>=2'), "
            f"got {told(exc)} - at {place}"
        ) from exc


class CloudEventApp:
    """A handler as an ASGI app: requests become CloudEvents, anything else is answered with 400.

    Args:
        handle: Called with `scope["event"]` set and a `CloudEventSender`.
    """

    def __init__(self, handle: Callable[..., Awaitable[None]]) -> None:
        self._handle = handle

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI 3.0."""
        try:
            scope["event"] = _decode(scope, await _body(receive))
        except _Refused as exc:
            logger.warning("request is no CloudEvent method=%s reason=%s", scope["method"], exc)
            await _refuse(send)
            return
        await self._handle(scope, receive, CloudEventSender(send))


class CloudEventSender:
    """What a handler is given as `send`: `send(event)`, `send.binary(event)`, `send.http(message)`."""

    def __init__(self, send: Send) -> None:
        self._send = send

    async def __call__(self, event: "BaseCloudEvent", status: int = 200) -> None:
        """Answer with a structured CloudEvent."""
        await self.structured(event, status)

    async def structured(self, event: "BaseCloudEvent", status: int = 200) -> None:
        """Answer with attributes and data in one JSON body (CloudEvents HTTP binding §3.2)."""
        from cloudevents.core.bindings.http import to_structured_event

        await self._respond(to_structured_event(event), status)

    async def binary(self, event: "BaseCloudEvent", status: int = 200) -> None:
        """Answer with attributes in `ce-` headers and data as the body (CloudEvents HTTP binding §3.1)."""
        from cloudevents.core.bindings.http import to_binary_event

        await self._respond(to_binary_event(event), status)

    async def http(self, message: MutableMapping[str, Any]) -> None:
        """Send a raw ASGI message."""
        await self._send(message)

    async def _respond(self, message: Any, status: int) -> None:
        headers = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in message.headers.items()]
        headers.append((b"content-length", str(len(message.body)).encode()))
        await self._send({"type": "http.response.start", "status": status, "headers": headers})
        await self._send({"type": "http.response.body", "body": message.body})


class _Refused(Exception):
    """The request holds no CloudEvent."""


def _decode(scope: Scope, body: bytes) -> "BaseCloudEvent":
    from cloudevents.core.bindings.http import HTTPMessage, from_http_event
    from cloudevents.core.exceptions import BaseCloudEventException

    headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
    try:
        return from_http_event(HTTPMessage(headers=headers, body=body))
    except (BaseCloudEventException, ValueError, TypeError, AttributeError, KeyError) as exc:
        # The last three: JSON that is no object, or attributes of another type than a string.
        raise _Refused(type(exc).__name__) from exc


async def _body(receive: Receive) -> bytes:
    chunks: list[Any] = []
    while True:
        message = await receive()
        chunks.append(message.get("body", b""))
        if not message.get("more_body", False):
            return b"".join(chunks)


async def _refuse(send: Send) -> None:
    headers = [(b"content-type", b"text/plain"), (b"content-length", str(len(_REFUSAL)).encode())]
    await send({"type": "http.response.start", "status": 400, "headers": headers})
    await send({"type": "http.response.body", "body": _REFUSAL})
