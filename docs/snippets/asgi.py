"""function/__init__.py: an ASGI app; Starlette's and FastAPI's `app` objects do as well."""

from typing import Any


async def app(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] != "http":
        return
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]})
    await send({"type": "http.response.body", "body": f"you asked for {scope['path']}".encode()})
