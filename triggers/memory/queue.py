"""What stands in for a broker: messages, who holds them, and when they are delivered again.

It is JetStream's behaviour, one stream and one consumer: at least once, attempts counted, delayed retries,
redelivery of what its holder does not settle in time, duplicates dropped by id. What does not belong here:
the source's, sink's and backlog's side of it.
"""

import itertools
from collections.abc import Callable, Sequence
from typing import Protocol

import msgspec

from ..errors import BrokerUnavailable
from ..headers import Headers


class Timer(Protocol):
    """A call to come."""

    def cancel(self) -> None:
        """Do not call."""
        ...


class Clock(Protocol):
    """Time and calls in time; an asyncio loop is one."""

    def time(self) -> float:
        """Monotonic seconds."""
        ...

    def call_later(self, delay: float, callback: Callable[[], object]) -> Timer:
        """Call once after `delay` seconds."""
        ...


class Stored(msgspec.Struct, eq=False):
    """A message in the queue.

    Attributes:
        sequence: From 1.
        data: The body.
        headers: As published.
        attempts: Times delivered.
        timer: While it is held: its redelivery; while it is delayed: its return.
    """

    sequence: int
    data: bytes
    headers: Headers
    attempts: int = 0
    timer: Timer | None = None


class MemoryQueue:
    """One queue, its readers and its writers.

    Args:
        name: Part of the ids of its events.
        clock: For delays and redelivery; an asyncio loop, or a test's own.
        ack_wait_s: After this long unsettled, a message is delivered again.
    """

    def __init__(self, name: str, clock: Clock, ack_wait_s: float = 30.0) -> None:
        self.name = name
        self.settled = 0
        self._clock = clock
        self._ack_wait_s = ack_wait_s
        self._available = True
        self._sequence = itertools.count(1)
        self._arrived = 0
        self._waiting: list[Stored] = []
        self._held: dict[int, Stored] = {}
        self._delayed: dict[int, Stored] = {}
        self._ids: set[str] = set()
        self._listeners: list[Callable[[], None]] = []

    @property
    def available(self) -> bool:
        """Whether the broker that this stands for is there; set it to False for an outage."""
        return self._available

    @available.setter
    def available(self, there: bool) -> None:
        self._available = there
        self._tell()

    @property
    def pending(self) -> int:
        """Messages to be delivered, now or after a delay."""
        return len(self._waiting) + len(self._delayed)

    @property
    def unsettled(self) -> int:
        """Messages delivered and not settled."""
        return len(self._held)

    @property
    def arrived(self) -> int:
        """Messages ever put in."""
        return self._arrived

    def put(self, data: bytes, headers: Headers | None = None, id: str | None = None) -> bool:
        """Store a message; False where one with that `id` came before.

        Raises:
            BrokerUnavailable: During an outage.
        """
        self.check_available()
        if id is not None:
            if id in self._ids:
                return False
            self._ids.add(id)
        self._arrived += 1
        self._waiting.append(Stored(next(self._sequence), data, headers or Headers()))
        self._tell()
        return True

    def take(self, limit: int) -> Sequence[Stored]:
        """Deliver up to `limit` messages; none during an outage."""
        if not self._available:
            return ()
        taken, self._waiting = self._waiting[:limit], self._waiting[limit:]
        for stored in taken:
            stored.attempts += 1
            self._hold(stored)
        return taken

    def keep(self, sequence: int) -> None:
        """Its holder works on it still."""
        if (stored := self._held.get(sequence)) is not None:
            self._hold(stored)

    def ack(self, sequence: int) -> None:
        """It is done."""
        if self._release(sequence) is not None:
            self.settled += 1

    def nak(self, sequence: int, delay_s: float = 0.0) -> None:
        """Deliver it again, after `delay_s`."""
        if (stored := self._release(sequence)) is None:
            return
        if delay_s > 0:
            self._delayed[sequence] = stored
            stored.timer = self._clock.call_later(delay_s, lambda: self._return(self._delayed.pop(sequence)))
        else:
            self._return(stored)

    def listen(self, listener: Callable[[], None]) -> None:
        """Call `listener` when something may be there to take, and when an outage begins or ends."""
        self._listeners.append(listener)

    def unlisten(self, listener: Callable[[], None]) -> None:
        """End `listen`."""
        if listener in self._listeners:
            self._listeners.remove(listener)

    def check_available(self) -> None:
        """Raise `BrokerUnavailable` during an outage."""
        if not self._available:
            raise BrokerUnavailable(f"queue: not available - at `memory:{self.name}`")

    def close(self) -> None:
        """Cancel every timer."""
        for stored in (*self._held.values(), *self._delayed.values()):
            if stored.timer is not None:
                stored.timer.cancel()

    def _hold(self, stored: Stored) -> None:
        if stored.timer is not None:
            stored.timer.cancel()
        self._held[stored.sequence] = stored
        stored.timer = self._clock.call_later(self._ack_wait_s, lambda: self.nak(stored.sequence))

    def _release(self, sequence: int) -> Stored | None:
        stored = self._held.pop(sequence, None)
        if stored is not None and stored.timer is not None:
            stored.timer.cancel()
            stored.timer = None
        return stored

    def _return(self, stored: Stored) -> None:
        stored.timer = None
        self._waiting.insert(0, stored)
        self._tell()

    def _tell(self) -> None:
        for listener in list(self._listeners):
            listener()
