"""Functions written for Nuclio run unchanged: return forms, `Response`, `init_context`, logger, event."""

import json
import logging
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, ClassVar

import pytest
from support.projects import FIXTURES, write

from headrace.runtime.errors import HandlerLoadError
from headrace.runtime.handlers import Shape
from headrace.runtime.http.events import HttpEvent
from headrace.runtime.shapes.nuclio_sdk import Context, Event, Response, TriggerInfo
from headrace.testing import make_event, running
from headrace.triggers import events as received
from headrace.triggers import outcomes
from headrace.triggers.headers import Headers

NUCLIO = FIXTURES / "nuclio"


async def returned(form: str, kind: str = "http") -> Any:
    """What the fixture's handler of this return form gives, generators as lists."""
    async with running(NUCLIO / "returns", handler="main:handler") as function:
        assert (function.handler.shape, function.handler.is_async) == (Shape.EVENT, False)
        return await function(make_event(json={"return": form}, kind=kind, trigger=kind))


@pytest.mark.parametrize(
    ("form", "status", "content_type", "body"),
    [
        ("str", 200, "text/plain", "text"),
        ("bytes", 200, "text/plain", b"\x00\xff"),
        ("list", 200, "application/json", b"[1,2]"),
        ("int", 200, "text/plain", "7"),
        ("none", 200, "text/plain", b""),
        ("status", 201, "text/plain", "made"),
        ("status json", 404, "application/json", b'{"error":"no"}'),
        ("response", 202, "application/x-raw", b"raw"),
        ("response dict", 200, "application/json", b'{"a":1}'),
        ("response list", 200, "text/plain", "[1]"),
        ("response empty", 204, "text/plain", b""),
        ("generator", 200, "text/plain", ["one", b"two"]),
        ("generator response", 206, "text/csv", ["one", b"two"]),
        ("generator of responses", 207, "text/plain", ["one", b"two"]),
    ],
)
async def test_return_forms(form: str, status: int, content_type: str, body: object) -> None:
    response = await returned(form)
    assert isinstance(response, outcomes.Response)
    assert (response.status, response.content_type, response.body) == (status, content_type, body)


async def test_headers_are_text() -> None:
    assert (await returned("response")).headers == [("x-a", "1")]
    assert (await returned("generator of responses")).headers == [("x-b", "2")]


async def test_json_of_anything() -> None:
    body = json.loads((await returned("dict")).body)
    assert (body["a"], body["at"]) == (1, "2026-01-02")
    assert "Context" in body["odd"]


@pytest.mark.parametrize(("form", "expected"), [("none", None), ("generator", ["one", b"two"])])
async def test_on_a_stream(form: str, expected: object) -> None:
    assert await returned(form, "nats") == expected


async def test_raise() -> None:
    with pytest.raises(ValueError, match="told by the handler"):
        await returned("raise")


async def test_lifecycle(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    async with running(NUCLIO / "lifecycle", handler="main:handler") as function:
        first = await function(make_event(id="e1", kind="http", trigger="http", headers={"x-test": "yes"}))
        second = await function(make_event(id="e2", kind="nats", trigger="frames"))
        third = await function(make_event(id="e3", kind="nats", trigger="frames"))
    assert json.loads(first.body) == {
        "model": "resnet", "calls": 1, "kind": "http", "name": "http", "trigger": ["http", "http", "http"],
        "worker": 0, "header": "yes",
    }  # fmt: skip
    assert json.loads(second.body)["trigger"] == ["nats", "frames", "frames"]
    assert json.loads(third.body)["calls"] == 3  # what it had at that trigger's first event, and one
    messages = [record.message for record in caplog.records if record.name == "function.test"]
    assert messages[:3] == ["Loaded device=cpu model=resnet", "Handling e1 model=resnet", "Bad why=test model=resnet"]
    assert messages[-1] == "Terminating model=resnet"
    assert {record.filename for record in caplog.records if record.name == "function.test"} == {"main.py"}


async def test_async() -> None:
    async with running(NUCLIO / "asynchronous", handler="main:handler") as function:
        assert function.handler.is_async
        text = await function(make_event(b"you", kind="http"))
        stream = await function(make_event(type="stream", kind="http"))
        sync_stream = await function(make_event(type="sync stream", kind="http"))
        items = await function(make_event(type="stream"))
    assert text.body == "hello you"
    assert stream.body == ["one", "two"]
    assert sync_stream.body == ["a", "b"]
    assert items == ["one", "two"]


@pytest.mark.parametrize(
    "source",
    [
        "def handler(context, event): return event.body",
        "def handler(ctx, evt): return evt.body",
        "def handle(context, event): return event.body",
        "def handle(ctx, event): return event.body",
        "class H:\n    def __call__(self, context, event): return event.body\nhandler = H()",
        "async def handler(context, event):\n    yield event.body",
        "def handler(context, event):\n    yield event.body",
        "def handler(context: 'nuclio_sdk.Context', event: 'nuclio_sdk.Event'): return event.body",
    ],
)
async def test_signatures(tmp_path: Path, source: str) -> None:
    async with running(write(tmp_path, source)) as function:
        response = await function(make_event(b"abc", kind="http"))
    assert response.body in (b"abc", [b"abc"])


@pytest.mark.parametrize("generator", ["(_ for _ in ())", "none()"])
async def test_empty_generators(tmp_path: Path, generator: str) -> None:
    source = f"""
        async def none():
            for item in (): yield item
        async def handler(context, event): return {generator}
        """
    async with running(write(tmp_path, source)) as function:
        assert (await function(make_event(kind="http"))).body == []


@pytest.mark.parametrize("kind", ["def", "async def"])
async def test_an_abandoned_stream_is_closed(tmp_path: Path, kind: str) -> None:
    source = f"""
        closed = []
        def init_context(context): context.closed = closed
        {kind} handler(context, event):
            try:
                yield "one"
                yield "two"
            finally:
                context.closed.append(event.id)
        """
    async with running(write(tmp_path, source)) as function:
        result = function.handler.call(make_event(kind="http"))
        if kind == "def":
            assert next(result.body) == "one"
            result.body.close()
        else:
            body = (await result).body
            assert await anext(body) == "one"
            await body.aclose()
        assert sys.modules["function"].closed == ["1"]


@pytest.mark.parametrize("result", ["Ack()", "Retry(1.0)", "Reject('no')", "Response(b'x', status=204)"])
async def test_headraces_own_results_pass(tmp_path: Path, result: str) -> None:
    source = f"from headrace import *\ndef handler(context, event): return {result}"
    async with running(write(tmp_path, source)) as function:
        assert type(await function(make_event(kind="http"))).__name__ == result.partition("(")[0]


async def test_response_of_the_sdk_itself(tmp_path: Path) -> None:
    source = """
        class Response:
            headers, body, content_type, status_code = {}, "x", "a/b", 203
        def handler(context, event): return Response()
        """
    async with running(write(tmp_path, source)) as function:
        response = await function(make_event(kind="http"))
    assert (response.status, response.body, response.content_type) == (203, "x", "a/b")


async def test_init_context_that_raises(tmp_path: Path) -> None:
    source = "def init_context(context): raise OSError('no model')\ndef handler(context, event): ..."
    with pytest.raises(HandlerLoadError, match=r".") as caught:
        async with running(write(tmp_path, source)):
            pass
    assert str(caught.value) == (
        "`init_context` of `function:handler`: expected it to return, got OSError: no model - at function/__init__.py:1"
    )


# -- what a handler is given -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "content_type", "body"),
    [
        (b'{"a": 1}', "application/json", {"a": 1}),
        (b"{", "application/json", b"{"),
        (b"\xff", "application/json", b"\xff"),
        (b'{"a": 1}', "application/json; charset=utf-8", b'{"a": 1}'),
        (b'{"a": 1}', None, b'{"a": 1}'),
    ],
)
def test_body(data: bytes, content_type: str | None, body: object) -> None:
    event = Event(make_event(data, content_type=content_type))
    assert event.body == body
    assert event.content_type == (content_type or "")
    event.body = "changed"
    assert event.body == "changed"


def test_stream_event() -> None:
    event = Event(
        make_event(b"x", subject="a.b", kind="nats", trigger="t", partition=2, offset=9, headers={"X-One": "1"})
    )
    assert (event.topic, event.shard_id, event.offset, event.size, event.id) == ("a.b", 2, 9, 1, "1")
    assert (event.method, event.path, event.url, event.fields) == ("", "/", "", {})
    assert (event.num_shards, event.last_in_batch, event.type, event.type_version) == (0, False, "test", "")
    assert event.version == "1.0"
    assert event.headers == {"X-One": "1"}
    assert event.get_header("X-ONE") == "1"
    assert event.get_header("x-two") is None


class Request(received.Event):
    """An HTTP event with what `runtime.http.events.HttpEvent` adds."""

    method = "POST"
    path = "/a b"
    query = "x=1&y=&x=2"
    query_params: ClassVar[dict[str, str]] = {"x": "2", "y": ""}


def test_request() -> None:
    headers = Headers([(b"host", b"h"), (b"x-api-key", b"k"), (b"content-type", b"text/x")])
    event = Event(Request(b"abc", headers=headers, trigger=received.Trigger("web", "http")))
    assert (event.method, event.path, event.url) == ("POST", "/a b", "/a b?x=1&y=&x=2")
    assert event.fields == {"x": "2", "y": ""}
    assert event.headers == {"Host": "h", "X-Api-Key": "k", "Content-Type": "text/x"}
    assert (event.content_type, event.body, event.topic) == ("text/x", b"abc", "")
    assert Event(make_event(kind="http")).url == "/"


@pytest.mark.parametrize("name", ["method", "path", "query", "query_params"])
def test_http_events_have_what_is_read(name: str) -> None:
    assert isinstance(getattr(HttpEvent, name), property)


@pytest.mark.parametrize(
    ("time", "expected"),
    [
        ("2026-01-02T03:04:05Z", datetime(2026, 1, 2, 3, 4, 5)),
        ("2026-01-02T05:04:05+02:00", datetime(2026, 1, 2, 3, 4, 5)),
    ],
)
def test_timestamp(time: str, expected: datetime) -> None:
    assert Event(make_event(time=time)).timestamp == expected


def test_timestamp_is_now_without_one() -> None:
    assert abs((Event(make_event()).timestamp - datetime.now(UTC).replace(tzinfo=None)).total_seconds()) < 60


def test_to_json() -> None:
    event = Event(make_event(b"bytes", time="2026-01-02T03:04:05Z", kind="nats", trigger="t"))
    told = json.loads(event.to_json())
    assert told["body"] == "Ynl0ZXM="
    assert told["trigger"] == {"kind": "nats", "name": "t"}
    assert told["timestamp"] == "2026-01-02 03:04:05"
    assert json.loads(Event(make_event(json={"a": 1})).to_json())["body"] == {"a": 1}
    assert repr(event) == "Event(id='1', trigger='t', 5 bytes)"


async def test_what_needs_nuclios_control_plane() -> None:
    context = Context(logging.getLogger("test"), TriggerInfo("http", "http"))
    with pytest.raises(NotImplementedError, match="send `other` an HTTP request instead"):
        context.platform.call_function("other", None)
    with pytest.raises(NotImplementedError, match="explicit acknowledgement: return from the handler instead"):
        await context.platform.explicit_ack(None)
    with pytest.raises(NotImplementedError, match="explicit acknowledgement: return from the handler instead"):
        Response().ensure_no_ack()


def test_logger(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    logger = Context(logging.getLogger("test"), TriggerInfo()).logger
    for name in ("debug", "info", "warn", "warning", "error"):
        getattr(logger, name)("100%")
        getattr(logger, f"{name}_with")("n=%d", 1, a=2)
    assert [record.message for record in caplog.records] == ["100%", "n=1 a=2"] * 5
    assert [record.levelname for record in caplog.records[::2]] == ["DEBUG", "INFO", "WARNING", "WARNING", "ERROR"]
    assert repr(Response(body=b"secret")) == "Response(status_code=200, content_type='text/plain')"
