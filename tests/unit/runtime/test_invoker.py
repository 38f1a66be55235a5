"""Calling handlers: on the loop and in threads, results and failures."""

import asyncio
import logging
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest

from headrace.runtime.eager import EagerRunner
from headrace.runtime.errors import HandlerTimeout
from headrace.runtime.handlers import Handler, Shape
from headrace.runtime.invoker import EventInvoker
from headrace.runtime.logs import current
from headrace.runtime.metrics import Metrics
from headrace.runtime.threads import HandlerThreads
from headrace.triggers.events import Event, Trigger
from headrace.triggers.outcomes import Response
from headrace.triggers.protocols import Failure

TRIGGER = Trigger("t", "memory")
TIMEOUT_S = 0.1


class Bench:
    """Everything that an invoker needs."""

    def __init__(self) -> None:
        loop = asyncio.get_running_loop()
        self.runner = EagerRunner(loop, TIMEOUT_S)
        self.threads = HandlerThreads(loop, 2, TIMEOUT_S)
        self.metrics = Metrics(["t"])

    async def event(self, call: Callable[..., Any], is_async: bool, data: bytes = b"x") -> Any:
        handler = Handler(shape=Shape.EVENT, call=call, is_async=is_async)
        invoker = EventInvoker(handler, self.runner, self.threads, TIMEOUT_S, self.metrics)
        answer: asyncio.Future[object] = asyncio.get_running_loop().create_future()
        invoker.submit(Event(data, trigger=TRIGGER), lambda event, result: answer.set_result(result))
        return await answer


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    bench = Bench()
    yield bench
    bench.runner.cancel_all()
    bench.runner.close()
    bench.threads.close()
    await asyncio.sleep(0)


async def test_async_result(bench: Bench) -> None:
    async def handle(event: Event) -> bytes:
        await asyncio.sleep(0)
        return event.copy() + b"!"

    assert await bench.event(handle, True) == b"x!"


async def test_sync_result_comes_from_a_thread(bench: Bench) -> None:
    assert await bench.event(lambda event: threading.current_thread().name, False) == "handler-1"


@pytest.mark.parametrize("is_async", [True, False])
async def test_raise_is_a_failure_and_logged(bench: Bench, is_async: bool, caplog: pytest.LogCaptureFixture) -> None:
    def broken(event: Event) -> None:
        raise KeyError("secret of the payload")

    async def broken_async(event: Event) -> None:
        broken(event)

    result = await bench.event(broken_async if is_async else broken, is_async)
    assert isinstance(result, Failure)
    assert (type(result.error), result.fault) == (KeyError, "handler")
    assert caplog.records[0].levelno == logging.ERROR
    assert "handler raised KeyError trigger=t" in caplog.text


async def test_async_timeout(bench: Bench) -> None:
    result = await bench.event(lambda event: asyncio.sleep(60), True)
    assert (type(result.error), result.fault) == (HandlerTimeout, "timeout")


async def test_thread_timeout(bench: Bench) -> None:
    release = threading.Event()
    result = await bench.event(lambda event: release.wait(), False)
    assert (type(result.error), result.fault) == (HandlerTimeout, "timeout")
    release.set()


async def test_a_handlers_own_timeout_error_is_its_fault(bench: Bench) -> None:
    async def handle(event: Event) -> None:
        raise TimeoutError("of a database")

    assert (await bench.event(handle, True)).fault == "handler"


async def test_logs_know_the_event(bench: Bench) -> None:
    async def handle(event: Event) -> bool:
        await asyncio.sleep(0)
        return current.get() is event

    def handle_sync(event: Event) -> bool:
        return current.get() is event

    assert await bench.event(handle, True)
    assert await bench.event(handle_sync, False)
    assert current.get() is None


async def test_generators_become_async_iterators(bench: Bench) -> None:
    def sync(event: Event) -> Iterator[int]:
        yield from range(3)

    async def asynchronous(event: Event) -> AsyncIterator[int]:
        for number in range(3):
            yield number

    for call, is_async in ((sync, False), (asynchronous, True)):
        items = await bench.event(call, is_async)
        assert [item async for item in items] == [0, 1, 2]


async def test_generator_inside_a_response(bench: Bench) -> None:
    response = await bench.event(lambda event: Response(body=(n for n in (1, 2))), False)
    assert [item async for item in response.body] == [1, 2]


async def test_generator_that_hangs_times_out(bench: Bench) -> None:
    async def hangs(event: Event) -> AsyncIterator[int]:
        yield 1
        await asyncio.sleep(60)

    items = await bench.event(hangs, True)
    assert await anext(items) == 1
    with pytest.raises(HandlerTimeout, match=r"expected an item within 0\.1 s"):
        await anext(items)


async def test_sync_generator_that_raises(bench: Bench) -> None:
    def broken(event: Event) -> Iterator[int]:
        yield 1
        raise ValueError("half way")

    items = await bench.event(broken, False)
    assert await anext(items) == 1
    with pytest.raises(ValueError, match="half way"):
        await anext(items)
    await items.aclose()


async def test_sync_generator_that_hangs(bench: Bench) -> None:
    release = threading.Event()

    def hangs(event: Event) -> Iterator[bool]:
        yield release.wait(5)

    items = await bench.event(hangs, False)
    with pytest.raises(HandlerTimeout, match="an item took longer"):
        await anext(items)
    release.set()


async def test_withdraw_by_trigger(bench: Bench) -> None:
    release = threading.Event()
    handler = Handler(shape=Shape.EVENT, call=lambda event: release.wait(5), is_async=False)
    threads = HandlerThreads(asyncio.get_running_loop(), 1, 5.0)
    invoker = EventInvoker(handler, bench.runner, threads, 5.0, Metrics(["t", "u"]))
    for name in ("t", "t", "u"):
        invoker.submit(Event(name.encode(), trigger=Trigger(name, "memory")), lambda event, result: None)
    while threads.queued > 2:
        await asyncio.sleep(0)
    assert [event.trigger.name for event in invoker.withdraw("t")] == ["t"]
    assert threads.queued == 1
    release.set()
    threads.close()
