"""The four compressions of Kafka's record batches, bounded in what they may grow to.

What does not belong here: compressing, which the producer's client does.
"""

import struct
import zlib
from collections.abc import Callable

_FIRST_ROOM_BYTES = 64 * 1024
_XERIAL = b"\x82SNAPPY\x00"  # snappy-java's framing: this, two int32 (versions), then blocks of int32 size and bytes
_XERIAL_HEADER_BYTES = 16
_GZIP_WINDOW = 31  # zlib's 15 bits, with gzip's header


class DecompressionError(Exception):
    """The bytes are not what the codec makes, or grow beyond the limit."""


def decompress(codec: int, data: memoryview, limit_bytes: int) -> memoryview:
    """The decompressed bytes of a batch.

    Args:
        codec: The low three bits of the batch's attributes: 1 gzip, 2 snappy, 3 lz4, 4 zstd.
        data: What follows the batch's header.
        limit_bytes: The most that it may grow to.

    Raises:
        DecompressionError: It can't be decompressed, or grows beyond the limit.
    """
    if (found := _CODECS.get(codec)) is None:
        raise DecompressionError(f"expected a compression from 0 to 4, got {codec}")
    name, expand = found
    try:
        return expand(data, limit_bytes)
    except (zlib.error, ValueError, struct.error) as exc:
        raise DecompressionError(f"expected {name} data of at most {limit_bytes} bytes, got: {exc}") from exc


def _gzip(data: memoryview, limit_bytes: int) -> memoryview:
    out: list[bytes] = []
    room = limit_bytes
    while True:
        member = zlib.decompressobj(wbits=_GZIP_WINDOW)
        out.append(member.decompress(data, room + 1))
        room -= len(out[-1])
        if room < 0:
            raise ValueError("it grows beyond that")
        if not member.eof:
            raise ValueError("its end is missing")
        data = memoryview(member.unused_data)
        if not data:  # RFC 1952 §2.2: one member may follow another
            return memoryview(out[0] if len(out) == 1 else b"".join(out))


def _snappy(data: memoryview, limit_bytes: int) -> memoryview:
    if bytes(data[: len(_XERIAL)]) != _XERIAL or len(data) < _XERIAL_HEADER_BYTES:
        return memoryview(_snappy_block(data, limit_bytes))
    out: list[bytes] = []
    at, room = _XERIAL_HEADER_BYTES, limit_bytes
    while at < len(data):
        size: int = struct.unpack_from(">i", data, at)[0]
        at += 4
        if not 0 < size <= len(data) - at:
            raise ValueError(f"a block of {size} bytes, where {len(data) - at} are left")
        out.append(_snappy_block(data[at : at + size], room))
        room -= len(out[-1])
        at += size
    return memoryview(b"".join(out))


def _snappy_block(data: memoryview, limit_bytes: int) -> bytes:
    import cramjam

    try:
        size = cramjam.snappy.decompress_raw_len(data)
        if size > limit_bytes:
            raise ValueError(f"{size} bytes")
        return bytes(cramjam.snappy.decompress_raw(data))
    except cramjam.DecompressionError as exc:
        raise ValueError(exc) from exc


def _lz4(data: memoryview, limit_bytes: int) -> memoryview:
    import cramjam

    return _into_room(cramjam.lz4.decompress_into, data, limit_bytes)


def _zstd(data: memoryview, limit_bytes: int) -> memoryview:
    import cramjam

    return _into_room(cramjam.zstd.decompress_into, data, limit_bytes)


def _into_room(expand: "Callable[[memoryview, bytearray], int]", data: memoryview, limit_bytes: int) -> memoryview:
    """Try with ever more room: neither frame must say its size, and cramjam takes no limit.

    Four times the compressed size holds most data at once; that costs no more than letting cramjam grow its own.
    """
    import cramjam

    room = max(4 * len(data), _FIRST_ROOM_BYTES)
    while True:
        room = min(room, limit_bytes)
        out = bytearray(room)
        try:
            return memoryview(out)[: expand(data, out)]
        except cramjam.DecompressionError as exc:
            if room == limit_bytes:
                raise ValueError(exc) from exc
        room *= 4


_CODECS: dict[int, tuple[str, Callable[[memoryview, int], memoryview]]] = {
    1: ("gzip", _gzip),
    2: ("snappy", _snappy),
    3: ("lz4", _lz4),
    4: ("zstd", _zstd),
}
