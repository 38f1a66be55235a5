"""The inner loops of the columnar codec in Python: the twin of `_columnar.pyx`, used where that was not built.

A record (magic 2) is `length: varint, attributes: int8, timestampDelta: varlong, offsetDelta: varint,
key, value: varint size (negative: null) and bytes, headers: varint count of (key, value)`, all zigzag
(Kafka protocol guide, "Record"). What does not belong here: the headers of batches, which `columnar.py` reads.
"""

from array import array
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing_extensions import Buffer

Segment = tuple[int, int, int, int, int, int, int | None, int]
"""Records of one batch: start and stop in the data, count, base offset, last offset delta, first timestamp,
the timestamp of all (log-append time) or None, attributes of the batch."""

Problem = tuple[int, int, int, int, int]
"""Number of the segment, number of the record in it, where that begins in the segment, reason, and the offset
of the last good record in the segment (its base offset - 1: none)."""

PAST_END, VARINT, LENGTH, OFFSET, TIMESTAMP, HEADERS, SIZE, TRAILING = range(1, 9)

_INT64 = 1 << 63


class _Corrupt(Exception):
    def __init__(self, reason: int) -> None:
        self.reason = reason


def columns_in(storage: bytearray, capacity: int, count: int) -> tuple[memoryview, ...]:
    """The first `count` items of the nine columns that lie one after another in `storage`, each of `capacity`."""
    whole = memoryview(storage)
    times = [whole[at : at + 8 * count].cast("q") for at in (0, 8 * capacity)]
    extents = [whole[at : at + 4 * count].cast("i") for at in (capacity * (16 + 4 * n) for n in range(6))]
    attributes = whole[40 * capacity : 40 * capacity + 2 * count].cast("h")
    return (*times, *extents, attributes)


def crc32c(data: "Buffer", start: int, stop: int) -> int:
    """CRC-32C (Castagnoli) of `data[start:stop]`; aiokafka's, which has a native one of its own."""
    from aiokafka.record.util import calc_crc32c

    crc: int = calc_crc32c(bytes(memoryview(data)[start:stop]))
    return crc


def fill(
    data: "Buffer", segments: list[Segment], capacity: int, from_offset: int
) -> tuple[tuple[memoryview, ...], Problem | None]:
    """Decode the records of `segments` up to the first that is not well-formed.

    Args:
        data: What the segments lie in, below 2 GiB.
        segments: Their records' counts are together at most `capacity`.
        capacity: Rows to make room for.
        from_offset: Records below it are checked, and left out.

    Returns:
        Nine columns (offsets, timestamps: int64; starts and sizes of keys, of values, of headers: int32;
        attributes: int16), and what ended the decoding early, if anything did.
    """
    columns = tuple(array(code) for code in "qqiiiiiih")
    view = memoryview(data)
    problem: Problem | None = None
    for number, segment in enumerate(segments):
        found = _read_records(view, segment, from_offset, columns)
        if found is not None:
            problem = (number, *found)
            break
    return tuple(memoryview(column) for column in columns), problem


def _read_records(
    view: memoryview, segment: Segment, from_offset: int, columns: tuple["array[int]", ...]
) -> tuple[int, int, int, int] | None:
    """Decode one segment; kept flat, one byte at a time is the common size of a varint (0.5 M records/s)."""
    start, stop, count, base_offset, last_delta, first_timestamp, append_timestamp, attributes = segment
    data = bytes(view[start:stop])
    appends = tuple(column.append for column in columns)
    add_offset, add_time, add_key, add_key_size, add_value, add_value_size, add_headers, add_size, add_attr = appends
    end_of_data = len(data)
    at, delta, record, begin = 0, -1, 0, 0
    try:
        for record in range(count):
            begin = at
            length, at = _varint(data, at)
            if not 0 <= length <= end_of_data - at:
                return record, begin, LENGTH, base_offset + delta
            end = at + length
            if at == end_of_data:
                return record, begin, PAST_END, base_offset + delta
            at += 1  # the record's attributes: none is defined
            byte = data[at]
            if byte < 0x80:
                time_delta, at = (byte >> 1) ^ -(byte & 1), at + 1
            else:
                time_delta, at = _varint(data, at)
            byte = data[at]
            if byte < 0x80:
                next_delta, at = (byte >> 1) ^ -(byte & 1), at + 1
            else:
                next_delta, at = _varint(data, at)
            if not delta < next_delta <= last_delta:
                return record, begin, OFFSET, base_offset + delta
            key_size, at = _varint(data, at)
            key_start = at
            if key_size >= 0:
                at += key_size
            value_size, at = _varint(data, at)
            value_start = at
            if value_size >= 0:
                at += value_size
            headers_start = at
            if data[at] == 0:
                at += 1
            else:
                at = _skip_headers(data, at)
            if at != end:
                return record, begin, SIZE, base_offset + delta
            timestamp = first_timestamp + time_delta if append_timestamp is None else append_timestamp
            if not -_INT64 <= timestamp < _INT64:
                return record, begin, TIMESTAMP, base_offset + delta
            delta = next_delta
            offset = base_offset + delta
            if offset < from_offset:
                continue
            add_offset(offset)
            add_time(timestamp)
            add_key(start + key_start)
            add_key_size(key_size if key_size >= 0 else -1)
            add_value(start + value_start)
            add_value_size(value_size if value_size >= 0 else -1)
            add_headers(start + headers_start)
            add_size(at - headers_start)
            add_attr(attributes)
    except IndexError:
        return record, begin, PAST_END, base_offset + delta
    except _Corrupt as exc:
        return record, begin, exc.reason, base_offset + delta
    if at != end_of_data:
        return count, at, TRAILING, base_offset + delta
    return None


def _varint(data: bytes, at: int) -> tuple[int, int]:
    """The zigzag varint at `at`, and where it ends; IndexError where the data end before it."""
    byte = data[at]
    at += 1
    if byte < 0x80:
        return (byte >> 1) ^ -(byte & 1), at
    bits, shift = byte & 0x7F, 7
    while True:
        byte = data[at]
        at += 1
        if shift == 63 and byte > 1:
            raise _Corrupt(VARINT)
        bits |= (byte & 0x7F) << shift
        if byte < 0x80:
            return (bits >> 1) ^ -(bits & 1), at
        shift += 7


def _skip_headers(data: bytes, at: int) -> int:
    """Where the headers end that begin at `at` with their count."""
    count, at = _varint(data, at)
    if not 0 <= count <= len(data) - at:
        raise _Corrupt(HEADERS)
    for _ in range(count):
        size, at = _varint(data, at)
        if size < 0:
            raise _Corrupt(HEADERS)
        at = _inside(data, at + size)
        size, at = _varint(data, at)
        at = _inside(data, at + max(size, 0))
    return at


def _inside(data: bytes, at: int) -> int:
    if at > len(data):
        raise IndexError(at)
    return at


def read_headers(data: bytes) -> tuple[tuple[str, bytes | None], ...]:
    """The headers of a record that `fill` has accepted, from their count on; UTF-8 that is none is replaced."""
    count, at = _varint(data, 0)
    headers: list[tuple[str, bytes | None]] = []
    for _ in range(count):
        size, at = _varint(data, at)
        name = data[at : at + size].decode("utf-8", "replace")
        size, at = _varint(data, at + size)
        headers.append((name, data[at : at + size] if size >= 0 else None))
        at += max(size, 0)
    return tuple(headers)


def blobs(data: "Buffer", starts: Sequence[int], sizes: Sequence[int]) -> list[bytes | None]:
    """A copy of each extent of `data`; None where its size is negative."""
    view = memoryview(data)
    return [bytes(view[start : start + size]) if size >= 0 else None for start, size in zip(starts, sizes, strict=True)]


def gather(data: "Buffer", starts: Sequence[int], row_bytes: int, out: "Buffer") -> None:
    """Copy the `row_bytes` that begin at each start into `out`, one row after another."""
    source, target = memoryview(data), memoryview(out).cast("B")
    at = 0
    for start in starts:
        target[at : at + row_bytes] = source[start : start + row_bytes]
        at += row_bytes
