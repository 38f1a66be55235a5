"""Calls the handler: on the loop or in a thread, within its timeout, and hands the result to whoever settles.

`EventInvoker` is the `Intake` of per-event handlers. What does not belong here: batches (`batching`), and what
becomes of a result.
"""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable
from functools import partial
from types import CoroutineType, GeneratorType
from typing import Any

from headrace.triggers.events import Event
from headrace.triggers.outcomes import Response
from headrace.triggers.protocols import Failure, Settle

from .eager import EagerRunner
from .errors import HandlerTimeout, ResultError
from .generators import ThreadedItems, TimedItems
from .handlers import Handler
from .logs import current
from .metrics import Metrics
from .threads import HandlerThreads

logger = logging.getLogger(__name__)


class EventInvoker:
    """One call per event: an `Intake`.

    Args:
        handler: Of shape EVENT.
        runner: For async handlers.
        threads: For sync handlers and sync generators.
        timeout_s: For one call, or one item of a generator.
        metrics: Duration and queue delay are counted here.
    """

    def __init__(
        self, handler: Handler, runner: EagerRunner, threads: HandlerThreads, timeout_s: float, metrics: Metrics
    ) -> None:
        self._call = handler.call
        self._runner = runner
        self._threads = threads
        self._timeout_s = timeout_s
        self._metrics = metrics
        # The choice is made once, not per event.
        self.submit: Callable[[Event, Settle], None] = self._on_loop if handler.is_async else self._in_thread

    def withdraw(self, trigger: str) -> list[Event]:
        """Events of `trigger` that were submitted and not begun; they are not settled."""
        calls = self._threads.withdraw(lambda call: bool(call.args) and _of_trigger(call.args[0], trigger))
        return [call.args[0] for call in calls]

    def _on_loop(self, event: Event, settle: Settle) -> None:
        # As `EagerRunner.run` does it; neither a closure nor a call more for what finishes at once, which is 5%
        # of a request's CPU time
        started = time.monotonic()
        work = self._within(event)
        try:
            yielded = self._runner.step(work)
        except StopIteration as stop:
            self._metrics.triggers[event.trigger.name].duration.observe(time.monotonic() - started)
            settle(event, streamed(stop.value, self._threads, self._timeout_s))
        except BaseException as exc:
            self._done(event, settle, started, None, exc)
        else:
            self._runner.carry_on(work, yielded, partial(self._done, event, settle, started))

    def _done(self, event: Event, settle: Settle, started: float, result: Any, error: BaseException | None) -> None:
        self._metrics.triggers[event.trigger.name].duration.observe(time.monotonic() - started)
        settle(event, self._result(result) if error is None else failure(error, self._timeout_s, event))

    async def _within(self, event: Event) -> Any:
        token = current.set(event)
        try:
            result = self._call(event)
            return await result if type(result) is CoroutineType or hasattr(result, "__await__") else result
        finally:
            current.reset(token)

    def _in_thread(self, event: Event, settle: Settle) -> None:
        received = time.monotonic()

        def done(result: Any, error: BaseException | None) -> None:
            counts = self._metrics.triggers[event.trigger.name]
            began = call.started or received
            counts.queue_delay.observe(began - received)
            counts.duration.observe(time.monotonic() - began)
            settle(event, self._result(result) if error is None else failure(error, self._timeout_s, event))

        call = self._threads.submit(self._call_within, (event,), done)

    def _call_within(self, event: Event) -> Any:
        current.set(event)
        try:
            return self._call(event)
        finally:
            current.set(None)

    def _result(self, result: Any) -> Any:
        return streamed(result, self._threads, self._timeout_s)


def failure(error: BaseException, timeout_s: float, event: Event) -> Failure:
    """Why an event has no result, logged with the handler's traceback."""
    if isinstance(error, TimeoutError) and error.__traceback__ is None:  # ours: nothing raised it
        timeout = HandlerTimeout(f"handler: expected a result within {timeout_s:g} s")
        logger.error("%s trigger=%s event=%s", timeout, event.trigger.name, event.id)
        return Failure(timeout, "timeout")
    if isinstance(error, asyncio.CancelledError):
        return Failure(error, "shutdown")
    logger.error(
        "handler raised %s trigger=%s event=%s",
        type(error).__name__,
        event.trigger.name,
        event.id,
        exc_info=None if isinstance(error, ResultError) else error,
    )
    return Failure(error, "handler")


def streamed(result: Any, threads: HandlerThreads, timeout_s: float) -> Any:
    """`result`, or where it (or a `Response`'s body) is a generator, an async iterator over its items."""
    kind = type(result)
    if kind is bytes or kind is dict or kind is str or result is None:  # by far the most
        return result
    if isinstance(result, Response):
        result.body = streamed(result.body, threads, timeout_s)
        return result
    if isinstance(result, GeneratorType):
        return ThreadedItems(result, threads)
    if isinstance(result, AsyncIterator):
        return TimedItems(result, timeout_s)
    if isinstance(result, BaseException):  # a batch's way to fail one event
        return Failure(result, "handler")
    return result


def _of_trigger(value: object, trigger: str) -> bool:
    return isinstance(value, Event) and value.trigger.name == trigger
