"""A batcher with a worker that does as it is told, and a record of what was settled."""

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from headrace.runtime.batching import Batcher
from headrace.runtime.metrics import Metrics
from headrace.runtime.spec import Batching
from headrace.triggers.events import Batch, Event, Trigger
from headrace.triggers.headers import Headers

FRAMES, TICKS = Trigger("frames", "memory"), Trigger("ticks", "memory")


class Worker:
    """Takes batches and finishes them when told."""

    def __init__(self) -> None:
        self.batches: list[Batch] = []
        self._done: list[Callable[[Sequence[object]], None]] = []

    def __call__(self, batch: Batch, done: Callable[[Sequence[object]], None]) -> None:
        self.batches.append(batch)
        self._done.append(done)

    def finish(self, index: int) -> None:
        self._done[index]([bytes(event.data) for event in self.batches[index]])

    @property
    def sizes(self) -> list[int]:
        return [len(batch) for batch in self.batches]

    @property
    def data(self) -> list[list[bytes]]:
        return [[bytes(event.data) for event in batch] for batch in self.batches]


class Bench:
    """The batcher, and what became of events."""

    def __init__(self, workers: int = 1, clock: Callable[[], float] = time.monotonic, **settings: Any) -> None:
        self.worker = Worker()
        self.settled: list[tuple[bytes, object]] = []
        self.metrics = Metrics(["frames", "ticks"])
        loop = asyncio.get_running_loop()
        self.batcher = Batcher(self.worker, Batching(**settings), workers, self.metrics, loop, clock=clock)

    def submit(self, count: int, trigger: Trigger = FRAMES) -> None:
        for number in range(count):
            self.send(b"%d" % number, trigger=trigger)

    def send(
        self, data: bytes, trigger: Trigger = FRAMES, headers: Mapping[str, str] | None = None, **more: str
    ) -> None:
        given = Headers.of({**(headers or {}), **more})
        self.batcher.submit(Event(data, headers=given, trigger=trigger), self._settle)

    def results(self, kind: type) -> dict[bytes, Any]:
        """What was settled with a `kind`, by data."""
        return {data: result for data, result in self.settled if isinstance(result, kind)}

    def _settle(self, event: Event, result: object) -> None:
        self.settled.append((bytes(event.data), result))


async def turn() -> None:
    """Let the loop come round once."""
    await asyncio.sleep(0)


async def until(condition: Callable[[], bool]) -> None:
    """Turn the loop until `condition` holds, for 5 s at most."""
    async with asyncio.timeout(5):
        while not condition():
            await turn()
