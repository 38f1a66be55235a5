"""A batch on its way to the GPU, and a result on its way back: what each keeps, and until when.

What does not belong here: when they begin (`gpu`).
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from headrace.triggers import arrays
from headrace.triggers.errors import ShapeError

from .completion import Watch
from .driver import Driver, DriverEvent
from .inputs import InputLease


class GpuUpload:
    """A batch's bytes on their way to the GPU: `triggers.protocols.Upload`."""

    def __init__(
        self, driver: Driver, watch: Watch, memory: InputLease, sizes: list[int], kept: object, event: DriverEvent
    ) -> None:
        self._driver = driver
        self._watch = watch
        self._memory = memory
        self._sizes = sizes
        self._kept = kept
        self._event = event
        self._waited = False

    def array(self, dtype: str, shape: Sequence[int]) -> Any:
        """(rows, *shape) on the GPU, the same memory at each call; raises `ShapeError`."""
        kind = native(arrays.fitting(self._sizes, dtype, shape))
        self._driver.enter_thread()
        if not self._waited:
            self._driver.compute_stream.wait_event(self._event)
            self._waited = True
        length = sum(self._sizes) // (kind.itemsize * arrays.count(shape))
        return self._driver.array(self._memory.memory, self._memory, kind, (length, *shape))

    def __del__(self) -> None:
        # Whoever held this may settle the batch now, but its slots are not free before the copy has read them.
        self._watch.keep(self._event, (self._kept, self._memory))


class GpuDownload:
    """A result on its way to the host: `triggers.protocols.Download`."""

    def __init__(self, value: Any, event: DriverEvent, kept: object, watch: Watch) -> None:
        self.value = value
        self._event = event
        self._kept = kept
        self._watch = watch

    @property
    def done(self) -> bool:
        return self._event.done

    def wait(self) -> Any:
        self._event.synchronize()
        return self.value

    def on_done(self, callback: Callable[[BaseException | None], None]) -> None:
        self._watch.call(self._event, callback)

    def __del__(self) -> None:
        self._watch.keep(self._event, self._kept)


def native(kind: np.dtype[Any]) -> np.dtype[Any]:
    """`kind`, if a GPU can compute with it; raises `ShapeError`."""
    if not kind.isnative:
        raise ShapeError(f"tensor: expected a little-endian dtype on a GPU, got {kind.str!r}")
    return kind
