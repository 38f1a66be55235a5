"""Health and metrics of a replica of several workers, on a listener of their own: `Overview`.

What does not belong here: what the workers count and how they are (`supervisor` knows).
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping

from headrace.triggers import wire
from headrace.triggers.units import Bytes

from .buffers import Slab
from .exposition import render
from .http.exchange import Exchange
from .http.listener import HttpListener
from .http.probes import EXPOSITION, Probes
from .inflight import InFlight
from .listening import bind, in_container, parse_address
from .metrics import Metrics
from .spec import Limits

logger = logging.getLogger(__name__)

# OpenTelemetry's port for Prometheus; 9090 and 9091 of a pod are those of Knative's queue-proxy
_CONTAINER = "0.0.0.0:9464"
_LOCAL = "127.0.0.1:0"
_LIMITS = Limits(max_body=Bytes(1024), max_connections=64, slab=Bytes(2**16))

Families = Callable[[], Awaitable[list[wire.Family]]]


class Overview:
    """Answers `/health/*` and `/metrics` for all workers.

    Args:
        environ: Names the address: `HEADRACE_METRICS_ADDRESS`; else port 9464 on all addresses in a container,
            or any free port of this machine.
        ready: Whether the replica takes requests, and why not.
        families: All that its workers count.

    Raises:
        UsageError: The address is malformed or cannot be bound.
    """

    def __init__(self, environ: Mapping[str, str], ready: Callable[[], tuple[bool, str]], families: Families) -> None:
        text = environ.get(wire.METRICS_ADDRESS) or (_CONTAINER if in_container(environ) else _LOCAL)
        sock = bind(*parse_address(text))
        self.address: tuple[str, int] = sock.getsockname()[:2]
        self._listener = HttpListener(
            sock,
            _MetricsEndpoint(families),
            limits=_LIMITS,
            in_flight=InFlight(_LIMITS.max_connections),
            metrics=Metrics(()),
            probes=Probes(alive=lambda: (True, ""), ready=ready, metrics=None),
            buffers=Slab(_LIMITS.slab, lambda size_bytes: memoryview(bytearray(size_bytes))),
        )

    def start(self) -> None:
        """Begin to answer."""
        self._listener.start()
        logger.info("metrics address=%s:%s", *self.address)

    async def aclose(self) -> None:
        """Answer what was asked, and stop."""
        self._listener.stop_accepting()
        try:
            async with asyncio.timeout(1.0):
                await self._listener.drain()
        except TimeoutError:
            self._listener.abort()


class _MetricsEndpoint:
    """`exchange.Endpoint` that knows one answer, and has to ask for it."""

    streams_body = False
    owns_metrics_path = False
    admit = None

    def __init__(self, families: Families) -> None:
        self._families = families
        self._tasks: set[asyncio.Task[None]] = set()

    def handle(self, exchange: Exchange) -> None:
        if exchange.head.raw_path not in (b"/metrics", b"/health/metrics"):
            exchange.fail(404, "expected `/metrics`, `/health/liveness` or `/health/readiness`")
            return
        task = asyncio.get_running_loop().create_task(self._answer(exchange))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _answer(self, exchange: Exchange) -> None:
        exchange.respond(200, EXPOSITION, render(await self._families()))
