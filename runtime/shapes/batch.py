"""`handle(batch[, context])`: a batch, one result per event; bindings are injected by parameter name."""

from ..context import Context
from ..handlers import Handler, Shape
from ..spec import RuntimeSpec
from .lifecycle import hooks
from .signatures import Candidate, Role, payload_call

FORM = "handle(batch[, context])"


def fits(found: Candidate) -> bool:
    """A parameter asks for a batch, by its annotation or its name."""
    return len(found.having(Role.BATCH)) == 1 and not found.having(Role.EVENT)


def adapt(found: Candidate, spec: RuntimeSpec, context: Context) -> Handler:
    """Bind what it asks for beside the batch."""
    call, is_async = payload_call(found, Role.BATCH, context)
    return Handler(shape=Shape.BATCH, call=call, is_async=is_async, name=found.name, **hooks(found, context))
