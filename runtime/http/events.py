"""Requests as events: `EventEndpoint` hands each to the `Intake` and answers with what the handler returned.

What does not belong here: HTTP itself (`protocol`), CloudEvents' spelling (`cloudevents`), invoking.
"""

import asyncio
import logging
import math
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any

from headrace.triggers.events import Attributes, Event, Trigger
from headrace.triggers.headers import Headers
from headrace.triggers.outcomes import Ack, Reject, Response, Retry
from headrace.triggers.protocols import Failure, Intake

from ..errors import ResultError
from ..metrics import Metrics
from ..results import OCTETS, encode, encode_response
from .errors import ClientDisconnected, RequestError
from .responses import header_lines

if TYPE_CHECKING:
    from .exchange import Exchange

logger = logging.getLogger(__name__)

# What the client is told of a failure: never the exception's text
_FAULTS = {
    "timeout": (504, "the function took too long", b""),
    "shutdown": (503, "the function is shutting down", b""),
    "overload": (503, "too many requests are waiting", b"retry-after: 1\r\n"),
    "queue_timeout": (504, "the request waited too long for its turn", b""),
}
FAILED = (500, "the function failed", b"")


def answer_to(failure: Failure) -> tuple[int, str, bytes]:
    """(status, reason, header lines) of the response that says so."""
    return _FAULTS.get(failure.fault, FAILED)


class HttpEvent(Event):
    """A request as an event; what it costs to read is read when asked for.

    Attributes:
        exchange: The request and the way to answer it; the runtime's own.
    """

    __slots__ = ("_headers", "exchange")

    def __init__(
        self, exchange: "Exchange", trigger: Trigger, data: memoryview, attributes: Attributes | None = None
    ) -> None:
        # Not the base's: its `headers` are made when read, and each call costs 0.2 µs of a request's 15
        self.exchange = exchange
        self.data = data
        self.trigger = trigger
        self._attributes = attributes
        self._headers: Headers | None = None
        self.key = _key(attributes) if attributes is not None else None
        self.partition = None
        self.offset = None
        self.attempt = 1

    @property
    def headers(self) -> Headers:  # type: ignore[override]
        """The request's header fields."""
        if self._headers is None:
            self._headers = Headers(list(self.exchange.head.headers))
        return self._headers

    @property
    def method(self) -> str:
        """`GET`, `POST`, ..."""
        return self.exchange.head.method

    @property
    def path(self) -> str:
        """The request's path, percent-decoded."""
        return self.exchange.head.path

    @property
    def query(self) -> str:
        """The query as sent, without the question mark."""
        return self.exchange.head.query.decode("latin-1")

    @property
    def query_params(self) -> dict[str, str]:
        """The query's fields; a repeated name gives its last value."""
        from urllib.parse import parse_qsl

        return dict(parse_qsl(self.query, keep_blank_values=True))


class EventEndpoint:
    """`exchange.Endpoint` for functions that handle events.

    Args:
        intake: Where events go.
        trigger: The HTTP trigger.
        metrics: Its counts, and those of responses.
    """

    streams_body = False
    owns_metrics_path = False
    admit = None

    def __init__(self, intake: Intake, trigger: Trigger, metrics: Metrics) -> None:
        self._submit = intake.submit
        self._trigger = trigger
        self._counts = metrics.triggers[trigger.name]
        self._settle_event = self._settle
        self._streams: set[asyncio.Task[None]] = set()

    def handle(self, exchange: "Exchange") -> None:
        """Submit the request as an event."""
        if exchange.head.is_cloudevent and self._handle_cloudevent(exchange):
            return
        self._counts.received += 1
        self._submit(HttpEvent(exchange, self._trigger, exchange.body), self._settle_event)

    def _handle_cloudevent(self, exchange: "Exchange") -> bool:
        """Submit what the request carries; False: no CloudEvent, for all that its fields look like one."""
        from . import cloudevents

        try:
            if cloudevents.is_batch(exchange):
                from .event_batches import BatchAnswer

                found = cloudevents.read_batch(exchange)
                BatchAnswer(exchange, found, self._trigger, self._submit, self._counts).begin()
                return True
            read_event = cloudevents.read(exchange)
        except RequestError as exc:
            self._counts.received += 1
            self._counts.failed("client")
            exchange.fail(exc.status, exc.reason)
            return True
        if read_event is None:
            return False
        attributes, data = read_event
        self._counts.received += 1
        self._submit(HttpEvent(exchange, self._trigger, data, attributes), self._settle_event)
        return True

    def _settle(self, event: Event, result: object) -> None:
        exchange: Exchange = event.exchange  # type: ignore[attr-defined]
        if type(result) is bytes:  # the commonest by far
            self._counts.ok += 1
            exchange.respond(200, _OCTETS_TYPE, result)
            return
        try:
            self._answer(exchange, result)
        except (ResultError, ValueError) as exc:
            logger.error("result cannot be sent path=%s error=%s", exchange.head.path, exc)
            self._counts.failed("handler")
            exchange.fail(*FAILED)

    def _answer(self, exchange: "Exchange", result: object) -> None:
        counts = self._counts
        if result is None or type(result) is Ack:
            exchange.respond(204)
        elif isinstance(result, Failure):
            counts.failed(result.fault)
            exchange.fail(*answer_to(result))
            return
        elif isinstance(result, Response):
            self._respond(exchange, result)
            return
        elif isinstance(result, Retry):
            counts.retried += 1
            seconds = max(1, math.ceil(result.after_s or 0))
            exchange.fail(503, "try again later", b"retry-after: %d\r\n" % seconds)
            return
        elif isinstance(result, Reject):
            counts.failed("rejected")
            exchange.fail(422, result.reason)
            return
        elif isinstance(result, AsyncIterator | Iterator):
            self._stream(exchange, result, Response(result))
            return
        elif isinstance(result, Event):
            _respond_event(exchange, result)
        else:
            body, content_type = encode(result)
            exchange.respond(200, _type_line(content_type), body)
        counts.ok += 1

    def _respond(self, exchange: "Exchange", response: Response) -> None:
        if not 200 <= response.status <= 999:
            raise ResultError(f"response: expected a status from 200 to 999, got {response.status}")
        if isinstance(response.body, AsyncIterator | Iterator):
            self._stream(exchange, response.body, response)
            return
        body, content_type = encode_response(response)
        exchange.respond(response.status, _lines_of(response, content_type), body)
        self._counts.ok += 1

    def _stream(
        self, exchange: "Exchange", items: AsyncIterator[object] | Iterator[object], response: Response
    ) -> None:
        task = asyncio.get_running_loop().create_task(self._send_items(exchange, items, response))
        self._streams.add(task)
        task.add_done_callback(self._streams.discard)
        exchange.on_lost = partial(_cancel, task)

    async def _send_items(
        self, exchange: "Exchange", items: AsyncIterator[object] | Iterator[object], response: Response
    ) -> None:
        """Send each item as it comes; the first decides the content type."""
        source = items if isinstance(items, AsyncIterator) else _in_thread(items)
        try:
            async for item in source:
                piece, content_type = encode(item)
                if not exchange.started:
                    exchange.start(response.status, _lines_of(response, response.content_type or content_type))
                await exchange.write(piece)
            if not exchange.started:
                exchange.start(response.status, _lines_of(response, response.content_type or OCTETS))
            self._counts.ok += 1
            exchange.finish()
        except (ClientDisconnected, asyncio.CancelledError):
            self._counts.failed("client")
            exchange.abort()
        except Exception as exc:  # the function's own, at any item
            self._counts.failed("handler")
            logger.error("streaming response failed path=%s", exchange.head.path, exc_info=exc)
            exchange.fail(*FAILED)
        finally:
            if (aclose := getattr(source, "aclose", None)) is not None:
                with suppress(Exception):  # its own clean-up; the response is over
                    await aclose()


def _respond_event(exchange: "Exchange", event: Event) -> None:
    """Answer with an event: structured where the request was, else binary (CloudEvents HTTP binding §3)."""
    from .. import cloudevents
    from .cloudevents import is_structured

    if is_structured(exchange):
        content_type = f"{cloudevents.STRUCTURED}; charset=utf-8"
        exchange.respond(200, _type_line(content_type), cloudevents.structured(event))
        return
    fields = cloudevents.header_fields(event)
    response = Response(event.data, headers=fields, content_type=event.datacontenttype or OCTETS)
    exchange.respond(200, _lines_of(response, response.content_type or OCTETS), event.data)


async def _in_thread(items: Iterator[object]) -> AsyncIterator[object]:
    """A sync generator's items; it may block, so each is made in a thread."""
    end = object()
    while (item := await asyncio.to_thread(next, items, end)) is not end:
        yield item


def _cancel(task: asyncio.Task[None]) -> None:
    task.cancel()


def _type_line(content_type: str) -> bytes:
    return b"content-type: %b\r\n" % content_type.encode("latin-1")


_OCTETS_TYPE = _type_line(OCTETS)


def _lines_of(response: Response, content_type: str) -> bytes:
    """A response's header lines; raises ValueError where a name or value is none."""
    pairs = [(name.encode("latin-1"), _value(value)) for name, value in response.headers]
    if response.status not in (204, 304) and not any(name.lower() == b"content-type" for name, _ in pairs):
        pairs.append((b"content-type", _value(content_type)))
    return header_lines(pairs)


def _value(value: Any) -> bytes:
    return str(value).encode("utf-8")


def _key(attributes: Attributes) -> bytes | None:
    """CloudEvents' partitioning extension."""
    key = attributes.extensions.get("partitionkey")
    return key.encode() if key is not None else None
