"""ASGI apps: found by name or by what `new()` gives, with their lifespan."""

import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, StreamingResponse
from starlette.routing import Route
from support.projects import write

from headrace.runtime.errors import HandlerLoadError, HandlerShapeError, ResultError
from headrace.runtime.handlers import Shape
from headrace.testing import running

APP = """
    from contextlib import asynccontextmanager
    from starlette.applications import Starlette
    from starlette.responses import JSONResponse
    from starlette.routing import Route

    @asynccontextmanager
    async def lifespan(app):
        app.state.seen = ["started"]
        yield {"model": "resnet"}
        app.state.seen.append("stopped")

    async def root(request):
        return JSONResponse({"seen": request.app.state.seen, "model": request.state.model}, status_code=203)

    app = Starlette(routes=[Route("/a", root, methods=["POST"])], lifespan=lifespan)
    """


async def test_starlette_with_lifespan(tmp_path: Path) -> None:
    async with running(write(tmp_path, APP)) as function:
        assert (function.handler.shape, function.handler.name) == (Shape.ASGI, "function:app")
        response = await function.http("POST", "/a?b=1", headers={"X-One": "1"}, body="x")
        missing = await function.http("GET", "/b")
        module = sys.modules["function"]
        assert module.app.state.seen == ["started"]
    assert (response.status, response.body) == (203, b'{"seen":["started"],"model":"resnet"}')
    assert response.content_type == "application/json"
    assert missing.status == 404
    assert module.app.state.seen == ["started", "stopped"]


@pytest.mark.parametrize(
    "source",
    [
        "async def app(scope, receive, send):",
        "async def app(s, r, w, x=1):\n    scope, receive, send = s, r, w",
        "class App:\n    async def __call__(self, scope, receive, send):\n        await go(scope, receive, send)\n"
        "app = App()\nasync def go(scope, receive, send):",
        "def new(): return app\nasync def app(scope, receive, send):",
        "class App:\n    async def __call__(self, scope, receive, send):\n        await go(scope, receive, send)\n"
        "def new(): return App()\nasync def go(scope, receive, send):",
        "def outer(f): return lambda scope, receive, send: f(scope, receive, send)\n"
        "class App:\n    def __call__(self, scope, receive, send):\n        return go(scope, receive, send)\n"
        "app = App()\nasync def go(scope, receive, send):",
    ],
)
async def test_plain_apps(tmp_path: Path, source: str) -> None:
    source += """
    assert scope["type"] == "http"
    await send({"type": "http.response.start", "status": 200, "headers": [(b"a", b"b")]})
    await send({"type": "http.response.body", "body": b"1", "more_body": True})
    await send({"type": "http.response.body", "body": b"2"})
"""
    async with running(write(tmp_path, source)) as function:
        assert function.handler.shape is Shape.ASGI
        response = await function.http()
    assert (response.status, response.headers, response.body) == (200, [("a", "b")], b"12")


async def test_app_object_and_streaming() -> None:
    async def root(request: Request) -> StreamingResponse:
        async def chunks() -> AsyncIterator[bytes]:
            yield await request.body()
            yield b"!"

        return StreamingResponse(chunks())

    async with running(Starlette(routes=[Route("/", root, methods=["POST"])])) as function:
        assert (await function.http("POST", body=b"hello")).body == b"hello!"


async def test_startup_that_fails() -> None:
    async def app(scope: object, receive: object, send: object) -> None:
        await receive()  # type: ignore[operator]
        await send({"type": "lifespan.startup.failed", "message": "no model"})  # type: ignore[operator]

    with pytest.raises(HandlerLoadError, match="startup of the ASGI app failed: no model"):
        async with running(app):
            pass


async def test_app_that_raises() -> None:
    async def root(request: Request) -> JSONResponse:
        raise OSError("gone")

    async with running(Starlette(routes=[Route("/", root)])) as function:
        with pytest.raises(OSError, match="gone"):
            await function.http()


async def test_app_that_says_nothing() -> None:
    async def app(scope: object, receive: object, send: object) -> None:
        return None

    async with running(app) as function:
        with pytest.raises(ResultError, match=r"ASGI app: expected `http\.response\.start`, got nothing"):
            await function.http()


async def test_plain_def_is_no_app() -> None:
    def app(scope: object, receive: object, send: object) -> None: ...

    with pytest.raises(HandlerShapeError, match=r"expected `async def app\(scope, receive, send\)`, got `def`"):
        async with running(app):
            pass
