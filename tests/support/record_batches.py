"""Record batches of Kafka's format as bytes, whole or wrong on purpose, encoded apart from the code under test."""

import gzip
import struct
from collections.abc import Sequence

import cramjam
from aiokafka.codec import snappy_encode
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from aiokafka.record.util import calc_crc32c

from headrace.triggers.kafka.columnar import Decoded

Headers = Sequence[tuple[str, bytes | None]]
HEADER_BYTES = 61
CODECS = {"none": 0, "gzip": 1, "snappy": 2, "lz4": 3, "zstd": 4}


def varint(value: int) -> bytes:
    """Zigzag, base 128."""
    bits = (value << 1) ^ (value >> 63)
    out = bytearray()
    while bits > 0x7F:
        out.append(bits & 0x7F | 0x80)
        bits >>= 7
    return bytes(out) + bytes([bits])


def sized(data: bytes | None) -> bytes:
    return varint(-1) if data is None else varint(len(data)) + data


def record(delta: int, value: bytes | None, key: bytes | None = None, headers: Headers = (), time: int = 0) -> bytes:
    """One record; `delta` and `time` are counted from the batch's."""
    said = varint(len(headers)) + b"".join(sized(name.encode()) + sized(data) for name, data in headers)
    body = b"\0" + varint(time) + varint(delta) + sized(key) + sized(value) + said
    return varint(len(body)) + body


def compressed(codec: int, data: bytes) -> bytes:
    if codec == 1:
        return gzip.compress(data)
    if codec == 2:
        return bytes(snappy_encode(data))
    if codec == 3:
        return bytes(cramjam.lz4.compress(data))
    return bytes(cramjam.zstd.compress(data)) if codec == 4 else data


def batch(
    base: int = 0,
    records: Sequence[bytes] = (),
    *,
    payload: bytes | None = None,
    count: int | None = None,
    last_delta: int | None = None,
    attributes: int = 0,
    first_timestamp: int = 1_000,
    max_timestamp: int = 9_000,
    producer_id: int = -1,
    magic: int = 2,
) -> bytes:
    """A batch with a right length and checksum, whatever else is wrong; `payload` in place of the records."""
    data = compressed(attributes & 7, b"".join(records)) if payload is None else payload
    count = len(records) if count is None else count
    last_delta = max(count - 1, 0) if last_delta is None else last_delta
    fields = struct.pack(
        ">hiqqqhii", attributes, last_delta, first_timestamp, max_timestamp, producer_id, -1, -1, count
    )
    covered = fields + data
    return struct.pack(">qiibI", base, len(covered) + 9, 0, magic, calc_crc32c(covered)) + covered


def values(base: int, *each: bytes | None, attributes: int = 0, producer_id: int = -1) -> bytes:
    """A batch of consecutive records with these values."""
    return batch(
        base, [record(n, value) for n, value in enumerate(each)], attributes=attributes, producer_id=producer_id
    )


def marker(base: int, producer_id: int, *, commit: bool) -> bytes:
    """The control batch that ends a transaction."""
    key = struct.pack(">hh", 0, 1 if commit else 0)
    return batch(base, [record(0, b"\0" * 6, key)], attributes=0x30, producer_id=producer_id)


def built(base: int, rows: Sequence[tuple[int, bytes | None, bytes | None, Headers]], codec: int = 0) -> bytes:
    """A batch of (timestamp, key, value, headers) by aiokafka's own encoder."""
    builder = DefaultRecordBatchBuilder(2, codec, 0, -1, -1, -1, 1 << 30)
    for delta, (timestamp, key, value, headers) in enumerate(rows):
        assert builder.append(delta, timestamp, key, value, list(headers)) is not None
    return struct.pack(">q", base) + bytes(builder.build())[8:]


def summary(decoded: Decoded) -> tuple[object, ...]:
    """All that can be told of a decoded fetch, to compare."""
    columns = decoded.columns
    return (
        decoded.next_offset,
        str(decoded.error),
        columns.offsets.tolist(),
        columns.timestamps.tolist(),
        columns.attributes.tolist(),
        columns.key_sizes.tolist(),
        columns.keys,
        columns.copies(),
        [columns.headers(index) for index in range(len(columns))],
    )
