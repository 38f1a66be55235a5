"""Results as bytes."""

from typing import Any

import numpy as np
import pytest

from headrace.runtime.errors import ResultError
from headrace.runtime.results import JSON, OCTETS, TEXT, encode, encode_response
from headrace.triggers.outcomes import Response


class Text(str):
    __slots__ = ()


@pytest.mark.parametrize(
    ("value", "body", "content_type"),
    [
        (b"raw", b"raw", OCTETS),
        (bytearray(b"raw"), b"raw", OCTETS),
        (memoryview(b"raw"), b"raw", OCTETS),
        (memoryview(b"abcdef")[::2], b"ace", OCTETS),
        ("grün", "grün".encode(), TEXT),
        (Text("sub"), b"sub", TEXT),
        ({"a": [1, None]}, b'{"a":[1,null]}', JSON),
        ([1, 2], b"[1,2]", JSON),
        (7, b"7", JSON),
        (True, b"true", JSON),
        (np.arange(3, dtype="<u2"), b"\x00\x00\x01\x00\x02\x00", OCTETS),
        (np.array([[1, 2], [3, 4]], dtype="u1").T, b"\x01\x03\x02\x04", OCTETS),  # in C order
        (np.float32(1.0), b"\x00\x00\x80?", OCTETS),
    ],
)
def test_encode(value: object, body: bytes, content_type: str) -> None:
    encoded, kind = encode(value)
    assert (bytes(encoded), kind) == (body, content_type)


@pytest.mark.parametrize("value", [{1, object()}, object(), lambda: None])
def test_nonsense(value: Any) -> None:
    with pytest.raises(ResultError, match=r"result: expected bytes, str, a JSON-able value, .*, got `"):
        encode(value)


def test_arrays_are_not_copied() -> None:
    array = np.arange(1000, dtype="u1")
    encoded, _ = encode(array)
    assert np.shares_memory(np.frombuffer(encoded, dtype="u1"), array)


class Tensor:
    """A library's array that NumPy knows by DLPack alone, as PyTorch's."""

    def __init__(self, array: Any) -> None:
        self._array = array

    def __dlpack__(self, **options: Any) -> Any:
        return self._array.__dlpack__(**options)

    def __dlpack_device__(self) -> tuple[int, int]:
        return 1, 0


def test_other_libraries_arrays_are_not_copied() -> None:
    array = np.arange(10, dtype="<f4")
    encoded, kind = encode(Tensor(array))
    assert kind == OCTETS
    assert np.shares_memory(np.frombuffer(encoded, dtype="<f4"), array)
    with pytest.raises(ResultError, match="expected an array in host memory, got `Tensor`"):
        encode(Tensor(None))


def test_responses() -> None:
    assert encode_response(Response("hi")) == (b"hi", TEXT)
    assert encode_response(Response(b"hi", content_type="image/png")) == (b"hi", "image/png")
    assert encode_response(Response(None)) == (b"", OCTETS)
