"""The CPU as a device: NumPy views where bytes lie right, one gather into reused memory where they do not.

NumPy, and what needs it, is imported with the first batch's array; a function without tensors never pays.
"""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from headrace.triggers import arrays
from headrace.triggers.protocols import DeviceMemory, Download, Upload

from ..errors import DeviceOutOfMemory

if TYPE_CHECKING:
    from .blocks import HostBlocks


class CpuDevice:
    """NumPy in this process. There is nothing to copy ahead of time, and nothing to bring back.

    Attributes:
        gathered_bytes: Copied because a batch's rows were not consecutive.
    """

    name = "cpu"

    def __init__(self) -> None:
        self.gathered_bytes = 0
        self._blocks: HostBlocks | None = None

    @property
    def xp(self) -> Any:
        """The module `numpy`."""
        import numpy as np

        return np

    def view(self, data: memoryview, dtype: str, shape: Sequence[int]) -> Any:
        return arrays.view(data, dtype, shape)

    def stack(self, rows: Sequence[memoryview], dtype: str, shape: Sequence[int]) -> Any:
        """A view where rows are consecutive (without gaps, or in consecutive slots), else one gather."""
        from . import rows as layout

        kind = arrays.fitting([row.nbytes for row in rows], dtype, shape)
        filled = [row for row in rows if row.nbytes]
        if not filled:
            return self.xp.empty((0, *shape), kind)
        addresses = layout.addresses_of(filled)
        run = layout.run_of(filled, addresses)
        if run is not None and (run.length == 1 or run.row_bytes == kind.itemsize * arrays.count(shape)):
            return self.xp.asarray(layout.Joined(filled, run)).view(kind).reshape((-1, *shape))
        size = sum(row.nbytes for row in filled)
        joined = self._staging().lease(size).array()
        layout.gather(filled, addresses, joined)
        self.gathered_bytes += size
        return joined.view(kind).reshape((-1, *shape))

    def to_host(self, array: Any) -> memoryview:
        import numpy as np

        return np.ascontiguousarray(array).reshape(-1).view(np.uint8).data

    def from_dlpack(self, value: Any) -> Any:
        return self.xp.from_dlpack(value)

    def allocate_host(self, size_bytes: int) -> memoryview:
        """Page-aligned memory of the process's own; its pages are taken when first written."""
        import mmap

        return memoryview(mmap.mmap(-1, size_bytes, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS))

    def upload(self, rows: Sequence[memoryview]) -> Upload | None:
        """None: the bytes are where they are computed with."""
        return None

    def download(self, value: Any) -> Download | None:
        """None: results are in host memory."""
        return None

    def enter_thread(self) -> None:
        """Nothing: every thread is as good as another."""

    def graphed(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """`function` itself."""
        return function

    def is_out_of_memory(self, error: BaseException) -> bool:
        return isinstance(error, MemoryError | DeviceOutOfMemory)

    def is_lost(self, error: BaseException) -> bool:
        return False

    def memory(self) -> DeviceMemory | None:
        return None

    def synchronize(self) -> None:
        """Nothing: what was called is done."""

    def close(self) -> None:
        """Nothing is held."""

    def _staging(self) -> "HostBlocks":
        if self._blocks is None:
            from .blocks import HostBlocks

            self._blocks = HostBlocks(self.allocate_host)
        return self._blocks
