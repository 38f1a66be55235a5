"""Calling batch handlers: results, failures, and the event at fault."""

import asyncio
import gc
import logging
import threading
import weakref
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import numpy as np
import pytest

from headrace.runtime.batching import BatchInvoker, MemoryLimit
from headrace.runtime.device.cpu import CpuDevice
from headrace.runtime.eager import EagerRunner
from headrace.runtime.errors import DeviceOutOfMemory, HandlerTimeout, ResultError
from headrace.runtime.handlers import Handler, Shape
from headrace.runtime.metrics import Metrics
from headrace.runtime.threads import HandlerThreads
from headrace.triggers.arrays import Row
from headrace.triggers.events import Batch, Event, Trigger
from headrace.triggers.outcomes import Ack, Retry
from headrace.triggers.protocols import Failure

TIMEOUT_S = 0.1
Call = Callable[[Batch], Any]


class Bench:
    """Everything that an invoker needs."""

    def __init__(self) -> None:
        loop = asyncio.get_running_loop()
        self.runner = EagerRunner(loop, TIMEOUT_S)
        self.threads = HandlerThreads(loop, 2, TIMEOUT_S)
        self.metrics = Metrics(["t"])
        self.memory = MemoryLimit(64)
        self.learned: list[int] = []
        self.trigger = Trigger("t", "memory", CpuDevice())

    def invoker(self, call: Call, is_async: bool = False) -> BatchInvoker:
        handler = Handler(shape=Shape.BATCH, call=call, is_async=is_async)
        return BatchInvoker(
            handler,
            self.runner,
            self.threads,
            TIMEOUT_S,
            self.metrics,
            memory=self.memory,
            learn=lambda rows, seconds: self.learned.append(rows),
        )

    async def run(self, call: Call, is_async: bool = False, count: int = 3) -> Any:
        answer: asyncio.Future[object] = asyncio.get_running_loop().create_future()
        events = [Event(b"%d" % number, trigger=self.trigger) for number in range(count)]
        self.invoker(call, is_async).invoke(Batch(events), answer.set_result)
        return await answer


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    bench = Bench()
    yield bench
    bench.runner.cancel_all()
    bench.runner.close()
    bench.threads.close()
    await asyncio.sleep(0)


class Culprits:
    """A handler that raises for some events, and remembers what it was given."""

    def __init__(self, *numbers: int, error: type[BaseException] = ValueError) -> None:
        self.sizes: list[int] = []
        self._bad = {b"%d" % number for number in numbers}
        self._error = error

    def __call__(self, batch: Batch) -> list[bytes]:
        self.sizes.append(len(batch))
        if self._bad & {bytes(value) for value in batch.values}:
            raise self._error("bad row")
        return [bytes(value) for value in batch.values]

    async def on_loop(self, batch: Batch) -> list[bytes]:
        await asyncio.sleep(0)
        return self(batch)


async def test_results_one_per_event(bench: Bench) -> None:
    async def handle(batch: Batch) -> list[int]:
        return [int(event.text()) * 2 for event in batch]

    assert await bench.run(handle, True) == [0, 2, 4]
    assert await bench.run(lambda batch: [bytes(value) for value in batch.values]) == [b"0", b"1", b"2"]
    assert bench.learned == [3, 3]


async def test_arrays_give_rows(bench: Bench) -> None:
    results = await bench.run(lambda batch: np.arange(6).reshape(3, 2))
    assert [list(row) for row in results] == [[0, 1], [2, 3], [4, 5]]


async def test_array_of_rows_is_split_by_event(bench: Bench) -> None:
    bench.trigger.row = Row(dtype="uint8")
    results = await bench.run(lambda batch: batch.tensor() * 2, count=11)
    assert [len(result) for result in results] == [1] * 10 + [2]
    assert bench.learned == [12]


async def test_generators_become_async_iterators(bench: Bench) -> None:
    def each(number: int) -> Iterator[int]:
        yield from range(number)

    results = await bench.run(lambda batch: [each(number) for number in range(3)])
    assert [[item async for item in items] for items in results] == [[], [0], [0, 1]]


@pytest.mark.parametrize("whole", [None, Ack(), Retry(after_s=2)])
async def test_outcome_is_meant_for_each(bench: Bench, whole: object) -> None:
    assert await bench.run(lambda batch: whole) == [whole] * 3


@pytest.mark.parametrize("wrong", [[1, 2], "abc", {"a": 1}, 7])
async def test_wrong_results_fail_the_batch_whole(bench: Bench, wrong: object) -> None:
    failures = await bench.run(lambda batch: wrong)
    assert [type(failure.error) for failure in failures] == [ResultError] * 3
    assert (bench.metrics.batch_bisections, bench.learned) == (0, [])


async def test_batch_may_fail_single_events(bench: Bench) -> None:
    results = await bench.run(lambda batch: [1, ValueError("bad row"), 3])
    assert results[0::2] == [1, 3]
    assert str(results[1].error) == "bad row"


@pytest.mark.parametrize("is_async", [True, False])
async def test_only_the_culprit_fails(bench: Bench, is_async: bool, caplog: pytest.LogCaptureFixture) -> None:
    handler = Culprits(5)
    results = await bench.run(handler.on_loop if is_async else handler, is_async, count=8)
    assert [type(result) for result in results] == [bytes] * 5 + [Failure] + [bytes] * 2
    assert results[6] == b"6"
    assert handler.sizes == [8, 4, 4, 2, 1, 1, 2]
    assert bench.metrics.batch_bisections == 3
    assert [record.levelno for record in caplog.records] == [logging.WARNING, logging.ERROR]
    assert caplog.records[1].exc_info is not None


async def test_several_culprits(bench: Bench) -> None:
    results = await bench.run(Culprits(0, 3, 4, 9), count=10)
    assert [number for number, result in enumerate(results) if isinstance(result, Failure)] == [0, 3, 4, 9]


async def test_a_single_event_that_raises_is_run_once(bench: Bench) -> None:
    handler = Culprits(0)
    [failure] = await bench.run(handler, count=1)
    assert (failure.fault, handler.sizes) == ("handler", [1])


@pytest.mark.parametrize("error", [TimeoutError, ResultError, KeyboardInterrupt])
async def test_what_says_nothing_of_events_is_not_bisected(bench: Bench, error: type[BaseException]) -> None:
    handler = Culprits(1, error=error)
    failures = await bench.run(handler)
    assert ([failure.fault for failure in failures], handler.sizes) == (["handler"] * 3, [3])


async def test_timeout_fails_the_batch_whole(bench: Bench) -> None:
    failures = await bench.run(lambda batch: asyncio.sleep(60), True)
    assert [(type(failure.error), failure.fault) for failure in failures] == [(HandlerTimeout, "timeout")] * 3


async def test_timeout_of_a_half_costs_that_half(bench: Bench) -> None:
    release = threading.Event()

    def handle(batch: Batch) -> list[bytes]:
        if len(batch) == 4:
            raise ValueError
        if bytes(batch[0].data) == b"0":
            release.wait()
        return [b"ok"] * len(batch)

    results = await bench.run(handle, count=4)
    release.set()
    assert [result.fault for result in results[:2]] == ["timeout"] * 2
    assert results[2:] == [b"ok", b"ok"]


async def test_shutdown_ends_a_bisection(bench: Bench) -> None:
    suspended = asyncio.Event()

    async def handle(batch: Batch) -> None:
        if len(batch) == 8:
            raise ValueError
        suspended.set()
        await asyncio.sleep(60)

    running = asyncio.ensure_future(bench.run(handle, True, count=8))
    await suspended.wait()
    bench.runner.cancel_all()
    assert [failure.fault for failure in await running] == ["shutdown"] * 8


async def test_out_of_memory_halves_and_is_remembered(bench: Bench) -> None:
    def handle(batch: Batch) -> list[bytes]:
        if len(batch) > 3:
            raise DeviceOutOfMemory("3 rows fit")
        return [bytes(value) for value in batch.values]

    assert await bench.run(handle, count=12) == [b"%d" % number for number in range(12)]
    assert (bench.memory.size, bench.metrics.out_of_memory, bench.metrics.batch_bisections) == (3, 3, 0)


async def test_memory_is_released_before_the_next_try(bench: Bench) -> None:
    held: list[weakref.ref[Any]] = []
    alive: list[int] = []

    async def handle(batch: Batch) -> list[int]:
        alive.append(sum(reference() is not None for reference in held))
        array = np.zeros(10)
        held.append(weakref.ref(array))
        if len(batch) > 1:
            raise MemoryError
        return [0]

    gc.disable()
    try:
        await bench.run(handle, True, count=4)
    finally:
        gc.enable()
    assert alive == [0] * 7
