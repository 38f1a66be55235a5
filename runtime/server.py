"""The life of a replica, in five methods read in order: startup → serve → drain → settle → shutdown.

It wires the stages together (edges → intake → invoker → settling) and owns nothing of what they do.
"""

import asyncio
import gc
import logging
import os
import signal
import socket
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from headrace.triggers import wire
from headrace.triggers.errors import HeadraceError
from headrace.triggers.events import Trigger
from headrace.triggers.http.spec import HttpTrigger, resolve
from headrace.triggers.kinds import make_sink
from headrace.triggers.protocols import Device
from headrace.triggers.references import References
from headrace.triggers.spec import kind_of

from .asgi_invoker import AsgiInvoker
from .batching import Batcher, make_batcher
from .buffers import Slab
from .buffers import observe as observe_slab
from .context import Context
from .device import open_device
from .device.calls import BATCHES_AHEAD, on_device
from .device.measures import observe
from .eager import EagerRunner
from .handlers import Handler, Shape
from .http.asgi import AsgiEndpoint
from .http.events import EventEndpoint
from .http.exchange import Endpoint
from .http.gate import guarded
from .http.listener import HttpListener
from .http.probes import Probes
from .http.unserved import UnservedEndpoint
from .inflight import InFlight
from .invoker import EventInvoker
from .link import PlatformLink
from .listening import listening_socket
from .loading import load
from .metrics import Metrics
from .spec import RuntimeSpec
from .stream_set import StreamSet
from .threads import HandlerThreads

logger = logging.getLogger(__name__)

EXIT_FAILED = 1
EXIT_STUCK = 70
"""Threads hang in the handler (EX_SOFTWARE of sysexits.h): a new process is the only cure."""

SHUTDOWN_S = 5.0
"""What closing may take beyond `limits.drainTimeout`."""

SWITCH_INTERVAL_S = 0.0005
"""With sync handlers the loop gets the GIL back this soon; the default of 5 ms is felt as latency."""


class Server:
    """One replica.

    Args:
        spec: The function.
        project: Its folder.
        environ: See `triggers/wire`.
    """

    def __init__(self, spec: RuntimeSpec, project: Path, environ: Mapping[str, str]) -> None:
        self._spec = spec
        self._project = project
        self._environ = environ
        self._triggers = {t.name: Trigger(t.name, kind_of(t), None, spec.batching.row) for t in spec.triggers}
        self._metrics = Metrics(self._triggers)
        self._in_flight = InFlight(spec.concurrency.in_flight)
        self._link = PlatformLink(environ, self)
        self._stopping = asyncio.Event()
        self._exit_code = 0
        self._unready = "it is starting"
        self._listener: HttpListener | None = None
        self._apps: AsgiEndpoint | None = None
        self._buffers: Slab
        self._device: Device
        self._handler: Handler
        self._threads: HandlerThreads
        self._runner: EagerRunner
        self._intake: EventInvoker | Batcher
        self._streams: StreamSet

    async def run(self) -> int:
        """Live from start to end.

        Returns:
            The process's exit code.
        """
        try:
            await self.startup()
        except HeadraceError as exc:
            logger.error("the function cannot start: %s", exc, exc_info=exc.__cause__)
            self._link.send(wire.Failed(reason=str(exc)))
            self._link.close()
            return EXIT_FAILED
        await self.serve()
        await self.drain()
        await self.settle()
        await self.shutdown()
        return self._exit_code

    # -- the five methods ----------------------------------------------------------------------------------

    async def startup(self) -> None:
        """Load and start the function, connect its triggers, and be ready.

        Raises:
            HeadraceError: It can never serve as it is.
        """
        self._link.open(float(self._spec.limits.drain_timeout) + SHUTDOWN_S)
        self._catch_signals()
        # A laptop may lack the GPU that a container was promised
        required = self._environ.get(wire.WORKER) == "container" or wire.CONTROL_FD not in self._environ
        self._device = open_device(self._environ.get(wire.DEVICE, "auto"), gpus=self._spec.gpus, required=required)
        observe(self._device, self._metrics)
        for trigger in self._triggers.values():
            trigger.device = self._device
        references = References(self._environ, self._project / ".func/secrets", self._project / ".func/config")
        sinks = {name: make_sink(spec, references, self._environ) for name, spec in self._spec.bindings.items()}
        self._streams = StreamSet(self._spec, self._triggers, sinks, references, self._environ)
        context = Context(self._spec.name, self._device, sinks)
        self._handler = on_device(load(self._project, self._spec, context), self._device)
        self._build_invoking()
        self._build_slab()
        await self._handler.start()
        await self._streams.open(self._intake, self._in_flight, self._metrics, self._buffers, self._device)
        self._listener = self._listen(references)
        self._link.report(self._in_flight, self._metrics)
        # What is alive now lives as long as the process: the collector need not walk it again and again.
        gc.freeze()

    async def serve(self) -> None:
        """Take requests and events until something asks for the end."""
        if not self._stopping.is_set():
            self._unready = ""
            if self._listener is not None:
                self._listener.start()
            self._streams.start()
            self._link.send(wire.Ready())
            logger.info("ready function=%s handler=%s", self._spec.name, self._handler.name)
        await self._stopping.wait()

    async def drain(self) -> None:
        """Accept and fetch nothing more; events that no handler has begun go back to their brokers."""
        self._unready = self._unready or "it is draining"
        if self._listener is not None:
            self._listener.stop_accepting()
        self._link.send(wire.Draining())
        await self._streams.stop_fetching(self._intake.withdraw)

    async def settle(self) -> None:
        """Finish what is in flight, within `limits.drainTimeout`."""
        hand_over = self._link.hand_over if self._link.takes_connections else None
        try:
            async with asyncio.timeout(float(self._spec.limits.drain_timeout)):
                waits = [self._streams.settled()]
                if self._listener is not None:
                    waits.append(self._listener.drain(hand_over))
                await asyncio.gather(*waits)
                if self._apps is not None:  # what they do after their responses
                    await self._apps.aclose()
        except TimeoutError:
            logger.warning("drain timed out in_flight=%s", self._in_flight.count)

    async def shutdown(self) -> None:
        """Close what is open: connections, sources, sinks, the function."""
        if self._listener is not None:
            self._listener.abort()
        self._runner.cancel_all()
        await self._streams.aclose()
        try:
            await self._handler.stop()
        except Exception as exc:  # user code; the process ends anyway
            logger.error("stop raised", exc_info=exc)
        self._threads.close()
        self._runner.close()
        if self._exit_code != EXIT_STUCK:  # a GPU that hangs would be waited for
            self._device.close()
        self._link.close()
        logger.info("stopped function=%s", self._spec.name)

    # -- asked from outside --------------------------------------------------------------------------------

    def stop(self, reason: str, exit_code: int = 0) -> None:
        """Begin to drain; the first reason counts."""
        if not self._stopping.is_set():
            logger.info("draining reason=%r", reason)
            self._exit_code = exit_code
            self._stopping.set()

    def adopt(self, connections: Sequence[socket.socket]) -> None:
        """Take over connections that an earlier replica left."""
        if self._listener is not None and not self._stopping.is_set():
            for connection in connections:
                self._listener.adopt(connection)
        elif self._link.connected:
            self._link.hand_over(connections)

    def _stuck(self) -> None:
        reason = f"{self._threads.abandoned} handler threads hang"
        self._unready = reason
        self._link.send(wire.Unready(reason=reason))
        self.stop(reason, EXIT_STUCK)

    def _catch_signals(self) -> None:
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGTERM, self._signalled, "SIGTERM")
        if self._link.connected:
            # Ctrl-C reaches the whole foreground group; the platform decides what it means for us.
            signal.signal(signal.SIGINT, signal.SIG_IGN)
        else:
            loop.add_signal_handler(signal.SIGINT, self._signalled, "SIGINT")

    def _signalled(self, name: str) -> None:
        if self._stopping.is_set():
            logger.warning("%s again: ending at once", name)
            os._exit(128 + signal.Signals[name].value)
        self.stop(name)

    # -- wiring --------------------------------------------------------------------------------------------

    def _build_invoking(self) -> None:
        loop = asyncio.get_running_loop()
        handler, timeout_s = self._handler, float(self._spec.limits.handler_timeout)
        threads = self._spec.concurrency.threads
        on_gpu = self._device.name != "cpu"
        per_event = min(32, (os.cpu_count() or 1) + 4)
        size = threads if threads != "auto" else 1 if handler.shape is Shape.BATCH or on_gpu else per_event
        self._runner = EagerRunner(loop, timeout_s)
        self._threads = HandlerThreads(loop, size, timeout_s, self._stuck)
        if not handler.is_async:
            sys.setswitchinterval(SWITCH_INTERVAL_S)
        if handler.shape is Shape.BATCH:
            workers = 1 if handler.is_async and threads == "auto" else size
            workers += BATCHES_AHEAD if on_gpu else 0
            self._intake = make_batcher(
                handler,
                self._spec.batching,
                workers=workers,
                runner=self._runner,
                threads=self._threads,
                timeout_s=timeout_s,
                metrics=self._metrics,
                loop=loop,
            )
        else:
            self._intake = EventInvoker(handler, self._runner, self._threads, timeout_s, self._metrics)
        self._metrics.gauge("in_flight", "Events received and not settled", lambda: self._in_flight.count)

    def _build_slab(self) -> None:
        row = self._spec.batching.row
        self._buffers = Slab(
            self._spec.limits.slab,
            self._device.allocate_host,
            row_bytes=row.size_bytes if row is not None else 0,
            handler=self._handler.name,
        )
        if self._device.name != "cpu":  # pinning takes long enough to be felt by the first request
            self._buffers.prepare()
        observe_slab(self._buffers, self._metrics)

    def _listen(self, references: References) -> HttpListener:
        declared = next((trigger for trigger in self._spec.triggers if isinstance(trigger, HttpTrigger)), None)
        http = None if declared is None else resolve(declared, references)
        endpoint, tls = self._endpoint(http), None
        if http is not None and http.tls is not None:
            from .http.tls import server_context

            tls = server_context(http.tls, f"triggers.{http.name}.tls")
        sock, inherited = listening_socket(self._environ)
        listener = HttpListener(
            sock,
            endpoint,
            limits=self._spec.limits,
            in_flight=self._in_flight,
            metrics=self._metrics,
            probes=Probes(
                alive=self._handler.alive,
                ready=self._readiness,
                # One worker's would be a part of the truth: the supervisor has all
                metrics=None if wire.WORKER in self._environ else self._metrics.render,
            ),
            buffers=self._buffers,
            tls=tls,
        )
        self._metrics.gauge("http_connections", "Open HTTP connections", lambda: listener.connections)
        if not inherited:
            address = sock.getsockname()
            logger.info("listening address=%s:%s", address[0], address[1])
        return listener

    def _endpoint(self, http: HttpTrigger | None) -> Endpoint:
        if http is None:
            return UnservedEndpoint(self._spec.name)
        if self._handler.shape is Shape.ASGI:
            self._apps = AsgiEndpoint(
                AsgiInvoker(self._handler.call, self._metrics.triggers[http.name], self._spec.limits.handler_timeout)
            )
            return guarded(self._apps, http, self._metrics)
        return guarded(EventEndpoint(self._intake, self._triggers[http.name], self._metrics), http, self._metrics)

    def _readiness(self) -> tuple[bool, str]:
        return (False, self._unready) if self._unready else self._handler.ready()
