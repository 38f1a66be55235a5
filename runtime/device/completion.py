"""Tells when a GPU's work is done: one thread that sleeps on events, in the order in which they come.

CUDA's own host callbacks may not call CUDA and wait for the GIL on a driver thread, so a thread of ours waits.
What does not belong here: what is done then.
"""

import logging
import threading
from collections.abc import Callable
from functools import partial
from queue import SimpleQueue
from typing import Protocol

from .driver import DriverEvent

logger = logging.getLogger(__name__)

Done = Callable[[BaseException | None], None]


class Watch(Protocol):
    """Calls back when events are done."""

    def call(self, event: DriverEvent, done: Done) -> None:
        """Let `done(error)` be called once, when `event` is done or its work failed."""
        ...

    def keep(self, event: DriverEvent, kept: object) -> None:
        """Hold `kept` until `event` is done."""
        ...

    def close(self) -> None:
        """Return when all callbacks were called."""
        ...


class Watcher:
    """A `Watch` by one thread, started with the first event.

    Args:
        enter_thread: Called first in that thread.
    """

    def __init__(self, enter_thread: Callable[[], None]) -> None:
        self._enter_thread = enter_thread
        # reentrant: a lease may be dropped, and so watched, by a collection in the midst of `put`
        self._events: SimpleQueue[tuple[DriverEvent, Done] | None] = SimpleQueue()
        self._thread: threading.Thread | None = None
        self._starting = threading.Lock()

    def call(self, event: DriverEvent, done: Done) -> None:
        self._events.put((event, done))
        if self._thread is None and self._starting.acquire(blocking=False):
            self._thread = threading.Thread(target=self._work, name="device-watcher", daemon=True)
            self._thread.start()

    def keep(self, event: DriverEvent, kept: object) -> None:
        if not event.done:
            self.call(event, partial(_dropped, kept))

    def close(self) -> None:
        if self._thread is not None:
            self._events.put(None)
            self._thread.join()

    def _work(self) -> None:
        self._enter_thread()
        while (item := self._events.get()) is not None:
            event, done = item
            error: BaseException | None = None
            try:
                event.synchronize()
            except Exception as exc:  # a kernel failed; whoever waits for its result is told
                error = exc
            try:
                done(error)
            except Exception as exc:
                logger.error("callback failed", exc_info=exc)
            del item, event, done, error  # an idle thread must not hold the last batch's memory


def _dropped(_kept: object, _error: BaseException | None) -> None:
    """What was kept is no longer needed; whoever waits for the work is told of an error."""
