"""Runs of granules."""

import random

from headrace.runtime.buffers.granules import Granules


def test_takes_the_lowest_run_that_fits() -> None:
    granules = Granules(10)
    assert [granules.take(count) for count in (3, 2, 4)] == [0, 3, 5]
    granules.give(3, 2)
    assert granules.free == 3
    assert granules.take(3) == -1
    assert granules.take(1) == 3
    assert granules.take(1) == 4
    assert granules.take(1) == 9
    assert granules.take(1) == -1


def test_what_is_free_grows_together() -> None:
    granules = Granules(8)
    starts = [granules.take(2) for _ in range(4)]
    for start in (starts[1], starts[3], starts[2]):
        granules.give(start, 2)
    assert granules.take(6) == 2
    assert granules.take(1) == -1


def test_extends_a_run_where_it_is_free_behind() -> None:
    granules = Granules(8)
    first, second = granules.take(2), granules.take(1)
    assert not granules.extend(first, 2, 3)
    assert granules.extend(second, 1, 4)
    assert granules.free == 2
    assert not granules.extend(second, 4, 7)
    granules.give(second, 4)
    assert granules.extend(first, 2, 8)


def test_agrees_with_a_search_granule_by_granule() -> None:
    rng = random.Random(1)
    granules, free = Granules(100), [True] * 100
    runs: list[tuple[int, int]] = []
    for _ in range(3000):
        count = rng.randint(1, 20)
        want = next((i for i in range(101 - count) if all(free[i : i + count])), -1)
        assert granules.take(count) == want
        if want >= 0:
            free[want : want + count] = [False] * count
            runs.append((want, count))
        while runs and (want < 0 or rng.random() < 0.45):
            start, size = runs.pop(rng.randrange(len(runs)))
            free[start : start + size] = [True] * size
            granules.give(start, size)
            want = 0
        assert granules.free == sum(free)
