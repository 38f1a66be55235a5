"""What every `Device` promises: run on `cpu` and `simulated` everywhere, and on `cuda` where there is a GPU.

A module runs it by importing `DeviceContract` and giving the fixture `device`.
"""

import gc
import threading
from typing import Any

import numpy as np
import pytest
from support.devices import on_host, slots

from headrace.runtime.errors import DeviceOutOfMemory
from headrace.triggers.errors import ShapeError
from headrace.triggers.events import Batch, Event, Trigger
from headrace.triggers.outcomes import Response
from headrace.triggers.protocols import Device


class DeviceContract:
    """Tests of one device."""

    # -- the way in ----------------------------------------------------------------------------------------

    @pytest.mark.parametrize(
        "dtype", ["uint8", "bool", "int16", "float16", "uint32", "float32", "float64", "complex64"]
    )
    def test_rows_become_one_array(self, device: Device, dtype: str) -> None:
        rows = [memoryview(np.arange(6).astype(dtype).tobytes()) for _ in range(3)]
        array = device.stack(rows, dtype, (2, 3))
        assert (array.shape, array.dtype) == ((3, 2, 3), np.dtype(dtype))
        expected = np.stack([np.arange(6).astype(dtype).reshape(2, 3)] * 3)
        np.testing.assert_array_equal(on_host(device, array), expected)

    def test_an_event_may_hold_several_rows_or_none(self, device: Device) -> None:
        rows = [memoryview(b"\1\1\2\2"), memoryview(b""), memoryview(b"\3\3")]
        assert on_host(device, device.stack(rows, "uint8", (2,))).tolist() == [[1, 1], [2, 2], [3, 3]]
        assert device.stack([memoryview(b"")], "float32", (2,)).shape == (0, 2)

    def test_scalar_rows(self, device: Device) -> None:
        assert on_host(device, device.stack([memoryview(b"\1\2"), memoryview(b"\3")], "uint8", ())).tolist() == [
            1,
            2,
            3,
        ]

    def test_view(self, device: Device) -> None:
        data = memoryview(np.arange(6, dtype="<f4").tobytes())
        assert on_host(device, device.view(data, "float32", (2, -1))).tolist() == [[0, 1, 2], [3, 4, 5]]
        assert device.view(memoryview(b""), "uint8", (0,)).shape == (0,)

    @pytest.mark.parametrize(
        ("dtype", "shape", "message"),
        [
            ("float32", (2,), "expected a multiple of 8 bytes, got 6 - at event 1 of the batch"),
            ("uint8", (0,), "expected a multiple of 0 bytes"),
            ("float31", (2,), "expected a NumPy dtype, got 'float31'"),
        ],
    )
    def test_rows_that_do_not_fit(self, device: Device, dtype: str, shape: tuple[int, ...], message: str) -> None:
        rows = [memoryview(bytes(8)), memoryview(bytes(6))]
        with pytest.raises(ShapeError, match=message):
            device.stack(rows, dtype, shape)
        with pytest.raises(ShapeError, match="expected"):
            device.view(rows[1], "float32", (2,))

    def test_consecutive_slots_are_not_gathered(self, device: Device) -> None:
        rows = slots(device, 4, 256)
        assert on_host(device, device.stack(rows, "uint8", (256,)))[:, 0].tolist() == [0, 1, 2, 3]
        assert on_host(device, device.stack(rows[1:3], "uint8", (128,)))[:, 0].tolist() == [1, 1, 2, 2]
        assert device.gathered_bytes == 0

    def test_scattered_slots_are_gathered_once(self, device: Device) -> None:
        rows = slots(device, 4, 256)
        array = device.stack([rows[3], rows[0], rows[2]], "uint8", (256,))
        assert on_host(device, array)[:, 0].tolist() == [3, 0, 2]
        assert device.gathered_bytes == 3 * 256

    def test_slots_with_gaps(self, device: Device) -> None:
        rows = slots(device, 3, 100, pitch_bytes=128)
        array = device.stack(rows, "uint8", (100,))
        assert (array.shape, on_host(device, array)[:, 99].tolist()) == ((3, 100), [0, 1, 2])
        assert on_host(device, device.stack(rows, "uint8", (50,)))[:, 49].tolist() == [0, 0, 1, 1, 2, 2]

    def test_large_scattered_rows(self, device: Device) -> None:
        rows = slots(device, 6, 1 << 17)
        array = device.stack(rows[::2], "uint8", (1 << 17,))
        assert on_host(device, array)[:, -1].tolist() == [0, 2, 4]

    def test_gathered_arrays_are_not_written_over(self, device: Device) -> None:
        rows = slots(device, 3, 64)
        kept = [device.stack([rows[i], rows[(i + 2) % 3]], "uint8", (64,)) for i in (1, 2, 1, 2, 1, 2)]
        gc.collect()
        assert [on_host(device, array)[:, 0].tolist() for array in kept] == [[1, 0], [2, 1]] * 3

    # -- the way out ---------------------------------------------------------------------------------------

    def test_results_come_back(self, device: Device) -> None:
        xp = device.xp
        result = [xp.ones((2, 3)), b"raw", Response(xp.zeros(2)), {"a": 1}, (xp.ones(()), None)]
        download = device.download(result)
        value: Any = result if download is None else download.wait()
        assert (value[0].tolist(), value[1], value[2].body.tolist()) == ([[1.0] * 3] * 2, b"raw", [0.0, 0.0])
        assert (value[3], float(value[4][0]), value[4][1]) == ({"a": 1}, 1.0, None)

    def test_nothing_to_bring_back(self, device: Device) -> None:
        assert device.download([b"raw", None, 1]) is None
        assert device.download(np.zeros(3)) is None

    def test_arrival_is_told(self, device: Device) -> None:
        download = device.download(device.xp.arange(3) + 1)
        if download is None:
            pytest.skip("results are on the host already")
        arrived, errors = threading.Event(), list[BaseException | None]()

        def arrive(error: BaseException | None) -> None:
            errors.append(error)
            arrived.set()

        download.on_done(arrive)
        assert arrived.wait(30)
        assert (errors, download.done, download.value.tolist()) == ([None], True, [1, 2, 3])

    def test_transposed_and_empty_results(self, device: Device) -> None:
        array = device.xp.arange(6).reshape(2, 3).T
        assert on_host(device, array).tolist() == [[0, 3], [1, 4], [2, 5]]
        assert device.to_host(device.xp.zeros((0, 4))).nbytes == 0

    # -- both ----------------------------------------------------------------------------------------------

    def test_batches_in_flight_keep_apart(self, device: Device) -> None:
        """Each is copied in, computed with and copied out while others are."""
        trigger = Trigger("t", "memory", device)
        rows = slots(device, 12, 512)
        batches = [Batch([Event(row, trigger=trigger) for row in rows[i : i + 3]]) for i in range(0, 12, 3)]
        downloads = []
        for batch in batches:
            batch.prefetch()
        for batch in batches:
            sums = batch.tensor("uint8", (512,)).astype("int64").sum(axis=1)
            downloads.append((sums, device.download(sums)))
        values = [sums if download is None else download.wait() for sums, download in downloads]
        assert [value.tolist() for value in values] == [[512 * (i + k) for k in range(3)] for i in range(0, 12, 3)]

    def test_a_prefetched_batch_is_the_same_array(self, device: Device) -> None:
        trigger = Trigger("t", "memory", device)
        rows = slots(device, 4, 64)
        batch = Batch([Event(row, trigger=trigger) for row in (rows[2], rows[0])])
        batch.prefetch()
        batch.prefetch()
        assert on_host(device, batch.tensor("uint8", (64,)))[:, 0].tolist() == [2, 0]
        assert batch.tensor("uint8", (32,)).shape == (4, 32)
        with pytest.raises(ShapeError, match="expected a multiple of 60 bytes, got 64 - at event 0"):
            batch.tensor("uint8", (60,))

    def test_dlpack(self, device: Device) -> None:
        array = device.xp.arange(4)
        again = device.from_dlpack(array)
        again += 1
        assert on_host(device, array).tolist() == [1, 2, 3, 4]  # no copy

    def test_dlpack_to_torch(self, device: Device) -> None:
        torch = pytest.importorskip("torch", reason="PyTorch is not installed")
        array = device.xp.arange(4)
        assert torch.from_dlpack(array).sum().item() == 6

    def test_graphs_give_what_the_function_gives(self, device: Device) -> None:
        doubled = device.graphed(lambda x: (x * 2).sum(axis=1))
        for rows in (1, 3, 1, 3):
            x = device.xp.ones((rows, 4)) * rows
            first, second = doubled(x), doubled(x + 1)
            assert on_host(device, first).tolist() == [8.0 * rows] * rows
            assert on_host(device, second).tolist() == [8.0 * (rows + 1)] * rows

    def test_out_of_memory_is_told(self, device: Device) -> None:
        assert device.is_out_of_memory(DeviceOutOfMemory("no memory"))
        assert device.is_out_of_memory(MemoryError())
        assert not device.is_out_of_memory(ValueError("shape"))

    def test_host_memory(self, device: Device) -> None:
        memory = device.allocate_host(10_000)
        assert (memory.nbytes, memory.format, memory.readonly, memory.ndim) == (10_000, "B", False, 1)
