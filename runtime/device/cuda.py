"""CUDA by CuPy, and nothing but CuPy's names: `driver.Driver` for the first GPU that the process sees.

Every call made here is checked against the installed `cupy` by `./scripts/test gpu`. What does not belong
here: any decision about order or lifetimes (`gpu`), which the simulated driver shares.
"""

from collections.abc import Callable, Sequence
from typing import Any

import cupy  # pyright: ignore[reportMissingImports]

from headrace.triggers.protocols import DeviceMemory

from ..errors import DeviceMissing

_DLPACK_CUDA = 2  # kDLCUDA of dlpack.h
_ERROR_MEMORY_ALLOCATION = 2  # cudaErrorMemoryAllocation of driver_types.h; CuPy has no Python name for it

# Of driver_types.h, "the process must be terminated and relaunched": ECC, illegal address, launch timeout, assert,
# hardware stack, illegal instruction, misaligned address, invalid address space, invalid pc, launch failure.
_STICKY_ERRORS = frozenset({214, 700, 702, 710, 714, 715, 716, 717, 718, 719})


class CudaStream:
    """A stream that does not wait for the default one, and events that sleep instead of spinning."""

    def __init__(self) -> None:
        self.stream = cupy.cuda.Stream(non_blocking=True)

    def record(self) -> Any:
        return self.stream.record(cupy.cuda.Event(block=True, disable_timing=True))

    def wait_event(self, event: Any) -> None:
        self.stream.wait_event(event)

    def synchronize(self) -> None:
        self.stream.synchronize()


class CudaGraph:
    """A captured graph, and the pool that its temporaries lie in: nothing else may be given their memory."""

    def __init__(self, graph: Any, pool: Any, stream: CudaStream) -> None:
        self._graph = graph
        self._pool = pool
        self._stream = stream

    def launch(self) -> None:
        self._graph.launch(stream=self._stream.stream)


class CudaDriver:
    """`driver.Driver` on CuPy.

    Args:
        memory_limit_bytes: Most that CuPy's pool takes; None: what CUPY_GPU_MEMORY_LIMIT says, or all there is.

    Raises:
        DeviceMissing: There is no GPU, or its driver is too old for this CuPy.
    """

    name = "cuda"
    xp = cupy

    def __init__(self, memory_limit_bytes: int | None = None) -> None:
        try:
            cupy.cuda.Device(0).use()
        except cupy.cuda.runtime.CUDARuntimeError as exc:
            raise DeviceMissing(f"device cuda: expected a GPU that CuPy {cupy.__version__} can use: {exc}") from exc
        self._pool = cupy.get_default_memory_pool()
        if memory_limit_bytes is not None:  # else CUPY_GPU_MEMORY_LIMIT counts
            self._pool.set_limit(size=memory_limit_bytes)
        self.copy_in_stream = CudaStream()
        self.compute_stream = CudaStream()
        self.copy_out_stream = CudaStream()
        self.enter_thread()

    def enter_thread(self) -> None:
        # Not remembered by thread: a handler may have made another stream current, and this takes 0.5 µs.
        self.compute_stream.stream.use()

    def allocate_host(self, size_bytes: int) -> memoryview:
        # Not by the pinned pool, which rounds up to a power of two.
        pointer = cupy.cuda.PinnedMemoryPointer(cupy.cuda.PinnedMemory(size_bytes), 0)
        return memoryview(pointer).cast("B")

    def allocate(self, size_bytes: int) -> Any:
        return cupy.cuda.Memory(size_bytes)

    def copy_in(self, memory: Any, offset: int, address: int, size_bytes: int) -> None:
        pointer = cupy.cuda.MemoryPointer(memory, offset)
        pointer.copy_from_host_async(address, size_bytes, stream=self.copy_in_stream.stream)

    def copy_out(self, array: Any, address: int) -> None:
        array.data.copy_to_host_async(address, array.nbytes, stream=self.copy_out_stream.stream)

    def release(self, memory: Any) -> Any:
        return self.compute_stream.record()

    def scrub(self, memory: memoryview) -> None:
        """Nothing: it will be written over."""

    def array(self, memory: Any, owner: object, dtype: Any, shape: Sequence[int]) -> Any:
        lasting = cupy.cuda.UnownedMemory(memory.ptr, memory.size, owner, device_id=0)
        return cupy.ndarray(shape, dtype=dtype, memptr=cupy.cuda.MemoryPointer(lasting, 0))

    def as_array(self, value: Any) -> Any:
        if isinstance(value, cupy.ndarray):
            return cupy.ascontiguousarray(value)
        if hasattr(value, "__dlpack_device__") and value.__dlpack_device__()[0] == _DLPACK_CUDA:
            return cupy.ascontiguousarray(self.from_dlpack(value))
        return None

    def from_dlpack(self, value: Any) -> Any:
        return cupy.from_dlpack(value)  # the producer's stream is made to wait for, not the host

    def capture(self, function: Callable[..., Any], arguments: Sequence[Any]) -> tuple[CudaGraph, Any]:
        # A stream of its own: an event that another thread records on the compute stream must not be captured.
        own, pool = CudaStream(), cupy.cuda.MemoryPool()
        with own.stream, cupy.cuda.using_allocator(pool.malloc):
            own.stream.begin_capture()
            try:
                output = function(*arguments)
            finally:
                graph = own.stream.end_capture()
        return CudaGraph(graph, pool, self.compute_stream), output

    def is_out_of_memory(self, error: BaseException) -> bool:
        if isinstance(error, cupy.cuda.runtime.CUDARuntimeError):
            return bool(getattr(error, "status", None) == _ERROR_MEMORY_ALLOCATION)
        # PyTorch's (`torch.OutOfMemoryError`) is told by its name, which is CuPy's too: it may not be installed.
        return type(error).__name__ == "OutOfMemoryError"

    def is_lost(self, error: BaseException) -> bool:
        errors = (cupy.cuda.runtime.CUDARuntimeError, cupy.cuda.driver.CUDADriverError)
        return isinstance(error, errors) and getattr(error, "status", None) in _STICKY_ERRORS

    def memory(self) -> DeviceMemory:
        free, total = cupy.cuda.runtime.memGetInfo()
        return DeviceMemory(total - free, total)

    def synchronize(self) -> None:
        cupy.cuda.Device(0).synchronize()

    def close(self) -> None:
        self._pool.free_all_blocks()
