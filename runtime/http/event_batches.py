"""A request that carries a batch of CloudEvents (HTTP binding §3.3): each is an event, and one response is for all.

Answered when all are settled: 204 where there is nothing to say; the events that the handler returned, as a
batch; else a list of what became of each, with the worst status. What does not belong here: reading them.
"""

import logging
import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import msgspec

from headrace.triggers.events import Attributes, Event, Trigger
from headrace.triggers.outcomes import Ack, Reject, Response, Retry
from headrace.triggers.protocols import Failure, Settle

from ..cloudevents import BATCHED, batched, payload
from ..errors import ResultError
from ..metrics import TriggerMetrics
from ..results import encode, encode_response
from .events import FAILED, HttpEvent, answer_to
from .responses import JSON_TYPE

if TYPE_CHECKING:
    from .exchange import Exchange

logger = logging.getLogger(__name__)

# So many of a batch are with the handler at once: what a request may queue is bounded by this, not by its sender
_WINDOW = 256
_BATCH_TYPE = b"content-type: %b; charset=utf-8\r\n" % BATCHED.encode()


class _Settled(msgspec.Struct, omit_defaults=True):
    """What became of one event, as the client reads it."""

    id: str
    source: str
    status: int
    error: str | None = None
    data: Any = msgspec.UNSET
    data_base64: bytes | None = None


class BatchAnswer:
    """The answer to a batch while its events are settled.

    Args:
        exchange: The request.
        found: (attributes, data) of each event.
        trigger: The HTTP trigger.
        submit: The intake's.
        counts: The trigger's.
    """

    def __init__(
        self,
        exchange: "Exchange",
        found: Sequence[tuple[Attributes, memoryview]],
        trigger: Trigger,
        submit: Callable[[Event, Settle], None],
        counts: TriggerMetrics,
    ) -> None:
        self._exchange = exchange
        self._found = found
        self._trigger = trigger
        self._submit = submit
        self._counts = counts
        self._submitted = 0
        self._settled = 0
        self._submitting = False
        self._results: list[_Settled | Event | None] = [None] * len(found)
        self._retry_after_s = 0

    def begin(self) -> None:
        """Submit the first events."""
        if self._found:
            self._submit_more()
        else:
            self._exchange.respond(204)

    def _submit_more(self) -> None:
        self._submitting = True
        while self._submitted < len(self._found) and self._submitted - self._settled < _WINDOW:
            index = self._submitted
            self._submitted += 1
            attributes, data = self._found[index]
            self._counts.received += 1
            self._submit(HttpEvent(self._exchange, self._trigger, data, attributes), partial(self._settle, index))
        self._submitting = False

    def _settle(self, index: int, event: Event, result: object) -> None:
        try:
            self._results[index] = self._outcome(event, result)
        except ResultError as exc:
            logger.error("result cannot be sent event=%s error=%s", event.id, exc)
            self._counts.failed("handler")
            status, reason, _ = FAILED
            self._results[index] = _Settled(event.id, event.source, status, reason)
        self._settled += 1
        if self._settled == len(self._found):
            self._respond()
        elif not self._submitting:
            self._submit_more()

    def _outcome(self, event: Event, result: object) -> "_Settled | Event | None":
        counts = self._counts
        if isinstance(result, Failure):
            counts.failed(result.fault)
            status, reason, _ = answer_to(result)
            return _Settled(event.id, event.source, status, reason)
        if isinstance(result, Retry):
            counts.retried += 1
            self._retry_after_s = max(self._retry_after_s, 1, math.ceil(result.after_s or 0))
            return _Settled(event.id, event.source, 503, "try again later")
        if isinstance(result, Reject):
            counts.failed("rejected")
            return _Settled(event.id, event.source, 422, result.reason)
        settled: _Settled | Event | None
        if result is None or isinstance(result, Ack):
            settled = None
        elif isinstance(result, Event):
            batched([result])  # a fault in it is its own event's, not the batch's
            settled = result
        else:
            settled = _of_value(event, result)
        counts.ok += 1
        return settled

    def _respond(self) -> None:
        results = self._results
        events = [result for result in results if isinstance(result, Event)]
        if all(result is None for result in results):
            self._exchange.respond(204)
        elif all(result is None or isinstance(result, Event) for result in results):
            self._exchange.respond(200, _BATCH_TYPE, batched(events))
        else:
            rows = [
                result if isinstance(result, _Settled) else _row(attributes, result)
                for result, (attributes, _) in zip(results, self._found, strict=True)
            ]
            worst = max(row.status for row in rows)
            status = worst if worst >= 300 else 200
            retry = b"retry-after: %d\r\n" % self._retry_after_s if self._retry_after_s and status == 503 else b""
            self._exchange.respond(status, JSON_TYPE + retry, msgspec.json.encode(rows))


def _of_value(event: Event, result: object) -> _Settled:
    status = 200
    if hasattr(result, "__anext__") or hasattr(getattr(result, "body", None), "__anext__"):
        raise ResultError("result: expected one value for an event of a batch, got a generator")
    if isinstance(result, Response):
        status = result.status
        body, content_type = encode_response(result)
    else:
        body, content_type = encode(result)
    return _Settled(event.id, event.source, status, **payload(memoryview(body), content_type))


def _row(attributes: Attributes, result: Event | None) -> _Settled:
    row = _Settled(attributes.id, attributes.source, 204 if result is None else 200)
    if result is not None:
        row.data = msgspec.Raw(batched([result])[1:-1])
    return row
