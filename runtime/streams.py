"""From a source to the intake and back: fetch, submit, publish the result, settle.

A `StreamPump` per stream trigger pulls what there is room for; a result goes to the trigger's sink, and only
when the sink's broker has it is the event acked. What does not belong here: brokers and handlers.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import suppress
from typing import Any

from headrace.triggers.errors import MessageRefused, TriggerError
from headrace.triggers.events import Event
from headrace.triggers.outcomes import Ack, Outcome, Reject, Response, Retry
from headrace.triggers.protocols import Failure, Intake, Message, Sink, Source

from .errors import ResultError
from .inflight import InFlight
from .metrics import TriggerMetrics
from .results import OCTETS, encode, encode_response

logger = logging.getLogger(__name__)

Withdraw = Callable[[str], list[Event]]
"""Takes a trigger's events back that were submitted and not begun."""


class StreamPump:
    """Moves one trigger's events.

    Args:
        name: The trigger's name.
        source: Open already.
        sink: Where results go; None: they are dropped.
        intake: Takes the events.
        in_flight: Bounds what is fetched.
        share: How many pumps share that bound: each fetches at most its part of the room.
        metrics: This trigger's counts.
    """

    def __init__(
        self,
        name: str,
        source: Source,
        sink: Sink | None,
        intake: Intake,
        *,
        in_flight: InFlight,
        metrics: TriggerMetrics,
        share: int = 1,
    ) -> None:
        self._name = name
        self._source = source
        self._intake = intake
        self._in_flight = in_flight
        self._metrics = metrics
        self._share = share
        self._writer = SinkWriter(sink) if sink is not None else None
        self._fetching: asyncio.Task[None] | None = None
        self._streaming: set[asyncio.Task[None]] = set()
        self._unsettled = 0
        self._all_settled = asyncio.Event()
        self._all_settled.set()

    def start(self) -> None:
        """Begin to fetch."""
        self._fetching = asyncio.create_task(self._fetch(), name=f"fetch {self._name}")

    async def stop_fetching(self, withdraw: Withdraw) -> None:
        """Fetch no more; give back to the broker what no handler has begun with."""
        if self._fetching is not None:
            self._fetching.cancel()
            with suppress(asyncio.CancelledError):
                await self._fetching
        unbegun = withdraw(self._name)
        if unbegun:
            await self._source.hand_back(unbegun)
            self._left(len(unbegun))

    async def settled(self) -> None:
        """Wait until every event that was fetched is settled."""
        await self._all_settled.wait()

    async def aclose(self) -> None:
        """End the source; what is unsettled then is delivered again elsewhere."""
        for task in list(self._streaming):
            task.cancel()
        if self._writer is not None:
            await self._writer.aclose()
        await self._source.aclose()

    # -- towards the handler -------------------------------------------------------------------------------

    async def _fetch(self) -> None:
        while True:
            await self._room()
            events = await self._source.fetch(max(1, self._in_flight.room // self._share))
            self._metrics.received += len(events)
            self._unsettled += len(events)
            self._all_settled.clear()
            self._in_flight.enter(len(events))
            for event in events:
                self._intake.submit(event, self._settle)

    async def _room(self) -> None:
        while self._in_flight.room <= 0:
            freed = asyncio.Event()
            self._in_flight.when_room(freed.set)
            try:
                await freed.wait()
            finally:
                self._in_flight.forget(freed.set)

    # -- and back ------------------------------------------------------------------------------------------

    def _settle(self, event: Event, result: object) -> None:
        if result is None or isinstance(result, Ack):
            self._end(event, Ack())
        elif isinstance(result, Failure):
            self._end(event, Retry(), result.fault)
        elif isinstance(result, Retry):
            self._end(event, result, "retry")
        elif isinstance(result, Reject):
            logger.warning("event rejected trigger=%s event=%s reason=%s", self._name, event.id, result.reason)
            self._end(event, result)
        elif isinstance(result.body if isinstance(result, Response) else result, AsyncIterator):
            task = asyncio.create_task(self._drain_items(event, result))
            self._streaming.add(task)
            task.add_done_callback(self._streaming.discard)
        else:
            self._publish(event, result)

    def _publish(self, event: Event, result: object) -> None:
        if self._writer is None:
            self._end(event, Ack())
            return
        try:
            message = message_of(event, result)
        except ResultError as exc:
            self._refused(event, exc)
            return
        self._writer.write(message, lambda error: self._published(event, error))

    def _published(self, event: Event, error: TriggerError | None) -> None:
        if error is None:
            self._end(event, Ack())
        else:
            logger.error("result not published, event is retried: %s trigger=%s event=%s", error, self._name, event.id)
            self._end(event, Retry(), "sink")

    def _refused(self, event: Event, error: ResultError) -> None:
        logger.error("%s trigger=%s event=%s", error, self._name, event.id)
        self._end(event, Retry(), "handler")

    async def _drain_items(self, event: Event, result: Any) -> None:
        """Publish a generator's items one after the other; the event is acked when all are durable."""
        items: Any = result.body if isinstance(result, Response) else result
        try:
            number = 0
            async for item in items:
                if self._writer is not None and item is not None:
                    await self._writer.written(message_of(event, item, number))
                number += 1
        except TriggerError as exc:
            self._published(event, exc)
        except ResultError as exc:
            self._refused(event, exc)
        except Exception as exc:  # the generator's own: user code may raise anything
            logger.error("generator raised trigger=%s event=%s", self._name, event.id, exc_info=exc)
            self._end(event, Retry(), "handler")
        else:
            self._end(event, Ack())
        finally:
            await items.aclose()

    def _end(self, event: Event, outcome: Outcome, fault: str = "") -> None:
        self._source.settle(event, outcome)
        if isinstance(outcome, Retry):
            self._metrics.retried += 1
            self._metrics.failed(fault)
        elif isinstance(outcome, Reject):
            self._metrics.failed("rejected")
        else:
            self._metrics.ok += 1
        self._left(1)

    def _left(self, events: int) -> None:
        self._unsettled -= events
        if self._unsettled == 0:
            self._all_settled.set()
        self._in_flight.leave(events)


class SinkWriter:
    """Publishes what gathered while the last publish was under way: batches form by themselves.

    It holds at most a message for each event in flight, and one per generator.
    """

    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self._waiting: list[tuple[Message, Callable[[TriggerError | None], None]]] = []
        self._writing: asyncio.Task[None] | None = None

    def write(self, message: Message, done: Callable[[TriggerError | None], None]) -> None:
        """Publish `message`; `done` is told when it is durable, or why it may not be."""
        self._waiting.append((message, done))
        if self._writing is None:
            self._writing = asyncio.create_task(self._write())

    async def written(self, message: Message) -> None:
        """Publish `message` and wait; raises `TriggerError`."""
        answer: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def done(error: TriggerError | None) -> None:
            if answer.done():
                return
            if error is None:
                answer.set_result(None)
            else:
                answer.set_exception(error)

        self.write(message, done)
        await answer

    async def aclose(self) -> None:
        """Wait for what is being written."""
        if self._writing is not None:
            await self._writing

    async def _write(self) -> None:
        try:
            while self._waiting:
                batch, self._waiting = self._waiting, []
                error = await self._publish([message for message, _ in batch])
                for message, done in batch:
                    # What the broker can never take is its own fault alone: the others of the call are durable.
                    mine = not isinstance(error, MessageRefused) or message.id in error.ids
                    done(error if mine else None)
        finally:
            self._writing = None

    async def _publish(self, messages: Sequence[Message]) -> TriggerError | None:
        try:
            await self._sink.publish(messages)
        except TriggerError as exc:
            return exc
        return None


def message_of(event: Event, result: object, number: int | None = None) -> Message:
    """The sink's message for a result, or for a generator's item `number`.

    Raises:
        ResultError: The result cannot be encoded.
    """
    id_ = f"{event.trigger.name}/{event.source}/{event.id}"
    headers: list[tuple[str, str]] = []
    if (trace := event.headers.get("traceparent")) is not None:  # W3C Trace Context: carried on from the start
        headers.append(("traceparent", trace))
    if isinstance(result, Response):
        data, content_type = encode_response(result)
        headers += result.headers
    elif isinstance(result, Event):
        from .cloudevents import header_fields

        data, content_type = result.data, result.datacontenttype or OCTETS
        headers += header_fields(result)
    else:
        data, content_type = encode(result)
    return Message(
        id=id_ if number is None else f"{id_}/{number}",
        data=data,
        content_type=content_type,
        headers=headers,
        key=event.key,
    )
