"""A platform and a backlog in memory, for the control loop."""

import asyncio
from collections.abc import Callable, Mapping

from headrace.scaler.platform import Replica, ReplicaState, View
from headrace.triggers.errors import BrokerUnavailable
from headrace.triggers.protocols import Reading


class MemoryPlatform:
    """Replicas that are ready at once, unless `slow`; they go at once."""

    def __init__(self, cap: int | None = None, slow: bool = False) -> None:
        self.cap = cap
        self.slow = slow
        self.replicas: list[Replica] = []
        self.waiting = 0
        self.completed: dict[str, int] = {}
        self.applied: list[int] = []
        self.looks = 0
        self.wake: Callable[[], None] = lambda: None
        self._pid = 0

    def watch(self, wake: Callable[[], None]) -> None:
        self.wake = wake

    def look(self) -> View:
        self.looks += 1
        return View(replicas=tuple(self.replicas), waiting=self.waiting, completed=dict(self.completed))

    def apply(self, replicas: int) -> None:
        if not self.applied or self.applied[-1] != replicas:
            self.applied.append(replicas)
        del self.replicas[replicas:]
        while len(self.replicas) < replicas:
            self._pid += 1
            state = ReplicaState.STARTING if self.slow else ReplicaState.READY
            self.replicas.append(Replica(pid=self._pid, state=state, started_s=1000.0 + self._pid, cold_start_s=0.2))

    async def aclose(self) -> None:
        self.replicas.clear()


class MemoryBacklog:
    """A queue whose depth the test sets."""

    def __init__(self, pending: int = 0) -> None:
        self.pending = pending
        self.arrived = pending
        self.down = False
        self.failure: Exception | None = None
        self.opened = asyncio.Event()
        self.closed = False
        self.wake: Callable[[], None] | None = None
        self.reads = 0

    def publish(self, count: int = 1) -> None:
        self.pending += count
        self.arrived += count
        if self.wake is not None:
            self.wake()

    async def open(self) -> None:
        if self.down:
            raise BrokerUnavailable("nats://test: expected a broker, got none")
        self.opened.set()

    async def read(self) -> Reading:
        self.reads += 1
        if self.failure is not None:
            raise self.failure
        if self.down:
            raise BrokerUnavailable("nats://test: expected a broker, got none")
        return Reading(pending=self.pending, unsettled=0, arrived_total=self.arrived)

    def watch(self, wake: Callable[[], None]) -> None:
        self.wake = wake

    def unwatch(self) -> None:
        self.wake = None

    async def aclose(self) -> None:
        self.closed = True


class Clock:
    """Time that goes on when told to."""

    def __init__(self, now: float = 1000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


def completed(platform: MemoryPlatform, counts: Mapping[str, int]) -> None:
    """Let replicas have settled `counts`."""
    platform.completed = dict(counts)
