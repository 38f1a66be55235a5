"""`handle(event[, context])`: one event, one result; bindings are injected by parameter name."""

from ..context import Context
from ..handlers import Handler, Shape
from ..spec import RuntimeSpec
from .lifecycle import hooks
from .signatures import Candidate, Role, payload_call

FORM = "handle(event[, context])"


def fits(found: Candidate) -> bool:
    """A parameter asks for an event, by its annotation or its name."""
    return len(found.having(Role.EVENT)) == 1 and not found.having(Role.BATCH)


def adapt(found: Candidate, spec: RuntimeSpec, context: Context) -> Handler:
    """Bind what it asks for beside the event."""
    call, is_async = payload_call(found, Role.EVENT, context)
    return Handler(shape=Shape.EVENT, call=call, is_async=is_async, name=found.name, **hooks(found, context))
