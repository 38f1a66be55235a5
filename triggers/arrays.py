"""Bytes as NumPy arrays: a view where they lie right, one gather where they do not.

NumPy is imported on first use; a function without tensors never pays for it. Devices other than the CPU
have their own way (`protocols.Device`); this is the plain one.
"""

from collections.abc import Sequence
from math import prod
from typing import TYPE_CHECKING, Any

from .errors import ShapeError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


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

    kind = _dtype(dtype)
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

    kind = _dtype(dtype)
    row_bytes = prod(shape) * kind.itemsize
    for index, row in enumerate(rows):
        if row_bytes == 0 or row.nbytes % row_bytes:
            raise ShapeError(
                f"tensor {dtype} {tuple(shape)}: expected a multiple of {row_bytes} bytes, "
                f"got {row.nbytes} - at event {index} of the batch"
            )
    out = np.empty(sum(row.nbytes for row in rows), dtype=np.uint8)
    place = out.data
    at = 0
    for row in rows:
        place[at : at + row.nbytes] = row.cast("B")
        at += row.nbytes
    return out.view(kind).reshape((-1, *shape))


def _dtype(name: str) -> "np.dtype[Any]":
    import numpy as np

    try:
        return np.dtype(name).newbyteorder("<") if name[:1] not in "<>=|" else np.dtype(name)
    except TypeError as exc:
        raise ShapeError(f"tensor: expected a NumPy dtype, got {name!r}") from exc
