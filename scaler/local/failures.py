"""How starts have gone of late: when the next may be tried, and when to give up holding requests.

Pure: times are passed in. What does not belong here: starting anything.
"""

GIVE_UP_AFTER = 3
"""Failed starts in a row after which requests are refused instead of held."""
_FIRST_S = 0.25
_LONGEST_S = 30.0
_REASON_CHARS = 500


class Failures:
    """Counts ends that nobody asked for since the last sign of progress."""

    def __init__(self) -> None:
        self.starts = 0
        self.reason: str | None = None
        self._ends = 0
        self._not_before = 0.0

    @property
    def given_up(self) -> bool:
        """So many starts failed in a row that requests are not held for the next."""
        return self.starts >= GIVE_UP_AFTER

    def start_failed(self, reason: str, now: float) -> None:
        """A replica failed, or exited, before it was ready."""
        self.starts += 1
        self.reason = shortened(reason)
        self._count(self.starts, now)

    def exited(self, now: float) -> None:
        """A replica exited that had been ready: the first is replaced at once, then with backoff."""
        self._ends += 1
        self._count(self._ends - 1, now)

    def ready(self) -> None:
        """A replica is ready."""
        self.starts = 0
        self.reason = None

    def progressed(self) -> None:
        """A replica has settled an event: whatever ended others is not what every event meets."""
        self._ends = 0

    def wait_s(self, now: float) -> float:
        """Seconds until the next start may be tried; 0: now."""
        return max(0.0, self._not_before - now)

    def _count(self, ends: int, now: float) -> None:
        delay_s = min(_LONGEST_S, _FIRST_S * 2 ** (ends - 1)) if ends > 0 else 0.0
        self._not_before = now + delay_s


def shortened(reason: str) -> str:
    """One short line for logs and clients: of a traceback its last line."""
    lines = [" ".join(line.split()) for line in reason.splitlines() if line.strip()]
    if not lines:
        return "no reason given"
    line = lines[-1] if lines[0].startswith("Traceback") else lines[0]
    return line if len(line) <= _REASON_CHARS else line[: _REASON_CHARS - 1] + "…"
