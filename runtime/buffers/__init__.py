"""Memory that received bodies lie in: `Slab`, and `FreshBuffers` where there is none."""

from .fresh import FreshBuffers
from .slab import Slab, SlabFull, observe

__all__ = ["FreshBuffers", "Slab", "SlabFull", "observe"]
