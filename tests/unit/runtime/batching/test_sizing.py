"""Fixed sizes within a delay."""

import pytest

from headrace.runtime.batching.sizing import FixedSizes


@pytest.mark.parametrize(
    ("rows", "waited", "plan"),
    [
        (1, 0, (0, 10.5)),
        (4, 0, (4, 10.5)),
        (7, 0, (4, 10.5)),
        (8, 0, (8, 10.5)),
        (16, 0, (16, 0)),
        (40, 0, (16, 0)),
        (3, 0.4995, (3, 0)),
        (3, 0.6, (3, 0)),
    ],
)
def test_preferred_sizes(rows: int, waited: float, plan: tuple[int, float]) -> None:
    assert FixedSizes([8, 4], 0.5).plan(rows, received=10, now=10 + waited, limit=16) == plan


def test_without_a_delay_all_go() -> None:
    assert FixedSizes([8, 4], 0).plan(3, received=10, now=10, limit=16) == (3, 0)


def test_preferred_sizes_above_the_present_limit_do_not_count() -> None:
    assert FixedSizes([8], 0.5).plan(5, received=10, now=10, limit=4) == (4, 0)
