"""Decompression within a limit, of what other clients write and of what none does."""

import gzip
import struct

import cramjam
import pytest
from support.record_batches import compressed

from headrace.triggers.kafka.compression import DecompressionError, Decompressor


def decompress(codec: int, data: memoryview, limit_bytes: int) -> bytes:
    return bytes(Decompressor(limit_bytes).decompress(codec, data))


PLAIN = bytes(range(256)) * 40
CODECS = {"gzip": 1, "snappy": 2, "lz4": 3, "zstd": 4}


@pytest.mark.parametrize("codec", CODECS.values(), ids=CODECS)
@pytest.mark.parametrize("plain", [PLAIN, b"\0" * 1_000_000, b"x"], ids=["some", "much", "little"])
def test_what_was_compressed_comes_back(codec: int, plain: bytes) -> None:
    assert decompress(codec, memoryview(compressed(codec, plain)), 1_000_000) == plain


@pytest.mark.parametrize(("name", "codec"), CODECS.items(), ids=CODECS)
def test_no_more_than_the_limit(name: str, codec: int) -> None:
    data = memoryview(compressed(codec, b"\0" * 1_000_000))
    with pytest.raises(DecompressionError, match=f"expected {name} data of at most 999999 bytes, got: "):
        decompress(codec, data, 999_999)


@pytest.mark.parametrize("codec", CODECS.values(), ids=CODECS)
@pytest.mark.parametrize("data", [b"", b"\1", b"nonsense" * 20, b"\xff" * 40])
def test_what_no_codec_writes(codec: int, data: bytes) -> None:
    with pytest.raises(DecompressionError, match="data of at most 1000 bytes, got: "):
        decompress(codec, memoryview(data), 1000)


@pytest.mark.parametrize("codec", CODECS.values(), ids=CODECS)
def test_a_missing_end(codec: int) -> None:
    with pytest.raises(DecompressionError, match="got: "):
        decompress(codec, memoryview(compressed(codec, PLAIN)[:-9]), 100_000)


def test_room_is_used_again_and_grows() -> None:
    decompressor = Decompressor(1_000_000)
    for plain in (b"x" * 1_000, b"y" * 900_000, b"z" * 70):
        for codec in (3, 4):
            assert memoryview(decompressor.decompress(codec, memoryview(compressed(codec, plain)))) == plain


def test_gzip_members_follow_one_another() -> None:
    data = gzip.compress(b"one") + gzip.compress(b"two")
    assert decompress(1, memoryview(data), 6) == b"onetwo"
    with pytest.raises(DecompressionError, match="grows beyond"):
        decompress(1, memoryview(data), 5)


def test_snappy_without_framing() -> None:
    assert decompress(2, memoryview(bytes(cramjam.snappy.compress_raw(PLAIN))), 100_000) == PLAIN


@pytest.mark.parametrize("size", [-4, 0, 1 << 30])
def test_a_snappy_block_that_does_not_fit(size: int) -> None:
    data = compressed(2, b"")[:16] + struct.pack(">i", size) + b"rest"
    with pytest.raises(DecompressionError, match=f"a block of {size} bytes, where 4 are left"):
        decompress(2, memoryview(data), 1000)


@pytest.mark.parametrize("codec", [5, 6, 7])
def test_a_codec_that_is_none(codec: int) -> None:
    with pytest.raises(DecompressionError, match=f"expected a compression from 0 to 4, got {codec}"):
        decompress(codec, memoryview(b""), 1000)
