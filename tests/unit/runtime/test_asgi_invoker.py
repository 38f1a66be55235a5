"""ASGI apps are counted, and answered for when they take too long."""

import asyncio
from collections.abc import MutableMapping
from typing import Any

import pytest

from headrace.runtime.asgi_invoker import App, AsgiInvoker, Receive, Send
from headrace.runtime.metrics import TriggerMetrics

Message = MutableMapping[str, Any]


async def answer(scope: Message, receive: Receive, send: Send) -> None:
    await send({"type": "http.response.start", "status": 200})
    await send({"type": "http.response.body"})


async def call(app: App, counts: TriggerMetrics, kind: str = "http") -> list[Message]:
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    async def receive() -> Message:
        nothing: asyncio.Future[Message] = asyncio.get_running_loop().create_future()
        return await nothing

    await AsgiInvoker(app, counts, 0.02)({"type": kind, "path": "/"}, receive, send)
    return sent


async def test_counts() -> None:
    counts = TriggerMetrics()
    assert [message["type"] for message in await call(answer, counts)] == [
        "http.response.start",
        "http.response.body",
    ]
    assert (counts.received, counts.ok, counts.settled, sum(counts.duration.counts)) == (1, 1, 1, 1)


@pytest.mark.parametrize(("kind", "first"), [("http", "http.response.start"), ("websocket", "websocket.close")])
async def test_an_app_that_never_begins(kind: str, first: str) -> None:
    async def never(scope: Message, receive: Receive, send: Send) -> None:
        await receive()

    counts = TriggerMetrics()
    sent = await call(never, counts, kind)
    assert sent[0]["type"] == first
    assert sent[0].get("status", 504) == 504
    assert counts.errors == {"timeout": 1}


async def test_a_response_that_has_begun_may_take_its_time() -> None:
    async def slow(scope: Message, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200})
        await asyncio.sleep(0.05)
        await send({"type": "http.response.body"})

    counts = TriggerMetrics()
    assert len(await call(slow, counts)) == 2
    assert counts.ok == 1


@pytest.mark.parametrize("error", [ValueError("no"), TimeoutError("of its own")])
async def test_an_app_that_raises(error: Exception) -> None:
    async def broken(scope: Message, receive: Receive, send: Send) -> None:
        raise error

    counts = TriggerMetrics()
    with pytest.raises(type(error), match=str(error)):
        await call(broken, counts)
    assert counts.errors == {"handler": 1}


async def test_a_cancelled_app() -> None:
    async def waits(scope: Message, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200})
        await receive()

    counts = TriggerMetrics()
    task = asyncio.create_task(call(waits, counts))
    while not counts.received:
        await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert counts.errors == {"client": 1}
