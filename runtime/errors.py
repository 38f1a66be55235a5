"""What goes wrong in the function's own code, or in how it was set up.

HeadraceError (triggers/errors.py)
├── HandlerError           the function raised or answered nonsense
│   ├── HandlerTimeout     it took longer than `limits.handlerTimeout`
│   ├── ResultError        its result is of a type or number that cannot be settled
│   └── DeviceOutOfMemory  its batch did not fit into the device's memory
├── QueueError             an event never reached the handler (retriable)
│   ├── QueueFull          its queue is at `maxQueueSize`
│   └── QueueTimeout       it waited longer than its queue's policy allows
└── UsageError
    ├── DeviceMissing      there is no such device here, or its library is missing
    ├── HandlerLoadError   it cannot be imported, or `start` failed
    └── HandlerShapeError  its signature fits none of the shapes
"""

from typing import ClassVar

from headrace.triggers.errors import HeadraceError, UsageError


class HandlerError(HeadraceError):
    """The function's code failed for this event."""


class HandlerTimeout(HandlerError):
    """It took longer than `limits.handlerTimeout`."""


class ResultError(HandlerError):
    """Its result is of a type or number that cannot be settled."""


class DeviceOutOfMemory(HandlerError):
    """The device had no memory left for this batch; half of it may fit."""


class DeviceMissing(UsageError):
    """The function asks for a device that this process cannot have."""


class QueueError(HeadraceError):
    """An event never reached the handler."""

    retriable: ClassVar[bool] = True


class QueueFull(QueueError):
    """Its queue is at `maxQueueSize`."""


class QueueTimeout(QueueError):
    """It waited longer than its queue's policy allows."""


class HandlerLoadError(UsageError):
    """The function cannot be imported, or its `start` failed."""


class HandlerShapeError(UsageError):
    """Its signature fits none of the handler shapes."""
