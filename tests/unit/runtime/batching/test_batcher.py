"""Batches: sizes, delay, triggers kept apart, rows, priorities and queue policies."""

import asyncio
from typing import Any

import pytest
from support.batching import FRAMES, TICKS, Bench, turn, until

from headrace.runtime.batching import Batcher, MemoryLimit
from headrace.runtime.errors import QueueFull, QueueTimeout
from headrace.runtime.metrics import Metrics
from headrace.runtime.spec import Batching, QueuePolicy
from headrace.triggers.arrays import Row
from headrace.triggers.events import Batch, Event
from headrace.triggers.outcomes import Reject
from headrace.triggers.protocols import Failure
from headrace.triggers.units import Seconds

PAIR = Row(dtype="uint16", shape=(1,))


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
    await until(lambda: bool(bench.worker.sizes))
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


async def test_sizes_count_rows_where_a_row_is_declared() -> None:
    bench = Bench(max_batch_size=4, row=PAIR)
    for data in (b"aa", b"bbbb", b"cc", b"dddddddd", b"ee"):
        bench.send(data)
    await turn()
    bench.worker.finish(0)
    await turn()
    bench.worker.finish(1)
    await turn()
    assert bench.worker.data == [[b"aa", b"bbbb", b"cc"], [b"dddddddd"], [b"ee"]]


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"abc", "expected a multiple of 2 bytes (rows of uint16 [1]), got 3"),
        (b"", "expected a multiple of 2 bytes (rows of uint16 [1]), got 0"),
        (bytes(10), "expected at most 4 rows, got 5"),
    ],
)
async def test_data_that_is_no_row_is_rejected_before_it_reaches_a_batch(data: bytes, reason: str) -> None:
    bench = Bench(max_batch_size=4, row=PAIR)
    bench.send(data)
    bench.send(b"ok")
    await turn()
    assert bench.settled == [(data, Reject(reason))]
    assert bench.worker.data == [[b"ok"]]


async def test_priorities_are_strict_and_keep_order() -> None:
    bench = Bench(max_batch_size=3, priority_levels=3, default_priority_level=2)
    for data, priority in ((b"a", "3"), (b"b", "2"), (b"c", "nonsense"), (b"d", "1"), (b"e", "4"), (b"f", "1")):
        bench.send(data, priority=priority)
    bench.send(b"g")
    for index in range(3):
        await turn()
        bench.worker.finish(index)
    assert bench.worker.data == [[b"d", b"f", b"b"], [b"c", b"e", b"g"], [b"a"]]


async def test_a_higher_level_goes_first_whatever_its_trigger() -> None:
    bench = Bench(priority_levels=2)
    bench.send(b"slow")
    bench.send(b"fast", TICKS, priority="1")
    await turn()
    assert bench.worker.data == [[b"fast"]]


async def test_priority_of_cloudevents() -> None:
    bench = Bench(max_batch_size=1, priority_levels=2)
    bench.send(b"low")
    bench.send(b"high", headers={"ce-priority": "1"})
    await turn()
    assert bench.worker.data == [[b"high"]]


async def test_full_level_refuses() -> None:
    policy = {"1": QueuePolicy(max_queue_size=1)}
    bench = Bench(workers=0, priority_levels=2, priority_queue_policy=policy)
    bench.send(b"first", priority="1")
    bench.send(b"second", priority="1")
    bench.send(b"other level")
    [(data, failure)] = bench.settled
    assert (data, isinstance(failure, Failure)) == (b"second", True)
    assert isinstance(failure, Failure)
    assert (type(failure.error), failure.fault) == (QueueFull, "overload")


async def test_time_in_the_queue_ends_while_no_worker_is_free() -> None:
    bench = Bench(workers=0, default_queue_policy=QueuePolicy(default_timeout=Seconds(0.02)))
    bench.submit(2)
    await until(lambda: len(bench.settled) == 2)
    failures = bench.results(Failure)
    assert {type(failure.error) for failure in failures.values()} == {QueueTimeout}
    assert {failure.fault for failure in failures.values()} == {"queue_timeout"}
    assert bench.batcher.withdraw("frames") == []


async def test_event_may_shorten_its_time() -> None:
    policy = QueuePolicy(default_timeout=Seconds(60), allow_timeout_override=True)
    bench = Bench(workers=0, default_queue_policy=policy)
    bench.send(b"patient", timeout="90000")
    bench.send(b"hasty", timeout="5")
    bench.send(b"vague", timeout="soon")
    await until(lambda: bool(bench.settled))
    assert list(bench.results(Failure)) == [b"hasty"]
    assert [event.text() for event in bench.batcher.withdraw("frames")] == ["patient", "vague"]


async def test_delayed_events_come_after_the_others_of_their_level() -> None:
    policy = QueuePolicy(default_timeout=Seconds(60), allow_timeout_override=True, timeout_action="delay")
    now = [0.0]
    bench = Bench(clock=lambda: now[0], max_batch_size=1, default_queue_policy=policy)
    bench.send(b"running")
    await turn()
    bench.send(b"late", timeout="1")
    bench.send(b"timely")
    now[0] = 0.01
    for index in range(2):
        bench.worker.finish(index)
        await turn()
    assert bench.worker.data == [[b"running"], [b"timely"], [b"late"]]


async def test_memory_limit_bounds_batches() -> None:
    bench, memory = Bench(), MemoryLimit(64)
    memory.ran_out(8)
    spec = Batching(max_batch_size=64)
    batcher = Batcher(bench.worker, spec, 2, bench.metrics, asyncio.get_running_loop(), memory=memory)
    for _ in range(6):
        batcher.submit(Event(b"", trigger=FRAMES), lambda event, result: None)
    await turn()
    assert bench.worker.sizes == [4, 2]


async def test_settling_that_raises_costs_no_other_event() -> None:
    bench, told = Bench(), list[dict[str, Any]]()
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: told.append(context))

    def broken(event: Event, result: object) -> None:
        raise RuntimeError("sink")

    bench.batcher.submit(Event(b"x", trigger=FRAMES), broken)
    bench.submit(2)
    await turn()
    bench.worker.finish(0)
    assert [data for data, _ in bench.settled] == [b"0", b"1"]
    assert str(told[0]["exception"]) == "sink"


async def test_arrivals_are_told() -> None:
    times: list[float] = []

    def invoke(batch: Batch, done: object) -> None: ...

    loop = asyncio.get_running_loop()
    batcher = Batcher(invoke, Batching(), 1, Metrics(["frames"]), loop, arrived=times.append, clock=lambda: 7.0)
    batcher.submit(Event(b"", trigger=FRAMES), lambda event, result: None)
    await turn()
    assert times == [7.0]
