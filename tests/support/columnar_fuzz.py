"""What must hold for the columnar codec on any bytes, for the fuzzer and for the short seeded run."""

import random
import struct

from headrace.triggers.kafka.columnar import Decoded, decode
from headrace.triggers.kafka.kernels import kernels, pure_kernels

from .record_batches import batch, built, marker, record, summary, values

GOOD = values(0, b"first", None) + batch(2, [record(0, b"third", b"key", [("name", b"value")])], attributes=4)
GOOD_VALUES = [b"first", None, b"third"]
GOOD_END = 3
ABORTED = [(9, 5), (7, 0)]

_ROWS = [(1_000 + n, b"key", b"value%d" % n * n, [("name", b"1"), ("name", None)]) for n in range(5)]
SEEDS = [
    *(built(GOOD_END, _ROWS, codec) for codec in range(5)),
    values(3, b"aborted", attributes=0x10, producer_id=7) + marker(4, 7, commit=False) + values(5, b"z"),
    batch(GOOD_END, [record(0, b"a", time=1 << 40), record(70, b"b" * 300)], last_delta=100, attributes=8),
    batch(GOOD_END, [], last_delta=4) + values(9, b"", b"\0"),
]


def attempt(data: bytes) -> None:
    """Decode what the bytes say, in several ways.

    Raises:
        AssertionError: A good record is missing, or the native kernels and their twin disagree.
    """
    options, rest = (data[0], data[1:]) if data else (0, b"")
    committed = bool(options & 1)
    if options & 2:  # the header's fields and the records of a batch whose length and checksum are right
        rest = _sealed(rest)
    found = _by_both(GOOD + rest, committed=committed, check_crc=bool(options & 4), fetch_offset=0)
    assert found.columns.copies()[:GOOD_END] == GOOD_VALUES
    assert found.next_offset >= GOOD_END
    offsets = found.columns.offsets.tolist()
    assert offsets == sorted(set(offsets))
    assert found.next_offset > offsets[-1]
    assert found.error is None or found.error.offset == found.next_offset
    alone = _by_both(rest, committed=committed, check_crc=bool(options & 4), fetch_offset=options >> 3)
    assert alone.next_offset >= options >> 3
    assert all(offset >= options >> 3 for offset in alone.columns.offsets)


def mutated(rng: random.Random) -> bytes:
    """Options and a seed with some of its bytes changed, cut, repeated or replaced."""
    data = bytearray(b"".join(rng.choice(SEEDS) for _ in range(rng.randint(1, 2))))
    for _ in range(rng.randint(0, 5)):
        at = rng.randrange(len(data))
        what = rng.random()
        if what < 0.5:
            data[at] = rng.choice([0, 1, 0x7F, 0x80, 0xFF, rng.randrange(256)])
        elif what < 0.7:
            del data[at : at + rng.randint(1, 8)]
        else:
            data[at:at] = data[at : at + rng.randint(1, 12)]
        data = data or bytearray(b"\0")
    options = rng.randrange(256)
    return bytes([options]) + bytes(data[21:] if options & 2 else data)


def _sealed(rest: bytes) -> bytes:
    fields, payload = rest[:40].ljust(40, b"\0"), rest[40:]
    attributes, last_delta, first, greatest, producer, _, _, count = struct.unpack(">hiqqqhii", fields)
    return batch(
        GOOD_END,
        payload=payload,
        count=count,
        last_delta=last_delta,
        attributes=attributes,
        first_timestamp=first,
        max_timestamp=greatest,
        producer_id=producer,
    )


def _by_both(data: bytes, *, committed: bool, check_crc: bool, fetch_offset: int) -> Decoded:
    native, pure = (
        decode(
            data,
            topic="t",
            partition=0,
            fetch_offset=fetch_offset,
            aborted=ABORTED,
            read_committed=committed,
            check_crc=check_crc,
            max_decompressed_bytes=1 << 20,
            using=using,
        )
        for using in (kernels, pure_kernels)
    )
    assert summary(native) == summary(pure)
    return native
