"""Calls a handler on a GPU: in the compute stream's thread, its result brought back.

On the CPU none of this is used. What does not belong here: batching (which
lets `Batch.prefetch` copy ahead), timeouts, and what becomes of results.
"""

import asyncio
from collections.abc import Callable
from typing import Any

import msgspec

from headrace.triggers.protocols import Device, Download

from ..handlers import Handler, Shape

BATCHES_AHEAD = 1
"""Batches formed, and on their way to the GPU, while one is computed with."""


def on_device(handler: Handler, device: Device) -> Handler:
    """`handler`, computing on `device`, with host arrays in its results."""
    if device.name == "cpu" or handler.shape is Shape.ASGI:
        return handler
    call = _async_call(handler.call, device) if handler.is_async else _sync_call(handler.call, device)
    return msgspec.structs.replace(handler, call=call)


def _sync_call(call: Callable[..., Any], device: Device) -> Callable[..., Any]:
    def called(argument: Any) -> Any:
        device.enter_thread()
        result = call(argument)
        download = device.download(result)
        return result if download is None else download.wait()

    return called


def _async_call(call: Callable[..., Any], device: Device) -> Callable[..., Any]:
    async def called(argument: Any) -> Any:
        device.enter_thread()
        result = call(argument)
        if hasattr(result, "__await__"):
            result = await result
        download = device.download(result)
        return result if download is None else await _arrival(download)

    return called


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
