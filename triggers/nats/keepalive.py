"""Keeps deliveries from being delivered again while they are being worked on.

One timer for all of a source's deliveries, and none while there are none: every `ack_wait / 3`, those that
were there at the last turn are touched, so that short work never costs a message. What does not belong
here: sending, which the source does.
"""

import asyncio
from collections.abc import Callable, Iterable


class Keepalive:
    """Which deliveries are unsettled, and when the broker is to hear that they are in progress.

    Args:
        ack_wait_s: After this long without a sign the broker delivers again.
        touch: Called with the ack subjects of deliveries that need one.
    """

    def __init__(self, ack_wait_s: float, touch: Callable[[Iterable[str]], None]) -> None:
        self._interval_s = ack_wait_s / 3
        self._touch = touch
        self._seen: dict[str, int] = {}
        self._turn = 0
        self._timer: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        return len(self._seen)

    def add(self, reply: str) -> None:
        """A delivery arrived."""
        self._seen[reply] = self._turn
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(self._interval_s, self._tick)

    def end(self, reply: str) -> bool:
        """It is settled; False where it was already."""
        return self._seen.pop(reply, None) is not None

    def close(self) -> None:
        """Touch nothing any more."""
        self._seen.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _tick(self) -> None:
        if not self._seen:
            self._timer = None
            return
        if due := [reply for reply, turn in self._seen.items() if turn < self._turn]:
            self._touch(due)
        self._turn += 1
        self._timer = asyncio.get_running_loop().call_later(self._interval_s, self._tick)
