"""Starlette: answers with the length of the body."""

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route


async def length(request: Request) -> PlainTextResponse:
    return PlainTextResponse(str(len(await request.body())))


app = Starlette(routes=[Route("/", length, methods=["POST"])])
