"""What a batch handler returned, as one result per event.

What does not belong here: what becomes of a result, and generators.
"""

from collections.abc import Iterator, Sequence
from itertools import accumulate
from typing import Any

from headrace.triggers.events import Batch
from headrace.triggers.outcomes import Ack, Reject, Response, Retry

from ..errors import ResultError

_WHOLE = (str, bytes, bytearray, memoryview, dict, Response)


def one_per_event(result: Any, batch: Batch) -> Sequence[Any]:
    """`result` taken apart.

    Args:
        result: A sequence of one result per event; an array of one row per row of the batch, which is split by
            event; None or an outcome, which is meant for each event.
        batch: What the handler was given.

    Raises:
        ResultError: Another number, or no sequence at all.
    """
    count = len(batch)
    if type(result) is list and len(result) == count:  # by far the most
        return result
    if result is None or isinstance(result, Ack | Retry | Reject):
        return [result] * count
    if isinstance(result, _WHOLE) or not hasattr(result, "__len__"):
        raise ResultError(f"batch handler: expected a sequence of {count} results, got `{type(result).__name__}`")
    length = len(result)
    if length == count:
        return result  # type: ignore[no-any-return]
    rows = batch.rows
    if length == rows and _is_array(result):
        return list(_by_event(result, batch))
    expected = f"{count} results" if rows == count else f"{count} results or an array of {rows} rows"
    raise ResultError(f"batch handler: expected {expected}, got {length}")


def _is_array(value: object) -> bool:
    return hasattr(value, "__array_interface__") or hasattr(value, "__cuda_array_interface__")


def _by_event(array: Any, batch: Batch) -> Iterator[Any]:
    """Views of `array`: each event's rows, the dimension of rows kept."""
    row = batch.trigger.row
    assert row is not None  # or there were as many rows as events
    ends = accumulate(event.data.nbytes // row.size_bytes for event in batch)
    start = 0
    for end in ends:
        yield array[start:end]
        start = end
