"""What goes wrong in the function's own code, or in how it was set up.

HeadraceError (triggers/errors.py)
├── HandlerError           the function raised or answered nonsense
│   ├── HandlerTimeout     it took longer than `limits.handlerTimeout`
│   ├── ResultError        its result is of a type or number that cannot be settled
│   └── DeviceOutOfMemory  its batch did not fit into the device's memory
└── UsageError
    ├── DeviceMissing      there is no such device here, or its library is missing
    ├── HandlerLoadError   it cannot be imported, or `start` failed
    └── HandlerShapeError  its signature fits none of the shapes
"""

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


class HandlerLoadError(UsageError):
    """The function cannot be imported, or its `start` failed."""


class HandlerShapeError(UsageError):
    """Its signature fits none of the handler shapes."""
