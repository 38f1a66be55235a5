"""Bytes in, bytes out, over real connections."""

import asyncio

import pytest
from support.http import Served, echo, echo_later, serving, until, without_date

from headrace.triggers.events import Event
from headrace.triggers.protocols import Settle

HOST = b"Host: x\r\n"
OK = b"HTTP/1.1 200 OK\r\ncontent-type: application/octet-stream\r\ncontent-length: %d\r\n\r\n%b"
CLOSING = (
    b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-type: application/octet-stream\r\ncontent-length: %d\r\n\r\n%b"
)


def ok(body: bytes) -> bytes:
    return OK % (len(body), body)


def closing(body: bytes) -> bytes:
    return CLOSING % (len(body), body)


LAST = b"GET /last HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
ANSWERS = [
    pytest.param(b"GET /a HTTP/1.1\r\nHost: x\r\n\r\n", ok(b"GET /a "), id="get"),
    pytest.param(b"POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc", ok(b"POST /a abc"), id="post"),
    pytest.param(b"POST /a HTTP/1.1\r\nhOST: x\r\ncONTENT-lENGTH:3 \r\n\r\nabc", ok(b"POST /a abc"), id="case"),
    pytest.param(
        b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: Chunked\r\n\r\n"
        b"3;a=b\r\nabc\r\n0A\r\n0123456789\r\n0\r\nT: x\r\n\r\n",
        ok(b"POST / abc0123456789"),
        id="chunked",
    ),
    pytest.param(
        b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", ok(b"POST / "), id="no chunks"
    ),
    pytest.param(b"\r\n\r\nGET /a HTTP/1.1\r\nHost: x\r\n\r\n", ok(b"GET /a "), id="empty lines first"),
    pytest.param(b"GET http://x:80/a%20b?q HTTP/1.1\r\nHost: x\r\n\r\n", ok(b"GET /a b "), id="absolute form"),
    pytest.param(b"OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n", ok(b"OPTIONS * "), id="asterisk form"),
    pytest.param(
        b"HEAD /a HTTP/1.1\r\nHost: x\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-type: application/octet-stream\r\ncontent-length: 8\r\n\r\n",
        id="head",
    ),
    pytest.param(
        b"GET /a HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nconnection: keep-alive\r\ncontent-type: application/octet-stream\r\n"
        b"content-length: 7\r\n\r\nGET /a ",
        id="1.0 keep-alive",
    ),
    pytest.param(
        b"GET /a HTTP/1.1\r\nHost: x\r\nConnection: upgrade\r\nUpgrade: h2c\r\n\r\n", ok(b"GET /a "), id="h2c ignored"
    ),
    pytest.param(
        b"POST /a HTTP/1.1\r\nHost: x\r\nConnection: upgrade\r\nUpgrade: h2c\r\nContent-Length: 2\r\n\r\nhi",
        ok(b"POST /a hi"),
        id="h2c ignored with a body",
    ),
]
FEEDS = ("whole", "bytewise", "followed")


async def feed(served: Served, data: bytes, how: str) -> bytes:
    client = await served.connect()
    if how == "bytewise":
        for index in range(len(data)):
            client.send(data[index : index + 1])
            await client.writer.drain()
            await asyncio.sleep(0)
    else:
        client.send(data)
    return without_date(await client.rest())


@pytest.mark.parametrize("how", FEEDS)
@pytest.mark.parametrize("later", [False, True])
@pytest.mark.parametrize(("request_bytes", "response"), ANSWERS)
async def test_answers(request_bytes: bytes, response: bytes, how: str, later: bool) -> None:
    async with serving(echo_later if later else echo) as served:
        repeat = 3 if how == "followed" else 1
        got = await feed(served, request_bytes * repeat + LAST, how)
        assert got == response * repeat + closing(b"GET /last ")
        assert served.in_flight.count == 0


@pytest.mark.parametrize("version", [b"HTTP/1.0", b"HTTP/1.1\r\nHost: x\r\nConnection: foo, Close"])
async def test_closes_when_asked_to(version: bytes) -> None:
    async with serving() as served:
        assert without_date(await served.ask(b"GET /a " + version + b"\r\n\r\n" + LAST)) == closing(b"GET /a ")


def post(*fields: bytes, body: bytes = b"") -> bytes:
    return b"POST / HTTP/1.1\r\n" + b"".join(field + b"\r\n" for field in fields) + b"\r\n" + body


CHUNKED = b"Transfer-Encoding: chunked"
SMUGGLED = b"GET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n"
REFUSED = [
    (400, post(b"Host: x", b"Content-Length: 1", CHUNKED, body=b"0\r\n\r\n")),
    (400, post(b"Host: x", CHUNKED, b"Content-Length: 1", body=b"0\r\n\r\n")),
    (400, post(b"Host: x", b"Content-Length: 1", b"Content-Length: 2", body=b"ab")),
    (400, post(b"Host: x", b"Content-Length: 1, 2", body=b"ab")),
    (400, post(b"Host: x", b"Content-Length: +1", body=b"a")),
    (400, post(b"Host: x", b"Content-Length: -1", body=b"a")),
    (400, post(b"Host: x", b"Content-Length: 0x1", body=b"a")),
    (400, post(b"Host: x", b"Content-Length:", body=b"a")),
    (400, post(b"Host: x", b"Content-Length: 99999999999999999999", body=b"a")),
    (400, post(b"Host: x", b"A: b", b" folded")),
    (400, post(b"Host: x", b"A : b")),
    (400, post(b"Host: x", b" A: b")),
    (400, post(b"Host: x", b": b")),
    (400, post(b"Host: x", b"no colon")),
    (400, post(b"Host: x", b"A: b\rc")),
    (400, post(b"Host: x", b"A: b\nc: d")),
    (400, post(b"Host: x", b"A: b\x00")),
    (400, post(b"Host: x", b"\xe9: b")),
    (400, post()),
    (400, post(b"Host: x", b"Host: y")),
    (400, post(b"Host: x", b"Transfer-Encoding: xchunked")),
    (400, post(b"Host: x", b"Transfer-Encoding: identity")),
    (400, post(b"Host: x", b"Transfer-Encoding: chunked, identity")),
    (400, post(b"Host: x", CHUNKED, CHUNKED, body=b"0\r\n\r\n")),
    (501, post(b"Host: x", b"Transfer-Encoding: gzip, chunked", body=b"0\r\n\r\n")),
    (400, post(b"Host: x", CHUNKED, body=b"g\r\n")),
    (400, post(b"Host: x", CHUNKED, body=b"-1\r\n")),
    (400, post(b"Host: x", CHUNKED, body=b"0x3\r\nabc\r\n0\r\n\r\n")),
    (400, post(b"Host: x", CHUNKED, body=b"3 \r\nabc\r\n0\r\n\r\n")),
    (400, post(b"Host: x", CHUNKED, body=b"3\nabc\r\n0\r\n\r\n")),
    (400, post(b"Host: x", CHUNKED, body=b"3\r\nabcd\r\n0\r\n\r\n")),
    (400, post(b"Host: x", CHUNKED, body=b"3\r\nabc0\r\n\r\n")),
    (400, post(b"Host: x", CHUNKED, body=b"\r\n0\r\n\r\n")),
    (400, post(b"Host: x", CHUNKED, body=b"f" * 16 + b"\r\n")),
    (400, post(b"Host: x", CHUNKED, body=b"1;" + b"a" * 3000 + b"\r\n")),
    (400, post(b"Host: x", CHUNKED, body=b"0\r\nbad trailer\r\n\r\n")),
    (431, post(b"Host: x", CHUNKED, body=b"0\r\n" + b"a: b\r\n" * 8000 + b"\r\n")),
    (400, b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    (400, b"GET / HTTP/1.1\nHost: x\n\n"),
    (400, b"GET / HTTP/1.1\r\r\nHost: x\r\n\r\n"),
    (400, b"\nGET / HTTP/1.1\r\nHost: x\r\n\r\n"),
    (400, b"\rGET / HTTP/1.1\r\nHost: x\r\n\r\n"),
    (400, b"GET  / HTTP/1.1\r\nHost: x\r\n\r\n"),
    (400, b"GET /\r\n\r\n"),
    (400, b"GET /\r\nfoo: HTTP/1.1\r\nHost: x\r\n\r\n"),
    (400, b"GET /a b HTTP/1.1\r\nHost: x\r\n\r\n"),
    (400, b"GET /\xff HTTP/1.1\r\nHost: x\r\n\r\n"),
    (400, b"GET / HTTP/1.2\r\nHost: x\r\n\r\n"),
    (400, b"GET / ICE/1.0\r\nHost: x\r\n\r\n"),
    (400, b"get / HTTP/1.1\r\nHost: x\r\n\r\n"),
    (400, b"NOSUCHMETHOD / HTTP/1.1\r\nHost: x\r\n\r\n"),
    (505, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
    (501, b"CONNECT x:1 HTTP/1.1\r\nHost: x\r\n\r\n"),
    (400, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"),
    (400, b"SSH-2.0-OpenSSH_9.2\r\n"),
    (400, b"not http"),
    (400, b"GET / HTTP/1.1\nHost: x"),
    (417, post(b"Host: x", b"Expect: a pony")),
    (413, post(b"Host: x", b"Content-Length: 1001", b"Expect: 100-continue")),
    (413, post(b"Host: x", b"Content-Length: 1000000000000000")),
    (413, post(b"Host: x", CHUNKED, body=b"3e9\r\n")),
    (413, post(b"Host: x", CHUNKED, body=b"3e8\r\n" + b"x" * 1000 + b"\r\n1\r\nx\r\n0\r\n\r\n")),
    (431, post(b"Host: x", b"A: " + b"b" * 33000)),
    (431, b"GET / HTTP/1.1\r\nHost: x\r\nA: " + b"b" * 33000),
    (431, b"GET /" + b"b" * 80000),
]


@pytest.mark.parametrize(("status", "data"), REFUSED)
async def test_refuses(status: int, data: bytes) -> None:
    async with serving(max_body=1000) as served:
        first = b"GET /first HTTP/1.1\r\nHost: x\r\n\r\n"
        got = await served.ask(first + data + SMUGGLED)
        head, _, refusal = without_date(got).partition(ok(b"GET /first "))
        assert head == b""
        assert refusal.startswith(b"HTTP/1.1 %d " % status)
        assert b"connection: close\r\n" in refusal
        assert refusal.count(b"content-length: ") == 1
        assert sum(served.metrics.http_refused.values()) == 1
        assert served.in_flight.count == 0


async def test_responses_of_one_wake_up_leave_together() -> None:
    async with serving() as served:
        client = await served.connect()
        client.send(b"GET /a HTTP/1.1\r\nHost: x\r\n\r\n" * 50)
        data = await client.reader.read(65536)
        assert data.count(b"HTTP/1.1 200 OK") == 50
        await client.close()


async def test_body_arrives_in_parts_and_in_place() -> None:
    seen: list[bytes] = []

    def keep(event: Event, settle: Settle) -> None:
        seen.append(bytes(event.data))
        settle(event, event.data)

    body = bytes(range(256)) * 4096
    async with serving(keep) as served:
        client = await served.connect()
        for _ in range(2):
            client.send(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body))
            client.send(body)
            assert (await client.response())[2] == body
        assert seen == [body, body]
        await client.close()


async def test_chunked_body_grows_up_to_the_limit() -> None:
    async with serving(lambda event, settle: settle(event, event.data), max_body=200_000) as served:
        client = await served.connect()
        client.send(b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
        for letter in b"abcdefghij":
            client.send(b"4e20\r\n" + bytes([letter]) * 20_000 + b"\r\n")
        client.send(b"0\r\n\r\n")
        assert (await client.response())[2] == b"".join(bytes([letter]) * 20_000 for letter in b"abcdefghij")
        await client.close()


@pytest.mark.parametrize("framing", [b"Content-Length: 3", b"Transfer-Encoding: chunked"])
async def test_continues(framing: bytes) -> None:
    async with serving() as served:
        client = await served.connect()
        client.send(b"POST /a HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\n" + framing + b"\r\n\r\n")
        assert (await client.response())[0] == 100
        client.send(b"abc" if b"Length" in framing else b"3\r\nabc\r\n0\r\n\r\n")
        assert (await client.response())[::2] == (200, b"POST /a abc")
        await client.close()


async def test_half_closed_client_is_answered() -> None:
    async with serving(echo_later) as served:
        client = await served.connect()
        client.send(b"GET /a HTTP/1.1\r\nHost: x\r\n\r\n" * 2)
        client.writer.write_eof()
        assert without_date(await client.rest()) == ok(b"GET /a ") * 2


async def test_half_closed_client_without_a_whole_request_is_closed() -> None:
    async with serving() as served:
        client = await served.connect()
        client.send(b"POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nabc")
        client.writer.write_eof()
        assert await client.rest() == b""


@pytest.mark.parametrize(
    "part", [b"GET / HT", b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nabc", post(HOST.strip(), CHUNKED)]
)
async def test_slow_request_times_out(part: bytes) -> None:
    async with serving(read_timeout=0.1) as served:
        assert (await served.ask(part)).startswith(b"HTTP/1.1 408 ")
        assert served.metrics.http_refused == {"timeout": 1}


async def test_idle_connection_is_closed_silently() -> None:
    async with serving(idle_timeout=0.1) as served:
        assert await served.ask(b"") == b""
        assert without_date(await served.ask(b"GET /a HTTP/1.1\r\nHost: x\r\n\r\n")) == ok(b"GET /a ")


async def test_client_that_does_not_hang_up_is_cut_off_after_its_last_response() -> None:
    async with serving(idle_timeout=0.1) as served:
        client = await served.connect()
        client.send(LAST)
        await client.reader.read()
        await until(lambda: served.listener.connections == 0)
        await client.close()


async def test_client_gone_while_handling() -> None:
    pending: list[tuple[Event, Settle]] = []
    async with serving(lambda *call: pending.append(call)) as served:
        client = await served.connect()
        client.send(b"GET /a HTTP/1.1\r\nHost: x\r\n\r\n")
        await until(lambda: bool(pending))
        client.reset()
        await until(lambda: served.listener.connections == 0)
        assert served.in_flight.count == 1
        event, settle = pending.pop()
        settle(event, b"too late")
        assert served.in_flight.count == 0


async def test_slow_reader_holds_back_its_own_pipeline() -> None:
    handled = 0

    def big(event: Event, settle: Settle) -> None:
        nonlocal handled
        handled += 1
        settle(event, bytes(2_000_000))

    async with serving(big) as served:
        client = await served.connect()
        client.send(b"GET /a HTTP/1.1\r\nHost: x\r\n\r\n" * 50)
        other = await served.connect()
        await until(lambda: handled > 0)
        assert handled < 50
        for _ in range(50):
            assert len((await client.response())[2]) == 2_000_000
        assert handled == 50
        await client.close()
        await other.close()


async def test_client_that_never_reads_is_cut_off() -> None:
    async with serving(lambda event, settle: settle(event, bytes(20_000_000)), idle_timeout=0.1) as served:
        client = await served.connect()
        client.reader._transport.pause_reading()  # type: ignore[attr-defined]
        client.send(b"GET /a HTTP/1.1\r\nHost: x\r\n\r\n")
        await until(lambda: served.metrics.http_responses.get(200) == 1)
        await until(lambda: served.listener.connections == 0)
        client.writer.transport.abort()


async def test_pipeline_is_bounded_while_a_request_is_handled() -> None:
    pending: list[tuple[Event, Settle]] = []
    async with serving(lambda *call: pending.append(call)) as served:
        client = await served.connect()
        one = b"POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n" + bytes(1000)
        client.send(one * 1000)
        for _ in range(1000):
            await until(lambda: bool(pending))
            event, settle = pending.pop()
            settle(event, b"x")
        for _ in range(1000):
            assert (await client.response())[2] == b"x"
        await client.close()


async def test_endpoint_that_raises_answers_500(caplog: pytest.LogCaptureFixture) -> None:
    def broken(event: Event, settle: Settle) -> None:
        raise ValueError("secret")

    async with serving(broken) as served:
        client = await served.connect()
        client.send(b"GET /a HTTP/1.1\r\nHost: x\r\n\r\n")
        status, _, body = await client.response()
        assert (status, body) == (500, b'{"error":"internal error"}')
        assert "request failed outside the handler path=/a" in caplog.text
        assert served.in_flight.count == 0
        await client.close()
