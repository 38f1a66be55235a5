"""Results taken apart by event."""

from typing import Any

import numpy as np
import pytest

from headrace.runtime.batching.outputs import one_per_event
from headrace.runtime.errors import ResultError
from headrace.triggers.arrays import Row
from headrace.triggers.events import Batch, Event, Trigger
from headrace.triggers.outcomes import Ack, Reject, Retry

BYTES = Trigger("t", "memory", row=Row(dtype="uint8", shape=(2,)))


def batch(*rows: int, trigger: Trigger = BYTES) -> Batch:
    return Batch([Event(bytes(2 * count), trigger=trigger) for count in rows])


def test_array_of_rows_is_split_by_event() -> None:
    out = np.arange(12).reshape(6, 2)
    first, second, third = one_per_event(out, batch(1, 3, 2))
    assert (first.tolist(), second.shape, third.tolist()) == ([[0, 1]], (3, 2), [[8, 9], [10, 11]])
    assert np.shares_memory(second, out)


def test_array_of_events_is_taken_as_it_is() -> None:
    assert [value.tolist() for value in one_per_event(np.arange(2), batch(1, 3))] == [0, 1]


def test_as_many_rows_as_events() -> None:
    assert [value.tolist() for value in one_per_event(np.arange(4).reshape(2, 2), batch(1, 1))] == [[0, 1], [2, 3]]


@pytest.mark.parametrize("result", [[1, 2], (1, 2)])
def test_sequences(result: Any) -> None:
    assert one_per_event(result, batch(1, 3)) is result


@pytest.mark.parametrize("whole", [None, Ack(), Retry(), Reject("no")])
def test_meant_for_each(whole: object) -> None:
    assert one_per_event(whole, batch(1, 3)) == [whole, whole]


@pytest.mark.parametrize(
    ("result", "message"),
    [
        ([1, 2, 3, 4], "expected 2 results or an array of 4 rows, got 4"),  # only arrays have rows
        (np.arange(3), "expected 2 results or an array of 4 rows, got 3"),
        (b"ab", "expected a sequence of 2 results, got `bytes`"),
        (np.float32(1), "expected a sequence of 2 results, got `float32`"),
        (7, "expected a sequence of 2 results, got `int`"),
    ],
)
def test_refused(result: Any, message: str) -> None:
    with pytest.raises(ResultError, match=message):
        one_per_event(result, batch(1, 3))


def test_refused_without_a_row() -> None:
    with pytest.raises(ResultError, match="expected 2 results, got 3"):
        one_per_event([1, 2, 3], batch(1, 1, trigger=Trigger("t", "memory")))
