"""Bytes as NumPy arrays: a view where they lie right, one gather where they do not.

NumPy is imported on first use; a function without tensors never pays for it. Devices other than the CPU
have their own way (`protocols.Device`); this is the plain one.
"""

from collections.abc import Sequence
from math import prod
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from .errors import ShapeError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


_ITEM_BYTES = {
    "bool": 1, "int8": 1, "uint8": 1, "int16": 2, "uint16": 2, "float16": 2, "int32": 4, "uint32": 4, "float32": 4,
    "int64": 8, "uint64": 8, "float64": 8, "complex64": 8, "complex128": 16,
}  # fmt: skip


class Row(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="camel"):
    """What one row of an event's data is: declared, it lets an event hold several.

    Attributes:
        dtype: Type of its items, little-endian.
        shape: Its dimensions, in C order; empty: one number.
    """

    dtype: Literal[
        "bool", "int8", "uint8", "int16", "uint16", "float16", "int32", "uint32", "float32",
        "int64", "uint64", "float64", "complex64", "complex128",
    ]  # fmt: skip
    shape: tuple[int, ...] = ()

    @property
    def size_bytes(self) -> int:
        """Bytes of one row."""
        return prod(self.shape) * _ITEM_BYTES[self.dtype]


def view(data: memoryview, dtype: str, shape: Sequence[int]) -> "NDArray[Any]":
    """`data` as an array of `shape`, sharing its memory.

    Args:
        data: C-contiguous bytes.
        dtype: A NumPy dtype's name; multi-byte types are little-endian unless it says otherwise.
        shape: One dimension may be -1.

    Raises:
        ShapeError: The number of bytes does not fit.
    """
    import numpy as np

    kind = dtype_of(dtype)
    known = prod(size for size in shape if size >= 0)
    count, rest = divmod(data.nbytes, kind.itemsize)
    open_ended = any(size < 0 for size in shape)
    fits = rest == 0 and (count % known == 0 if open_ended and known else count == known)
    if not fits:
        want = f"a multiple of {known * kind.itemsize}" if open_ended else f"{known * kind.itemsize}"
        raise ShapeError(f"tensor {dtype} {tuple(shape)}: expected {want} bytes, got {data.nbytes}")
    return np.frombuffer(data, dtype=kind).reshape(shape)


def stack(rows: Sequence[memoryview], dtype: str, shape: Sequence[int]) -> "NDArray[Any]":
    """One array (rows, *shape) of all `rows`, each of which may hold several.

    Returns:
        A fresh array: one gather, one copy of each byte.

    Raises:
        ShapeError: A buffer is not a whole number of rows.
    """
    import numpy as np

    kind = fitting([row.nbytes for row in rows], dtype, shape)
    out = np.empty(sum(row.nbytes for row in rows), dtype=np.uint8)
    place = out.data
    at = 0
    for row in rows:
        place[at : at + row.nbytes] = row.cast("B")
        at += row.nbytes
    return out.view(kind).reshape((-1, *shape))


def fitting(sizes_bytes: Sequence[int], dtype: str, shape: Sequence[int]) -> "np.dtype[Any]":
    """The dtype, if each event of a batch, of these sizes, is a whole number of rows of `shape`.

    Raises:
        ShapeError: One is not, or there is no such dtype.
    """
    kind = dtype_of(dtype)
    row_bytes = count(shape) * kind.itemsize
    for index, size in enumerate(sizes_bytes):
        if row_bytes <= 0 or size % row_bytes:
            raise ShapeError(
                f"tensor {dtype} {tuple(shape)}: expected a multiple of {row_bytes} bytes, "
                f"got {size} - at event {index} of the batch"
            )
    return kind


def count(shape: Sequence[int]) -> int:
    """Items in an array of `shape`."""
    return prod(shape)


def dtype_of(name: str) -> "np.dtype[Any]":
    """NumPy's dtype; multi-byte types are little-endian unless the name says otherwise.

    Raises:
        ShapeError: There is none of that name.
    """
    import numpy as np

    try:
        return np.dtype(name).newbyteorder("<") if name[:1] not in "<>=|" else np.dtype(name)
    except TypeError as exc:
        raise ShapeError(f"tensor: expected a NumPy dtype, got {name!r}") from exc
