"""Handlers called on a GPU: the simulated one, whose results are poison until they are waited for."""

import asyncio
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from support.devices import Patient, simulated, slots

from headrace.runtime.device.calls import on_device
from headrace.runtime.device.completion import Watcher
from headrace.runtime.device.cpu import CpuDevice
from headrace.runtime.device.gpu import GpuDevice
from headrace.runtime.device.simulated import DeviceLost, SimulatedDriver
from headrace.runtime.handlers import Handler, Shape
from headrace.triggers.events import Batch, Event, Trigger
from headrace.triggers.outcomes import Response
from headrace.triggers.protocols import Device


def batch_on(device: Device) -> Batch:
    trigger = Trigger("t", "memory", device)
    return Batch([Event(row, trigger=trigger) for row in slots(device, 3, 16)])


def handler(call: Callable[..., Any], *, is_async: bool = False, shape: Shape = Shape.BATCH) -> Handler:
    return Handler(shape=shape, call=call, is_async=is_async)


def doubled(batch: Batch) -> Any:
    return batch.tensor("uint8", (16,)).sum(axis=1) * 2


async def doubled_later(batch: Batch) -> Any:
    await asyncio.sleep(0)
    return doubled(batch)


def test_a_sync_handlers_result_is_on_the_host() -> None:
    device = GpuDevice(SimulatedDriver(), Patient())  # this thread has not entered it
    assert on_device(handler(doubled), device).call(batch_on(device)).tolist() == [0, 32, 64]
    assert on_device(handler(lambda batch: [b"a"]), device).call(batch_on(device)) == [b"a"]


async def test_an_async_handlers_result_is_on_the_host() -> None:
    device = GpuDevice(SimulatedDriver())
    assert (await on_device(handler(doubled_later, is_async=True), device).call(batch_on(device))).tolist() == [
        0,
        32,
        64,
    ]

    async def raw(batch: Batch) -> list[bytes]:
        return [event.copy() for event in batch]

    assert len(await on_device(handler(raw, is_async=True), device).call(batch_on(device))) == 3
    device.close()


async def test_what_failed_on_the_device_is_raised() -> None:
    driver = SimulatedDriver()
    device = GpuDevice(driver)

    def fail() -> None:
        raise RuntimeError("illegal address")

    async def failing(batch: Batch) -> Any:
        result = doubled(batch)
        driver.compute_stream.put("compute", fail)
        return result

    with pytest.raises(RuntimeError, match="illegal address"):
        await on_device(handler(failing, is_async=True), device).call(batch_on(device))


async def test_a_cancelled_call_is_not_told() -> None:
    device, driver, watch = simulated()
    task = asyncio.ensure_future(on_device(handler(doubled_later, is_async=True), device).call(batch_on(device)))
    while not watch.waiting:
        await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait([task])
    assert task.cancelled()
    watch.catch_up()
    await asyncio.sleep(0)
    driver.compute_stream.synchronize()


def test_a_generators_items_are_on_the_host() -> None:
    closed: list[bool] = []

    def items(batch: Batch) -> Any:
        try:
            for n in range(3):
                yield doubled(batch) + n
        finally:
            closed.append(True)

    device = GpuDevice(SimulatedDriver(), Patient())
    call = on_device(handler(items), device).call
    assert [item.tolist() for item in call(batch_on(device))] == [[n, 32 + n, 64 + n] for n in range(3)]
    call(batch_on(device)).close()
    streamed = on_device(handler(lambda batch: Response(items(batch))), device).call(batch_on(device))
    assert next(streamed.body).tolist() == [0, 32, 64]
    streamed.body.close()
    assert closed == [True, True]  # the second was never begun


async def test_an_async_generators_items_are_on_the_host() -> None:
    closed: list[bool] = []

    async def items(batch: Batch) -> Any:
        try:
            for n in range(3):
                yield doubled(batch) + n
        finally:
            closed.append(True)

    async def response(batch: Batch) -> Response:
        return Response(items(batch))

    device = GpuDevice(SimulatedDriver())
    found = [item.tolist() async for item in on_device(handler(items, is_async=True), device).call(batch_on(device))]
    assert found == [[n, 32 + n, 64 + n] for n in range(3)]
    streamed = await on_device(handler(response, is_async=True), device).call(batch_on(device))
    assert (await anext(streamed.body)).tolist() == [0, 32, 64]
    await streamed.body.aclose()
    assert closed == [True, True]
    device.close()


async def test_an_async_handler_may_return_generators() -> None:
    async def later(batch: Batch) -> Any:
        return (doubled(batch) + n for n in range(2))

    async def later_async(batch: Batch) -> Any:
        async def items() -> Any:
            yield doubled(batch)

        return items()

    device = GpuDevice(SimulatedDriver())
    sync = await on_device(handler(later, is_async=True), device).call(batch_on(device))
    assert [item.tolist() for item in sync] == [[0, 32, 64], [1, 33, 65]]
    found = await on_device(handler(later_async, is_async=True), device).call(batch_on(device))
    assert [item.tolist() async for item in found] == [[0, 32, 64]]
    device.close()


async def test_what_start_made_is_there_when_it_is_used() -> None:
    device = GpuDevice(SimulatedDriver(), Patient())
    made: list[Any] = []

    async def start() -> None:
        await asyncio.to_thread(lambda: made.append(device.xp.full(3, 7)))  # a thread that enters nothing

    await on_device(msgspec.structs.replace(handler(doubled), start=start), device).start()
    device.enter_thread()
    assert made[0].tolist() == [7, 7, 7]


@pytest.mark.parametrize("is_async", [False, True])
async def test_a_lost_device_is_told_by_the_probes(is_async: bool) -> None:
    driver = SimulatedDriver()
    device = GpuDevice(driver)

    def fail() -> None:
        raise DeviceLost("illegal address")

    def failing(batch: Batch) -> Any:
        driver.compute_stream.put("compute", fail)
        return doubled(batch)

    async def failing_later(batch: Batch) -> Any:
        return failing(batch)

    called = on_device(handler(failing_later if is_async else failing, is_async=is_async), device)
    assert called.alive() == called.ready() == (True, "")
    with pytest.raises(DeviceLost, match="illegal address"):
        await called.call(batch_on(device)) if is_async else called.call(batch_on(device))
    assert called.alive() == called.ready() == (False, "the device is lost: illegal address")
    assert not device.is_lost(ValueError("the handler's own"))
    assert not CpuDevice().is_lost(DeviceLost())


def test_the_cpu_and_apps_are_left_alone() -> None:
    plain = handler(doubled)
    assert on_device(plain, CpuDevice()) is plain
    app = handler(doubled_later, is_async=True, shape=Shape.ASGI)
    assert on_device(app, simulated()[0]) is app


def test_a_watcher_goes_on_after_a_callback_that_raises(caplog: pytest.LogCaptureFixture) -> None:
    driver = SimulatedDriver()
    watcher = Watcher(driver.enter_thread)
    told: list[BaseException | None] = []

    def bad(error: BaseException | None) -> None:
        raise ValueError("mine")

    watcher.call(driver.compute_stream.record(), bad)
    watcher.call(driver.compute_stream.record(), told.append)
    watcher.close()
    assert told == [None]
    assert "callback failed" in caplog.text
