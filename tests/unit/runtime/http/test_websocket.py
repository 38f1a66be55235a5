"""WebSocket apps over real connections."""

import asyncio
import sys
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.routing import WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect
from support.http import TRIGGER, FakeIntake, echo, serving, until
from support.websocket import HANDSHAKE, WsClient, frame, websocket
from wsproto.events import (
    AcceptConnection,
    BytesMessage,
    CloseConnection,
    Ping,
    Pong,
    RejectConnection,
    RejectData,
    TextMessage,
)

from headrace.runtime.http.asgi import AsgiEndpoint
from headrace.runtime.http.events import EventEndpoint
from headrace.runtime.metrics import Metrics

Scope = Any
TEXT, BINARY, CONTINUATION, CLOSE, PING, PONG = 1, 2, 0, 8, 9, 10


async def echo_app(scope: Scope, receive: Any, send: Any) -> None:
    assert (await receive())["type"] == "websocket.connect"
    await send({"type": "websocket.accept"})
    while (message := await receive())["type"] == "websocket.receive":
        await send({"type": "websocket.send", **{key: message[key] for key in ("bytes", "text") if key in message}})
    ENDED.append((message["code"], message["reason"]))


ENDED: list[tuple[int, str]] = []


@pytest.fixture(autouse=True)
def _forget_ends() -> None:
    ENDED.clear()


async def test_starlette_app() -> None:
    async def endpoint(socket: WebSocket) -> None:
        await socket.accept("json", [(b"x-a", b"b")])
        await socket.send_json({"query": dict(socket.query_params), "scheme": socket.url.scheme})
        try:
            async for text in socket.iter_text():
                await socket.send_text(text.upper())
        except WebSocketDisconnect:
            pass

    async with websocket(Starlette(routes=[WebSocketRoute("/ws", endpoint)])) as (client, served):
        accepted = await client.open(subprotocols=["xml", "json"])
        assert isinstance(accepted, AcceptConnection)
        assert accepted.subprotocol == "json"
        assert (b"x-a", b"b") in accepted.extra_headers
        assert await client.event() == TextMessage('{"query":{"a":"b"},"scheme":"ws"}')
        client.send(TextMessage("hi é"))
        assert await client.event() == TextMessage("HI É")
        client.send(CloseConnection(1001, "bye"))
        assert await client.event() == CloseConnection(1001, "bye")
        await until(lambda: served.in_flight.count == 0)
        assert served.metrics.http_responses[101] == 1


async def test_echo_of_all_sizes_and_fragments() -> None:
    async with websocket(echo_app) as (client, _):
        await client.open()
        for size in (0, 1, 125, 126, 65535, 65536, 1_000_000):
            client.send(BytesMessage(bytes(size)))
            got = b""
            while not isinstance(event := await client.event(), BytesMessage) or not event.message_finished:
                got += event.data  # type: ignore[attr-defined]
            assert len(got + event.data) == size
        client.raw(TEXT, "a€"[:1].encode() + "€".encode()[:1], fin=False)  # cut inside a character
        client.raw(PING, b"between")
        client.raw(CONTINUATION, "€".encode()[1:])
        assert await client.event() == Pong(b"between")
        assert await client.event() == TextMessage("a€")


# What the Autobahn test suite's cases 2 to 7 ask for: the frames, and the code of the Close that answers them
PROTOCOL_ERRORS = {
    "reserved opcode": ([frame(3)], 1002),
    "reserved control opcode": ([frame(11)], 1002),
    "rsv bit": ([frame(TEXT, b"x", rsv=4)], 1002),
    "unmasked": ([frame(TEXT, b"x", mask=False)], 1002),
    "fragmented ping": ([frame(PING, b"x", fin=False)], 1002),
    "large ping": ([frame(PING, bytes(126))], 1002),
    "continuation of nothing": ([frame(CONTINUATION, b"x")], 1002),
    "message in a message": ([frame(TEXT, b"x", fin=False), frame(TEXT, b"x")], 1002),
    "invalid UTF-8": ([frame(TEXT, b"\xff")], 1007),
    "invalid UTF-8 over fragments": ([frame(TEXT, b"\xce", fin=False), frame(CONTINUATION, b"\xff")], 1007),
    "unfinished UTF-8": ([frame(TEXT, b"\xce")], 1007),
    "surrogate": ([frame(TEXT, b"\xed\xa0\x80")], 1007),
    "close of one byte": ([frame(CLOSE, b"\x03")], 1002),
    "close with a reserved code": ([frame(CLOSE, b"\x03\xed")], 1002),
    "close with an unknown code": ([frame(CLOSE, b"\x03\xe7")], 1002),
    "close with an invalid reason": ([frame(CLOSE, b"\x03\xe8\xff")], 1007),
    "too big": ([frame(BINARY, bytes(1001))], 1009),
    "too big over fragments": ([frame(TEXT, bytes(600), fin=False), frame(CONTINUATION, bytes(600))], 1009),
    "too big in characters": ([frame(TEXT, "€".encode() * 334)], 1009),
}


@pytest.mark.parametrize("case", PROTOCOL_ERRORS)
async def test_protocol_errors_close_the_connection(case: str) -> None:
    frames, code = PROTOCOL_ERRORS[case]
    async with websocket(echo_app, max_body=1000) as (client, served):
        await client.open()
        client.client.send(b"".join(frames))
        closed = await client.event()
        assert isinstance(closed, CloseConnection)
        assert closed.code == code
        client.send(closed.response())
        assert await client.client.rest() == b""
        await until(lambda: served.in_flight.count == 0)
        assert ENDED[0][0] == code


async def test_frames_behind_the_handshake_are_read() -> None:
    async with serving(AsgiEndpoint(echo_app)) as served:
        client = await served.connect()
        client.send(HANDSHAKE + frame(TEXT, b"early"))
        status, headers, _ = await client.response()
        assert (status, headers["sec-websocket-accept"]) == (101, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=")  # RFC 6455 §1.3
        assert await client.reader.readexactly(7) == b"\x81\x05early"
        client.send(frame(CLOSE))
        assert await client.rest() == b"\x88\x00"
        assert ENDED == [(1005, "")]


@pytest.mark.parametrize("frames", [b"", frame(TEXT, b"early"), frame(3), frame(CLOSE)])
async def test_a_client_that_ended_its_half_before_it_was_accepted(frames: bytes) -> None:
    async with serving(AsgiEndpoint(echo_app)) as served:
        client = await served.connect()
        client.send(HANDSHAKE + frames)
        client.writer.write_eof()
        assert (await client.rest()).startswith(b"HTTP/1.1 101 ")
        await until(lambda: served.in_flight.count == 0)


@pytest.mark.parametrize(
    ("old", "new", "status", "says"),
    [
        (b"keep-alive, Upgrade", b"keep-alive", 400, b"Connection: Upgrade"),
        (b"GET /ws", b"POST /ws", 400, b"expected a GET"),
        (b"Host: x", b"Host: x\r\nContent-Length: 1", 400, b"without a body"),
        (b"Version: 13", b"Version: 8", 426, b"version 13"),
        (b"dGhlIHNhbXBsZSBub25jZQ==", b"dGhl", 400, b"16 bytes"),
        (b"dGhlIHNhbXBsZSBub25jZQ==", b"?", 400, b"16 bytes"),
    ],
)
async def test_bad_handshakes(old: bytes, new: bytes, status: int, says: bytes) -> None:
    async with serving(AsgiEndpoint(echo_app)) as served:
        client = await served.connect()
        client.send(HANDSHAKE.replace(old, new) + b"x")
        got, headers, body = await client.response()
        assert (got, headers["connection"]) == (status, "close")
        assert says in body
        assert headers.get("sec-websocket-version") == ("13" if status == 426 else None)
        await client.close()


async def test_without_its_library(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    for name in ("wsproto", "headrace.runtime.http.websocket", "headrace.runtime.http.asgi_websocket"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.setitem(sys.modules, "wsproto", None)
    async with serving(AsgiEndpoint(echo_app)) as served:
        assert b"HTTP/1.1 501 " in await served.ask(HANDSHAKE)
    assert "pip install 'headrace[websocket]'" in caplog.text


async def test_events_take_no_websockets() -> None:
    endpoint = EventEndpoint(FakeIntake(echo), TRIGGER, Metrics(["http"]))
    async with serving(endpoint) as served:
        client = await served.connect()
        client.send(HANDSHAKE)
        assert (await client.response())[0] == 200  # an upgrade is the server's choice (RFC 9110 §7.8)
        await client.close()


# -- refusing ----------------------------------------------------------------------------------------------


async def refuse(scope: Scope, receive: Any, send: Any) -> None:
    await send({"type": "websocket.close"})


async def refuse_with_a_response(scope: Scope, receive: Any, send: Any) -> None:
    await send({"type": "websocket.http.response.start", "status": 404, "headers": [(b"x-a", b"b")]})
    await send({"type": "websocket.http.response.body", "body": b"no", "more_body": True})
    await send({"type": "websocket.http.response.body", "body": b"where"})


async def say_nothing(scope: Scope, receive: Any, send: Any) -> None:
    assert scope["type"] == "websocket"


async def raise_early(scope: Scope, receive: Any, send: Any) -> None:
    raise ValueError("secret")


async def send_early(scope: Scope, receive: Any, send: Any) -> None:
    await send({"type": "websocket.send", "text": "x"})


@pytest.mark.parametrize(
    ("app", "status"),
    [(refuse, 403), (refuse_with_a_response, 404), (say_nothing, 500), (raise_early, 500), (send_early, 500)],
)
async def test_refusals(app: Any, status: int) -> None:
    async with websocket(app) as (client, served):
        rejected = await client.open()
        assert isinstance(rejected, RejectConnection)
        assert rejected.status_code == status
        data = await client.event()
        assert isinstance(data, RejectData)
        await until(lambda: served.in_flight.count == 0)


async def test_client_that_leaves_before_it_is_accepted() -> None:
    seen: list[Any] = []

    async def wait(scope: Scope, receive: Any, send: Any) -> None:
        await receive()
        seen.append("connected")
        seen.append(await receive())
        await send({"type": "websocket.accept"})

    async with serving(AsgiEndpoint(wait)) as served:
        client = await served.connect()
        client.send(HANDSHAKE)
        await until(lambda: bool(seen))
        client.reset()
        await until(lambda: served.in_flight.count == 0 and len(seen) == 2)
        assert seen[1] == {"type": "websocket.disconnect", "code": 1006, "reason": ""}
        await client.close()


# -- ending ------------------------------------------------------------------------------------------------


async def close_it(scope: Scope, receive: Any, send: Any) -> None:
    await send({"type": "websocket.accept"})
    await send({"type": "websocket.close", "code": 4000, "reason": "enough"})


async def just_return(scope: Scope, receive: Any, send: Any) -> None:
    await send({"type": "websocket.accept"})


async def fail_late(scope: Scope, receive: Any, send: Any) -> None:
    await send({"type": "websocket.accept"})
    raise ValueError("secret")


async def wrong_code(scope: Scope, receive: Any, send: Any) -> None:
    await send({"type": "websocket.accept"})
    await send({"type": "websocket.close", "code": 99})


async def wrong_message(scope: Scope, receive: Any, send: Any) -> None:
    await send({"type": "websocket.accept"})
    await send({"type": "websocket.accept"})


async def empty_message(scope: Scope, receive: Any, send: Any) -> None:
    await send({"type": "websocket.accept"})
    await send({"type": "websocket.send"})


@pytest.mark.parametrize(
    ("app", "code"),
    [
        (close_it, 4000),
        (just_return, 1000),
        (fail_late, 1011),
        (wrong_code, 1011),
        (wrong_message, 1011),
        (empty_message, 1011),
    ],
)
async def test_the_app_ends_it(app: Any, code: int) -> None:
    async with websocket(app) as (client, served):
        await client.open()
        closed = await client.event()
        assert isinstance(closed, CloseConnection)
        assert closed.code == code
        assert served.in_flight.count == 1
        client.send(closed.response())
        assert await client.client.rest() == b""
        await until(lambda: served.in_flight.count == 0)


async def test_a_client_that_vanishes_is_disconnected() -> None:
    async with websocket(echo_app) as (client, served):
        await client.open()
        client.client.reset()
        await until(lambda: served.in_flight.count == 0)
        await until(lambda: ENDED == [(1006, "")])


async def test_a_client_that_ignores_the_close_is_cut_off() -> None:
    async with websocket(close_it, idle_timeout=0.1) as (client, served):
        await client.open()
        assert isinstance(await client.event(), CloseConnection)
        client.raw(TEXT, b"more")  # dropped
        client.raw(PING, b"more")
        assert isinstance(await client.event(), CloseConnection)  # 1006: the end without an answer
        await until(lambda: served.in_flight.count == 0)


async def test_nonsense_after_the_close() -> None:
    async with websocket(close_it) as (client, served):
        await client.open()
        await client.event()
        client.client.send(frame(3))
        await until(lambda: served.in_flight.count == 0)


async def test_drain_asks_clients_to_come_again() -> None:
    async with websocket(echo_app) as (client, served):
        await client.open()
        drained = asyncio.create_task(served.listener.drain())
        closed = await client.event()
        assert isinstance(closed, CloseConnection)
        assert closed.code == 1012
        client.send(closed.response())
        await drained
        assert served.in_flight.count == 0
        await until(lambda: ENDED == [(1012, "")])


async def test_sending_after_the_end_fails() -> None:
    raised: list[type] = []

    async def stubborn(scope: Scope, receive: Any, send: Any) -> None:
        await send({"type": "websocket.accept"})
        await receive()
        await receive()
        try:
            await send({"type": "websocket.send", "text": "x"})
        except OSError as exc:
            raised.append(type(exc))
            raise

    async with websocket(stubborn) as (client, _):
        await client.open()
        client.send(CloseConnection(1000))
        await client.event()
        await until(lambda: bool(raised))


# -- bounds ------------------------------------------------------------------------------------------------


async def test_a_slow_app_is_not_flooded() -> None:
    go = asyncio.Event()

    async def slow(scope: Scope, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        await go.wait()
        while (await receive())["type"] == "websocket.receive":
            pass

    async with websocket(slow, idle_timeout=0.2) as (client, served):
        await client.open()
        for _ in range(300):
            client.send(BytesMessage(bytes(100_000)))
        edge = served.listener._edge
        since = edge.now
        await until(lambda: edge.now > since + 0.6)  # longer than idle: it is not the client that is silent
        assert client.client.writer.transport.get_write_buffer_size() > 10_000_000
        go.set()
        client.send(CloseConnection(1000))
        assert isinstance(await client.event(), Ping | CloseConnection)


async def test_a_client_that_does_not_read_holds_the_app_back_and_is_cut_off() -> None:
    sent = 0

    async def flood(scope: Scope, receive: Any, send: Any) -> None:
        nonlocal sent
        await send({"type": "websocket.accept"})
        while True:
            await send({"type": "websocket.send", "bytes": bytes(1_000_000)})
            sent += 1

    async with websocket(flood, idle_timeout=0.2) as (client, served):
        client.client.writer.transport.pause_reading()  # type: ignore[attr-defined]
        client.client.send(HANDSHAKE)
        await until(lambda: sent > 0)
        await until(lambda: served.in_flight.count == 0)
        assert sent < 50


async def test_quiet_clients_are_pinged_and_silent_ones_cut_off() -> None:
    async with websocket(echo_app, idle_timeout=0.2) as (client, served):
        await client.open()
        ping = await client.event()
        assert isinstance(ping, Ping)
        client.send(ping.response())
        assert isinstance(await client.event(), Ping)  # it was heard: a next one comes
        await until(lambda: served.in_flight.count == 0)
        await until(lambda: ENDED == [(1006, "")])


async def test_many_clients_at_once() -> None:
    async with serving(AsgiEndpoint(echo_app)) as served:
        clients = [WsClient(await served.connect()) for _ in range(50)]
        await asyncio.gather(*(client.open() for client in clients))
        assert served.in_flight.count == 50
        await asyncio.gather(*(talk(client, number) for number, client in enumerate(clients)))
        await until(lambda: served.in_flight.count == 0)


async def talk(client: WsClient, number: int) -> None:
    for turn in range(10):
        client.send(TextMessage(f"{number}/{turn}"))
        assert await client.event() == TextMessage(f"{number}/{turn}")
    client.send(CloseConnection(1000))
    await client.event()
    await client.client.close()
