"""The four compressions of Kafka's record batches, bounded in what they may grow to.

What does not belong here: compressing, which the producer's client does.
"""

import struct
import zlib
from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing_extensions import Buffer

_NAMES = {1: "gzip", 2: "snappy", 3: "lz4", 4: "zstd"}
_FIRST_ROOM_BYTES = 64 * 1024
_XERIAL = b"\x82SNAPPY\x00"  # snappy-java's framing: this, two int32 (versions), then blocks of int32 size and bytes
_XERIAL_HEADER_BYTES = 16
_GZIP_WINDOW = 31  # zlib's 15 bits, with gzip's header


class DecompressionError(Exception):
    """The bytes are not what the codec makes, or grow beyond the limit."""


class Decompressor:
    """Decompresses the batches of one fetch, with room that the next one uses again.

    Without that a fetch of 64 batches, all held until its end, costs five times as much, most of it page faults.

    Args:
        limit_bytes: The most that one batch may grow to.
    """

    def __init__(self, limit_bytes: int) -> None:
        self._limit_bytes = limit_bytes
        self._room: bytearray | None = None

    def decompress(self, codec: int, data: memoryview) -> "Buffer":
        """The decompressed bytes of a batch, good until the next call.

        Args:
            codec: The low three bits of the batch's attributes: 1 gzip, 2 snappy, 3 lz4, 4 zstd.
            data: What follows the batch's header.

        Raises:
            DecompressionError: It can't be decompressed, or grows beyond the limit.
        """
        name = _NAMES.get(codec)
        try:
            if name == "gzip":
                return _gzip(data, self._limit_bytes)
            if name == "snappy":
                return _snappy(data, self._limit_bytes)
            if name is not None:
                return self._into_room(name, data)
        except (zlib.error, ValueError, struct.error) as exc:
            raise DecompressionError(f"expected {name} data of at most {self._limit_bytes} bytes, got: {exc}") from exc
        raise DecompressionError(f"expected a compression from 0 to 4, got {codec}")

    def _into_room(self, name: str, data: memoryview) -> memoryview:
        """Try with ever more room: neither lz4's nor zstd's frame must say its size, and cramjam takes no limit."""
        import cramjam

        expand = _expander(name)
        if self._room is None:
            self._room = bytearray(min(max(4 * len(data), _FIRST_ROOM_BYTES), self._limit_bytes))
        while True:
            try:
                size = expand(data, self._room)
            except cramjam.DecompressionError as exc:
                if len(self._room) >= self._limit_bytes or str(exc) != _no_room(name):
                    raise ValueError(exc) from exc
                self._room = bytearray(min(4 * len(self._room), self._limit_bytes))
            else:
                return memoryview(self._room)[:size]


def _expander(name: str) -> "Callable[[Buffer, bytearray], int]":
    import cramjam

    return cramjam.lz4.decompress_into if name == "lz4" else cramjam.zstd.decompress_into


@cache
def _no_room(name: str) -> str:
    """What cramjam says where the room is too small: its errors differ by their text alone, so it is asked."""
    import cramjam

    data = (cramjam.lz4 if name == "lz4" else cramjam.zstd).compress(b"two")
    try:
        _expander(name)(data, bytearray(1))
    except cramjam.DecompressionError as exc:
        return str(exc)
    return ""


def _gzip(data: memoryview, limit_bytes: int) -> bytes:
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
            return b"".join(out)


def _snappy(data: memoryview, limit_bytes: int) -> "Buffer":
    if bytes(data[: len(_XERIAL)]) != _XERIAL or len(data) < _XERIAL_HEADER_BYTES:
        return _snappy_block(data, limit_bytes)
    out = bytearray()
    at = _XERIAL_HEADER_BYTES
    while at < len(data):
        size: int = struct.unpack_from(">i", data, at)[0]
        at += 4
        if not 0 < size <= len(data) - at:
            raise ValueError(f"a block of {size} bytes, where {len(data) - at} are left")
        out += _snappy_block(data[at : at + size], limit_bytes - len(out))
        at += size
    return out


def _snappy_block(data: memoryview, limit_bytes: int) -> "Buffer":
    import cramjam

    try:
        size = cramjam.snappy.decompress_raw_len(data)
        if size > limit_bytes:
            raise ValueError(f"{size} bytes")
        return cramjam.snappy.decompress_raw(data)
    except cramjam.DecompressionError as exc:
        raise ValueError(exc) from exc
