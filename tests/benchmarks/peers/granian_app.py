"""Granian's own interface, RSGI: answers with the length of the body."""

from typing import Any


async def app(scope: Any, protocol: Any) -> None:
    body = await protocol()
    protocol.response_str(200, [("content-type", "text/plain")], str(len(body)))
