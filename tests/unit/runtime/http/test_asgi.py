"""ASGI apps over real connections, and their lifespan."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, StreamingResponse
from starlette.routing import Route
from support.http import Client, Served, serving, until, without_date

from headrace.runtime.errors import HandlerLoadError
from headrace.runtime.http.asgi import AsgiEndpoint, Lifespan, Receive, Send

Scope = Any
GET = b"GET /a HTTP/1.1\r\nHost: x\r\n\r\n"


async def read_body(receive: Receive) -> bytes:
    pieces: list[bytes] = []
    while True:
        message = await receive()
        pieces.append(message["body"])
        if not message["more_body"]:
            return b"".join(pieces)


async def echo(scope: Scope, receive: Receive, send: Send) -> None:
    body = await read_body(receive)
    await send({"type": "http.response.start", "status": 200, "headers": [(b"x-path", scope["path"].encode())]})
    await send({"type": "http.response.body", "body": body})


async def ask(app: Any, data: bytes = GET) -> tuple[int, dict[str, str], bytes]:
    async with serving(AsgiEndpoint(app)) as served:
        client = await served.connect()
        client.send(data)
        try:
            return await client.response()
        finally:
            await until(lambda: served.in_flight.count == 0)
            await client.close()


async def test_scope() -> None:
    scopes: list[Scope] = []

    async def keep(scope: Scope, receive: Receive, send: Send) -> None:
        scopes.append(scope)
        await echo(scope, receive, send)

    async with serving(AsgiEndpoint(keep, {"db": 1})) as served:
        client = await served.connect()
        client.send(b"POST /a%20b?q=%20 HTTP/1.1\r\nHost: x\r\nX-A: b\r\nContent-Length: 2\r\n\r\nhi")
        assert (await client.response())[2] == b"hi"
        (scope,) = scopes
        assert scope["client"] == client.writer.get_extra_info("sockname")
        assert scope["server"] == ("127.0.0.1", served.port)
        assert (scope["method"], scope["path"], scope["raw_path"]) == ("POST", "/a b", b"/a%20b")
        assert (scope["query_string"], scope["http_version"]) == (b"q=%20", "1.1")
        assert scope["headers"] == [(b"host", b"x"), (b"x-a", b"b"), (b"content-length", b"2")]
        assert scope["state"] == {"db": 1}
        await client.close()


@pytest.mark.parametrize("chunked", [False, True])
async def test_large_bodies_stream_both_ways(chunked: bool) -> None:
    async def relay(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        more = True
        while more:
            message = await receive()
            more = message["more_body"]
            await send({"type": "http.response.body", "body": message["body"], "more_body": more})

    body = bytes(range(256)) * 8192
    async with serving(AsgiEndpoint(relay)) as served:
        client = await served.connect()
        for _ in range(2):
            framing = b"Transfer-Encoding: chunked" if chunked else b"Content-Length: %d" % len(body)
            client.send(b"POST / HTTP/1.1\r\nHost: x\r\n" + framing + b"\r\n\r\n")
            client.send(b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body) if chunked else body)
            assert (await client.response())[2] == body
        await client.close()


async def test_body_is_read_no_faster_than_the_app_does() -> None:
    go = asyncio.Event()

    async def slow(scope: Scope, receive: Receive, send: Send) -> None:
        await go.wait()
        await echo(scope, receive, send)

    async with serving(AsgiEndpoint(slow), read_timeout=0.1, max_body=50_000_000) as served:
        client = await served.connect()
        client.send(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 40000000\r\n\r\n" + bytes(40_000_000))
        await until(lambda: served.in_flight.count == 1)
        edge = served.listener._edge
        since = edge.now
        await until(lambda: edge.now > since + 0.3)  # the read timeout does not count while the app does not read
        assert client.writer.transport.get_write_buffer_size() > 10_000_000
        go.set()
        assert len((await client.response())[2]) == 40_000_000
        await client.close()


async def test_continue_is_sent_when_the_app_reads() -> None:
    async def refuse(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] == "/read":
            await echo(scope, receive, send)
        else:
            await PlainTextResponse("no", 403)(scope, receive, send)

    head = b"POST %b HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n"
    async with serving(AsgiEndpoint(refuse)) as served:
        client = await served.connect()
        client.send(head % b"/read")
        assert (await client.response())[0] == 100
        client.send(b"hi")
        assert (await client.response())[2] == b"hi"
        client.send(head % b"/no")
        status, headers, _ = await client.response()
        assert (status, headers["connection"]) == (403, "close")
        assert await client.rest() == b""


async def test_unread_body_is_skipped() -> None:
    async def early(scope: Scope, receive: Receive, send: Send) -> None:
        await PlainTextResponse(scope["path"])(scope, receive, send)

    async with serving(AsgiEndpoint(early)) as served:
        client = await served.connect()
        client.send(b"POST /1 HTTP/1.1\r\nHost: x\r\nContent-Length: 500000\r\n\r\n")
        assert (await client.response())[2] == b"/1"
        client.send(bytes(500_000) + GET)
        assert (await client.response())[2] == b"/a"
        await client.close()


async def started_then_raises(scope: Scope, receive: Receive, send: Send) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"x", "more_body": True})
    raise ValueError("secret")


async def never_finishes(scope: Scope, receive: Receive, send: Send) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"5")]})
    await send({"type": "http.response.body", "body": b"x", "more_body": True})


async def sends_too_little(scope: Scope, receive: Receive, send: Send) -> None:
    await never_finishes(scope, receive, send)
    await send({"type": "http.response.body"})


@pytest.mark.parametrize("app", [started_then_raises, never_finishes, sends_too_little])
async def test_broken_responses_are_cut_off(app: Any) -> None:
    with pytest.raises((ConnectionError, asyncio.IncompleteReadError), match=r"reset|bytes read"):
        await ask(app)


async def raises(scope: Scope, receive: Receive, send: Send) -> None:
    raise ValueError("secret")


async def returns(scope: Scope, receive: Receive, send: Send) -> None:
    pass


async def body_first(scope: Scope, receive: Receive, send: Send) -> None:
    await send({"type": "http.response.body", "body": b"x"})


async def wrong_message(scope: Scope, receive: Receive, send: Send) -> None:
    await send({"type": "websocket.accept"})


async def bad_header(scope: Scope, receive: Receive, send: Send) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": [(b"a", b"b\r\nc: d")]})


async def started_twice(scope: Scope, receive: Receive, send: Send) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.start", "status": 200, "headers": []})


@pytest.mark.parametrize("app", [raises, returns, body_first, wrong_message, bad_header, started_twice])
async def test_failing_apps_answer_500(app: Any) -> None:
    status, _, body = await ask(app)
    assert (status, body) == (500, b'{"error":"the function failed"}')


async def test_disconnect_reaches_the_app() -> None:
    messages: list[str] = []

    async def wait(scope: Scope, receive: Receive, send: Send) -> None:
        while not messages or messages[-1] != "http.disconnect":
            messages.append((await receive())["type"])

    async with serving(AsgiEndpoint(wait)) as served:
        for data in (GET, b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nabc"):
            client = await served.connect()
            client.send(data)
            await until(lambda: messages == ["http.request"])
            client.reset()
            await until(lambda: served.in_flight.count == 0)
            assert messages.pop() == "http.disconnect"
            messages.clear()
            await client.close()


async def test_writing_to_a_client_that_is_gone_ends_the_app() -> None:
    async def endless(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        while True:
            await send({"type": "http.response.body", "body": bytes(100_000), "more_body": True})

    async with serving(AsgiEndpoint(endless)) as served:
        client = await served.connect()
        client.send(GET)
        await client.reader.readexactly(200_000)
        client.reset()
        await until(lambda: served.in_flight.count == 0)
        await client.close()


async def test_malformed_chunks_are_refused_whether_the_app_reads_or_not() -> None:
    bad = b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n"
    async with serving(AsgiEndpoint(echo)) as served:
        client = await served.connect()
        client.send(bad)
        await until(lambda: served.in_flight.count == 1)
        client.send(b"nonsense\r\n" + GET)
        assert (await client.rest()).startswith(b"HTTP/1.1 400 ")
        assert (await served.ask(bad + b"nonsense\r\n" + GET)).startswith(b"HTTP/1.1 400 ")
        assert (await served.ask(bad[:-6] + b"ffffffffff\r\n")).startswith(b"HTTP/1.1 413 ")
        too_long = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999\r\n\r\n"
        assert (await served.ask(too_long)).startswith(b"HTTP/1.1 413 ")


async def test_slow_body_times_out() -> None:
    async with serving(AsgiEndpoint(echo), read_timeout=0.1) as served:
        data = await served.ask(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nabc")
        assert data.startswith(b"HTTP/1.1 408 ")


async def test_app_that_closes_the_connection() -> None:
    async def last(scope: Scope, receive: Receive, send: Send) -> None:
        await PlainTextResponse("x", headers={"connection": "close"})(scope, receive, send)

    async with serving(AsgiEndpoint(last)) as served:
        data = without_date(await served.ask(GET + GET))
        assert data.count(b"HTTP/1.1 200") == 1
        assert b"connection: close\r\n" in data


@asynccontextmanager
async def starlette_served(done: list[str]) -> AsyncGenerator[tuple[Served, Client]]:
    async def numbers() -> AsyncIterator[str]:
        for number in range(3):
            yield f"{number};"

    async def json(request: Request) -> JSONResponse:
        task = BackgroundTask(lambda: done.append("background"))
        return JSONResponse(await request.json() | {"state": request.state.name}, background=task)

    async def stream(request: Request) -> StreamingResponse:
        return StreamingResponse(numbers())

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncGenerator[dict[str, str]]:
        done.append("started")
        yield {"name": "kept"}
        done.append("stopped")

    routes = [Route("/json", json, methods=["POST"]), Route("/stream", stream)]
    app = Starlette(routes=routes, lifespan=lifespan)
    life = Lifespan(app)
    await life.startup()
    endpoint = AsgiEndpoint(app, life.state)
    async with serving(endpoint) as served:
        client = await served.connect()
        yield served, client
        await client.close()
        await endpoint.aclose()
    await life.shutdown()
    await life.shutdown()  # nothing more to do


async def test_starlette() -> None:
    done: list[str] = []
    async with starlette_served(done) as (_, client):
        client.send(b'POST /json HTTP/1.1\r\nHost: x\r\nContent-Length: 7\r\n\r\n{"a":1}')
        status, headers, body = await client.response()
        assert (status, headers["content-type"], body) == (200, "application/json", b'{"a":1,"state":"kept"}')
        client.send(b"GET /stream HTTP/1.1\r\nHost: x\r\n\r\n")
        assert (await client.response())[2] == b"0;1;2;"
        client.send(b"HEAD /stream HTTP/1.1\r\nHost: x\r\n\r\n")
        assert (await client.response(head_only=True))[0] == 200
        client.send(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
        assert (await client.response())[0] == 404  # the app's own path
    assert done == ["started", "background", "stopped"]


async def test_lifespan_that_fails() -> None:
    async def failing(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "lifespan.startup.failed", "message": "no database"})

    with pytest.raises(HandlerLoadError, match="no database"):
        await Lifespan(failing).startup()


async def test_lifespan_that_is_not_supported() -> None:
    async def http_only(scope: Scope, receive: Receive, send: Send) -> None:
        assert scope["type"] == "http"

    life = Lifespan(http_only)
    await life.startup()
    await life.shutdown()


async def test_lifespan_whose_shutdown_fails(caplog: pytest.LogCaptureFixture) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await send({"type": "lifespan.shutdown.failed", "message": "stuck"})

    life = Lifespan(app)
    await life.startup()
    await life.shutdown()
    assert "message=stuck" in caplog.text
