"""Batches: sizes, delay, triggers kept apart."""

import asyncio
from collections.abc import Callable, Sequence

import pytest

from headrace.runtime.batching import Batcher
from headrace.runtime.metrics import Metrics
from headrace.runtime.spec import Batching
from headrace.triggers.events import Batch, Event, Trigger
from headrace.triggers.units import Seconds

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


class Bench:
    """A batcher with a worker, and what was settled."""

    def __init__(self, workers: int = 1, **batching: object) -> None:
        self.worker = Worker()
        self.settled: list[tuple[bytes, object]] = []
        self.metrics = Metrics(["frames", "ticks"])
        spec = Batching(**batching)  # type: ignore[arg-type]
        self.batcher = Batcher(self.worker, spec, workers, self.metrics, asyncio.get_running_loop())

    def submit(self, count: int, trigger: Trigger = FRAMES) -> None:
        for number in range(count):
            event = Event(b"%d" % number, trigger=trigger)
            self.batcher.submit(event, lambda event, result: self.settled.append((bytes(event.data), result)))


async def turn() -> None:
    await asyncio.sleep(0)


async def test_one_wake_up_one_batch() -> None:
    bench = Bench()
    bench.submit(5)
    assert bench.worker.sizes == []
    await turn()
    assert bench.worker.sizes == [5]


async def test_results_reach_their_events_in_order() -> None:
    bench = Bench()
    bench.submit(3)
    await turn()
    bench.worker.finish(0)
    assert bench.settled == [(b"0", b"0"), (b"1", b"1"), (b"2", b"2")]


async def test_busy_worker_gathers_up_to_the_maximum() -> None:
    bench = Bench(max_batch_size=4)
    bench.submit(1)
    await turn()
    bench.submit(6)
    await turn()
    assert bench.worker.sizes == [1]
    bench.worker.finish(0)
    await turn()
    assert bench.worker.sizes == [1, 4]
    bench.worker.finish(1)
    await turn()
    assert bench.worker.sizes == [1, 4, 2]


async def test_workers_run_side_by_side() -> None:
    bench = Bench(workers=2, max_batch_size=2)
    bench.submit(5)
    await turn()
    assert bench.worker.sizes == [2, 2]


async def test_triggers_are_never_mixed() -> None:
    bench = Bench(workers=3)
    bench.submit(2, FRAMES)
    bench.submit(3, TICKS)
    bench.submit(1, FRAMES)
    await turn()
    assert [(batch.trigger.name, len(batch)) for batch in bench.worker.batches] == [("frames", 3), ("ticks", 3)]


async def test_delay_waits_for_a_preferred_size() -> None:
    bench = Bench(max_batch_size=8, preferred_batch_size=(4,), max_queue_delay=Seconds(60))
    bench.submit(3)
    await turn()
    assert bench.worker.sizes == []
    bench.submit(2)
    await turn()
    assert bench.worker.sizes == [4]


async def test_delay_ends() -> None:
    bench = Bench(max_batch_size=8, max_queue_delay=Seconds(0.02))
    bench.submit(3)
    while not bench.worker.sizes:
        await turn()
    assert bench.worker.sizes == [3]


async def test_a_full_trigger_does_not_wait_behind_one_that_delays() -> None:
    bench = Bench(max_batch_size=4, max_queue_delay=Seconds(60))
    bench.submit(1, TICKS)
    bench.submit(4, FRAMES)
    await turn()
    assert [batch.trigger.name for batch in bench.worker.batches] == ["frames"]


async def test_withdraw_takes_what_is_in_no_batch() -> None:
    bench = Bench(max_batch_size=2)
    bench.submit(5)
    await turn()
    assert [bytes(event.data) for event in bench.batcher.withdraw("frames")] == [b"2", b"3", b"4"]
    assert bench.batcher.withdraw("frames") == []
    bench.worker.finish(0)
    await turn()
    assert bench.worker.sizes == [2]


async def test_queue_delay_is_counted_per_event() -> None:
    bench = Bench()
    bench.submit(5)
    await turn()
    assert sum(bench.metrics.triggers["frames"].queue_delay.counts) == 5


@pytest.mark.parametrize("count", [1, 63, 64, 65, 1000])
async def test_every_event_is_settled_once(count: int) -> None:
    bench = Bench()
    bench.submit(count)
    index = 0
    while len(bench.settled) < count:
        await turn()
        if index < len(bench.worker.batches):
            bench.worker.finish(index)
            index += 1
    assert [int(data) for data, _ in bench.settled] == list(range(count))
