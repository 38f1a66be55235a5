"""Calls a handler on a GPU: what it starts runs on the compute stream, and its results are brought back.

On the CPU none of this is used. What does not belong here: batching (which lets `Batch.prefetch` copy ahead),
timeouts, and what becomes of results.
"""

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Generator
from types import AsyncGeneratorType, GeneratorType
from typing import Any

import msgspec

from headrace.triggers.outcomes import Response
from headrace.triggers.protocols import Device, Download

from ..handlers import Handler, Shape

logger = logging.getLogger(__name__)

Probe = Callable[[], tuple[bool, str]]

BATCHES_AHEAD = 1
"""Batches formed, and on their way to the GPU, while one is computed with."""


def on_device(handler: Handler, device: Device) -> Handler:
    """`handler`, computing on `device`, with host arrays in its results."""
    if device.name == "cpu" or handler.shape is Shape.ASGI:
        return handler
    health = _Health(device)
    call = _async_call(handler.call, device, health) if handler.is_async else _sync_call(handler.call, device, health)
    start = _start(handler.start, device)
    alive, ready = health.of(handler.alive), health.of(handler.ready)
    return msgspec.structs.replace(handler, call=call, start=start, alive=alive, ready=ready)


class _Health:
    """Whether the device is lost: then the replica can only be replaced, which its probes ask for."""

    def __init__(self, device: Device) -> None:
        self._device = device
        self._lost = ""

    def notice(self, error: BaseException) -> None:
        """Look at what a call raised."""
        if not self._lost and self._device.is_lost(error):
            self._lost = f"the device is lost: {error}"
            logger.error("%s", self._lost)

    def of(self, probe: Probe) -> Probe:
        """`probe`, while the device is there."""
        return lambda: (False, self._lost) if self._lost else probe()


def _start(start: Callable[[], Awaitable[None]], device: Device) -> Callable[[], Awaitable[None]]:
    async def started() -> None:
        await start()
        # It may have run in a thread, and on a stream, of its own; what it made is used on the compute stream.
        await asyncio.to_thread(device.synchronize)

    return started


def _sync_call(call: Callable[..., Any], device: Device, health: _Health) -> Callable[..., Any]:
    def called(argument: Any) -> Any:
        device.enter_thread()
        try:
            return _brought(call(argument), device)
        except Exception as exc:
            health.notice(exc)
            raise

    return called


def _brought(result: Any, device: Device) -> Any:
    """`result` on the host, or a generator of such."""
    if isinstance(result, GeneratorType):
        return _each_brought(result, device)
    if isinstance(result, Response) and isinstance(result.body, GeneratorType):
        result.body = _each_brought(result.body, device)
        return result
    download = device.download(result)
    return result if download is None else download.wait()


def _each_brought(items: Generator[Any, None, Any], device: Device) -> Generator[Any]:
    try:
        while True:
            device.enter_thread()  # each item may be made in another thread
            try:
                item = next(items)
            except StopIteration:
                return
            yield _brought(item, device)
    finally:
        items.close()


def _async_call(call: Callable[..., Any], device: Device, health: _Health) -> Callable[..., Any]:
    def called(argument: Any) -> Any:
        device.enter_thread()
        result = call(argument)
        return (
            _each_arrived(result, device)
            if isinstance(result, AsyncGeneratorType)
            else _awaited(result, device, health)
        )

    return called


async def _awaited(result: Any, device: Device, health: _Health) -> Any:
    try:
        return await _arrived(await result if hasattr(result, "__await__") else result, device)
    except Exception as exc:
        health.notice(exc)
        raise


async def _arrived(result: Any, device: Device) -> Any:
    """`result` on the host, or an iterator over such; the loop turns meanwhile."""
    if isinstance(result, AsyncGeneratorType):
        return _each_arrived(result, device)
    if isinstance(result, Response) and isinstance(result.body, AsyncGeneratorType):
        result.body = _each_arrived(result.body, device)
        return result
    if isinstance(result, GeneratorType) or (isinstance(result, Response) and isinstance(result.body, GeneratorType)):
        return _brought(result, device)
    download = device.download(result)
    return result if download is None else await _arrival(download)


async def _each_arrived(items: AsyncGenerator[Any, None], device: Device) -> AsyncIterator[Any]:
    try:
        async for item in items:
            yield await _arrived(item, device)
    finally:
        await items.aclose()


async def _arrival(download: Download) -> Any:
    """Its value, once it is there; the loop turns meanwhile."""
    loop = asyncio.get_running_loop()
    arrived: asyncio.Future[None] = loop.create_future()

    def settle(error: BaseException | None) -> None:
        if arrived.cancelled():
            return
        if error is None:
            arrived.set_result(None)
        else:
            arrived.set_exception(error)

    def arrive(error: BaseException | None) -> None:
        loop.call_soon_threadsafe(settle, error)

    download.on_done(arrive)
    await arrived
    return download.value
