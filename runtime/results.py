"""A handler's result as bytes: the same for responses and for sinks.

What does not belong here: statuses, outcomes and generators, which settling knows about.
"""

from typing import Any

import msgspec

from headrace.triggers.outcomes import Response

from .errors import ResultError

OCTETS = "application/octet-stream"
TEXT = "text/plain; charset=utf-8"
JSON = "application/json"

_json = msgspec.json.Encoder()


def encode(value: object) -> tuple[bytes | memoryview, str]:
    """(body, content type) of a result that is not None, an outcome, a `Response` or a generator.

    Arrays of any library become their bytes in C order. Those of a GPU were copied to the host before.

    Raises:
        ResultError: It is of none of the types that a handler may return.
    """
    kind = type(value)
    if kind is bytes:
        return value, OCTETS  # type: ignore[return-value]
    if kind is str:
        return value.encode(), TEXT  # type: ignore[attr-defined]
    if kind is dict or kind is list:
        return _encode_json(value), JSON
    if isinstance(value, bytes | bytearray | memoryview):
        return memoryview(value).cast("B") if _contiguous(value) else bytes(value), OCTETS
    if isinstance(value, str):
        return value.encode(), TEXT
    if hasattr(value, "__array_interface__") or hasattr(value, "__dlpack__"):
        return _array_bytes(value), OCTETS
    return _encode_json(value), JSON


def encode_response(response: Response) -> tuple[bytes | memoryview, str]:
    """(body, content type) of a `Response` whose body is no generator."""
    body, content_type = encode(response.body) if response.body is not None else (b"", OCTETS)
    return body, response.content_type or content_type


def _contiguous(value: bytes | bytearray | memoryview) -> bool:
    return not isinstance(value, memoryview) or value.c_contiguous


def _encode_json(value: object) -> bytes:
    try:
        return _json.encode(value)
    except (TypeError, ValueError, OverflowError) as exc:
        raise ResultError(
            "result: expected bytes, str, a JSON-able value, an array, Response, Ack, Retry, Reject, "
            f"a generator or None, got `{type(value).__name__}` ({exc})"
        ) from exc


def _array_bytes(array: Any) -> memoryview:
    import numpy as np

    try:
        host = array if hasattr(array, "__array_interface__") else np.from_dlpack(array)
    except Exception as exc:  # each library has its own: on another device, needs a gradient, ...
        raise ResultError(f"result: expected an array in host memory, got `{type(array).__name__}` ({exc})") from exc
    # reshape(-1) gives a one-dimensional memoryview; tobytes-like copy only where it is not C-ordered
    return np.ascontiguousarray(host).reshape(-1).view(np.uint8).data
