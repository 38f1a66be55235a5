"""What `decode` makes of whole, cut-off and corrupt fetches; each test on the native kernels and on their twin."""

import struct
from collections.abc import Sequence

import pytest
from support.record_batches import CODECS, HEADER_BYTES, batch, marker, record, values, varint

from headrace.triggers.errors import CorruptRecords, TriggerError
from headrace.triggers.kafka.columnar import NATIVE, Decoded, decode
from headrace.triggers.kafka.kernels import Kernels, kernels, native_kernels, pure_kernels


@pytest.fixture(params=["native", "pure"], name="using")
def kernels_in_turn(request: pytest.FixtureRequest) -> Kernels:
    found = native_kernels() if request.param == "native" else pure_kernels
    if found is None:
        pytest.skip("the native kernels were not built")
    return found


def decoded(
    data: bytes,
    using: Kernels = kernels,
    fetch_offset: int = 0,
    aborted: Sequence[tuple[int, int]] | None = None,
    *,
    committed: bool = False,
) -> Decoded:
    return decode(
        data, topic="t", partition=3, fetch_offset=fetch_offset, aborted=aborted, read_committed=committed, using=using
    )


def sound(data: bytes, using: Kernels, fetch_offset: int = 0) -> Decoded:
    found = decoded(data, using, fetch_offset)
    assert found.error is None
    return found


def test_the_native_kernels_are_used_where_they_were_built() -> None:
    assert (native_kernels() is not None) == NATIVE


def test_nothing_fetched(using: Kernels) -> None:
    found = sound(b"", using, 7)
    assert (len(found.columns), found.next_offset) == (0, 7)


def test_batches_become_one(using: Kernels) -> None:
    found = sound(values(5, b"a", b"bc") + values(7, b"d"), using, 5)
    assert found.columns.offsets.tolist() == [5, 6, 7]
    assert found.columns.copies() == [b"a", b"bc", b"d"]
    assert found.next_offset == 8


def test_null_is_not_empty(using: Kernels) -> None:
    records = [record(0, None, b""), record(1, b"", None), record(2, None, None)]
    columns = sound(batch(0, records), using).columns
    assert columns.keys == [b"", None, None]
    assert columns.copies() == [None, b"", None]
    assert [None if value is None else bytes(value) for value in columns.values] == [None, b"", None]


def test_any_negative_size_is_null_as_in_the_java_client(using: Kernels) -> None:
    body = b"\0\0\0" + varint(-5) + varint(-(1 << 40)) + b"\0"
    columns = sound(batch(0, [varint(len(body)) + body]), using).columns
    assert (columns.keys, columns.copies()) == ([None], [None])
    assert (columns.key_sizes.tolist(), columns.value_sizes.tolist()) == ([-1], [-1])


def test_timestamps_are_the_producers_or_the_brokers(using: Kernels) -> None:
    records = [record(0, b"", time=5), record(1, b"", time=-7)]
    created = sound(batch(0, records), using).columns
    assert (created.timestamps.tolist(), created.log_append_time(0)) == ([1_005, 993], False)
    appended = sound(batch(0, records, attributes=8), using).columns
    assert (appended.timestamps.tolist(), appended.log_append_time(1)) == ([9_000, 9_000], True)


def test_headers_are_read_when_asked_for(using: Kernels) -> None:
    headers = [("a", b"1"), ("a", None), ("é", b"")]
    columns = sound(batch(0, [record(0, b"v", headers=headers), record(1, b"w")]), using).columns
    assert columns.headers(0) == tuple(headers)
    assert columns.headers(1) == ()


def test_header_names_that_are_not_utf8_are_replaced(using: Kernels) -> None:
    body = b"\0\0\0\1\1" + varint(1) + varint(2) + b"\xffz" + varint(-1)
    columns = sound(batch(0, [varint(len(body)) + body]), using).columns
    assert columns.headers(0) == (("�z", None),)


def test_records_before_the_fetch_are_left_out(using: Kernels) -> None:
    found = sound(values(10, b"a", b"b", b"c") + values(13, b"d"), using, 12)
    assert found.columns.copies() == [b"c", b"d"]


def test_compaction_leaves_gaps_and_empty_batches(using: Kernels) -> None:
    kept = batch(0, [record(2, b"c"), record(5, b"f")], last_delta=9)
    found = sound(kept + batch(10, [], last_delta=4) + values(40, b"z"), using)
    assert found.columns.offsets.tolist() == [2, 5, 40]
    assert found.next_offset == 41
    assert sound(kept, using).next_offset == 10
    assert sound(kept, using, 7).next_offset == 10


def test_control_batches_are_left_out(using: Kernels) -> None:
    found = sound(values(0, b"a") + marker(1, 9, commit=True) + values(2, b"b") + marker(3, 9, commit=False), using)
    assert found.columns.copies() == [b"a", b"b"]
    assert found.next_offset == 4


def test_aborted_transactions_are_left_out_when_only_committed_ones_are_read(using: Kernels) -> None:
    data = (
        values(0, b"9 aborted", attributes=0x10, producer_id=9)
        + values(1, b"8 committed", attributes=0x10, producer_id=8)
        + values(2, b"9 outside", attributes=0, producer_id=9)
        + marker(3, 9, commit=False)
        + values(4, b"9 committed", attributes=0x10, producer_id=9)
        + marker(5, 9, commit=True)
        + marker(6, 8, commit=True)
        + values(7, b"9 aborted again", attributes=0x10, producer_id=9)
    )
    found = decoded(data, using, 0, [(9, 7), (9, 0)], committed=True)
    assert found.columns.copies() == [b"8 committed", b"9 outside", b"9 committed"]
    assert (found.error, found.next_offset) == (None, 8)
    assert len(decoded(data, using, 0, [(9, 7), (9, 0)]).columns) == 5


def test_an_empty_control_batch_ends_no_transaction(using: Kernels) -> None:
    empty = batch(0, [], attributes=0x30, producer_id=9)
    data = empty + values(1, b"aborted", attributes=0x10, producer_id=9)
    assert len(decoded(data, using, 0, [(9, 0)], committed=True).columns) == 0


def test_a_compressed_marker_is_read(using: Kernels) -> None:
    end = batch(1, [record(0, b"", struct.pack(">hh", 0, 0))], attributes=0x31, producer_id=9)
    data = values(0, b"a", attributes=0x10, producer_id=9) + end + values(2, b"b", attributes=0x10, producer_id=9)
    assert decoded(data, using, 0, [(9, 0)], committed=True).columns.copies() == [b"b"]


@pytest.mark.parametrize("codec", CODECS.values(), ids=CODECS)
def test_compressed_batches(codec: int, using: Kernels) -> None:
    each = [b"%d" % n * 50 for n in range(100)]
    alone = sound(values(0, *each, attributes=codec), using)
    assert alone.columns.copies() == each
    mixed = sound(values(0, b"plain") + values(1, *each, attributes=codec) + values(101, b"end"), using)
    assert mixed.columns.copies() == [b"plain", *each, b"end"]
    assert mixed.columns.data.readonly


def test_an_empty_batch_that_says_it_is_compressed(using: Kernels) -> None:
    assert sound(batch(0, payload=b"", attributes=4, last_delta=3), using).next_offset == 4


@pytest.mark.parametrize("cut", [1, 11, 12, 40, 60, 61, 70])
def test_a_cut_off_last_batch_ends_the_fetch(cut: int, using: Kernels) -> None:
    whole = values(0, b"a", b"b")
    last = values(2, b"c" * 100)
    found = sound(whole + last[:cut], using)
    assert (found.columns.copies(), found.next_offset) == ([b"a", b"b"], 2)


def test_decompression_stops_at_the_limit_and_goes_on_with_the_next_fetch(using: Kernels) -> None:
    data = b"".join(values(n, bytes(1000), attributes=4) for n in range(5))
    found = decode(data, topic="t", partition=0, max_decompressed_bytes=2500, using=using)
    assert (len(found.columns), found.next_offset, found.error) == (2, 2, None)
    small = decode(data, topic="t", partition=0, max_decompressed_bytes=500, using=using)
    assert small.next_offset == 0
    assert "zstd data of at most 500 bytes" in str(small.error)


def test_the_checksum_can_be_left_unchecked(using: Kernels) -> None:
    data = bytearray(values(0, b"abc"))
    data[17] ^= 1
    assert decode(data, topic="t", partition=0, check_crc=False, using=using).columns.copies() == [b"abc"]


def test_the_error_names_its_place() -> None:
    data = bytearray(values(4, b"a") + values(5, b"b"))
    data[-2] ^= 0xFF
    error = decoded(bytes(data), fetch_offset=4).error
    assert isinstance(error, CorruptRecords)
    assert isinstance(error, TriggerError)
    assert error.retriable
    assert (error.topic, error.partition, error.offset) == ("t", 3, 5)
    assert str(error).startswith("fetched records: expected crc 0x")
    assert str(error).endswith("- at t/3/5")


def patched(data: bytes, at: int, code: str, value: int) -> bytes:
    """`data` with one field replaced, and a right checksum."""
    whole = bytearray(data)
    struct.pack_into(code, whole, at, value)
    struct.pack_into(">I", whole, 17, pure_kernels.crc32c(whole, 21, len(whole)))
    return bytes(whole)


def raw(*fields: bytes) -> bytes:
    body = b"".join(fields)
    return batch(2, [varint(len(body)) + body])


GOOD = values(0, b"a", b"b")
NEXT = values(2, b"c", b"d")
CORRUPT = {
    "length negative": (NEXT[:8] + b"\xff" * 4 + NEXT[12:], 2, "at least 49 bytes after its length, got -1"),
    "length small": (NEXT[:8] + struct.pack(">i", 48) + NEXT[12:], 2, "at least 49 bytes after its length, got 48"),
    "length off by one": (NEXT[:8] + struct.pack(">i", len(NEXT) - 13) + NEXT[12:], 2, "expected crc"),
    "magic old": (batch(2, magic=1), 2, "magic 2, got 1"),
    "magic new": (batch(2, magic=3), 2, "magic 2, got 3"),
    "crc": (NEXT[:17] + b"\0\0\0\0" + NEXT[21:], 2, "expected crc 0x00000000"),
    "payload": (NEXT[:-3] + b"!" + NEXT[-2:], 2, "expected crc"),
    "base offset negative": (patched(NEXT, 0, ">q", -3), 2, "offset 2 or beyond, got -3"),
    "base offset huge": (patched(NEXT, 0, ">q", (1 << 63) - 2), 2, "offset 2 or beyond"),
    "last delta negative": (patched(NEXT, 23, ">i", -1), 2, "got 2 and -1 more"),
    "last delta small": (patched(NEXT, 23, ">i", 0), 3, "offsets that rise up to the batch's last"),
    "count negative": (patched(NEXT, 57, ">i", -1), 2, "count of records >= 0, got -1"),
    "count huge": (patched(NEXT, 57, ">i", (1 << 31) - 1), 2, "at most 2 records in a batch of this size"),
    "count small": (patched(NEXT, 57, ">i", 1), 3, "no bytes after the batch's last record, got some in record 1 of 1"),
    "codec unknown": (patched(NEXT, 21, ">h", 5), 2, "compression from 0 to 4, got 5"),
    "codec lz4 of nothing such": (patched(NEXT, 21, ">h", 3), 2, "expected lz4 data of at most"),
    "record length past the end": (batch(2, payload=varint(99) + bytes(20), count=1), 2, "ends inside its batch"),
    "record length negative": (batch(2, payload=varint(-9) + bytes(20), count=1), 2, "ends inside its batch"),
    "record length is all": (batch(2, payload=bytes(6) + varint(0), count=1), 2, "fields as long as the record"),
    "record ends with its length": (batch(2, [record(0, b""), b"\0"], payload=None), 2, "at most 1 records"),
    "varint too long": (raw(b"\0", b"\xff" * 10, b"\0" * 9), 2, "varint of at most 64 bits"),
    "varint cut off": (raw(b"\0" * 3 + b"\1\1" + b"\xff" * 8), 2, "a field that ends inside its batch"),
    "offset delta high": (raw(b"\0\0", varint(1), b"\1\1\0"), 2, "offsets that rise"),
    "offset delta negative": (raw(b"\0\0", varint(-1), b"\1\1\0"), 2, "offsets that rise"),
    "offset delta again": (batch(2, [record(0, b"c"), record(0, b"d")]), 3, "offsets that rise"),
    "timestamp overflow": (batch(2, [record(0, b"", time=(1 << 63) - 1)]), 2, "timestamp of at most 64 bits"),
    "timestamp underflow": (
        batch(2, [record(0, b"", time=-(1 << 63))], first_timestamp=-1), 2, "timestamp of at most 64 bits",
    ),
    "key past the end": (raw(b"\0\0\0", varint(50), b"\1\0"), 2, "a field that ends inside its batch"),
    "value past the end": (raw(b"\0\0\0\1", varint(50), b"\0"), 2, "a field that ends inside its batch"),
    "value up to the end": (raw(b"\0\0\0\1", varint(2), b"vv"), 2, "a field that ends inside its batch"),
    "value of 64 bits": (raw(b"\0\0\0\1", varint((1 << 63) - 1), b"\0"), 2, "a field that ends inside its batch"),
    "value short": (raw(b"\0\0\0\1", varint(1), b"v", b"\0", b"rest"), 2, "fields as long as the record"),
    "headers negative": (raw(b"\0\0\0\1\1", varint(-1)), 2, "headers that fit the record"),
    "headers huge": (raw(b"\0\0\0\1\1", varint(1 << 40)), 2, "headers that fit the record"),
    "header name null": (raw(b"\0\0\0\1\1", varint(1), varint(-1), b"\0"), 2, "headers that fit the record"),
    "header name past the end": (raw(b"\0\0\0\1\1", varint(1), varint(9), b"x"), 2, "a field that ends inside"),
    "header value past the end": (raw(b"\0\0\0\1\1", varint(1), varint(1), b"x", varint(9)), 2, "a field that ends"),
    "second record": (batch(2, [record(0, b"c"), b"\x0c" + b"\0\0\2\1\1\1"]), 3, "count or size in record 1 of 2"),
}  # fmt: skip


@pytest.mark.parametrize(("bad", "offset", "text"), CORRUPT.values(), ids=CORRUPT)
def test_what_lies_before_corrupt_bytes_is_kept(bad: bytes, offset: int, text: str, using: Kernels) -> None:
    found = decoded(GOOD + bad + values(9, b"later"), using)
    assert found.error is not None
    assert text in str(found.error)
    assert (found.next_offset, found.error.offset) == (offset, offset)
    assert found.columns.offsets.tolist() == list(range(offset))
    assert found.columns.copies()[:2] == [b"a", b"b"]
    again = decoded(bad, using, found.next_offset)
    assert (len(again.columns), again.next_offset) == (0, offset)
    assert again.error is not None


def test_batches_that_overlap_are_corrupt(using: Kernels) -> None:
    found = decoded(GOOD + patched(NEXT, 0, ">q", 1), using)
    assert (found.columns.offsets.tolist(), found.next_offset) == ([0, 1], 2)
    assert "goes on to offset 2 or beyond, got 1 and 1 more" in str(found.error)


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"\0" * 5, "at least 61 bytes, got 5"),
        (NEXT[:30], f"a batch of {len(NEXT)} bytes, got 30"),
        (NEXT[:14], f"a batch of {len(NEXT)} bytes, got 14"),
        (values(0, b"a"), "goes on to offset 2 or beyond, got 0 and 0 more"),
        (struct.pack(">qiib", 0, 40, 0, 1) + bytes(35), "magic 2, got 1"),
    ],
)
def test_a_fetch_without_a_whole_batch_is_corrupt(data: bytes, text: str, using: Kernels) -> None:
    found = decoded(data, using, 2)
    assert (len(found.columns), found.next_offset) == (0, 2)
    assert text in str(found.error)


@pytest.mark.parametrize(
    ("end", "text"),
    [
        (batch(0, [record(0, b"", b"\0")], attributes=0x30, producer_id=9), "key of 4 bytes, got 1"),
        (batch(0, [record(0, b"", None)], attributes=0x30, producer_id=9), "key of 4 bytes, got 0"),
        (batch(0, payload=bytes(7), count=1, attributes=0x30, producer_id=9), "in record 0 of a control batch"),
        (batch(0, payload=bytes(7), count=1, attributes=0x34, producer_id=9), "expected zstd data"),
    ],
)
def test_a_corrupt_marker_is_an_error(end: bytes, text: str, using: Kernels) -> None:
    found = decoded(end, using, committed=True)
    assert text in str(found.error)


def test_the_smallest_batch_is_its_header() -> None:
    assert len(batch(0)) == HEADER_BYTES
