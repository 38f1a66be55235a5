"""The order of copies and computation, shown on the simulated GPU: right as it is, poison where a rule is broken."""

import ctypes
import gc
import weakref
from typing import Any

import numpy as np
import pytest
from support.devices import Patient, simulated, slots

from headrace.runtime.device.blocks import KEPT_BLOCKS
from headrace.runtime.device.gpu import EARLY_GATHER_BYTES, GpuDevice
from headrace.runtime.device.simulated import POISON, SimulatedDriver, Step
from headrace.runtime.errors import DeviceOutOfMemory

POISON_F4 = np.frombuffer(bytes([POISON] * 4), "<f4")[0]


def deaf(stream: Any) -> None:
    """Make a stream wait for no event."""
    stream.wait_event = lambda event: None


# -- as it should be ---------------------------------------------------------------------------------------


def test_nothing_is_done_before_somebody_waits() -> None:
    device, driver, _ = simulated()
    upload = device.upload(slots(device, 2, 64))
    assert upload is not None
    download = device.download(upload.array("uint8", (64,)) * 2)
    assert download is not None
    assert not download.done
    assert {step.moment for step in driver.trace} == {"begun"}
    assert download.value[1].tolist() == [POISON] * 64
    assert download.wait()[1].tolist() == [2] * 64
    assert download.done


def test_the_next_copy_begins_before_the_computation_is_waited_for() -> None:
    device, driver, _ = simulated()
    rows = slots(device, 4, 64)
    first, second = device.upload(rows[:2]), device.upload(rows[2:])
    assert first is not None
    assert second is not None
    download = device.download(first.array("uint8", (64,)).sum(axis=1))
    assert download is not None
    driver.copy_in_stream.synchronize()
    copies = [step for step in driver.trace if step == Step("done", "copy in", "copy in")]
    assert len(copies) == 2
    assert not any(step.moment == "done" and step.stream == "compute" for step in driver.trace)
    assert download.wait().tolist() == [0, 64]
    assert device.to_host(second.array("uint8", (64,)))[0] == 2


def test_the_copy_out_does_not_hold_up_the_next_copy_in() -> None:
    device, driver, _ = simulated()
    rows = slots(device, 2, 64)
    first = device.upload(rows[:1])
    assert first is not None
    download = device.download(first.array("uint8", (64,)) + 1)
    second = device.upload(rows[1:])
    assert download is not None
    assert second is not None
    driver.copy_in_stream.synchronize()
    assert not download.done
    assert not any(step.moment == "done" and step.stream != "copy in" for step in driver.trace)


def test_input_memory_is_used_again_after_its_last_use() -> None:
    device, driver, watch = simulated()
    rows = slots(device, 8, 1024)
    sums = []
    for row in rows:
        array = device.stack([row], "uint8", (1024,))
        driver.copy_in_stream.synchronize()
        watch.catch_up()
        sums += [device.download(array.astype("int64").sum())]
        del array
    used = device.memory()
    assert used is not None
    assert used.used_bytes < 2 * 65_536 + 8 * (1024 * 8 + 8)  # one block for inputs, and all that is computed
    assert [int(download.wait()) for download in sums if download is not None] == [1024 * i for i in range(8)]


def test_slots_are_held_until_they_are_copied() -> None:
    device, _, watch = simulated()
    slab = device.allocate_host(128)
    free: list[int] = []
    rows = []
    exporter = None
    for index in range(2):
        exporter = (ctypes.c_ubyte * 64).from_buffer(slab, index * 64)
        weakref.finalize(exporter, free.append, index)
        rows.append(memoryview(exporter).cast("B"))
    upload = device.upload(rows)
    exporter = None
    del rows, upload
    gc.collect()
    assert free == []
    watch.catch_up()
    assert sorted(free) == [0, 1]


def test_staging_is_held_until_it_is_copied() -> None:
    device, _, watch = simulated()
    rows = slots(device, 4, 64)
    first = device.stack([rows[3], rows[0]], "uint8", (64,))
    second = device.stack([rows[2], rows[1]], "uint8", (64,))
    assert (bytes(device.to_host(first))[::64], bytes(device.to_host(second))[::64]) == (b"\3\0", b"\2\1")
    assert device.gathered_bytes == 256
    watch.catch_up()


def test_results_are_held_until_they_are_copied() -> None:
    device, driver, watch = simulated()
    download = device.download(device.xp.ones(4))
    gc.collect()
    driver.compute_stream.synchronize()  # all that may come later on this stream has come
    assert download is not None
    value = download.value
    del download
    device.download(device.xp.zeros(4))  # it may not get the block that the first is copied to
    watch.catch_up()
    assert value.tolist() == [1.0] * 4


def test_a_dropped_batch_leaves_nothing_behind() -> None:
    device, _, watch = simulated()
    before = device.memory()
    upload = device.upload(slots(device, 2, 64))
    del upload
    watch.catch_up()
    device.close()
    assert device.memory() == before


def test_little_is_gathered_ahead() -> None:
    device, _, _ = simulated()
    size = EARLY_GATHER_BYTES // 4
    foreign = [memoryview(bytes(size)) for _ in range(5)]
    assert device.upload(foreign) is None
    assert device.upload(foreign[:4]) is not None
    assert device.upload([memoryview(b"")]) is None
    assert device.gathered_bytes == 4 * size


def test_big_endian_numbers_are_refused() -> None:
    from headrace.triggers.errors import ShapeError

    device, _, _ = simulated()
    with pytest.raises(ShapeError, match="expected a little-endian dtype on a GPU, got '>f4'"):
        device.stack([memoryview(bytes(4))], ">f4", (1,))


# -- out of memory -----------------------------------------------------------------------------------------


def test_a_batch_that_does_not_fit() -> None:
    device, _, _ = simulated(memory_bytes=1 << 20)
    rows = slots(device, 2, 1 << 20)
    assert device.upload(rows) is None
    with pytest.raises(DeviceOutOfMemory, match="device simulated: expected 2097152 bytes of memory") as raised:
        device.stack(rows, "uint8", (1 << 20,))
    assert device.is_out_of_memory(raised.value)
    with pytest.raises(MemoryError, match="expected 4194304 free bytes, got 1048576") as raised_by_handler:
        device.xp.zeros(1 << 19)
    assert device.is_out_of_memory(raised_by_handler.value)


def test_free_blocks_are_given_up_for_a_larger_batch() -> None:
    device, _, watch = simulated(memory_bytes=3 << 18)
    small, large = slots(device, 1, 1 << 18), slots(device, 1, 1 << 19)
    for _ in range(3):
        assert device.to_host(device.stack(small, "uint8", (1 << 18,))).nbytes == 1 << 18
        watch.catch_up()
        assert device.to_host(device.stack(large, "uint8", (1 << 19,))).nbytes == 1 << 19
        watch.catch_up()


def test_other_errors_of_the_library_are_passed_on() -> None:
    device, driver, _ = simulated()

    def lost(size_bytes: int) -> Any:
        raise RuntimeError("the device fell off the bus")

    driver.allocate = lost  # type: ignore[method-assign]
    rows = slots(device, 1, 64)
    assert device.upload(rows) is None
    with pytest.raises(RuntimeError, match="the device fell off the bus"):
        device.stack(rows, "uint8", (64,))


def test_few_free_blocks_are_kept() -> None:
    device, _, watch = simulated()
    arrays = [device.stack(slots(device, 1, 64), "uint8", (64,)) for _ in range(8)]
    watch.catch_up()
    del arrays
    watch.catch_up()
    device.synchronize()
    memory = device.memory()
    assert memory is not None
    assert memory.used_bytes == KEPT_BLOCKS * 65_536


# -- each rule broken --------------------------------------------------------------------------------------


def test_computing_without_waiting_for_the_copy_sees_poison() -> None:
    device, driver, _ = simulated()
    deaf(driver.compute_stream)
    rows = slots(device, 1, 64)
    assert device.to_host(device.stack(rows, "float32", (16,)) * 1).cast("f")[3] == POISON_F4


def test_copying_out_without_waiting_for_the_computation_sees_poison() -> None:
    device, driver, _ = simulated()
    deaf(driver.copy_out_stream)
    assert device.to_host(device.xp.ones(4, "float32")).cast("f").tolist() == [POISON_F4] * 4


def test_copying_in_before_the_last_use_spoils_the_batch_before() -> None:
    device, driver, watch = simulated()
    deaf(driver.copy_in_stream)
    rows = slots(device, 2, 64)
    first = device.stack(rows[:1], "uint8", (64,)) * 1
    driver.copy_in_stream.synchronize()
    watch.catch_up()
    second = device.stack(rows[1:], "uint8", (64,))
    driver.copy_in_stream.synchronize()
    assert device.to_host(first)[0] == 1  # not 0: the second batch was there already
    assert device.to_host(second)[0] != 1  # and what released the first spoils the second


def test_a_slot_that_is_recycled_too_early_shows() -> None:
    device, _, _ = simulated()
    rows = slots(device, 1, 64)
    upload = device.upload(rows)
    rows[0][:] = bytes([99]) * 64  # the next request's bytes
    assert upload is not None
    assert device.to_host(upload.array("uint8", (64,)))[0] == 99


class Forgetful(Patient):
    """Keeps nothing."""

    def keep(self, event: Any, kept: object) -> None:
        pass


def test_result_memory_that_is_reused_too_early_shows() -> None:
    driver = SimulatedDriver()
    device = GpuDevice(driver, Forgetful())
    device.enter_thread()
    first = device.download(device.xp.ones(4))
    del first  # its block is free, and its copy still to come
    second = device.download(device.xp.zeros(4))
    driver.compute_stream.synchronize()
    assert second is not None
    second.wait()
    early = device.download(device.xp.ones(4))
    assert early is not None
    assert early.value[0] != 1.0


def test_memory_that_is_freed_before_it_is_copied_out_shows() -> None:
    device, driver, _ = simulated()
    place = device.allocate_host(32)
    array = device.xp.ones(4)
    driver.copy_out_stream.wait_event(driver.compute_stream.record())
    driver.copy_out(array, np.frombuffer(place, np.uint8).ctypes.data)
    del array  # nothing keeps it, and the compute stream goes on
    driver.compute_stream.synchronize()
    driver.copy_out_stream.synchronize()
    assert bytes(place) == bytes([POISON]) * 32


def test_a_thread_that_did_not_enter_computes_on_another_stream() -> None:
    driver = SimulatedDriver()
    device = GpuDevice(driver, Patient())
    ones = device.xp.ones(2, "float32")  # on the default stream
    device.enter_thread()
    assert (ones + 0).tolist() == [POISON_F4] * 2
