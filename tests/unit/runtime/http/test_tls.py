"""TLS on the listener, over real connections."""

import asyncio
import ssl
from pathlib import Path
from typing import Any

import pytest
from support.http import answer, echo, serving, until
from support.websocket import WsClient
from wsproto.events import AcceptConnection, CloseConnection, TextMessage

from headrace.runtime.http.asgi import AsgiEndpoint
from headrace.runtime.http.tls import server_context
from headrace.triggers.errors import UsageError
from headrace.triggers.http.spec import Tls

FILES = Path(__file__).parents[3] / "fixtures" / "tls"


def pem(name: str) -> str:
    return (FILES / f"{name}.pem").read_text()


CONTEXT = server_context(Tls(certificate=pem("certificate"), key=pem("key")), "x")
GET = b"GET /a HTTP/1.1\r\nHost: x\r\n\r\n"


def trusting() -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=str(FILES / "certificate.pem"))
    context.set_alpn_protocols(["h2", "http/1.1"])
    return context


async def test_requests_of_all_sizes() -> None:
    async with serving(echo, tls=CONTEXT) as served:
        client = await served.connect(trusting())
        client.send(GET + GET)
        for _ in range(2):
            assert (await client.response())[2] == b"GET /a "
        body = bytes(range(256)) * 8192
        client.send(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
        assert (await client.response())[2] == b"POST / " + body
        assert client.writer.get_extra_info("ssl_object").selected_alpn_protocol() == "http/1.1"
        client.send(b"GET /health/readiness HTTP/1.1\r\nHost: x\r\n\r\n")
        assert (await client.response())[0] == 200
        await client.close()


async def test_last_response_comes_whole_and_the_connection_ends() -> None:
    async with serving(answer(bytes(3_000_000)), tls=CONTEXT) as served:
        client = await served.connect(trusting())
        client.send(b"GET / HTTP/1.0\r\n\r\n")
        assert len(await client.rest()) > 3_000_000
        client = await served.connect(trusting())
        client.send(b"nonsense\r\n\r\n" + bytes(100_000))
        assert (await client.rest()).startswith(b"HTTP/1.1 400 ")
        await until(lambda: served.listener.connections == 0)


async def test_plain_http_is_no_handshake() -> None:
    async with serving(echo, tls=CONTEXT) as served:
        client = await served.connect()
        client.send(GET)
        assert not (await client.rest()).startswith(b"HTTP")
        await until(lambda: served.metrics.http_refused == {"handshake": 1})
        assert served.listener.connections == 0


async def test_a_slow_handshake_is_cut_off() -> None:
    async with serving(echo, tls=CONTEXT, read_timeout=0.1) as served:
        client = await served.connect()
        assert await client.rest() == b""
        assert served.metrics.http_refused == {"handshake": 1}


async def test_a_client_that_ends_its_half_ends_the_connection() -> None:
    async with serving(lambda event, settle: None, tls=CONTEXT) as served:
        client = await served.connect(trusting())
        client.send(GET)
        await until(lambda: served.in_flight.count == 1)
        await client.close()
        await until(lambda: served.listener.connections == 0)


async def test_connections_are_not_handed_over() -> None:
    handed: list[Any] = []
    async with serving(echo, tls=CONTEXT) as served:
        client = await served.connect(trusting())
        client.send(GET)
        await client.response()
        await served.listener.drain(handed.extend)
        assert handed == []
        assert await client.rest() == b""


async def test_a_draining_replica_says_close() -> None:
    held: list[Any] = []
    async with serving(lambda *call: held.append(call), tls=CONTEXT) as served:
        client = await served.connect(trusting())
        client.send(GET)
        await until(lambda: bool(held))
        drained = asyncio.create_task(served.listener.drain(lambda sockets: None))
        await asyncio.sleep(0)
        event, settle = held[0]
        settle(event, b"last")
        _, headers, body = await client.response()
        assert (headers["connection"], body) == ("close", b"last")
        await client.close()
        await drained


async def test_apps_know_and_websockets_work() -> None:
    schemes: list[str] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        schemes.append(scope["scheme"])
        if scope["type"] == "http":
            await send({"type": "http.response.start", "status": 204})
            await send({"type": "http.response.body"})
            return
        await send({"type": "websocket.accept"})
        await send({"type": "websocket.send", "text": "hi"})

    async with serving(AsgiEndpoint(app), tls=CONTEXT) as served:
        plain = await served.connect(trusting())
        plain.send(GET)
        assert (await plain.response())[0] == 204
        await plain.close()
        client = WsClient(await served.connect(trusting()))
        assert isinstance(await client.open(), AcceptConnection)
        assert await client.event() == TextMessage("hi")
        closed = await client.event()
        assert isinstance(closed, CloseConnection)
        client.send(closed.response())
        await until(lambda: served.in_flight.count == 0)
        await client.client.close()
    assert schemes == ["https", "wss"]


async def test_a_websocket_protocol_error_over_tls() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "websocket.accept"})
        await receive()
        await receive()

    async with serving(AsgiEndpoint(app), tls=CONTEXT) as served:
        client = WsClient(await served.connect(trusting()))
        await client.open()
        client.raw(3)
        assert isinstance(await client.event(), CloseConnection)
        await until(lambda: served.in_flight.count == 0)
        await client.client.close()


async def test_old_versions_are_refused() -> None:
    assert CONTEXT.minimum_version is ssl.TLSVersion.TLSv1_2


@pytest.mark.parametrize(
    ("certificate", "key", "says"),
    [
        ("certificate", "other-key", "KEY_VALUES_MISMATCH"),
        ("certificate", "locked-key", "without a passphrase"),
        ("key", "key", "expected a certificate chain"),
        ("certificate", "certificate", "expected a certificate chain"),
    ],
)
def test_what_is_no_certificate(certificate: str, key: str, says: str) -> None:
    with pytest.raises(UsageError, match=says) as caught:
        server_context(Tls(certificate=pem(certificate), key=pem(key)), "triggers.http.tls")
    assert "triggers.http.tls" in str(caught.value)
