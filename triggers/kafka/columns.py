"""`Columns`: the records of one fetch as arrays over its bytes.

Values, keys and headers are made when asked for; slicing copies nothing. What does not belong here: decoding
(`columnar`), and `Event`s.
"""

from array import array
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ..arrays import count, fitting, stack
from ._columnar_py import read_headers
from .kernels import Kernels, kernels

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_APPEND_TIME = 0x08
_CODES = "qqiiiiiih"


class Columns:
    """Records of one partition, in order.

    Attributes:
        data: memoryview of bytes ("B", read-only): what was fetched, or decompressed.
        offsets: memoryview of int64.
        timestamps: memoryview of int64, ms since the Unix epoch; of creation or of appending, as the batch says.
        key_starts: memoryview of int32, places in `data`; so are `value_starts` and `header_starts`.
        key_sizes: memoryview of int32, bytes; -1: null; so are `value_sizes`.
        header_sizes: memoryview of int32, bytes, with the count of headers that begins them.
        attributes: memoryview of int16, those of each record's batch (KIP-98).
    """

    __slots__ = (
        "_keys", "_using", "_values", "attributes", "data", "header_sizes", "header_starts", "key_sizes", "key_starts",
        "offsets", "timestamps", "value_sizes", "value_starts",
    )  # fmt: skip

    def __init__(self, data: memoryview, columns: Sequence[memoryview], using: Kernels = kernels) -> None:
        self.data = data
        (
            self.offsets, self.timestamps, self.key_starts, self.key_sizes, self.value_starts, self.value_sizes,
            self.header_starts, self.header_sizes, self.attributes,
        ) = columns  # fmt: skip
        self._using = using
        self._values: list[memoryview | None] | None = None
        self._keys: list[bytes | None] | None = None

    def __len__(self) -> int:
        return len(self.offsets)

    def __getitem__(self, index: slice) -> "Columns":
        """Some consecutive records, over the same memory; the step is 1."""
        if index.step not in (None, 1):
            raise ValueError(f"columns: expected a slice of step 1, got {index.step}")
        part = Columns(self.data, [column[index] for column in self._columns()], self._using)
        part._values = None if self._values is None else self._values[index]
        part._keys = None if self._keys is None else self._keys[index]
        return part

    def take(self, indices: Sequence[int]) -> "Columns":
        """The records at `indices`, in that order: copies of the columns, over the same bytes."""
        picked = [
            memoryview(array(code, [column[index] for index in indices]))
            for code, column in zip(_CODES, self._columns(), strict=True)
        ]
        return Columns(self.data, picked, self._using)

    @property
    def values(self) -> list[memoryview | None]:
        """Each record's value over the fetched bytes; None where it is null. Made when first asked for."""
        if self._values is None:
            data = self.data
            self._values = [
                data[start : start + size] if size >= 0 else None
                for start, size in zip(self.value_starts, self.value_sizes, strict=True)
            ]
        return self._values

    def copies(self) -> list[bytes | None]:
        """A copy of each value; for small ones that is quicker than a view, and they outlive the fetched bytes."""
        return self._using.blobs(self.data, self.value_starts, self.value_sizes)

    @property
    def keys(self) -> list[bytes | None]:
        """A copy of each record's key; None where it is null. Made when first asked for."""
        if self._keys is None:
            self._keys = self._using.blobs(self.data, self.key_starts, self.key_sizes)
        return self._keys

    @property
    def size_bytes(self) -> int:
        """Bytes of all values together."""
        sizes = self.value_sizes.tolist()
        return sum(sizes) + sizes.count(-1)

    def value(self, index: int) -> memoryview | None:
        """The value of one record, over the fetched bytes; None: null."""
        start, size = self.value_starts[index], self.value_sizes[index]
        return self.data[start : start + size] if size >= 0 else None

    def key(self, index: int) -> bytes | None:
        """A copy of the key of one record; None: null."""
        start, size = self.key_starts[index], self.key_sizes[index]
        return bytes(self.data[start : start + size]) if size >= 0 else None

    def headers(self, index: int) -> tuple[tuple[str, bytes | None], ...]:
        """The headers of one record, in order; names may come twice, and bytes that are not UTF-8 are replaced."""
        start, size = self.header_starts[index], self.header_sizes[index]
        return read_headers(bytes(self.data[start : start + size])) if size > 1 else ()

    def log_append_time(self, index: int) -> bool:
        """Whether the record's timestamp is the broker's; else it is the producer's."""
        return bool(self.attributes[index] & _APPEND_TIME)

    def tensor(self, dtype: str, shape: Sequence[int], *, aligned: bool = False) -> "NDArray[Any]":
        """All values as one array (rows, *shape); a value may hold several rows.

        Where each value is one row, and all lie at the same distance, the array is a view with that stride over the
        fetched bytes, read-only and seldom aligned; NumPy computes with it, but neither DLPack nor torch takes it.

        Args:
            dtype: A NumPy dtype's name; little-endian unless it says otherwise.
            shape: Of one row.
            aligned: Gather where the view would not be aligned.

        Raises:
            ShapeError: A value is not a whole number of rows.
        """
        import numpy as np

        sizes = np.asarray(self.value_sizes)
        size = int(sizes[0]) if len(sizes) else 0
        if size <= 0 or (sizes != size).any():
            return stack([value for value in self.values if value is not None], dtype, shape)
        kind = fitting([size], dtype, shape)
        view = self._strided(size, kind, shape)
        if view is not None and (view.flags.aligned or not aligned):
            return view
        out = np.empty(len(sizes) * size, dtype=np.uint8)
        self._using.gather(self.data, self.value_starts, size, out.data)
        return out.view(kind).reshape((-1, *shape))

    def _strided(self, size_bytes: int, kind: "np.dtype[Any]", shape: Sequence[int]) -> "NDArray[Any] | None":
        """The values, all of this size, as a view; None: they hold several rows, or lie at changing distances."""
        import numpy as np

        if size_bytes != count(shape) * kind.itemsize:
            return None
        starts = np.asarray(self.value_starts)
        distances = np.diff(starts)
        stride = int(distances[0]) if len(distances) else size_bytes
        if stride < size_bytes or (distances != stride).any():
            return None
        inner = np.empty(shape, dtype=np.uint8).strides
        return np.ndarray(
            (len(starts), *shape),
            dtype=kind,
            buffer=self.data,
            offset=int(starts[0]),
            strides=(stride, *(step * kind.itemsize for step in inner)),
        )

    def _columns(self) -> tuple[memoryview, ...]:
        return (
            self.offsets, self.timestamps, self.key_starts, self.key_sizes, self.value_starts, self.value_sizes,
            self.header_starts, self.header_sizes, self.attributes,
        )  # fmt: skip

    def __repr__(self) -> str:
        if not len(self):
            return "Columns(0 records)"
        return f"Columns({len(self)} records, offsets {self.offsets[0]} to {self.offsets[-1]})"
