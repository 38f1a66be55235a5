"""Where the rows of a batch lie in memory: side by side they are one array already, else they are gathered.

Both the CPU and the GPUs ask here. What does not belong here: whether bytes fit a dtype (`triggers.arrays`),
and where a gather goes (`blocks`).
"""

import ctypes
from collections.abc import Sequence
from itertools import count
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

SLOT_ALIGNMENT = 64
"""Slots begin at multiples of this, so rows of other sizes lie side by side with a gap (architecture §5)."""
UNLOCKED_COPY_BYTES = 64 * 1024
"""Rows of this size are copied without the GIL (some 5 µs each); below, giving it up costs more than it frees."""

Bytes = NDArray[np.uint8]

_byte_at = ctypes.c_char.from_buffer
_address_of = ctypes.addressof


class Run(NamedTuple):
    """Rows that lie side by side.

    Attributes:
        address: Of the first.
        length: How many there are.
        row_bytes: Of each.
        pitch_bytes: From the beginning of one to that of the next.
    """

    address: int
    length: int
    row_bytes: int
    pitch_bytes: int


def addresses_of(rows: Sequence[memoryview]) -> list[int]:
    """The address of each; none may be empty."""
    try:  # 0.15 µs a row; by `__array_interface__` it would be 3.5
        return [_address_of(_byte_at(row)) for row in rows]
    except TypeError:  # ctypes wants them writable
        return [_address_of_any(row) for row in rows]


def run_of(rows: Sequence[memoryview], addresses: Sequence[int]) -> Run | None:
    """All `rows` as one run, if they are one: without gaps, or of one size in consecutive slots."""
    size = rows[0].nbytes
    pitch = size if len(rows) == 1 else addresses[1] - addresses[0]
    slot = -(-size // SLOT_ALIGNMENT) * SLOT_ALIGNMENT
    if pitch == slot != size:
        for row, address, expected in zip(rows, addresses, count(addresses[0], pitch), strict=False):
            if address != expected or row.nbytes != size:
                return None
        return Run(addresses[0], len(rows), size, pitch)
    joined = merged(rows, addresses)
    return Run(joined[0][0], 1, joined[0][1], joined[0][1]) if len(joined) == 1 else None


def merged(rows: Sequence[memoryview], addresses: Sequence[int]) -> list[tuple[int, int]]:
    """(address, bytes) of each stretch without gaps, in order."""
    stretches: list[tuple[int, int]] = []
    start = end = addresses[0]
    for row, address in zip(rows, addresses, strict=True):
        if address != end:
            stretches.append((start, end - start))
            start = end = address
        end += row.nbytes
    stretches.append((start, end - start))
    return stretches


class Joined:
    """Several buffers seen as one array, which keeps them all.

    Args:
        rows: Kept as long as the array or any view of it lives.
        run: Where they lie.
    """

    __slots__ = ("__array_interface__", "_rows")

    def __init__(self, rows: Sequence[memoryview], run: Run) -> None:
        self._rows = rows
        self.__array_interface__: dict[str, Any] = {
            "version": 3,
            "typestr": "|u1",
            "data": (run.address, any(row.readonly for row in rows)),
            "shape": (run.length, run.row_bytes),
            "strides": (run.pitch_bytes, 1),
        }


def gather(rows: Sequence[memoryview], addresses: Sequence[int], out: Bytes) -> None:
    """Copy `rows` one after the other into `out`, which is of their size."""
    if out.nbytes >= UNLOCKED_COPY_BYTES * len(rows):
        at = out.__array_interface__["data"][0]
        for row, address in zip(rows, addresses, strict=True):
            ctypes.memmove(at, address, row.nbytes)
            at += row.nbytes
        return
    place = out.data
    position = 0
    for row in rows:
        place[position : position + row.nbytes] = row.cast("B")
        position += row.nbytes


def _address_of_any(row: memoryview) -> int:
    address: int = np.frombuffer(row, dtype=np.uint8).__array_interface__["data"][0]
    return address
