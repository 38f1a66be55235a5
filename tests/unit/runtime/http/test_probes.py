"""Health checks and scrapes."""

import pytest
from support.http import answer, serving, until

from headrace.runtime.http.asgi import AsgiEndpoint
from headrace.triggers.events import Event
from headrace.triggers.protocols import Settle

ALIVE = b'{"alive":true}'
READY = b'{"ready":true}'


@pytest.mark.parametrize(
    ("path", "body"),
    [
        (b"/health/liveness", ALIVE),
        (b"/health/readiness", READY),
        (b"/health/readiness?x=1", READY),
        (b"/metrics", b"metrics 1\n"),
        (b"/health/metrics", b"metrics 1\n"),
        (b"/health/other", b"function"),
        (b"/metrics2", b"function"),
    ],
)
async def test_paths(path: bytes, body: bytes) -> None:
    async with serving(answer(b"function")) as served:
        client = await served.connect()
        client.send(b"GET %b HTTP/1.1\r\nHost: x\r\n\r\n" % path)
        assert (await client.response())[::2] == (200, body)
        client.send(b"HEAD %b HTTP/1.1\r\nHost: x\r\n\r\n" % path)
        assert (await client.response(head_only=True))[1]["content-length"] == str(len(body))
        client.send(b"POST %b HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\nx" % path)
        assert (await client.response())[2] == b"function"
        await client.close()


async def test_unready_is_503_with_the_reason() -> None:
    async with serving() as served:
        served.health = (False, "loading the model")
        client = await served.connect()
        client.send(b"GET /health/readiness HTTP/1.1\r\nHost: x\r\n\r\n")
        assert (await client.response())[::2] == (503, b'{"ready":false,"reason":"loading the model"}')
        await client.close()


async def test_probes_answer_at_the_limit_and_are_not_counted() -> None:
    pending: list[tuple[Event, Settle]] = []
    async with serving(lambda *call: pending.append(call), in_flight=1) as served:
        probe, busy = await served.connect(), await served.connect()
        await until(lambda: served.listener.connections == 2)
        busy.send(b"GET /a HTTP/1.1\r\nHost: x\r\n\r\n")
        await until(lambda: bool(pending))
        probe.send(b"GET /health/liveness HTTP/1.1\r\nHost: x\r\n\r\n")
        assert (await probe.response())[2] == ALIVE
        assert served.in_flight.count == 1
        assert served.metrics.triggers["http"].received == 1
        pending[0][1](pending[0][0], b"x")
        await busy.response()
        await busy.close()
        await probe.close()


async def test_apps_own_their_metrics_path() -> None:
    async def app(scope: object, receive: object, send: object) -> None:
        raise AssertionError("not asked")

    async with serving(AsgiEndpoint(app)) as served:
        client = await served.connect()
        client.send(b"GET /health/metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc")
        assert (await client.response())[2] == b"metrics 1\n"
        client.send(b"GET /health/liveness HTTP/1.1\r\nHost: x\r\n\r\n")
        assert (await client.response())[2] == ALIVE
        await client.close()
