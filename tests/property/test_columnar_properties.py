"""`decode` gives what aiokafka gives on what aiokafka wrote, and native kernels what their twin gives on anything."""

from aiokafka.record.memory_records import MemoryRecords
from hypothesis import given, settings
from hypothesis import strategies as st
from support.record_batches import Headers, batch, built, record, summary, varint

from headrace.triggers.kafka.columnar import Decoded, decode
from headrace.triggers.kafka.kernels import native_kernels, pure_kernels

Row = tuple[int, bytes | None, bytes | None, Headers]

blobs = st.none() | st.binary(max_size=40)
headers = st.lists(st.tuples(st.text(max_size=5), blobs), max_size=3)
rows = st.lists(st.tuples(st.integers(0, 1 << 60), blobs, blobs, headers), min_size=1, max_size=80)
fetches = st.lists(st.tuples(st.integers(0, 1 << 40), st.sampled_from([0, 0, 1, 2, 3, 4]), rows), max_size=4)


def encoded(fetch: list[tuple[int, int, list[Row]]]) -> bytes:
    """Batches one after another, with gaps between them."""
    data, at = b"", 0
    for gap, codec, each in fetch:
        data += built(at + gap, each, codec)
        at += gap + len(each)
    return data


def read_by_aiokafka(data: bytes, fetch_offset: int) -> list[tuple[object, ...]]:
    records = MemoryRecords(data)
    found: list[tuple[object, ...]] = []
    while next_batch := records.next_batch():
        assert next_batch.validate_crc()
        found += [
            (each.offset, each.timestamp, each.key, each.value, tuple(each.headers))
            for each in next_batch
            if each.offset >= fetch_offset
        ]
    return found


def read_by_us(decoded: Decoded) -> list[tuple[object, ...]]:
    columns = decoded.columns
    each = [columns.headers(index) for index in range(len(columns))]
    return list(zip(columns.offsets, columns.timestamps, columns.keys, columns.copies(), each, strict=True))


def same_by_both(data: bytes, fetch_offset: int = 0, *, check_crc: bool = True) -> Decoded:
    """What the kernels make of it, native and pure."""
    pure = decode(data, topic="t", partition=0, fetch_offset=fetch_offset, check_crc=check_crc, using=pure_kernels)
    if (native := native_kernels()) is not None:
        found = decode(data, topic="t", partition=0, fetch_offset=fetch_offset, check_crc=check_crc, using=native)
        assert summary(found) == summary(pure)
    return pure


@given(fetches, st.data())
def test_the_same_as_aiokafka(fetch: list[tuple[int, int, list[Row]]], data: st.DataObject) -> None:
    whole = encoded(fetch)
    first = fetch[0][0] if fetch else 0
    fetch_offset = data.draw(st.integers(0, first + len(fetch[0][2]) - 1 if fetch else 0))
    found = same_by_both(whole, fetch_offset)
    assert found.error is None
    assert read_by_us(found) == read_by_aiokafka(whole, fetch_offset)


@given(fetches, st.data())
def test_a_cut_fetch_gives_its_whole_batches(fetch: list[tuple[int, int, list[Row]]], data: st.DataObject) -> None:
    whole = encoded(fetch)
    cut = data.draw(st.integers(0, len(whole)))
    found = same_by_both(whole[:cut])
    assert read_by_us(found) == read_by_aiokafka(whole[:cut], 0)
    if len(found.columns):
        assert found.error is None


@given(
    fetches, st.lists(st.tuples(st.integers(0, 1 << 20), st.integers(1, 255)), min_size=1, max_size=4), st.booleans()
)
def test_flipped_bits_cost_no_record_before_them(
    fetch: list[tuple[int, int, list[Row]]], flips: list[tuple[int, int]], check_crc: bool
) -> None:
    whole = encoded(fetch)
    wrong = bytearray(whole)
    for at, bits in flips:
        if whole:
            wrong[at % len(whole)] ^= bits
    found = same_by_both(bytes(wrong), check_crc=check_crc)
    first = min((at % len(whole) for at, _ in flips), default=0) if whole else 0
    before = read_by_aiokafka(whole[:first], 0)
    assert read_by_us(found)[: len(before)] == before
    assert found.next_offset >= len(before)


@settings(max_examples=300)
@given(st.binary(max_size=200))
def test_any_bytes(data: bytes) -> None:
    found = same_by_both(data)
    assert (len(found.columns), found.next_offset) == (0, 0) or found.error is None


@settings(max_examples=500)
@given(st.binary(max_size=60), st.integers(0, 8), st.integers(-1, 100), st.sampled_from([0, 8]))
def test_any_records(payload: bytes, count: int, last_delta: int, attributes: int) -> None:
    same_by_both(batch(7, payload=payload, count=count, last_delta=last_delta, attributes=attributes))


fields = st.lists(st.integers(-3, 70) | st.integers(-(1 << 63), (1 << 63) - 1), max_size=9)


@settings(max_examples=500)
@given(fields, st.binary(max_size=6), st.integers(-1, 1))
def test_any_fields_of_a_record(numbers: list[int], rest: bytes, longer: int) -> None:
    body = b"\0" + b"".join(varint(number) for number in numbers) + rest
    odd = varint(len(body) + longer) + body
    found = same_by_both(batch(0, [record(0, b"good"), odd, record(70, b"last")], last_delta=70))
    assert found.columns.copies()[:1] == [b"good"]


@given(st.integers(-(1 << 63), (1 << 63) - 1))
def test_varints(number: int) -> None:
    first = number if abs(number) < 1 << 62 else 0
    found = same_by_both(batch(0, [record(0, b"", time=number - first)], first_timestamp=first))
    assert found.columns.timestamps.tolist() == [number]
