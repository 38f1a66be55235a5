"""A function's code as the runtime calls it: `Handler`.

`loading` finds it in the project and reads its shape; `shapes/` adapts those that other platforms have.
What does not belong here: importing user code.
"""

import enum
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec


class Shape(enum.Enum):
    """How the runtime calls a handler."""

    EVENT = "event"
    """`call(event)`: one event, one result."""
    BATCH = "batch"
    """`call(batch)`: a batch, a sequence of one result per event in order."""
    ASGI = "asgi"
    """`await call(scope, receive, send)`: ASGI 3.0; HTTP only."""


async def _nothing() -> None:
    return None


def _yes() -> tuple[bool, str]:
    return True, ""


class Handler(msgspec.Struct, frozen=True, kw_only=True):
    """A loaded function. Everything that its signature asked for (context, bindings) is bound already.

    Attributes:
        shape: How `call` is called.
        call: The handler. Sync ones run in threads, async ones and ASGI apps on the loop.
        is_async: `call` gives a coroutine or an async generator.
        start: Runs the function's `start`; raises `HandlerLoadError`. Sync ones run in a thread.
        stop: Runs the function's `stop`, after draining.
        ready: (whether it is, why not), for `/health/readiness`.
        alive: The same for `/health/liveness`.
        name: `module:attribute`, for errors and logs.
    """

    shape: Shape
    call: Callable[..., Any]
    is_async: bool
    start: Callable[[], Awaitable[None]] = _nothing
    stop: Callable[[], Awaitable[None]] = _nothing
    ready: Callable[[], tuple[bool, str]] = _yes
    alive: Callable[[], tuple[bool, str]] = _yes
    name: str = ""
