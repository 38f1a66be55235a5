"""ASGI 3.0 apps (Starlette, FastAPI, any callable with `scope, receive, send`), with their lifespan.

What does not belong here: Knative's `handle(scope, receive, send)`, which has no lifespan but `start` and
`stop`, and speaking HTTP to an app (`http/asgi`).
"""

import inspect
from collections.abc import MutableMapping
from typing import Any

from ..context import Context
from ..errors import HandlerShapeError
from ..handlers import Handler, Shape
from ..spec import RuntimeSpec
from .signatures import Candidate, Role, innermost, is_async

FORM = "an ASGI app"

_NAMES = ("scope", "receive", "send")


def fits(found: Candidate) -> bool:
    """Three required parameters that are named as in ASGI's specification, or async and of no other role."""
    return found.attribute != "handle" and takes_asgi(found)


def adapt(found: Candidate, spec: RuntimeSpec, context: Context) -> Handler:
    """Run its lifespan around serving."""
    from ..http.asgi import Lifespan  # of use to apps alone

    check_async(found)
    app = found.target
    lifespan = Lifespan(app)

    async def call(scope: MutableMapping[str, Any], receive: Any, send: Any) -> None:
        if lifespan.state:  # each request gets a shallow copy (ASGI lifespan protocol, "Lifespan State")
            scope["state"] = {**scope.get("state", {}), **lifespan.state}
        await app(scope, receive, send)

    return Handler(
        shape=Shape.ASGI,
        call=call,
        is_async=True,
        name=found.name,
        start=lifespan.startup,
        stop=lifespan.shutdown,
    )


def takes_asgi(found: Candidate) -> bool:
    """Whether `found` is called with ASGI's three arguments."""
    required = found.required
    if len(required) != 3 or any(not one.positional for one in found.parameters if one.required):
        return False
    if tuple(one.name for one in required) == _NAMES:
        return True
    return is_async(found.target) and all(one.role is Role.UNKNOWN for one in required)


def check_async(found: Candidate) -> None:
    """Raise `HandlerShapeError` for a plain `def`, which could never await `send`."""
    if not is_async(found.target) and not is_async(innermost(found.target)) and inspect.isroutine(found.target):
        raise HandlerShapeError(
            f"handler `{found.name}`: expected `async def {found.attribute}(scope, receive, send)`, got `def` "
            f"- at {found.place}"
        )
