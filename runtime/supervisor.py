"""Several workers as one replica: `Supervisor` owns their socket, replaces the dead, and speaks for all.

To a platform it is a replica like any other; in a container it is the process that gets the signals. Workers
inherit one listening socket, so that whoever is free accepts; their health and counts have a listener of their
own. What does not belong here: requests and events, which workers alone handle.
"""

import asyncio
import logging
import os
import signal
import socket
from collections import Counter, deque
from collections.abc import Mapping, Sequence

from headrace.triggers import wire

from .exposition import cumulative, merged
from .link import PlatformLink
from .listening import listening_socket
from .overview import Overview
from .server import EXIT_FAILED, SHUTDOWN_S
from .spec import RuntimeSpec
from .worker import Worker, WorkerState

logger = logging.getLogger(__name__)

# Between a worker's death and the next's start, doubling while they die young
_BACKOFF_S, _LONGEST_BACKOFF_S = 0.1, 5.0
# One that lived shorter has died young
_YOUNG_S = 10.0
# So many dead in a row with none ready: the replica ends, and who runs it decides
_GIVE_UP = 5
# A worker that does not answer a scrape in time is shown as it last was
_SCRAPE_S = 2.0
# From the end of all time given to SIGKILL's effect
_KILL_S = 2.0


class Supervisor:
    """A replica of several workers.

    Args:
        spec: The function; `concurrency.workers` says how many.
        environ: See `triggers/wire`; workers get it too.
    """

    def __init__(self, spec: RuntimeSpec, environ: Mapping[str, str]) -> None:
        self._spec = spec
        self._environ = environ
        self._link = PlatformLink(environ, self)
        self._workers: list[Worker] = []
        self._started_at: dict[Worker, float] = {}
        self._listener: socket.socket
        self._overview: Overview
        self._stopping = asyncio.Event()
        self._gone = asyncio.Event()
        self._exit_code = 0
        self._was_ready = False
        self._deaths = 0  # in a row
        self._restarts = 0
        self._timers: set[asyncio.TimerHandle] = set()
        self._turn = 0
        self._waiting: deque[socket.socket] = deque()  # connections for the next worker that is ready
        self._retired: Counter[str] = Counter()
        self._retired_families: list[wire.Family] = []
        self._busy_s = 0.0
        self._busy_since: float | None = None

    async def run(self) -> int:
        """Live from start to end.

        Returns:
            The process's exit code.
        """
        self._link.open(float(self._spec.limits.drain_timeout) + 2 * SHUTDOWN_S)
        self._catch_signals()
        self._listener, inherited = listening_socket(self._environ)
        self._listener.set_inheritable(True)
        if not inherited:
            logger.info("listening address=%s:%s", *self._listener.getsockname()[:2])
        self._overview = Overview(self._environ, self._readiness, self.families)
        self._overview.start()
        self._link.report_as(self.status)
        for _ in range(self._spec.concurrency.workers):
            self._start_worker()
        await self._stopping.wait()
        await self._drain()
        await self._overview.aclose()
        self._link.close()
        logger.info("stopped function=%s workers=%s", self._spec.name, self._spec.concurrency.workers)
        return self._exit_code

    # -- what all are together ------------------------------------------------------------------------------

    def status(self) -> wire.Status:
        """One replica's, to the platform."""
        alive = [worker.status for worker in self._workers]
        completed = self._retired.copy()
        for status in alive:
            completed.update(status.completed)
        now = asyncio.get_running_loop().time()
        return wire.Status(
            in_flight=sum(status.in_flight for status in alive),
            completed=dict(completed),
            busy_s=self._busy_s + (now - self._busy_since if self._busy_since is not None else 0.0),
            first_event_s=min((status.first_event_s for status in alive if status.first_event_s), default=0.0),
            connections=sum(status.connections for status in alive) + len(self._waiting),
        )

    async def families(self) -> list[wire.Family]:
        """All that the workers count and counted, added up."""
        asked = [asyncio.create_task(worker.scrape()) for worker in self._workers if worker.was_ready]
        if asked:
            await asyncio.wait(asked, timeout=_SCRAPE_S)
        for task in asked:
            task.cancel()
        ready = sum(worker.state is WorkerState.READY for worker in self._workers)
        own = [
            _family("headrace_workers", "gauge", "Workers that are ready", ready),
            _family("headrace_worker_restarts", "counter", "Workers started in place of dead ones", self._restarts),
        ]
        return [*merged([self._retired_families, *(worker.families for worker in self._workers)]), *own]

    def _readiness(self) -> tuple[bool, str]:
        if self._stopping.is_set():
            return False, "it is draining"
        if any(worker.state is WorkerState.READY for worker in self._workers):
            return True, ""
        return False, "no worker is ready"

    # -- asked from outside (`link.Replica`) ----------------------------------------------------------------

    def stop(self, reason: str) -> None:
        """Begin to drain."""
        if not self._stopping.is_set():
            logger.info("draining reason=%r", reason)
            self._stopping.set()

    def adopt(self, connections: Sequence[socket.socket]) -> None:
        """Share out connections that another replica left."""
        ready = [worker for worker in self._workers if worker.state is WorkerState.READY]
        if self._stopping.is_set():
            self._give_back(connections)
        elif not ready:
            self._waiting.extend(connections)
        else:
            shares: list[list[socket.socket]] = [[] for _ in ready]
            for sock in connections:
                self._turn += 1
                shares[self._turn % len(ready)].append(sock)
            for worker, share in zip(ready, shares, strict=True):
                for at in range(0, len(share), wire.MAX_DESCRIPTORS):
                    worker.adopt(share[at : at + wire.MAX_DESCRIPTORS])

    def _give_back(self, connections: Sequence[socket.socket]) -> None:
        if self._link.takes_connections:
            for at in range(0, len(connections), wire.MAX_DESCRIPTORS):
                self._link.hand_over(connections[at : at + wire.MAX_DESCRIPTORS])
        else:
            for sock in connections:
                sock.close()

    # -- what workers tell (`worker.Owner`) -----------------------------------------------------------------

    def worker_ready(self, worker: Worker) -> None:
        """It serves; with the first, so does the replica."""
        if not self._was_ready:
            self._was_ready = True
            self._link.send(wire.Ready())
            logger.info("ready function=%s workers=%s", self._spec.name, self._spec.concurrency.workers)
        waiting = list(self._waiting)
        self._waiting.clear()
        self.adopt(waiting)

    def worker_leaving(self, worker: Worker) -> None:
        """Another takes its place at once: what it still does may take a while."""
        if not self._stopping.is_set() and worker.was_ready:
            self._replace(worker)

    def worker_changed(self, worker: Worker) -> None:
        """The replica's status is another too."""
        now = asyncio.get_running_loop().time()
        if any(one.status.in_flight for one in self._workers):
            self._busy_since = now if self._busy_since is None else self._busy_since
        elif self._busy_since is not None:
            self._busy_s += now - self._busy_since
            self._busy_since = None
        self._link.changed()

    def worker_passed(self, worker: Worker, connections: Sequence[socket.socket]) -> None:
        """Its idle connections go on to another, or with the replica's to the platform."""
        self.adopt(connections)

    def worker_exited(self, worker: Worker) -> None:
        """It is gone, as it was told to, or not."""
        self._workers.remove(worker)
        self._retired.update(worker.status.completed)
        self._retired_families = merged([self._retired_families, cumulative(worker.families)])
        self._gone.set()
        self.worker_changed(worker)
        if self._stopping.is_set():
            return
        code = worker.code or 0
        how = f"signal {-code}" if code < 0 else f"code {code}"
        logger.error("worker exited pid=%s with=%s", worker.pid, how)
        if not self._was_ready:
            self._fail(worker.failure or f"it exited with {how} before it was ready")
        elif worker in self._started_at:  # not yet replaced
            self._replace(worker)

    # -- keeping as many as wanted --------------------------------------------------------------------------

    def _start_worker(self) -> None:
        where = "local" if self._link.connected else "container"
        silent_s = float(self._spec.limits.handler_timeout) + SHUTDOWN_S
        try:
            worker = Worker({**self._environ, wire.WORKER: where}, self._listener, silent_s, self)
        except OSError as exc:
            logger.error("worker not started error=%s", exc.strerror)
            self._start_later()
            return
        self._workers.append(worker)
        self._started_at[worker] = asyncio.get_running_loop().time()

    def _replace(self, worker: Worker) -> None:
        lived_s = asyncio.get_running_loop().time() - self._started_at.pop(worker)
        self._restarts += 1
        if worker.was_ready and lived_s > _YOUNG_S:
            self._deaths = 0
        self._start_later()

    def _start_later(self) -> None:
        self._deaths += 1
        if self._deaths >= _GIVE_UP and not self._readiness()[0]:
            self._fail(f"{self._deaths} workers ended in a row, and none is ready")
            return
        pause_s = min(_BACKOFF_S * 2 ** (self._deaths - 1), _LONGEST_BACKOFF_S)

        def start() -> None:
            self._timers.discard(timer)
            if not self._stopping.is_set():
                self._start_worker()

        timer = asyncio.get_running_loop().call_later(pause_s, start)
        self._timers.add(timer)

    def _fail(self, reason: str) -> None:
        if self._stopping.is_set():
            return
        logger.error("the replica ends: %s", reason)
        self._link.send(wire.Unready(reason=reason) if self._was_ready else wire.Failed(reason=reason))
        self._exit_code = EXIT_FAILED
        self._stopping.set()

    # -- the end --------------------------------------------------------------------------------------------

    async def _drain(self) -> None:
        """Have all workers finish; by force if they take longer than they may."""
        for timer in self._timers:
            timer.cancel()
        self._listener.close()
        self._link.send(wire.Draining())
        for worker in self._workers:
            worker.drain(self._link.takes_connections)
        self._give_back(list(self._waiting))
        self._waiting.clear()
        if not await self._all_gone(float(self._spec.limits.drain_timeout) + SHUTDOWN_S):
            logger.warning("workers did not exit in time count=%s", len(self._workers))
            self._kill()
            await self._all_gone(_KILL_S)
        self._link.send(self.status())

    async def _all_gone(self, timeout_s: float) -> bool:
        try:
            async with asyncio.timeout(timeout_s):
                while self._workers:
                    self._gone.clear()
                    await self._gone.wait()
        except TimeoutError:
            return False
        return True

    def _kill(self) -> None:
        for worker in self._workers:
            worker.kill()

    def _catch_signals(self) -> None:
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGTERM, self._signalled, "SIGTERM")
        if self._link.connected:  # as in `server`: Ctrl-C is for the platform
            signal.signal(signal.SIGINT, signal.SIG_IGN)
        else:
            loop.add_signal_handler(signal.SIGINT, self._signalled, "SIGINT")

    def _signalled(self, name: str) -> None:
        if self._stopping.is_set():
            logger.warning("%s again: ending at once", name)
            self._kill()
            os._exit(128 + signal.Signals[name].value)
        self.stop(name)


def _family(name: str, kind: str, text: str, value: float) -> wire.Family:
    sample = f"{name}_total" if kind == "counter" else name
    return wire.Family(name=name, kind=kind, text=text, samples=[wire.Sample(name=sample, value=value)])
