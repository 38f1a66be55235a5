"""Functions written for func-python and Nuclio, unmodified, in a real replica and over real HTTP."""

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from support.projects import FIXTURES, write

from headrace.triggers import wire

pytestmark = pytest.mark.integration

EVENT = {"ce-id": "7", "ce-source": "/t", "ce-type": "ask", "ce-specversion": "1.0", "content-type": "application/json"}


@contextmanager
def replica(folder: Path, project: str, **spec: Any) -> Generator[httpx.Client]:
    """A client of a replica that serves `project`; afterwards the replica drains and exits 0."""
    (folder / "spec.json").write_text(json.dumps({"name": "test", **spec}))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        environ = {
            **os.environ,
            wire.SPEC: str(folder / "spec.json"),
            wire.PROJECT: str(FIXTURES / project),
            wire.LISTEN_FD: str(listener.fileno()),
        }
        command = [sys.executable, "-m", "headrace.runtime.main"]
        process = subprocess.Popen(command, env=environ, pass_fds=[listener.fileno()])
        try:
            host, port = listener.getsockname()
            with httpx.Client(base_url=f"http://{host}:{port}", timeout=30) as client:
                yield client
            process.send_signal(signal.SIGTERM)
            assert process.wait(30) == 0
        finally:
            process.kill()
            process.wait()


def test_knative_http(tmp_path: Path) -> None:
    with replica(tmp_path, "knative/http_class") as client:
        response = client.post("/", content=b"hello")
        assert (response.status_code, response.text, response.headers["content-type"]) == (200, "OK", "text/plain")
        assert client.get("/health/readiness").status_code == 200
        assert client.get("/health/liveness").status_code == 200
    with replica(tmp_path, "knative/http_module") as client:
        response = client.put("/a%20b?q=1", content=b"hello")
        assert (response.status_code, response.text, response.headers["x-path"]) == (201, "HELLOq=1", "/a b")


def test_knative_cloudevents(tmp_path: Path) -> None:
    with replica(tmp_path, "knative/events_class", invoke="cloudevent") as client:
        response = client.post("/", headers=EVENT, content=b'{"a": 1}')
        assert response.headers["content-type"] == "application/cloudevents+json"
        assert (response.json()["id"], response.json()["data"]) == ("response-7", {"message": "OK", "got": {"a": 1}})
        assert client.post("/", content=b"hello").status_code == 400
    with replica(tmp_path, "knative/events_module", invoke="cloudevent") as client:
        response = client.post("/", headers=EVENT, content=b'{"a": 1}')
        assert (response.status_code, response.json(), response.headers["ce-type"]) == (202, {"a": 1}, "answer")
        assert client.post("/", headers={**EVENT, "ce-type": "fault"}).status_code == 500


@pytest.mark.parametrize(
    ("form", "status", "content_type", "body"),
    [
        ("str", 200, "text/plain", b"text"),
        ("bytes", 200, "text/plain", b"\x00\xff"),
        ("list", 200, "application/json", b"[1,2]"),
        ("none", 200, "text/plain", b""),
        ("status json", 404, "application/json", b'{"error":"no"}'),
        ("response", 202, "application/x-raw", b"raw"),
        ("generator", 200, "text/plain", b"onetwo"),
        ("generator of responses", 207, "text/plain", b"onetwo"),
    ],
)
def test_nuclio_return_forms(nuclio: httpx.Client, form: str, status: int, content_type: str, body: bytes) -> None:
    response = nuclio.post("/", json={"return": form})
    assert (response.status_code, response.headers["content-type"], response.content) == (status, content_type, body)


def test_nuclio_raise(nuclio: httpx.Client) -> None:
    response = nuclio.post("/", json={"return": "raise"})
    assert response.status_code == 500
    assert "told by the handler" not in response.text


@pytest.fixture(scope="module")
def nuclio(tmp_path_factory: pytest.TempPathFactory) -> Generator[httpx.Client]:
    with replica(tmp_path_factory.mktemp("spec"), "nuclio/returns", handler="main:handler") as client:
        yield client


def test_nuclio_lifecycle(tmp_path: Path) -> None:
    with replica(tmp_path, "nuclio/lifecycle", handler="main:handler") as client:
        first, second = (client.post("/", headers={"x-test": "yes"}).json() for _ in range(2))
        assert (first["model"], first["kind"], first["name"], first["header"]) == ("resnet", "http", "http", "yes")
        assert (first["calls"], second["calls"]) == (1, 2)


def test_nuclio_async(tmp_path: Path) -> None:
    with replica(tmp_path, "nuclio/asynchronous", handler="main:handler") as client:
        assert client.post("/", content=b"you").text == "hello you"
        assert client.post("/stream").text == "onetwo"


def test_starlette(tmp_path: Path) -> None:
    source = """
        from contextlib import asynccontextmanager
        from starlette.applications import Starlette
        from starlette.responses import PlainTextResponse
        from starlette.routing import Route

        @asynccontextmanager
        async def lifespan(app):
            yield {"model": "resnet"}

        async def root(request):
            return PlainTextResponse(request.state.model + (await request.body()).decode())

        app = Starlette(routes=[Route("/", root, methods=["POST"])], lifespan=lifespan)
        """
    with replica(tmp_path, str(write(tmp_path / "project", source))) as client:
        assert client.post("/", content=b"!").text == "resnet!"
