"""`Context`: what a handler is given beside its event.

What does not belong here: anything that changes per event.
"""

import logging
from collections.abc import Mapping
from typing import Any

from headrace.triggers.protocols import Device, Sink


class Context:
    """The function's surroundings, the same for all its events.

    Attributes:
        name: The function's name.
        device: Where `tensor()` makes arrays: `context.device.name`, `context.device.xp`.
        bindings: What func.yaml's `bindings` declares, by name.
        logger: Logs beside the runtime's own, as JSON with the function's name.
    """

    def __init__(self, name: str, device: Device, bindings: Mapping[str, Sink] | None = None) -> None:
        self.name = name
        self.device = device
        self.bindings: Mapping[str, Sink] = bindings or {}
        self.logger = logging.getLogger(f"function.{name}")

    @property
    def xp(self) -> Any:
        """The device's array module: NumPy or CuPy."""
        return self.device.xp
