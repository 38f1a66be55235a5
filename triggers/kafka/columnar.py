"""Kafka's record batches as columns over the fetched bytes: `decode` makes `Columns`, no event is made.

`decode` reads the headers of the batches, decides which count, decompresses those that are compressed, and has the
native kernels (`_columnar`, else its twin `_columnar_py`) read the records. Only magic 2 is read: brokers have
written no other since 0.11. What does not belong here: fetching, and what events are made of columns.

Source: Kafka protocol guide, "Record Batch"; KIP-98 (control and aborted batches); KIP-32 (log-append time).
"""

from collections.abc import Sequence
from struct import Struct
from typing import TYPE_CHECKING, NamedTuple

from ..errors import CorruptRecords
from . import _columnar_py as twin
from .columns import Columns
from .compression import DecompressionError, Decompressor
from .kernels import Kernels, kernels

if TYPE_CHECKING:
    from typing_extensions import Buffer

    from ._columnar_py import Problem, Segment

__all__ = ["MAX_DECOMPRESSED_BYTES", "NATIVE", "Columns", "Decoded", "decode"]

NATIVE = kernels.native
"""Whether the native kernels are used; their twin decodes the same, some thirty times slower."""

MAX_DECOMPRESSED_BYTES = 256 * 1024 * 1024
"""What one fetch of one partition may grow to: brokers bound only the compressed size (`message.max.bytes`)."""

# base offset, length, leader epoch, magic, crc, attributes, last offset delta, first timestamp, max timestamp,
# producer id, producer epoch, base sequence, count of records
_HEADER = Struct(">qiibIhiqqqhii")
_PREFIX = Struct(">qi")  # the length counts what follows it
_CRC_FROM = 21  # the checksum covers what follows it
_CODEC, _APPEND_TIME, _TRANSACTIONAL, _CONTROL = 0x07, 0x08, 0x10, 0x20
_SMALLEST_RECORD_BYTES = 7
_INT64_MAX = (1 << 63) - 1
_INT32_MAX = (1 << 31) - 1
_NO_PRODUCER = -1
_ABORT = 0  # type of a control record: int16 version, int16 type

_REASONS = {
    twin.PAST_END: "expected a field that ends inside its batch, got one that does not",
    twin.VARINT: "expected a varint of at most 64 bits, got a longer one",
    twin.LENGTH: "expected a record that ends inside its batch, got another length",
    twin.OFFSET: "expected offsets that rise up to the batch's last, got another",
    twin.TIMESTAMP: "expected a timestamp of at most 64 bits, got a larger one",
    twin.HEADERS: "expected headers that fit the record, got another count or size",
    twin.SIZE: "expected fields as long as the record, got another length",
    twin.TRAILING: "expected no bytes after the batch's last record, got some",
}


class Decoded(NamedTuple):
    """What a fetch of one partition holds.

    Attributes:
        columns: All good records, in order, from the offset that was fetched.
        next_offset: Where to fetch next; control, aborted and compacted records lie before it too.
        error: What lies at `next_offset` is corrupt. All records before it are in `columns`.
    """

    columns: Columns
    next_offset: int
    error: CorruptRecords | None


def decode(
    data: "Buffer",
    *,
    topic: str,
    partition: int,
    fetch_offset: int = 0,
    aborted: Sequence[tuple[int, int]] | None = None,
    read_committed: bool = False,
    check_crc: bool = True,
    max_decompressed_bytes: int = MAX_DECOMPRESSED_BYTES,
    using: Kernels = kernels,
) -> Decoded:
    """Decode the record batches of one fetched partition; never raises, whatever the bytes.

    A last batch that is cut off ends the decoding without an error, as brokers cut at the size asked for.

    Args:
        data: The partition's `records` of a fetch response; held by the columns unless a batch is compressed.
        topic: Named in errors.
        partition: Named in errors.
        fetch_offset: Records below it are left out.
        aborted: (producer id, first offset) of the response's aborted transactions.
        read_committed: Leave out the records of aborted transactions.
        check_crc: Compare each batch with its CRC-32C.
        max_decompressed_bytes: Decode no further once compressed batches have grown to this; a single one that is
            larger is an error.
        using: The native kernels or their twin.
    """
    view = memoryview(data).cast("B").toreadonly()[:_INT32_MAX]
    limit = min(max_decompressed_bytes, _INT32_MAX - len(view))
    reader = _Reader(view, fetch_offset, sorted(aborted or (), key=lambda each: each[1]), read_committed, limit, using)
    text: str | None = None
    try:
        reader.read_batches(check_crc)
    except _Corrupt as exc:
        text = str(exc)
    source, segments = reader.joined()
    columns, problem = using.fill(source, segments, sum(segment[2] for segment in segments), fetch_offset)
    next_offset = reader.next_offset
    if problem is not None:
        text, next_offset = _describe(problem, segments, fetch_offset)
    error = None if text is None else CorruptRecords(text, topic=topic, partition=partition, offset=next_offset)
    return Decoded(Columns(source, columns, using), next_offset, error)


class _Corrupt(Exception):
    """The batch at the reader's next offset can't be read; the text says why."""


class _Batch(NamedTuple):
    """A batch's header, as on the wire."""

    base_offset: int
    length: int
    leader_epoch: int
    magic: int
    crc: int
    attributes: int
    last_delta: int
    first_timestamp: int
    max_timestamp: int
    producer_id: int
    producer_epoch: int
    base_sequence: int
    records: int


class _Reader:
    """Goes over the batches of one fetch and collects the segments of those that count.

    Attributes:
        next_offset: Where the first batch that was not read begins, or the offset that was fetched.
    """

    def __init__(
        self,
        view: memoryview,
        fetch_offset: int,
        aborted: list[tuple[int, int]],
        read_committed: bool,
        limit_bytes: int,
        using: Kernels,
    ) -> None:
        self.view = view
        self.next_offset = fetch_offset
        self._aborted = aborted  # by first offset; those begun are taken from the front
        self._aborting: set[int] = set()
        self._read_committed = read_committed
        self._limit_bytes = limit_bytes
        self._using = using
        self._decompressor = Decompressor(limit_bytes)
        self._segments: list[Segment] = []
        self._plain: list[int] = []  # numbers of the segments that lie in the view
        self._grown = bytearray()  # what the others lie in

    def read_batches(self, check_crc: bool) -> None:
        """Read batch after batch, to the end, a cut-off batch or the limit of decompressed bytes.

        Raises:
            _Corrupt: A batch is not what it should be.
        """
        view, size, at, previous_end = self.view, len(self.view), 0, -1
        while size - at >= _PREFIX.size:
            length: int = _PREFIX.unpack_from(view, at)[1]
            end = at + _PREFIX.size + length
            if length >= 0 and end > size and at:
                return
            self._expect_batch(at, length, end)
            batch = _Batch._make(_HEADER.unpack_from(view, at))
            if check_crc and (crc := self._using.crc32c(view, at + _CRC_FROM, end)) != batch.crc:
                raise _Corrupt(f"expected crc {batch.crc:#010x}, got {crc:#010x}")
            last = self._last_offset(batch, previous_end)
            if not self._take(batch, at + _HEADER.size, end):
                return
            previous_end = self.next_offset = last + 1
            at = end
        if not at and size:
            raise _Corrupt(f"expected a batch of at least {_HEADER.size} bytes, got {size}")

    def joined(self) -> "tuple[memoryview, list[Segment]]":
        """What the segments lie in: the view, or where a batch was compressed what all of them were copied into."""
        if not self._grown:
            return self.view, self._segments
        for number in self._plain:
            segment = self._segments[number]
            start, stop = segment[:2]
            self._segments[number] = (len(self._grown), len(self._grown) + stop - start, *segment[2:])
            self._grown += self.view[start:stop]
        return memoryview(self._grown).toreadonly(), self._segments

    def _expect_batch(self, at: int, length: int, end: int) -> None:
        """A whole batch of magic 2 lies here."""
        whole = _HEADER.size - _PREFIX.size
        if end - at > 16 and len(self.view) > at + 16 and (magic := self.view[at + 16]) != 2:
            raise _Corrupt(f"expected record batches of magic 2, got {magic}")
        if length < whole:
            raise _Corrupt(f"expected a batch of at least {whole} bytes after its length, got {length}")
        if end > len(self.view):
            raise _Corrupt(f"expected a batch of {end - at} bytes, got {len(self.view) - at}")

    def _last_offset(self, batch: _Batch, previous_end: int) -> int:
        """The batch's last offset, if its offsets follow the ones before."""
        last = batch.base_offset + batch.last_delta
        if (
            batch.base_offset < max(previous_end, 0)
            or batch.last_delta < 0
            or not self.next_offset <= last < _INT64_MAX
        ):
            raise _Corrupt(
                f"expected a batch that goes on to offset {self.next_offset} or beyond, "
                f"got {batch.base_offset} and {batch.last_delta} more"
            )
        if batch.records < 0:
            raise _Corrupt(f"expected a count of records >= 0, got {batch.records}")
        return last

    def _take(self, batch: _Batch, start: int, end: int) -> bool:
        """Make a segment of the batch unless it does not count; False: there is no room for it now."""
        if self._read_committed and batch.producer_id != _NO_PRODUCER and self._is_aborted(batch, start, end):
            return True
        if batch.attributes & _CONTROL:
            return True
        if not batch.attributes & _CODEC or start == end:
            self._expect_room(batch, end - start)
            self._plain.append(len(self._segments))
        else:
            part = self._decompressed(batch, start, end)
            start, end = len(self._grown), len(self._grown) + len(part)
            if end > self._limit_bytes:
                return False
            self._expect_room(batch, len(part))
            self._grown += part
        self._segments.append(_segment(batch, start, end))
        return True

    def _is_aborted(self, batch: _Batch, start: int, end: int) -> bool:
        """Whether the batch belongs to an aborted transaction; follows where those begin and end."""
        last = batch.base_offset + batch.last_delta
        while self._aborted and self._aborted[0][1] <= last:
            self._aborting.add(self._aborted.pop(0)[0])
        if batch.attributes & _CONTROL:
            if self._is_abort_marker(batch, start, end):
                # the marker may be that of a transaction without records here
                self._aborting.discard(batch.producer_id)
            return False
        return bool(batch.attributes & _TRANSACTIONAL) and batch.producer_id in self._aborting

    def _is_abort_marker(self, batch: _Batch, start: int, end: int) -> bool:
        source = self.view
        if batch.attributes & _CODEC and start < end:
            source = self._decompressed(batch, start, end)
            start, end = 0, len(source)
        self._expect_room(batch, end - start)
        columns, problem = self._using.fill(source, [_segment(batch, start, end)], batch.records, 0)
        if problem is not None:
            raise _Corrupt(f"{_REASONS[problem[3]]} in record {problem[1]} of a control batch")
        keys = self._using.blobs(source, columns[2], columns[3])
        if not keys:
            return False  # compaction left the batch empty
        key = keys[0]
        if key is None or len(key) < 4:
            raise _Corrupt(f"expected a control record's key of 4 bytes, got {len(key or b'')}")
        return int.from_bytes(key[2:4], "big") == _ABORT

    def _decompressed(self, batch: _Batch, start: int, end: int) -> memoryview:
        try:
            return memoryview(self._decompressor.decompress(batch.attributes & _CODEC, self.view[start:end]))
        except DecompressionError as exc:
            raise _Corrupt(str(exc)) from exc

    def _expect_room(self, batch: _Batch, size_bytes: int) -> None:
        """The batch's records can be as many as it says: room is made for so many."""
        if batch.records > (most := size_bytes // _SMALLEST_RECORD_BYTES):
            raise _Corrupt(f"expected at most {most} records in a batch of this size, got {batch.records}")


def _segment(batch: _Batch, start: int, stop: int) -> "Segment":
    append_timestamp = batch.max_timestamp if batch.attributes & _APPEND_TIME else None
    return (
        start, stop, batch.records, batch.base_offset, batch.last_delta, batch.first_timestamp, append_timestamp,
        batch.attributes,
    )  # fmt: skip


def _describe(problem: "Problem", segments: "list[Segment]", fetch_offset: int) -> tuple[str, int]:
    """What is wrong, and the offset that follows the last good record."""
    number, record, _, reason, last_offset = problem
    segment = segments[number]
    text = f"{_REASONS[reason]} in record {record} of {segment[2]}"
    return text, max(fetch_offset, segment[3], last_offset + 1)
