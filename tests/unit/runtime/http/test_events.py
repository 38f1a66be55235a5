"""Requests to events, results to responses."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any

import numpy as np
import pytest
from support.http import answer, serving, until

from headrace.runtime.http.events import HttpEvent
from headrace.triggers.events import Event
from headrace.triggers.outcomes import Ack, Reject, Response, Retry
from headrace.triggers.protocols import Failure, Settle

GET = b"GET /a HTTP/1.1\r\nHost: x\r\n\r\n"
SECRET = Failure(error=ValueError("secret"))

RESULTS: list[tuple[object, int, str | None, bytes]] = [
    (b"abc", 200, "application/octet-stream", b"abc"),
    (bytearray(b"abc"), 200, "application/octet-stream", b"abc"),
    ("é", 200, "text/plain; charset=utf-8", "é".encode()),
    ({"a": 1}, 200, "application/json", b'{"a":1}'),
    ([1, 2], 200, "application/json", b"[1,2]"),
    (np.array([[1, 2], [3, 4]], "uint8").T, 200, "application/octet-stream", b"\1\3\2\4"),
    (bytes(100_000), 200, "application/octet-stream", bytes(100_000)),
    (None, 204, None, b""),
    (Ack(), 204, None, b""),
    (Retry(after_s=1.2), 503, "application/json", b'{"error":"try again later"}'),
    (Reject("no such user"), 422, "application/json", b'{"error":"no such user"}'),
    (SECRET, 500, "application/json", b'{"error":"the function failed"}'),
    (
        Failure(ValueError("secret"), fault="timeout"),
        504,
        "application/json",
        b'{"error":"the function took too long"}',
    ),
    (
        Failure(ValueError("secret"), fault="shutdown"),
        503,
        "application/json",
        b'{"error":"the function is shutting down"}',
    ),
    (
        Failure(ValueError("secret"), fault="overload"),
        503,
        "application/json",
        b'{"error":"too many requests are waiting"}',
    ),
    (
        Failure(ValueError("secret"), fault="queue_timeout"),
        504,
        "application/json",
        b'{"error":"the request waited too long for its turn"}',
    ),
    (object(), 500, "application/json", b'{"error":"the function failed"}'),
    (Response({"a": 1}, 201), 201, "application/json", b'{"a":1}'),
    (Response(b"x", content_type="image/png"), 200, "image/png", b"x"),
    (Response("x", headers={"Content-Type": "text/html"}), 200, "text/html", b"x"),
    (Response(None, 304), 304, None, b""),
    (Response(b"x", 99), 500, "application/json", b'{"error":"the function failed"}'),
    (Response(b"x", headers={"a": "b\r\nc: d"}), 500, "application/json", b'{"error":"the function failed"}'),
    (Response(b"x", headers={"a b": "c"}), 500, "application/json", b'{"error":"the function failed"}'),
]


@pytest.mark.parametrize(("result", "status", "content_type", "body"), RESULTS)
async def test_answers_with_the_result(result: object, status: int, content_type: str | None, body: bytes) -> None:
    async with serving(answer(result)) as served:
        client = await served.connect()
        for _ in range(2):
            client.send(GET)
            got_status, headers, got_body = await client.response()
            assert (got_status, headers.get("content-type"), got_body) == (status, content_type, body)
            assert "date" in headers
        assert served.metrics.http_responses == {status: 2}
        await client.close()


async def test_retry_says_when() -> None:
    for after_s, seconds in ((None, "1"), (0.1, "1"), (2.1, "3")):
        async with serving(answer(Retry(after_s))) as served:
            client = await served.connect()
            client.send(GET)
            assert (await client.response())[1]["retry-after"] == seconds
            assert served.metrics.triggers["http"].retried == 1
            await client.close()


async def test_full_queue_says_when() -> None:
    async with serving(answer(Failure(ValueError(), fault="overload"))) as served:
        client = await served.connect()
        client.send(GET)
        assert (await client.response())[1]["retry-after"] == "1"
        await client.close()


async def test_counts_by_fault() -> None:
    results: list[object] = [b"x", SECRET, Failure(ValueError(), fault="timeout"), Reject("no"), object()]
    async with serving(lambda event, settle: settle(event, results.pop())) as served:
        client = await served.connect()
        client.send(GET * 5)
        for _ in range(5):
            await client.response()
        counts = served.metrics.triggers["http"]
        assert (counts.received, counts.ok) == (5, 1)
        assert counts.errors == {"handler": 2, "timeout": 1, "rejected": 1}
        await client.close()


async def test_headers_of_a_response() -> None:
    pairs = [
        ("Set-Cookie", "a=1"),
        ("Set-Cookie", "b=2"),
        ("Content-Length", "99"),
        ("Connection", "close"),
        ("X", "é"),
    ]
    async with serving(answer(Response(b"abc", headers=pairs))) as served:
        client = await served.connect()
        client.send(GET)
        head = await client.reader.readuntil(b"\r\n\r\n")
        assert head.count(b"Set-Cookie: ") == 2
        assert "X: é\r\n".encode() in head
        assert b"content-length: 3\r\n" in head
        assert b"99" not in head
        assert b"onnection" not in head
        await client.reader.readexactly(3)
        await client.close()


async def test_event_reads_what_it_is_asked_for() -> None:
    events: list[HttpEvent] = []

    def keep(event: Event, settle: Settle) -> None:
        assert isinstance(event, HttpEvent)
        events.append(event)
        settle(event, None)

    async with serving(keep) as served:
        client = await served.connect()
        client.send(
            b"PUT /a%20b/c?x=1&y=&x=%20z HTTP/1.1\r\nHost: x\r\nX-A: b\r\nx-a: c\r\n"
            b"Content-Type: text/plain\r\nContent-Length: 2\r\n\r\nhi"
        )
        await client.response()
        (event,) = events
        assert (event.method, event.path, event.query) == ("PUT", "/a b/c", "x=1&y=&x=%20z")
        assert event.query_params == {"x": " z", "y": ""}
        assert (event.headers["x-a"], event.headers.getlist("X-A")) == ("b", ["b", "c"])
        assert (event.source, event.type, event.datacontenttype) == ("http/http", "dev.headrace.http", "text/plain")
        assert event.id == event.id != HttpEvent(event.exchange, event.trigger, event.data).id
        assert (event.text(), event.attempt, event.key) == ("hi", 1, None)
        await client.close()


async def test_held_requests_are_handled_when_there_is_room() -> None:
    pending: list[tuple[Event, Settle]] = []
    async with serving(lambda *call: pending.append(call), in_flight=1) as served:
        clients = [await served.connect()]
        clients[0].send(GET)
        await until(lambda: len(pending) == 1)
        clients += [await served.connect()]  # in the listening socket's backlog until there is room
        clients[1].send(GET)
        for client in clients:
            await until(lambda: bool(pending))
            assert served.in_flight.count == 1
            event, settle = pending.pop()
            settle(event, b"x")
            assert (await client.response())[2] == b"x"
        for client in clients:
            await client.close()


async def test_many_held_requests_are_all_answered() -> None:
    pending: list[tuple[Event, Settle]] = []

    def first_later(event: Event, settle: Settle) -> None:
        if event.path == "/a":  # type: ignore[attr-defined]
            pending.append((event, settle))
        else:
            settle(event, b"x")

    async with serving(first_later, in_flight=1) as served:
        clients = [await served.connect() for _ in range(300)]
        await until(lambda: served.listener.connections == 300)
        clients[0].send(GET)
        await until(lambda: bool(pending))
        for client in clients[1:]:
            client.send(b"GET /b HTTP/1.1\r\nHost: x\r\n\r\n")
        clients[1].reset()
        await until(lambda: len(served.in_flight._waiting) >= 298)
        pending[0][1](pending[0][0], b"x")
        for client in [clients[0], *clients[2:]]:
            assert (await client.response())[2] == b"x"
            await client.close()
        await clients[1].close()
        await until(lambda: served.in_flight.count == 0)


async def letters(count: int, then: BaseException | None = None) -> AsyncIterator[str]:
    for index in range(count):
        yield "abcdefgh"[index % 8] * 10
    if then is not None:
        raise then


def sync_letters() -> Iterator[bytes]:
    yield b"a"
    yield b"b" * 100_000


STREAMS: list[tuple[Any, str, int]] = [
    (lambda: letters(3), "text/plain; charset=utf-8", 30),
    (lambda: letters(0), "application/octet-stream", 0),
    (sync_letters, "application/octet-stream", 100_001),
    (lambda: Response(letters(2), 200, {"X": "y"}, "text/event-stream"), "text/event-stream", 20),
    (lambda: Response(sync_letters()), "application/octet-stream", 100_001),
]


@pytest.mark.parametrize(("make", "content_type", "size"), STREAMS)
async def test_streams_generators(make: Any, content_type: str, size: int) -> None:
    async with serving(lambda event, settle: settle(event, make())) as served:
        client = await served.connect()
        for _ in range(2):
            client.send(GET)
            status, headers, body = await client.response()
            assert (status, headers["content-type"], len(body)) == (200, content_type, size)
            assert headers["transfer-encoding"] == "chunked"
        client.send(b"HEAD /a HTTP/1.1\r\nHost: x\r\n\r\n")
        assert (await client.response(head_only=True))[0] == 200
        client.send(b"GET /a HTTP/1.0\r\n\r\n")
        old = await client.rest()
        assert len(old.partition(b"\r\n\r\n")[2]) == size
        assert b"chunked" not in old
        assert served.metrics.triggers["http"].ok == 4


async def test_stream_that_fails_in_the_middle_is_cut_off(caplog: pytest.LogCaptureFixture) -> None:
    async with serving(lambda event, settle: settle(event, letters(2, ValueError("broken")))) as served:
        data = await served.connect()
        data.send(GET)
        with pytest.raises((ConnectionError, asyncio.IncompleteReadError), match=r"reset|0 bytes read"):
            await data.response()
        assert "streaming response failed path=/a" in caplog.text
        assert served.metrics.triggers["http"].errors == {"handler": 1}
        await until(lambda: served.in_flight.count == 0)
        await data.close()


async def test_stream_that_fails_at_once_answers_500(caplog: pytest.LogCaptureFixture) -> None:
    async with serving(lambda event, settle: settle(event, letters(0, ValueError("broken")))) as served:
        client = await served.connect()
        client.send(GET)
        assert (await client.response())[::2] == (500, b'{"error":"the function failed"}')
        await client.close()


async def test_stream_ends_when_the_client_goes() -> None:
    closed = asyncio.Event()

    async def endless() -> AsyncIterator[bytes]:
        try:
            while True:
                yield bytes(100_000)
        finally:
            closed.set()

    async with serving(lambda event, settle: settle(event, endless())) as served:
        client = await served.connect()
        client.send(GET)
        await client.reader.readexactly(300_000)
        client.reset()
        async with asyncio.timeout(5):
            await closed.wait()
        await until(lambda: served.in_flight.count == 0)
        assert served.metrics.triggers["http"].errors == {"client": 1}
        await client.close()


async def test_waiting_stream_ends_when_the_client_goes() -> None:
    closed = asyncio.Event()

    async def quiet() -> AsyncIterator[bytes]:
        yield b"x"
        try:
            await asyncio.Event().wait()
        finally:
            closed.set()

    async with serving(lambda event, settle: settle(event, quiet())) as served:
        client = await served.connect()
        client.send(GET)
        await client.reader.readuntil(b"x\r\n")
        client.reset()
        async with asyncio.timeout(5):
            await closed.wait()
        await until(lambda: served.in_flight.count == 0)
        await client.close()
