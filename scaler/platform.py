"""The seam between the control loop and whatever runs replicas: processes here, pods on a cluster.

What does not belong here: deciding how many there should be, and starting any.
"""

import enum
from collections.abc import Callable, Mapping
from typing import Protocol

import msgspec


class ReplicaState(enum.Enum):
    """Where a replica is in its life."""

    STARTING = "starting"
    READY = "ready"
    UNREADY = "unready"
    """It takes nothing new and will exit by itself."""
    DRAINING = "draining"


class Replica(msgspec.Struct, frozen=True, kw_only=True):
    """One replica as its platform last heard of it.

    Attributes:
        in_flight: Events received and not settled.
        completed: Events settled since its start, by trigger name.
        connections: Open HTTP connections.
        busy_s: Seconds since its start during which anything was in flight.
        started_s: Unix time at which it was started.
        cold_start_s: From there until it was ready; None before.
        first_event_s: Unix time at which its first event's handling began; 0 before.
        generation: Counts reloads of the function.
    """

    pid: int
    state: ReplicaState
    in_flight: int = 0
    completed: Mapping[str, int] = {}
    connections: int = 0
    busy_s: float = 0.0
    started_s: float = 0.0
    cold_start_s: float | None = None
    first_event_s: float = 0.0
    generation: int = 0


class View(msgspec.Struct, frozen=True, kw_only=True):
    """What a platform knows at one moment.

    Attributes:
        replicas: All that have not exited, oldest first.
        waiting: HTTP connections with (or about to have) a request that no replica has taken.
        completed: Events settled by all replicas there ever were, by trigger name.
        replaced: Replicas that exited unasked after they had been ready.
        failed_starts: Starts that failed since the last that did not.
        failure: Why the last of them did; None after one that did not.
    """

    replicas: tuple[Replica, ...] = ()
    waiting: int = 0
    completed: Mapping[str, int] = {}
    replaced: int = 0
    failed_starts: int = 0
    failure: str | None = None


class Platform(Protocol):
    """Runs as many replicas of one function as it is told to."""

    @property
    def cap(self) -> int | None:
        """The most replicas that it has room for (locally CPU cores); None: any number."""
        ...

    def watch(self, wake: Callable[[], None]) -> None:
        """Call `wake` whenever a replica's state changes or a request waits for the first replica."""
        ...

    def look(self) -> View:
        """What is known now; costs no more than a system call."""
        ...

    def apply(self, replicas: int) -> None:
        """Have `replicas` from now on: starts, replaces and drains go on by themselves."""
        ...

    async def aclose(self) -> None:
        """Drain all replicas and wait until they are gone."""
        ...
