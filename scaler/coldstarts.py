"""How long it takes from the first sign of work to a replica that does it.

What does not belong here: anything decided by these figures.
"""

from collections import deque
from collections.abc import Callable, Sequence
from statistics import median

import msgspec

from .platform import Replica

_KEPT = 100
_TYPICAL_OF = 9
_GUESS_S = 0.5


class ColdStart(msgspec.Struct, frozen=True, kw_only=True):
    """One wake from zero.

    Attributes:
        woken_s: Unix time of the first sign of work.
        ready_s: From the replica's start to ready; None: not yet.
        first_event_s: From `woken_s` until the first event's handling began; None: not yet.
    """

    woken_s: float
    ready_s: float | None = None
    first_event_s: float | None = None


class ColdStarts:
    """Figures of the last hundred wakes from zero, and of single replicas' starts.

    Args:
        wall: Unix time.
    """

    def __init__(self, wall: Callable[[], float]) -> None:
        self._wall = wall
        self._wakes: deque[ColdStart] = deque(maxlen=_KEPT)
        self._sign_s: float | None = None
        self._starts: dict[tuple[int, float], float] = {}

    @property
    def all(self) -> tuple[ColdStart, ...]:
        """The last hundred, oldest first."""
        return tuple(self._wakes)

    @property
    def typical_s(self) -> float:
        """Median of the last replicas' starts."""
        return median(self._starts.values()) if self._starts else _GUESS_S

    def sign(self) -> None:
        """Something woke the loop: if this leads to a start from zero, it began now."""
        if self._sign_s is None:
            self._sign_s = self._wall()

    def decided(self, replicas: int) -> None:
        """What came of it, at zero."""
        if replicas:
            self._wakes.append(ColdStart(woken_s=self._wall() if self._sign_s is None else self._sign_s))
        self._sign_s = None

    def look(self, replicas: Sequence[Replica]) -> None:
        """Take the figures of replicas that have them."""
        for replica in replicas:
            if replica.cold_start_s is not None:
                self._starts[replica.pid, replica.started_s] = replica.cold_start_s
        while len(self._starts) > _TYPICAL_OF:
            del self._starts[next(iter(self._starts))]
        if self._wakes:
            self._wakes[-1] = _filled(self._wakes[-1], replicas)


def _filled(wake: ColdStart, replicas: Sequence[Replica]) -> ColdStart:
    """`wake` with what replicas started by it say."""
    mine = [replica for replica in replicas if replica.started_s >= wake.woken_s]
    ready = [replica.cold_start_s for replica in mine if replica.cold_start_s is not None]
    first = [replica.first_event_s - wake.woken_s for replica in mine if replica.first_event_s >= wake.woken_s]
    if wake.ready_s is None and ready:
        wake = msgspec.structs.replace(wake, ready_s=min(ready))
    if wake.first_event_s is None and first:
        wake = msgspec.structs.replace(wake, first_event_s=min(first))
    return wake
