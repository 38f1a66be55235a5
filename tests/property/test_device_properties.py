"""Invariant: whatever order copies, computation, drops and recycled slots come in, no batch sees other bytes."""

import ctypes
import weakref
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.devices import Patient

from headrace.runtime.device.gpu import GpuDevice
from headrace.runtime.device.simulated import SimulatedDriver, SimulatedStream

SLOT_BYTES = 64
SLOTS = 16


class Slab:
    """Slots that are written over as soon as nothing refers to them."""

    def __init__(self, device: GpuDevice) -> None:
        self._memory = device.allocate_host(SLOTS * SLOT_BYTES)
        self._free = list(range(SLOTS))

    def receive(self, value: int, picked: int) -> memoryview | None:
        """A request of bytes `value` in one of the free slots."""
        if not self._free:
            return None
        index = self._free.pop(picked % len(self._free))
        exporter = (ctypes.c_ubyte * SLOT_BYTES).from_buffer(self._memory, index * SLOT_BYTES)
        weakref.finalize(exporter, self._recycle, index)
        view = memoryview(exporter).cast("B")
        view[:] = bytes([value]) * SLOT_BYTES
        return view

    def _recycle(self, index: int) -> None:
        self._memory[index * SLOT_BYTES : (index + 1) * SLOT_BYTES] = b"\xee" * SLOT_BYTES
        self._free.append(index)


class Replica:
    """Batches in all stages; each knows what its rows must give."""

    def __init__(self) -> None:
        self.driver, self.watch = SimulatedDriver(1 << 24), Patient()
        self.device = GpuDevice(self.driver, self.watch)
        self.device.enter_thread()
        self.slab = Slab(self.device)
        self.begun: list[tuple[Any, list[int]]] = []
        self.results: list[tuple[Any, list[int]]] = []
        self.value = 0

    def upload(self, picks: list[int]) -> None:
        values = [(self.value + k) % 200 + 1 for k in range(len(picks))]
        received = [(self.slab.receive(v, p), v) for v, p in zip(values, picks, strict=True)]
        rows = [(row, value) for row, value in received if row is not None]
        self.value += len(picks)
        if rows and (upload := self.device.upload([row for row, _ in rows])) is not None:
            self.begun.append((upload, [value for _, value in rows]))

    def compute(self, picks: list[int]) -> None:
        if self.begun:
            upload, values = self.begun.pop(picks[0] % len(self.begun))
            sums = upload.array("uint8", (SLOT_BYTES,)).astype("int64").sum(axis=1)
            del upload
            download = self.device.download([sums + 1, sums[:1]])
            assert download is not None
            self.results.append((download, values))

    def drop(self, picks: list[int]) -> None:
        """A batch whose handler never asked for its array."""
        if self.begun:
            del self.begun[picks[0] % len(self.begun)]

    def advance(self, picks: list[int]) -> None:
        """One piece of work on some stream, as the GPU pleases."""
        streams: list[SimulatedStream] = [
            self.driver.copy_in_stream, self.driver.compute_stream, self.driver.copy_out_stream,
        ]  # fmt: skip
        for pick in picks:
            stream = streams[pick % 3]
            if stream.finished < stream.begun:
                stream.run_until(stream.finished + 1)

    def settle(self, picks: list[int]) -> None:
        if self.results:
            check(*self.results.pop(picks[0] % len(self.results)))

    def catch_up(self, picks: list[int]) -> None:
        self.watch.catch_up()


def check(download: Any, values: list[int]) -> None:
    sums, first = download.wait()
    assert sums.tolist() == [SLOT_BYTES * value + 1 for value in values]
    assert first.tolist() == [SLOT_BYTES * values[0]]


STEPS = st.sampled_from([
    Replica.upload, Replica.upload, Replica.compute, Replica.compute, Replica.drop, Replica.advance, Replica.settle,
    Replica.catch_up,
])  # fmt: skip


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.tuples(STEPS, st.lists(st.integers(0, 15), min_size=1, max_size=4)), max_size=40))
def test_batches_never_see_others_bytes(program: list[tuple[Any, list[int]]]) -> None:
    replica = Replica()
    for step, picks in program:
        step(replica, picks)
    while replica.begun:
        replica.compute([0])
    while replica.results:
        replica.settle([0])
    replica.catch_up([])
    replica.device.close()
    assert sorted(replica.slab._free) == list(range(SLOTS))
    memory = replica.device.memory()
    assert memory is not None
    assert memory.used_bytes == 0
