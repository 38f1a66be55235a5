"""A sync handler that computes for a while, while a task of the loop measures how late it wakes up."""

import asyncio
import time

from headrace import Event

SLEEP_S = 0.001
late_s: list[float] = []


class Function:
    async def start(self) -> None:
        self.task = asyncio.create_task(measure())

    def handle(self, event: Event) -> object:
        if event.data == b"figures":
            figures, late_s[:] = sorted(late_s), []
            return {"count": len(figures), "p99_ms": figures[int(len(figures) * 0.99)] * 1000 if figures else None}
        until = time.perf_counter() + 0.05
        total = 0
        while time.perf_counter() < until:
            total += sum(range(1000))
        return b"%d" % total

    async def stop(self) -> None:
        self.task.cancel()


async def measure() -> None:
    while True:
        due = time.perf_counter() + SLEEP_S
        await asyncio.sleep(SLEEP_S)
        late_s.append(max(0.0, time.perf_counter() - due))
