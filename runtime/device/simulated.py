"""A GPU that is none: streams, events, memory and copies on the CPU, as late and as unkindly as CUDA allows.

Work that is put on a stream is done only when something waits for it, directly or through an event. Fresh
and released memory is poisoned, copies read and write bare addresses (so that a slot which is recycled too
early shows), and arrays can't be read without waiting. What passes here in the right order passes on CUDA.
What does not belong here: the arrays (`simulated_arrays`), and the order itself (`gpu`).
"""

import ctypes
import threading
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from headrace.triggers.protocols import DeviceMemory

from .rows import Bytes
from .simulated_arrays import ArrayModule, SimulatedArray

POISON = 0xCB
"""Each byte of memory that holds nothing: -2.7e7 as float32, 203 as uint8."""
DEFAULT_MEMORY_BYTES = 1 << 30

Work = Callable[[], None]


class OutOfMemory(MemoryError):
    """What a handler's own allocation raises."""


class DeviceLost(RuntimeError):
    """What work may raise to show what follows from CUDA's sticky errors."""


class Step(NamedTuple):
    """What the trace tells.

    Attributes:
        moment: `begun` (put on its stream) or `done`.
        stream: Its name.
        work: `copy in`, `compute`, `copy out`, `wait`, `release`.
    """

    moment: str
    stream: str
    work: str


class SimulatedEvent:
    """A point in a stream's work."""

    def __init__(self, stream: "SimulatedStream", position: int) -> None:
        self._stream = stream
        self._position = position

    @property
    def done(self) -> bool:
        return self._stream.finished >= self._position

    def synchronize(self) -> None:
        self._stream.run_until(self._position)


class SimulatedStream:
    """Work that is done in order, once somebody waits.

    Attributes:
        begun: How many pieces of work were ever put on it.
        finished: How many of them are done.
    """

    def __init__(self, name: str, lock: threading.RLock, trace: list[Step]) -> None:
        self.name = name
        self.begun = 0
        self.finished = 0
        self._lock = lock
        self._trace = trace
        self._work: deque[tuple[str, Work]] = deque()

    def put(self, name: str, work: Work) -> None:
        """Do `work` some time later."""
        with self._lock:
            self.begun += 1
            self._work.append((name, work))
            self._trace.append(Step("begun", self.name, name))

    def record(self) -> SimulatedEvent:
        return SimulatedEvent(self, self.begun)

    def wait_event(self, event: SimulatedEvent) -> None:
        self.put("wait", event.synchronize)

    def synchronize(self) -> None:
        self.run_until(self.begun)

    def run_until(self, position: int) -> None:
        """Do the work up to `position`, and before it what other streams must have done."""
        with self._lock:
            while self.finished < position:
                name, work = self._work.popleft()
                work()
                self.finished += 1
                self._trace.append(Step("done", self.name, name))

    def capture(self, function: Callable[[], Any]) -> tuple[list[Work], Any]:
        """What `function` puts here, taken off again undone, and what it returned."""
        with self._lock:
            before, self._work = self._work, deque()
            begun = self.begun
            try:
                result = function()
                return [work for _, work in self._work], result
            finally:
                self._work, self.begun = before, begun


class SimulatedGraph:
    """Captured work."""

    def __init__(self, stream: SimulatedStream, work: list[Work]) -> None:
        self._stream = stream
        self._work = work

    def launch(self) -> None:
        for work in self._work:
            self._stream.put("compute", work)


class Memory:
    """A piece of the GPU's memory.

    Attributes:
        content: Its bytes; for work on streams only.
    """

    def __init__(self, driver: "SimulatedDriver", size_bytes: int) -> None:
        self._driver = driver
        self.size_bytes = size_bytes
        driver.take(size_bytes)
        self.content: Bytes = np.full(size_bytes, POISON, np.uint8)

    def __del__(self) -> None:
        if hasattr(self, "content"):
            self._driver.give(self)


class SimulatedDriver:
    """`driver.Driver` without a GPU.

    Args:
        memory_bytes: How much it has.

    Attributes:
        trace: All that was begun and done, in order.
    """

    name = "simulated"

    def __init__(self, memory_bytes: int = DEFAULT_MEMORY_BYTES) -> None:
        self.trace: list[Step] = []
        self._lock = threading.RLock()
        self.copy_in_stream = SimulatedStream("copy in", self._lock, self.trace)
        self.compute_stream = SimulatedStream("compute", self._lock, self.trace)
        self.copy_out_stream = SimulatedStream("copy out", self._lock, self.trace)
        self.default_stream = SimulatedStream("default", self._lock, self.trace)
        self.xp = ArrayModule(self)
        self._total_bytes = memory_bytes
        self._used_bytes = 0
        self._thread = threading.local()
        self._pinned: list[np.ndarray[Any, Any]] = []

    # -- what `gpu` asks for -------------------------------------------------------------------------------

    def enter_thread(self) -> None:
        self._thread.stream = self.compute_stream

    def allocate_host(self, size_bytes: int) -> memoryview:
        memory = np.full(size_bytes, POISON, np.uint8)
        self._pinned.append(memory)  # copies go by address: it stays where it is
        return memory.data

    def allocate(self, size_bytes: int) -> Memory:
        return Memory(self, size_bytes)

    def copy_in(self, memory: Memory, offset: int, address: int, size_bytes: int) -> None:
        place = memory.content.ctypes.data + offset
        content = memory.content

        def copy() -> None:
            ctypes.memmove(place, address, size_bytes)
            _ = content  # the device's memory stays mapped, whoever lets go of it

        self.copy_in_stream.put("copy in", copy)

    def copy_out(self, array: SimulatedArray, address: int) -> None:
        content = array.content

        def copy() -> None:
            ctypes.memmove(address, content.ctypes.data, content.nbytes)

        self.copy_out_stream.put("copy out", copy)

    def release(self, memory: Memory) -> SimulatedEvent:
        self._poison(memory.content)
        return self.compute_stream.record()

    def scrub(self, memory: memoryview) -> None:
        np.frombuffer(memory, np.uint8).fill(POISON)

    def array(self, memory: Memory, owner: object, dtype: Any, shape: Sequence[int]) -> SimulatedArray:
        size = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
        return SimulatedArray(self, memory.content[:size].view(dtype).reshape(shape), owner)

    def as_array(self, value: Any) -> SimulatedArray | None:
        return self.xp.ascontiguousarray(value) if isinstance(value, SimulatedArray) else None

    def from_dlpack(self, value: Any) -> SimulatedArray:
        """Producers of real libraries lie on the CPU: theirs is the one copy that this makes."""
        return value if isinstance(value, SimulatedArray) else self.xp.asarray(np.from_dlpack(value))

    def capture(self, function: Callable[..., Any], arguments: Sequence[Any]) -> tuple[SimulatedGraph, Any]:
        work, output = self.compute_stream.capture(lambda: function(*arguments))
        return SimulatedGraph(self.compute_stream, work), output

    def is_out_of_memory(self, error: BaseException) -> bool:
        return isinstance(error, OutOfMemory)

    def is_lost(self, error: BaseException) -> bool:
        return isinstance(error, DeviceLost)

    def memory(self) -> DeviceMemory:
        return DeviceMemory(self._used_bytes, self._total_bytes)

    def synchronize(self) -> None:
        for stream in (self.copy_in_stream, self.default_stream, self.compute_stream, self.copy_out_stream):
            stream.synchronize()

    def close(self) -> None:
        """Nothing is held."""

    # -- what its arrays ask for ---------------------------------------------------------------------------

    @property
    def current(self) -> SimulatedStream:
        """The calling thread's stream; the default one, which waits for no other, until `enter_thread`."""
        stream: SimulatedStream = getattr(self._thread, "stream", self.default_stream)
        return stream

    def take(self, size_bytes: int) -> None:
        """Count memory that is allocated."""
        if self._used_bytes + size_bytes > self._total_bytes:
            free = self._total_bytes - self._used_bytes
            raise OutOfMemory(f"simulated device: expected {size_bytes} free bytes, got {free}")
        self._used_bytes += size_bytes

    def give(self, memory: Memory) -> None:
        """Take memory back: as from CuPy's pool, the compute stream's next kernel may write to it at once."""
        self._used_bytes -= memory.size_bytes
        self._poison(memory.content)

    def _poison(self, content: Bytes) -> None:
        self.compute_stream.put("release", lambda: content.fill(POISON))
