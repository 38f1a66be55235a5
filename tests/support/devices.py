"""Devices for the contract suite: the CPU, the simulated GPU, and a GPU with CuPy where there is one."""

from typing import Any

import numpy as np
import pytest

from headrace.runtime.device import open_device
from headrace.runtime.device.completion import Done
from headrace.runtime.device.driver import DriverEvent
from headrace.runtime.device.gpu import GpuDevice
from headrace.runtime.device.simulated import SimulatedDriver
from headrace.triggers.protocols import Device


class Patient:
    """A `Watch` without a thread: nothing is done before `catch_up`."""

    def __init__(self) -> None:
        self.waiting: list[tuple[DriverEvent, Done]] = []

    def call(self, event: DriverEvent, done: Done) -> None:
        self.waiting.append((event, done))

    def keep(self, event: DriverEvent, kept: object) -> None:
        if not event.done:
            self.call(event, lambda _, kept=kept: None)  # type: ignore[misc]

    def catch_up(self) -> None:
        """Wait for all events, and call back."""
        while self.waiting:
            event, done = self.waiting.pop(0)
            event.synchronize()
            done(None)

    def close(self) -> None:
        self.catch_up()


def simulated(memory_bytes: int = 1 << 26) -> tuple[GpuDevice, SimulatedDriver, Patient]:
    """A simulated GPU on which nothing happens by itself, entered by this thread."""
    driver, watch = SimulatedDriver(memory_bytes), Patient()
    device = GpuDevice(driver, watch)
    device.enter_thread()
    return device, driver, watch


def opened(kind: str) -> Device:
    """The device `kind`; skips where there is none."""
    if kind == "cuda":
        cupy = pytest.importorskip("cupy", reason="CuPy is not installed (`./scripts/test gpu` installs it)")
        if not cupy.cuda.is_available():
            pytest.skip("no GPU: CuPy finds none")
    device = open_device(kind)
    device.enter_thread()
    return device


def slots(device: Device, count: int, size_bytes: int, pitch_bytes: int | None = None) -> list[memoryview]:
    """Consecutive slots of a slab; each holds its index in every byte."""
    pitch = pitch_bytes or size_bytes
    slab = device.allocate_host(count * pitch)
    rows = [slab[index * pitch : index * pitch + size_bytes] for index in range(count)]
    for index, row in enumerate(rows):
        row[:] = bytes([index]) * size_bytes
    return rows


def on_host(device: Device, array: Any) -> "np.ndarray[Any, Any]":
    """A device's array as NumPy's."""
    return np.frombuffer(device.to_host(array), array.dtype).reshape(array.shape)
