"""Functions written for func-python 0.8.1 run unchanged, and answer as they do under func-python itself."""

import importlib
import json
import os
import sys
from pathlib import Path
from typing import Any, Literal

import pytest
from support.projects import FIXTURES, loaded, write

from headrace.runtime.errors import HandlerLoadError
from headrace.runtime.handlers import Shape
from headrace.runtime.testing import Function
from headrace.testing import running
from headrace.triggers.outcomes import Response

KNATIVE = FIXTURES / "knative"
BINARY = {
    "ce-id": "7",
    "ce-source": "/test",
    "ce-type": "ask",
    "ce-specversion": "1.0",
    "ce-time": "2026-01-02T03:04:05Z",
    "content-type": "application/json",
}
STRUCTURED = {"content-type": "application/cloudevents+json"}
EVENT = {"specversion": "1.0", "id": "8", "source": "/test", "type": "ask", "data": {"n": 1}}


async def test_http_class() -> None:
    async with running(KNATIVE / "http_class") as function:
        assert function.handler.shape is Shape.ASGI
        assert function.handler.name == "function:new.handle"
        assert function.handler.alive() == (True, "Alive")
        assert function.handler.ready() == (True, "Ready")
        response = await function.http("POST", "/x", body="hello")
    assert (response.status, response.headers, response.body) == (200, [("content-type", "text/plain")], b"OK")
    assert "HEADRACE_TEST_STARTED" not in os.environ


async def test_http_module() -> None:
    async with running(KNATIVE / "http_module") as function:
        response = await function.http("PUT", "/a%20b?q=1", body=b"hello")
    assert (response.status, response.body) == (201, b"HELLOq=1")
    assert ("x-path", "/a b") in response.headers


async def test_events_class() -> None:
    async with running(KNATIVE / "events_class", invoke="cloudevent") as function:
        binary = await function.http("POST", headers=BINARY, body='{"a": 1}')
        structured = await function.http("POST", headers=STRUCTURED, body=json.dumps(EVENT))
    for response, id, data in ((binary, "response-7", {"a": 1}), (structured, "response-8", {"n": 1})):
        assert (response.status, response.content_type) == (200, "application/cloudevents+json")
        assert isinstance(response.body, bytes)
        body = json.loads(response.body)
        assert (body["id"], body["type"], body["data"]) == (id, "function.response", {"message": "OK", "got": data})


async def test_events_module() -> None:
    async with running(KNATIVE / "events_module", invoke="cloudevent") as function:
        binary = await function.http("POST", headers={**BINARY, "content-type": "text/plain"}, body="text")
        raw = await function.http("POST", headers={**BINARY, "ce-type": "raw"})
        with pytest.raises(ValueError, match="the handler's own"):
            await function.http("POST", headers={**BINARY, "ce-type": "fault"})
    assert (binary.status, binary.body) == (202, b"text")
    assert dict(binary.headers)["ce-type"] == "answer"
    assert dict(binary.headers)["content-length"] == "4"
    assert (raw.status, raw.body) == (418, b"raw")


@pytest.mark.parametrize(
    ("headers", "body"),
    [
        ({}, b""),
        ({}, b"hello"),
        (STRUCTURED, b"{"),
        (STRUCTURED, b"[]"),
        (STRUCTURED, b'{"specversion": "1.0"}'),
        (STRUCTURED, b"\xff\xfe"),
        (STRUCTURED, json.dumps({**EVENT, "time": 3}).encode()),
        ({"ce-id": "1"}, b"x"),
        ({**BINARY, "ce-specversion": "9"}, b"x"),
        ({**BINARY, "ce-time": "yesterday"}, b"x"),
    ],
)
async def test_no_cloudevent(headers: dict[str, str], body: bytes, caplog: pytest.LogCaptureFixture) -> None:
    async with running(KNATIVE / "events_class", invoke="cloudevent") as function:
        response = await function.http("POST", headers=headers, body=body)
    assert (response.status, response.body) == (400, b"Bad Request: this endpoint expects CloudEvents")
    assert any(record.message.startswith("request is no CloudEvent method=POST") for record in caplog.records)


async def test_body_in_chunks() -> None:
    async with running(KNATIVE / "events_module", invoke="cloudevent") as function:
        parts = [{"body": memoryview(b"he"), "more_body": True}, {"more_body": True}, {"body": b"llo"}]
        sent: list[Any] = []

        async def receive() -> Any:
            return parts.pop(0)

        async def send(message: Any) -> None:
            sent.append(message)

        headers = [(name.encode(), value.encode()) for name, value in {**BINARY, "content-type": "text/x"}.items()]
        await function.handler.call({"type": "http", "method": "POST", "headers": headers}, receive, send)
    assert sent[1]["body"] == b"hello"


async def answers(function: Any, headers: dict[str, str], body: bytes) -> Response:
    """The response of an ASGI callable."""
    from headrace.runtime.handlers import Handler

    handler = Handler(shape=Shape.ASGI, call=function, is_async=True)
    async with running(handler) as app:
        return await app.http("POST", "/x?y=1", headers=headers, body=body)


@pytest.mark.parametrize(
    ("project", "invoke", "headers", "body"),
    [
        ("http_class", "http", {}, b"hello"),
        ("http_module", "http", {}, b"hello"),
        ("events_class", "cloudevent", BINARY, b'{"a": 1}'),
        ("events_class", "cloudevent", STRUCTURED, json.dumps(EVENT).encode()),
        ("events_module", "cloudevent", BINARY, b'{"a": 1}'),
        ("events_module", "cloudevent", {**BINARY, "ce-type": "raw"}, b""),
    ],
)
async def test_as_under_func_python(
    project: str, invoke: Literal["http", "cloudevent"], headers: dict[str, str], body: bytes
) -> None:
    middleware = importlib.import_module(f"func_python.{'http' if invoke == 'http' else 'cloudevent'}")
    async with running(KNATIVE / project, invoke=invoke) as function:
        module = sys.modules["function"]
        instance = module.new() if hasattr(module, "new") else middleware.DefaultFunction(module.handle)
        ours = await function.http("POST", "/x?y=1", headers=headers, body=body)
        theirs = await answers(middleware.ASGIApplication(instance), headers, body)
    assert ours.status == theirs.status
    assert comparable(ours) == comparable(theirs)


def comparable(response: Response) -> Any:
    """Headers and body without what differs each time."""
    headers = {name: value for name, value in response.headers if name not in ("ce-time", "content-length")}
    assert isinstance(response.body, bytes)
    if response.content_type != "application/cloudevents+json":
        return headers, response.body
    return headers, {name: value for name, value in json.loads(response.body).items() if name != "time"}


def test_without_cloudevents(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cloudevents.core.bindings.http", None)
    project = write(tmp_path, "async def handle(scope, receive, send): ...")
    with pytest.raises(HandlerLoadError, match=r".") as caught, loaded(project, invoke="cloudevent"):
        pass
    assert str(caught.value) == (
        "`invoke: cloudevent`: expected the package `cloudevents` (pip install 'cloudevents>=2'), got "
        "ModuleNotFoundError: import of cloudevents.core.bindings.http halted; None in sys.modules "
        "- at function/__init__.py:1"
    )
    with loaded(project) as handler:  # not needed for `invoke: http`
        assert handler.shape is Shape.ASGI


async def test_start_may_ask_for_the_context(tmp_path: Path) -> None:
    source = """
        class Function:
            async def handle(self, scope, receive, send): ...
            def start(self, context): self.name = context.name
            def ready(self): return self.name == "test"
        """
    async with running(write(tmp_path, source)) as function:
        assert isinstance(function, Function)
        assert function.handler.ready() == (True, "")
