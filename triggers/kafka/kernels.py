"""Which kernels decode records in this process: the native ones where they were built, else their twin."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple

from . import _columnar_py as twin

if TYPE_CHECKING:
    from typing_extensions import Buffer

    from ._columnar_py import Problem, Segment


class Kernels(NamedTuple):
    """The inner loops of the columnar codec; `_columnar_py` says what each does."""

    native: bool
    crc32c: "Callable[[Buffer, int, int], int]"
    fill: "Callable[[Buffer, list[Segment], int, int], tuple[tuple[memoryview, ...], Problem | None]]"
    blobs: "Callable[[Buffer, Sequence[int], Sequence[int]], list[bytes | None]]"
    gather: "Callable[[Buffer, Sequence[int], int, Buffer], None]"


def native_kernels() -> Kernels | None:
    """The Cython kernels; None where the extension was not built."""
    try:
        from . import _columnar as native
    except ImportError:
        return None
    return Kernels(True, native.crc32c, native.fill, native.blobs, native.gather)


pure_kernels = Kernels(False, twin.crc32c, twin.fill, twin.blobs, twin.gather)
kernels = native_kernels() or pure_kernels
