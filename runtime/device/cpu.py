"""The CPU as a device: NumPy views and gathers in this process."""

from collections.abc import Sequence
from typing import Any

from headrace.triggers import arrays


class CpuDevice:
    """NumPy; imported when the first array is made."""

    name = "cpu"

    @property
    def xp(self) -> Any:
        """The module `numpy`."""
        import numpy as np

        return np

    def view(self, data: memoryview, dtype: str, shape: Sequence[int]) -> Any:
        return arrays.view(data, dtype, shape)

    def stack(self, rows: Sequence[memoryview], dtype: str, shape: Sequence[int]) -> Any:
        return arrays.stack(rows, dtype, shape)

    def to_host(self, array: Any) -> memoryview:
        import numpy as np

        return np.ascontiguousarray(array).reshape(-1).view(np.uint8).data
