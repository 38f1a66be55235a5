"""One fetch of one partition as rows, in order of their offsets: what events are made of.

What does not belong here: decoding (`columnar`), events, and what becomes of them.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Protocol

from .columns import Columns

Row = tuple[int, int, bytes | None, bytes | memoryview | None, Sequence[tuple[str, bytes | None]]]
"""Offset, timestamp in ms (-1: none), key, value (perhaps lying in the fetched bytes), headers."""

_SMALL_BYTES = 1024
"""Up to this much a copy of a value costs less than a view of it, and does not hold the whole fetch."""


class Records(Protocol):
    """The records of one fetch."""

    @property
    def offsets(self) -> Sequence[int]:
        """Of all records, ascending, perhaps with gaps."""
        ...

    @property
    def next_offset(self) -> int:
        """Where the next fetch begins."""
        ...

    def rows(self) -> Iterator[Row]:
        """The records."""
        ...


class ColumnarRecords:
    """Rows of columns.

    Args:
        columns: What a fetch was decoded into.
        next_offset: Where the next fetch begins.
    """

    __slots__ = ("_columns", "next_offset", "offsets")

    def __init__(self, columns: Columns, next_offset: int) -> None:
        self.offsets: list[int] = columns.offsets.tolist()
        self.next_offset = next_offset
        self._columns = columns

    def rows(self) -> Iterator[Row]:
        """The records."""
        columns = self._columns
        small = columns.size_bytes <= _SMALL_BYTES * len(self.offsets)
        values: Sequence[bytes | memoryview | None] = columns.copies() if small else columns.values
        return zip(self.offsets, columns.timestamps, columns.keys, values, self._headers(), strict=True)

    def _headers(self) -> Iterable[Sequence[tuple[str, bytes | None]]]:
        columns = self._columns
        sizes = columns.header_sizes.tolist()
        if max(sizes, default=0) <= 1:  # the count alone: no record has any
            return [()] * len(sizes)
        return (columns.headers(index) if size > 1 else () for index, size in enumerate(sizes))
