"""Sizes learned from latencies, on a simulated service with a clock of its own."""

import random
from collections import deque
from collections.abc import Callable, Iterable
from itertools import accumulate

import pytest

from headrace.runtime.batching.adaptive import AdaptiveSize, LatencyModel

Service = Callable[[int, float], float]


def line(per_row_s: float, fixed_s: float) -> Service:
    return lambda rows, now: per_row_s * rows + fixed_s


class Run:
    """One worker that serves arrivals as the sizing says: latencies by arrival, and batch sizes."""

    def __init__(self, sizing: AdaptiveSize, service: Service, arrivals: Iterable[float], limit: int = 64) -> None:
        self.latencies: list[float] = []
        self.sizes: list[int] = []
        coming, queue, now = deque(arrivals), deque[float](), 0.0
        while coming or queue:
            while coming and coming[0] <= now:
                queue.append(coming.popleft())
                sizing.arrived(queue[-1])
            rows, ask_at = sizing.plan(len(queue), queue[0], now, limit) if queue else (0, float("inf"))
            if not rows:
                soonest = min(ask_at, coming[0]) if coming else ask_at
                assert soonest > now or ask_at > now
                now = soonest
                continue
            took = service(rows, now)
            now += took
            sizing.ran(rows, took)
            self.sizes.append(rows)
            self.latencies += [now - queue.popleft() for _ in range(min(rows, len(queue)))]


def steady(per_second: float, seconds: float) -> list[float]:
    return [number / per_second for number in range(int(per_second * seconds))]


def poisson(per_second: float, seconds: float) -> list[float]:
    source = random.Random(1)
    return list(accumulate(source.expovariate(per_second) for _ in range(int(per_second * seconds))))


def test_learns_the_line() -> None:
    model = LatencyModel()
    for rows in (1, 4, 16, 64) * 10:
        model.learn(rows, 0.001 * rows + 0.02)
    assert model.per_row_s == pytest.approx(0.001, rel=0.02)
    assert model.fixed_s == pytest.approx(0.02, rel=0.02)
    assert model.rows_within(0.0521) == pytest.approx(32, abs=1)


def test_one_size_alone_is_thought_proportional() -> None:
    model = LatencyModel()
    for _ in range(50):
        model.learn(8, 0.016)
    assert model.latency_s(8) == pytest.approx(0.016)
    assert model.latency_s(16) == pytest.approx(0.032)


def test_a_stall_is_not_believed_and_a_change_is() -> None:
    model = LatencyModel()
    source = random.Random(2)
    for _ in range(200):
        rows = source.randint(1, 64)
        model.learn(rows, 0.001 * rows + 0.005)
    model.learn(32, 3.0)
    assert model.latency_s(32) < 0.05
    for _ in range(150):
        rows = source.randint(1, 64)
        model.learn(rows, 0.003 * rows + 0.005)
    assert model.latency_s(32) == pytest.approx(0.101, rel=0.1)


def test_noise() -> None:
    model, source = LatencyModel(), random.Random(3)
    for _ in range(300):
        rows = source.randint(1, 64)
        model.learn(rows, (0.001 * rows + 0.01) * source.uniform(0.8, 1.2))
    assert model.latency_s(40) == pytest.approx(0.05, rel=0.15)


def test_never_negative() -> None:
    model = LatencyModel()
    for rows in (1, 2, 3, 4) * 20:
        model.learn(rows, 1 / rows)
    assert model.per_row_s >= 0
    steep = LatencyModel()
    for rows in (10, 20) * 20:
        steep.learn(rows, 0.001 * (rows - 9))
    assert steep.fixed_s == 0
    assert steep.per_row_s > 0


def test_constant_latency_allows_any_size() -> None:
    model = LatencyModel()
    for rows in (1, 64) * 50:
        model.learn(rows, 0.01)
    assert model.rows_within(0.02) > 10_000
    assert model.rows_within(0.005) < 1


def test_the_first_batch_of_a_process_tells_nothing() -> None:
    sizing = AdaptiveSize(0.05)
    sizing.ran(1, 30.0)
    assert sizing.model.samples == 0
    assert sizing.plan(10, 0.0, 0.0, 64) == (1, 0)


def test_a_single_client_never_waits() -> None:
    sizing = AdaptiveSize(0.05)
    now = 0.0
    for _ in range(100):
        sizing.arrived(now)
        assert sizing.plan(1, now, now, 64) == (1, 0)
        now += 0.012
        sizing.ran(1, 0.011)


@pytest.mark.parametrize("arrivals", [steady(900, 5), poisson(900, 5)])
def test_meets_the_target_where_it_can(arrivals: list[float]) -> None:
    # 19 ms of 25 are left for rows: 38 of them, 1520 a second
    run = Run(AdaptiveSize(0.05), line(0.0005, 0.006), arrivals)
    settled = run.latencies[500:]
    assert max(settled) <= 0.0505
    assert sum(run.sizes) == len(arrivals)


def test_overload_keeps_throughput() -> None:
    run = Run(AdaptiveSize(0.05), line(0.0005, 0.006), steady(4000, 2))
    # capacity with the largest batches is 1684 a second; with those that half the target allows it is 1520
    assert run.sizes[50:-1] == [64] * len(run.sizes[50:-1])


def test_recovers_from_a_stall() -> None:
    stalled = [number / 1000 for number in range(5000)]

    def service(rows: int, now: float) -> float:
        return 1.0 if 1.0 < now < 1.1 else rows * 0.0005 + 0.006

    run = Run(AdaptiveSize(0.05), service, stalled)
    assert max(run.latencies) > 1
    assert max(run.latencies[-1500:]) <= 0.0505


def test_a_target_out_of_reach_gives_the_largest_batches() -> None:
    run = Run(AdaptiveSize(0.005), line(0.001, 0.02), steady(1000, 4), limit=32)
    assert run.sizes[-20:-1] == [32] * 19


def test_follows_a_service_that_becomes_slower_and_quicker() -> None:
    def service(rows: int, now: float) -> float:
        return rows * (0.003 if 4 < now < 10 else 0.0005) + 0.004

    run = Run(AdaptiveSize(0.06), service, steady(200, 20))
    assert max(run.latencies[-1000:]) <= 0.0605
    assert max(run.latencies[(200 * 7) : 200 * 10 - 20]) <= 0.0605


def test_waits_for_company_where_it_pays() -> None:
    alone, fixed = Run(AdaptiveSize(0.1), line(0.0001, 0.0), steady(1000, 3)), 0.008
    together = Run(AdaptiveSize(0.1), line(0.0001, fixed), steady(1000, 3))
    assert max(alone.sizes[100:]) == 1
    assert sum(together.sizes[-50:]) / 50 > 8
    assert max(together.latencies[300:]) <= 0.1
