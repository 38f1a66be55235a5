"""The CPU as a device: NumPy views where bytes lie right, one gather into reused memory where they do not."""

from collections.abc import Sequence
from typing import Any

from headrace.triggers import arrays

from ..errors import DeviceOutOfMemory


class CpuDevice:
    """NumPy; imported when the first array is made."""

    name = "cpu"

    @property
    def xp(self) -> Any:
        """The module `numpy`."""
        import numpy as np

        return np

    def allocate_host(self, size_bytes: int) -> memoryview:
        """Page-aligned memory of the process's own; its pages are taken when first written."""
        import mmap

        return memoryview(mmap.mmap(-1, size_bytes, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS))

    def is_out_of_memory(self, error: BaseException) -> bool:
        return isinstance(error, MemoryError | DeviceOutOfMemory)

    def view(self, data: memoryview, dtype: str, shape: Sequence[int]) -> Any:
        return arrays.view(data, dtype, shape)

    def stack(self, rows: Sequence[memoryview], dtype: str, shape: Sequence[int]) -> Any:
        return arrays.stack(rows, dtype, shape)

    def to_host(self, array: Any) -> memoryview:
        import numpy as np

        return np.ascontiguousarray(array).reshape(-1).view(np.uint8).data
