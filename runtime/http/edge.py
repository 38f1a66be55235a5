"""`Edge`: what all connections of a listener share, and the one timer that serves all their deadlines."""

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING

from ..buffers import Slab
from ..buffers.slab import SMALL_BYTES
from ..inflight import InFlight
from ..metrics import Metrics
from ..spec import Limits
from .exchange import Endpoint
from .probes import Probes
from .recent_heads import RecentHeads
from .responses import ResponseStarts

if TYPE_CHECKING:
    from .protocol import Connection
    from .websocket import WebSocket

# One read of a loop turn; larger ones gain nothing, since bodies of known length are received in place
_SHARED_BYTES = 64 * 1024


class Edge:
    """What all connections of a listener share.

    Attributes:
        raw: What heads are received into; `view` shows it. Never held over a turn.
        starts: Of responses, by status.
        responses: Counts, by status.
        connections: All that are open.
        closing: Responses say `Connection: close`.
        secure: They are encrypted (TLS), where no side can end its half alone.
        now: Monotonic seconds, renewed by each sweep.
        read_s: What may pass by `now` from a request's first byte to its last.
        idle_s: What may pass by `now` without a request, or without the client reading.
        on_lost: Called when a connection is gone.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        *,
        limits: Limits,
        in_flight: InFlight,
        metrics: Metrics,
        probes: Probes,
        buffers: Slab,
    ) -> None:
        self.endpoint = endpoint
        self.handle = endpoint.handle
        self.admit = endpoint.admit
        self.streams_body = endpoint.streams_body
        # A body that is streamed lies in no slot
        self.max_body = limits.max_body if self.streams_body else min(limits.max_body, buffers.largest_bytes)
        self.small_bytes = min(SMALL_BYTES, self.max_body)
        self.max_header: int = limits.max_header
        self.in_flight = in_flight
        self.metrics = metrics
        self.probes = probes
        self.buffers = buffers
        self.allocate = buffers.allocate
        self.raw = bytearray(_SHARED_BYTES)
        self.view = memoryview(self.raw)
        self.starts = ResponseStarts(metrics.http_responses)
        self.heads = RecentHeads()
        self.responses = metrics.http_responses
        self.connections: set[Connection | WebSocket] = set()
        self.closing = False
        self.secure = False
        self.now = 0.0
        # Deadlines cost nothing per request: `now` may be a sweep old, so that much is added, and a sweep late
        self._sweep_s = min(1.0, limits.read_timeout / 4, limits.idle_timeout / 4)
        self.read_s = limits.read_timeout + self._sweep_s
        self.idle_s = limits.idle_timeout + self._sweep_s
        self.on_lost: Callable[[], None] | None = None
        self._sweeper: asyncio.TimerHandle | None = None

    def joined(self, connection: "Connection | WebSocket") -> None:
        """A connection was made; the first starts the sweeps."""
        if self._sweeper is None:
            self._tick()
        self.connections.add(connection)

    def left(self, connection: "Connection | WebSocket") -> None:
        """A connection is gone; the last ends the sweeps, so that an idle replica costs nothing."""
        self.connections.discard(connection)
        if not self.connections and not self.buffers.held and self._sweeper is not None:
            self._sweeper.cancel()
            self._sweeper = None
        if self.on_lost is not None:
            self.on_lost()

    def _sweep(self) -> None:
        if not self.connections and not self.buffers.held:
            self._sweeper = None
            return
        self._tick()
        for connection in tuple(self.connections):
            connection.check_deadlines(self.now)
        self.buffers.sweep()

    def _tick(self) -> None:
        loop = asyncio.get_running_loop()
        self.now = loop.time()
        self.starts.clear()
        self._sweeper = loop.call_later(self._sweep_s, self._sweep)
