"""Threads for sync handlers: a bounded number, one queue, and those that hang are given up and replaced.

A thread cannot be cancelled, so a call that outlives its timeout is settled without it: the thread is
abandoned, another takes its place, and its late result is dropped. What does not belong here: handlers.
"""

import asyncio
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any

MAX_ABANDONED = 4
"""Hung threads that a replica lives with; then it must be replaced (each holds its stack and what it locked)."""

Done = Callable[[Any, BaseException | None], None]


class Call:
    """One call of a function, queued or running.

    Attributes:
        started: Monotonic seconds at which a thread took it; 0 while it is queued.
        expired: It timed out: its result comes too late.
    """

    __slots__ = ("args", "done", "expired", "function", "started")

    def __init__(self, function: Callable[..., Any], args: tuple[Any, ...], done: Done) -> None:
        self.function = function
        self.args = args
        self.done = done
        self.started = 0.0
        self.expired = False


class HandlerThreads:
    """A pool whose results come back on the loop.

    Args:
        loop: The running loop.
        size: Threads at work; started when first needed.
        timeout_s: For one call, from its start.
        on_exhausted: Called (once) when `MAX_ABANDONED` threads hang at the same time.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        size: int,
        timeout_s: float,
        on_exhausted: Callable[[], None] = lambda: None,
    ) -> None:
        self.abandoned = 0
        self._loop = loop
        self._size = size
        self._timeout_s = timeout_s
        self._on_exhausted = on_exhausted
        self._exhausted = False
        self._wanted = threading.Condition()
        self._queue: deque[Call] = deque()
        self._running: set[Call] = set()
        self._threads = 0
        self._idle = 0
        self._closed = False
        self._finished: deque[tuple[Call, Any, BaseException | None]] = deque()
        self._woken = False
        self._sweep: asyncio.TimerHandle | None = None

    @property
    def queued(self) -> int:
        """Calls that no thread has taken yet."""
        return len(self._queue)

    def submit(self, function: Callable[..., Any], args: tuple[Any, ...], done: Done) -> Call:
        """Queue a call; `done` follows on the loop."""
        call = Call(function, args, done)
        with self._wanted:
            self._queue.append(call)
            if self._idle:
                self._wanted.notify()
            self._grow()
        if self._sweep is None:
            self._arm()
        return call

    def withdraw(self, wanted: Callable[[Call], bool]) -> list[Call]:
        """Take those queued calls back that `wanted` picks; their `done` is not called."""
        with self._wanted:
            taken = [call for call in self._queue if wanted(call)]
            for call in taken:
                self._queue.remove(call)
        return taken

    def close(self) -> None:
        """Let idle threads end; running calls are left alone (the threads are daemons)."""
        if self._sweep is not None:
            self._sweep.cancel()
        with self._wanted:
            self._closed = True
            self._wanted.notify_all()

    # -- in the threads ------------------------------------------------------------------------------------

    def _grow(self) -> None:
        # `_idle` counts threads that were notified and have not woken yet, too: hence the queue's length
        if self._threads < self._size and len(self._queue) > self._idle:
            self._threads += 1
            threading.Thread(target=self._work, name=f"handler-{self._threads}", daemon=True).start()

    def _work(self) -> None:
        while (call := self._next()) is not None:
            try:
                result, error = call.function(*call.args), None
            except BaseException as exc:
                result, error = None, exc
            with self._wanted:
                self._running.discard(call)
                if call.expired:  # this thread was replaced; it may end now
                    self.abandoned -= 1
                    return
            self._finished.append((call, result, error))
            del call, result, error  # an idle thread must not hold the last event's memory
            if not self._woken:  # one wake-up for all that finish before the loop comes round
                self._woken = True
                self._call_loop(self._deliver)

    def _next(self) -> Call | None:
        with self._wanted:
            while not self._queue:
                if self._closed:
                    return None
                self._idle += 1
                self._wanted.wait()
                self._idle -= 1
            call = self._queue.popleft()
            call.started = time.monotonic()
            self._running.add(call)
            return call

    def _call_loop(self, function: Callable[[], None]) -> None:
        try:
            self._loop.call_soon_threadsafe(function)
        except RuntimeError:  # the loop is closed: nobody waits for this result any more
            if not self._loop.is_closed():
                raise

    # -- on the loop ---------------------------------------------------------------------------------------

    def _deliver(self) -> None:
        self._woken = False  # before popping: a thread that appends after our last look wakes us again
        while self._finished:
            call, result, error = self._finished.popleft()
            if not call.expired:
                call.done(result, error)

    def _arm(self) -> None:
        # Four looks per timeout: a call is found at most a quarter late, and an idle pool has no timer.
        self._sweep = self._loop.call_later(min(1.0, self._timeout_s / 4), self._look_for_hung)

    def _look_for_hung(self) -> None:
        latest = time.monotonic() - self._timeout_s
        with self._wanted:
            hung = [call for call in self._running if call.started <= latest]
            for call in hung:
                call.expired = True
                self._running.discard(call)
                self.abandoned += 1
                self._threads -= 1
            for _ in hung:
                self._grow()
            busy = bool(self._running or self._queue)
        self._sweep = None
        if busy:
            self._arm()
        for call in hung:
            call.done(None, TimeoutError())
        if self.abandoned >= MAX_ABANDONED and not self._exhausted:
            self._exhausted = True
            self._on_exhausted()
