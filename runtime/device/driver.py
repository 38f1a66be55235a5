"""What a GPU's library must offer, and no more: streams, events, memory, copies, and arrays over memory.

`gpu.GpuDevice` puts them in order (who waits for whom, who keeps what until when) and is the same for the
real library (`cuda`) and for the simulated one, which shows that the order is right on any machine.
"""

from collections.abc import Callable, Sequence
from typing import Any, Protocol

from headrace.triggers.protocols import DeviceMemory


class DriverEvent(Protocol):
    """A point in a stream's work."""

    @property
    def done(self) -> bool:
        """Whether the work before it is done; never waits."""
        ...

    def synchronize(self) -> None:
        """Block until it is; raises what that work raised."""
        ...


class DriverStream(Protocol):
    """Work that is done in order, while other streams do theirs."""

    def record(self) -> Any:
        """A `DriverEvent` behind all work begun so far."""
        ...

    def wait_event(self, event: Any) -> None:
        """Let later work of this stream wait for `event`; the caller does not."""
        ...

    def synchronize(self) -> None:
        """Block until all is done."""
        ...


class DriverGraph(Protocol):
    """Work that was captured, to be launched again as a whole."""

    def launch(self) -> None:
        """Do it again, on the compute stream."""
        ...


class Driver(Protocol):
    """One GPU, with a stream for each direction and one to compute on.

    Copies in, computation and copies out need a stream each: a copy out waits for the computation before it,
    and on one stream with it the next copy in would wait too. GPUs have a copy engine for each direction.
    """

    @property
    def name(self) -> str:
        """`cuda` or `simulated`."""
        ...

    @property
    def xp(self) -> Any:
        """The library's array module."""
        ...

    @property
    def copy_in_stream(self) -> DriverStream:
        """Host to device."""
        ...

    @property
    def compute_stream(self) -> DriverStream:
        """Kernels."""
        ...

    @property
    def copy_out_stream(self) -> DriverStream:
        """Device to host."""
        ...

    def enter_thread(self) -> None:
        """Make the calling thread use this GPU and its compute stream."""
        ...

    def allocate_host(self, size_bytes: int) -> memoryview:
        """Pinned memory of exactly `size_bytes`."""
        ...

    def allocate(self, size_bytes: int) -> Any:
        """Memory on the GPU that no stream uses; freed when nothing refers to it. Raises if there is none."""
        ...

    def copy_in(self, memory: Any, offset: int, address: int, size_bytes: int) -> None:
        """Begin to copy pinned memory to `memory`, on the copy-in stream."""
        ...

    def copy_out(self, array: Any, address: int) -> None:
        """Begin to copy a C-contiguous array to pinned memory, on the copy-out stream."""
        ...

    def release(self, memory: Any) -> Any:
        """An event (on the compute stream) behind all use of `memory`, which is free then."""
        ...

    def scrub(self, memory: memoryview) -> None:
        """Spoil pinned memory that nobody should read any more; a real GPU leaves it."""
        ...

    def array(self, memory: Any, owner: object, dtype: Any, shape: Sequence[int]) -> Any:
        """An array over the beginning of `memory`; it, and all views of it, keep `owner`."""
        ...

    def as_array(self, value: Any) -> Any:
        """`value` as this library's C-contiguous array, if it lies on this GPU; else None."""
        ...

    def from_dlpack(self, value: Any) -> Any:
        """A DLPack producer's tensor as this library's array."""
        ...

    def capture(self, function: Callable[..., Any], arguments: Sequence[Any]) -> tuple[DriverGraph, Any]:
        """Call `function` without its work being done, and give that as a graph, with what it returned."""
        ...

    def is_out_of_memory(self, error: BaseException) -> bool:
        """Whether this library says so."""
        ...

    def is_lost(self, error: BaseException) -> bool:
        """Whether every later call would fail likewise."""
        ...

    def memory(self) -> DeviceMemory:
        """The whole GPU's."""
        ...

    def synchronize(self) -> None:
        """Block until all streams, those of others too, are done."""
        ...

    def close(self) -> None:
        """Free what is held."""
        ...
