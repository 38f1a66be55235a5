"""Run coroutines whose first step is taken at once: one that never suspends costs no task and no loop turn.

The step runs inside a parked task that is real: `asyncio.current_task()`, timeouts and cancel scopes see
the same task before and after the first suspension. A coroutine that finishes in its first step leaves the
parked task as it was, for the next. One that suspends is carried on by that task, and another is parked.
What does not belong here: handlers, events and results.
"""

import asyncio
from asyncio import _enter_task, _leave_task, current_task  # pyright: ignore  # documented: asyncio "Extending"
from collections.abc import Callable, Coroutine, Generator
from contextvars import Context, copy_context
from types import coroutine
from typing import Any

Done = Callable[[Any, BaseException | None], None]
"""Called once with (result, None) or (None, exception)."""


class EagerRunner:
    """Starts coroutines on one loop.

    Args:
        loop: The running loop.
        timeout_s: A coroutine that takes longer is cancelled, and `done` gets `TimeoutError`; None: it may take
            any time.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, timeout_s: float | None) -> None:
        self._loop = loop
        self._timeout_s = timeout_s
        self._busy: set[_Parked] = set()
        self._parked = _Parked(loop)

    def run(self, work: Coroutine[Any, Any, Any], done: Done) -> None:
        """Take the first step of `work` now; `done` is called before this returns if that was all."""
        try:
            yielded = self.step(work)
        except StopIteration as stop:
            result, error = stop.value, None
        except BaseException as exc:
            result, error = None, exc
        else:
            self.carry_on(work, yielded, done)
            return
        done(result, error)

    def step(self, work: Coroutine[Any, Any, Any]) -> Any:
        """Take the first step of `work`; gives what it yielded, for `carry_on`.

        Raises:
            StopIteration: That was all; it carries the result.
            BaseException: What `work` raised.
        """
        parked, loop = self._parked, self._loop
        running = None
        try:
            _enter_task(loop, parked.task)
        except RuntimeError:  # only one task may be current; seldom one is, and to ask first costs 0.2 µs
            running = current_task(loop)
            if running is None:
                raise
            _leave_task(loop, running)
            _enter_task(loop, parked.task)
        try:
            return parked.context.run(work.send, None)
        except BaseException:
            if len(parked.context) != parked.context_size:  # what it set must not be seen by the next
                self._renew()
            raise
        finally:
            _leave_task(loop, parked.task)
            if running is not None:
                _enter_task(loop, running)

    @property
    def tasks(self) -> "list[asyncio.Task[None]]":
        """Those of coroutines that are suspended."""
        return [parked.task for parked in self._busy]

    def cancel_all(self) -> None:
        """Cancel what is suspended; each `done` gets `CancelledError`."""
        for parked in list(self._busy):
            parked.task.cancel()

    def close(self) -> None:
        """End the parked task, which no coroutine will need any more."""
        self._parked.task.cancel()

    def _renew(self) -> None:
        self._parked.task.cancel()
        self._parked = _Parked(self._loop)

    def carry_on(self, work: Coroutine[Any, Any, Any], yielded: Any, done: Done) -> None:
        """Let the task in which `work` took its `step` take the others; to be called before anything else runs."""
        parked, self._parked = self._parked, _Parked(self._loop)
        self._busy.add(parked)
        timer = self._loop.call_later(self._timeout_s, self._time_out, parked) if self._timeout_s is not None else None

        def finished(result: Any, error: BaseException | None) -> None:
            if timer is not None:
                timer.cancel()
            self._busy.discard(parked)
            if not parked.timed_out:
                done(result, error)

        parked.on_timeout = done
        parked.resume(work, yielded, finished)

    def _time_out(self, parked: "_Parked") -> None:
        """Settle at once: a coroutine may swallow its cancellation."""
        parked.timed_out = True
        self._busy.discard(parked)
        parked.task.cancel()
        if parked.on_timeout is not None:
            parked.on_timeout(None, TimeoutError())


class _Parked:
    """A task that waits to be given the rest of a coroutine, and ends with it."""

    __slots__ = ("_rest", "context", "context_size", "on_timeout", "task", "timed_out")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.context: Context = copy_context()
        self.context_size = len(self.context)
        self.timed_out = False
        self.on_timeout: Done | None = None
        self._rest: asyncio.Future[tuple[Coroutine[Any, Any, Any], Any, Done]] = loop.create_future()
        self.task = loop.create_task(self._wait(), context=self.context)

    def resume(self, work: Coroutine[Any, Any, Any], yielded: Any, finished: Done) -> None:
        self._rest.set_result((work, yielded, finished))

    async def _wait(self) -> None:
        cancelled: asyncio.CancelledError | None = None
        try:
            await self._rest
        except asyncio.CancelledError as exc:
            if not self._rest.done() or self._rest.cancelled():
                return
            cancelled = exc  # given work already: the cancellation is meant for that
        work, yielded, finished = self._rest.result()
        try:
            result = await _rest_of(work, yielded, cancelled)
        except BaseException as exc:
            finished(None, exc)
            if not isinstance(exc, Exception | asyncio.CancelledError):
                raise
        else:
            finished(result, None)


@coroutine
def _rest_of(work: Coroutine[Any, Any, Any], yielded: Any, thrown: BaseException | None) -> Generator[Any, Any, Any]:
    """Drive `work` from its first suspension on, as `await work` would have; `thrown` is what wakes it, if any."""
    finished = False
    if thrown is not None:
        finished, yielded = _step(work.throw, thrown)
    while not finished:
        try:
            value = yield yielded
        except GeneratorExit:
            work.close()
            raise
        except BaseException as exc:
            finished, yielded = _step(work.throw, exc)
        else:
            finished, yielded = _step(work.send, value)
    return yielded


def _step(advance: Callable[[Any], Any], value: Any) -> tuple[bool, Any]:
    try:
        return False, advance(value)
    except StopIteration as stop:
        return True, stop.value
