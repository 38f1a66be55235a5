"""Calls a batch handler, and finds out which event makes it raise: `BatchInvoker`.

A batch that raises is halved and run again until the culprit stands alone; so is one for which the device has
no memory. What does not belong here: joining events (`batcher`), and what becomes of results.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from typing import Any

from headrace.triggers.events import Batch
from headrace.triggers.protocols import Failure

from ..eager import EagerRunner
from ..errors import ResultError
from ..handlers import Handler
from ..invoker import failure, streamed
from ..logs import current
from ..metrics import Metrics
from ..threads import HandlerThreads
from .memory import MemoryLimit
from .outputs import one_per_event

logger = logging.getLogger(__name__)

BatchDone = Callable[[Sequence[object]], None]
"""Called once with one result (or `Failure`) per event, in order."""

Ended = Callable[[Sequence[object], BaseException | None], None]
"""Called once per run of the handler: with one result per event, or with what it raised."""


class BatchInvoker:
    """One call per batch.

    Args:
        handler: Of shape BATCH.
        runner: For async handlers.
        threads: For sync handlers and sync generators.
        timeout_s: For one call, or one item of a generator.
        metrics: Batch size and duration are counted here.
        memory: Told of batches that the device has memory for, and of those that it has not.
        learn: Told of each call that gave results: rows, and seconds that it took.
    """

    def __init__(
        self,
        handler: Handler,
        runner: EagerRunner,
        threads: HandlerThreads,
        timeout_s: float,
        metrics: Metrics,
        *,
        memory: MemoryLimit | None = None,
        learn: Callable[[int, float], None] | None = None,
    ) -> None:
        self._handler = handler
        self._runner = runner
        self._threads = threads
        self._timeout_s = timeout_s
        self._metrics = metrics
        self._memory = memory
        self._learn = learn

    def invoke(self, batch: Batch, done: BatchDone) -> None:
        """Run `batch`; `done` follows on the loop."""

        def ended(results: Sequence[object], error: BaseException | None) -> None:
            if error is None:
                done(results)
            elif self.may_halve(batch, error):
                logger.warning(
                    "batch handler raised %s, the batch is run again in halves trigger=%s events=%s",
                    type(error).__name__, batch.trigger.name, len(batch),
                )  # fmt: skip
                _Bisection(self, done).halve(batch, error)
            else:
                done(self.failures(batch, error))

        self.run(batch, ended)

    def run(self, batch: Batch, ended: Ended) -> None:
        """Call the handler once."""
        self._metrics.batch_size.observe(len(batch))
        started = time.monotonic()

        def finished(result: Any, error: BaseException | None) -> None:
            taken_s = time.monotonic() - started
            self._metrics.triggers[batch.trigger.name].duration.observe(taken_s)
            results: Sequence[object] = ()
            if error is None:
                try:
                    results = self._results(result, batch)
                except ResultError as exc:
                    error = exc
                else:
                    self._succeeded(batch, taken_s)
            ended(results, error)

        if self._handler.is_async:
            self._runner.run(self._within(batch), finished)
        else:
            batch.prefetch()
            self._threads.submit(self._call_within, (batch,), finished)

    def may_halve(self, batch: Batch, error: BaseException) -> bool:
        """Whether to run `batch` again in halves; counts why.

        Never for a timeout, whoever raised it: it would be waited for again and again. Nor for results that
        are wrong, which say nothing of single events, nor at shutdown.
        """
        if _is_out_of_memory(batch, error):
            self._metrics.out_of_memory += 1
            if self._memory is not None:
                self._memory.ran_out(batch.rows)
            return len(batch) > 1
        if len(batch) == 1 or not isinstance(error, Exception) or isinstance(error, TimeoutError | ResultError):
            return False
        self._metrics.batch_bisections += 1
        return True

    def failures(self, batch: Batch, error: BaseException) -> list[Failure]:
        """One cause for all of `batch`, logged once."""
        return [failure(error, self._timeout_s, batch.events[0])] * len(batch)

    def _succeeded(self, batch: Batch, taken_s: float) -> None:
        if self._learn is None and self._memory is None:
            return
        rows = batch.rows
        if self._learn is not None:
            self._learn(rows, taken_s)
        if self._memory is not None:
            self._memory.fitted(rows)

    async def _within(self, batch: Batch) -> Any:
        token = current.set(batch.events[0])
        try:
            result = self._handler.call(batch)
            return await result if hasattr(result, "__await__") else result
        finally:
            current.reset(token)

    def _call_within(self, batch: Batch) -> Any:
        current.set(batch.events[0])
        try:
            return self._handler.call(batch)
        finally:
            current.set(None)

    def _results(self, result: Any, batch: Batch) -> Sequence[object]:
        threads, timeout_s = self._threads, self._timeout_s
        return [
            item if type(item) is bytes else streamed(item, threads, timeout_s) for item in one_per_event(result, batch)
        ]


class _Bisection:
    """A batch that raised, run again in parts, in order, until each event has a result or a failure.

    Args:
        invoker: Runs the parts.
        done: Told once, of the whole batch.
    """

    def __init__(self, invoker: BatchInvoker, done: BatchDone) -> None:
        self._invoker = invoker
        self._done = done
        self._results: list[object] = []
        self._parts: list[Batch] = []  # the last is run next

    def halve(self, part: Batch, error: BaseException) -> None:
        """Put the halves of `part` first, and go on."""
        _release(error)
        middle = len(part) // 2
        self._parts += (part[middle:], part[:middle])
        self._go_on()

    def _go_on(self) -> None:
        # On a turn of its own: nothing up the stack holds the exception then, nor the arrays of its frames
        asyncio.get_running_loop().call_soon(self._run_next)

    def _run_next(self) -> None:
        if not self._parts:
            self._done(self._results)
            return
        part = self._parts.pop()

        def ended(results: Sequence[object], error: BaseException | None) -> None:
            if error is None:
                self._results += results
            elif isinstance(error, asyncio.CancelledError):  # shutdown: what is left is not begun
                for left in (part, *reversed(self._parts)):
                    self._results += self._invoker.failures(left, error)
                self._parts.clear()
            elif self._invoker.may_halve(part, error):
                self.halve(part, error)
                return
            else:
                self._results += self._invoker.failures(part, error)
            self._go_on()

        self._invoker.run(part, ended)


def _is_out_of_memory(batch: Batch, error: BaseException) -> bool:
    device = batch.trigger.device
    return device is not None and device.is_out_of_memory(error)


def _release(error: BaseException) -> None:
    """Let go of the frames of `error`: they hold the arrays of the run that failed, and a cycle holds them."""
    link: BaseException | None = error
    seen: set[int] = set()
    while link is not None and id(link) not in seen:
        seen.add(id(link))
        link.__traceback__ = None
        link = link.__cause__ or link.__context__
