"""Headrace: Python functions on requests and streams, from zero to many replicas and back.

The public names are resolved on first use, so that a replica imports only what its function needs.
What does not belong here: any code besides that resolution.
"""

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from headrace.runtime.context import Context
    from headrace.triggers.events import Attributes, Batch, Event
    from headrace.triggers.outcomes import Ack, Reject, Response, Retry

__version__ = "0.1.0"

__all__ = ["Ack", "Attributes", "Batch", "Context", "Event", "Reject", "Response", "Retry", "__version__"]

_HOME = {
    "Ack": "headrace.triggers.outcomes",
    "Attributes": "headrace.triggers.events",
    "Batch": "headrace.triggers.events",
    "Context": "headrace.runtime.context",
    "Event": "headrace.triggers.events",
    "Reject": "headrace.triggers.outcomes",
    "Response": "headrace.triggers.outcomes",
    "Retry": "headrace.triggers.outcomes",
}


def __getattr__(name: str) -> object:
    if (home := _HOME.get(name)) is None:
        raise AttributeError(f"module 'headrace' has no attribute {name!r}")
    value = getattr(importlib.import_module(home), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
