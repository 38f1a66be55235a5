"""Replicas as processes of this machine, behind one listening socket: `scaler.platform.Platform`, locally.

At zero the platform watches the socket and the idle connections that replicas left to it; it reads no
request. What does not belong here: how many replicas there should be.
"""

import asyncio
import logging
import os
import socket
from collections import Counter
from collections.abc import Callable, Mapping, Sequence

from ..errors import StartFailed
from ..platform import ReplicaState, View
from .failures import Failures, shortened
from .listener import Listener
from .parked import Parked
from .replica import ReplicaProcess
from .settings import Generation, Limits

logger = logging.getLogger(__name__)

_ARM_AGAIN_S = 0.5
"""A wake-up that leads to no replica (the loop is paused) is repeated this often, not at once."""
_TAKEN_S = 0.01
"""After one that a replica about to stop accepting has taken, the listener is left alone for so long."""


def cores() -> int:
    """CPU cores that this process may use."""
    return len(os.sched_getaffinity(0))


def _log_line(pid: int, line: str) -> None:
    logger.info("replica wrote pid=%s line=%s", pid, line)


class LocalPlatform:
    """Runs replicas of one function as processes.

    Args:
        listener: Bound and listening; owned from now on. None: the function is not reached by HTTP.
        generation: What a replica is started from.
        limits: Bounds on time and number.
        cap: The most replicas there is room for; None: any number.
        on_output: Called on the loop with each line that a replica writes.
    """

    def __init__(
        self,
        listener: socket.socket | None,
        generation: Generation,
        limits: Limits | None = None,
        *,
        cap: int | None = None,
        on_output: Callable[[int, str], None] = _log_line,
    ) -> None:
        self._cap = cap
        self._limits = limits or Limits()
        self._generation = generation
        self._number = 1
        self._numbers = 1
        self._on_output = on_output
        self._wake: Callable[[], None] = lambda: None
        self._target = 0
        self._replicas: list[ReplicaProcess] = []
        self._completed: Counter[str] = Counter()
        self._replaced = 0
        self._failures = Failures()
        self._trials: dict[ReplicaProcess, asyncio.Future[None]] = {}
        self._replacing = asyncio.Lock()
        self._listener = None if listener is None else Listener(listener, self._on_waiting)
        self._parked = Parked(self._limits.max_connections, self._limits.idle_timeout_s, self._on_waiting)
        self._retry: asyncio.TimerHandle | None = None
        self._arm_again: asyncio.TimerHandle | None = None
        self._gone = asyncio.Event()
        self._closing = False

    # -- scaler.platform.Platform ---------------------------------------------------------------------------

    @property
    def cap(self) -> int | None:
        """The most replicas there is room for."""
        return self._cap

    async def start(self) -> None:
        """Begin to watch for requests. Call it on the loop, before the control loop runs."""
        self._reconcile()

    def watch(self, wake: Callable[[], None]) -> None:
        """Call `wake` whenever a replica's state changes or a request waits for the first replica."""
        self._wake = wake

    def look(self) -> View:
        """What is known now."""
        return View(
            replicas=tuple(replica.look() for replica in self._replicas),
            waiting=self._waiting(),
            completed=dict(self._completed),
            replaced=self._replaced,
            failed_starts=self._failures.starts,
            failure=self._failures.reason,
        )

    def apply(self, replicas: int) -> None:
        """Have `replicas` from now on."""
        self._target = replicas
        self._reconcile()

    async def aclose(self) -> None:
        """Drain all replicas, wait until they are gone, and stop listening."""
        self._closing = True
        self._target = 0
        for replica in self._replicas:
            replica.drain()
        self._reconcile()
        while self._replicas:
            self._gone.clear()
            await self._gone.wait()
        for timer in (self._retry, self._arm_again):
            if timer is not None:
                timer.cancel()
        self._parked.close()
        if self._listener is not None:
            await self._listener.aclose()

    # -- reload ---------------------------------------------------------------------------------------------

    async def replace(self, generation: Generation) -> None:
        """Go over to `generation` once it serves with as many replicas as there are now (at zero: with one).

        Raises:
            StartFailed: It does not start; the present generation stays and was never interrupted.
        """
        async with self._replacing:
            if self._closing:
                raise StartFailed("expected a platform that runs, got one that is closing")
            self._numbers += 1
            number = self._numbers
            wanted = max(1, self._target, len(self._live()))
            trials = [self._try(generation, number) for _ in range(wanted)]
            try:
                await asyncio.gather(*trials)
            except BaseException:
                for replica in self._replicas:
                    if replica.generation == number:
                        replica.drain()
                raise
            self._generation, self._number = generation, number
            self._failures = Failures()
            for replica in self._replicas:
                if replica.generation != number:
                    replica.drain()
            self._reconcile()

    def _try(self, generation: Generation, number: int) -> asyncio.Future[None]:
        trial: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        try:
            replica = self._spawn(generation, number)
        except OSError as exc:
            trial.set_exception(StartFailed(_no_program(generation, exc)))
        else:
            self._trials[replica] = trial
        return trial

    # -- keeping as many as wanted --------------------------------------------------------------------------

    def _live(self) -> list[ReplicaProcess]:
        """Replicas of the present generation that take, or will take, what comes."""
        states = (ReplicaState.STARTING, ReplicaState.READY)
        return [one for one in self._replicas if one.generation == self._number and one.state in states]

    def _ready(self) -> list[ReplicaProcess]:
        return [replica for replica in self._replicas if replica.state is ReplicaState.READY]

    def _reconcile(self) -> None:
        """Start what lacks, drain what is too much, and watch for requests if nobody else does."""
        live = self._live()
        if len(live) > self._target:
            for replica in sorted(live, key=_cost)[: len(live) - self._target]:
                replica.drain()
        if not self._closing:
            self._start(self._target - len(live))
        self._watch_for_requests()

    def _start(self, lacking: int) -> None:
        now = asyncio.get_running_loop().time()
        for _ in range(lacking):
            wait_s = self._failures.wait_s(now)
            if wait_s > 0:
                self._retry_in(wait_s)
                return
            try:
                self._spawn(self._generation, self._number)
            except OSError as exc:
                self._start_failed(_no_program(self._generation, exc))
                self._retry_in(self._failures.wait_s(now))
                return

    def _spawn(self, generation: Generation, number: int) -> ReplicaProcess:
        descriptor = None if self._listener is None else self._listener.descriptor
        replica = ReplicaProcess(generation, number, descriptor, self._limits, self)
        self._replicas.append(replica)
        logger.debug("replica started pid=%s generation=%s", replica.pid, number)
        return replica

    def _retry_in(self, seconds: float) -> None:
        if self._retry is None:
            self._retry = asyncio.get_running_loop().call_later(seconds, self._try_again)

    def _try_again(self) -> None:
        self._retry = None
        self._reconcile()

    # -- requests that wait ---------------------------------------------------------------------------------

    def _waiting(self) -> int:
        return self._parked.speaking + (0 if self._listener is None or self._closing else self._listener.waiting())

    def _watch_for_requests(self) -> None:
        """Watch the listener while it is nobody's, and nobody is being started who would take it."""
        if self._listener is None:
            return
        unwatched = not self._ready() and (self._target == 0 or self._failures.given_up)
        if unwatched and not self._closing and self._arm_again is None:
            self._listener.arm()
        else:
            self._listener.disarm()

    def _on_waiting(self) -> None:
        """A request waits, and no replica is there to take it."""
        loop = asyncio.get_running_loop()
        if self._failures.given_up and self._failures.wait_s(loop.time()) > 0:
            self._refuse()
        waits = self._waiting() > 0
        if self._arm_again is None:
            self._arm_again = loop.call_later(_ARM_AGAIN_S if waits else _TAKEN_S, self._rearm)
        if waits:
            self._wake()

    def _rearm(self) -> None:
        self._arm_again = None
        self._watch_for_requests()

    def _refuse(self) -> None:
        """Answer all that wait: what they wait for has failed too often, and may fail again."""
        if self._listener is None or self._ready():
            return
        sockets = [*self._parked.take_speaking(), *self._listener.accept_all()]
        retry_s = self._failures.wait_s(asyncio.get_running_loop().time())
        for sock in sockets:
            self._listener.refuse(sock, self._failures.reason or "it exits as soon as it is started", retry_s)
        if sockets:
            logger.warning("requests refused count=%s reason=%s", len(sockets), self._failures.reason)

    def _hand_out(self) -> None:
        """Pass all connections that are parked to ready replicas, evenly."""
        ready = self._ready()
        sockets = self._parked.take_all() if ready else []
        for index, replica in enumerate(ready):
            share = sockets[index :: len(ready)]
            if share:
                replica.adopt(share)

    # -- what replicas tell (`replica.Owner`) ---------------------------------------------------------------

    def replica_ready(self, replica: ReplicaProcess) -> None:
        """It serves: it takes what waits."""
        trial = self._trials.get(replica)
        if trial is not None and not trial.done():
            trial.set_result(None)
        elif replica.generation == self._number:
            self._failures.ready()
        self._hand_out()
        self._watch_for_requests()
        self._wake()

    def replica_leaving(self, replica: ReplicaProcess) -> None:
        """Another takes its place, unless it was too much."""
        self._reconcile()
        self._wake()

    def replica_progressed(self, replica: ReplicaProcess, completed: Mapping[str, int]) -> None:
        """Events were settled."""
        self._completed.update(completed)
        self._failures.progressed()

    def replica_passed(self, replica: ReplicaProcess, sockets: Sequence[socket.socket]) -> None:
        """Its idle connections go on to another, or wait here."""
        for sock in sockets:
            if self._closing:
                sock.close()
            else:
                self._parked.add(sock)
        self._hand_out()

    def replica_failed(self, replica: ReplicaProcess, reason: str) -> None:
        """It could not start."""
        trial = self._trials.get(replica)
        if trial is not None and not trial.done():
            trial.set_exception(StartFailed(shortened(reason)))
        elif replica.generation == self._number:
            self._start_failed(reason)
        self._reconcile()
        self._wake()

    def replica_exited(self, replica: ReplicaProcess) -> None:
        """It is gone, as it was told to, or not."""
        self._replicas.remove(replica)
        code = replica.code or 0
        how = f"signal {-code}" if code < 0 else f"code {code}"
        trial = self._trials.pop(replica, None)
        if trial is not None and not trial.done():
            trial.set_exception(StartFailed(f"it exited with {how} before it was ready"))
        elif not (replica.was_ready or replica.failed or replica.asked_to_drain):
            self.replica_failed(replica, f"it exited with {how} before it was ready")
        elif replica.was_ready and not replica.asked_to_drain:
            logger.error("replica exited pid=%s with=%s", replica.pid, how)
            self._replaced += 1
            self._failures.exited(asyncio.get_running_loop().time())
        self._gone.set()
        self._reconcile()
        self._wake()

    def replica_wrote(self, replica: ReplicaProcess, line: str) -> None:
        """A line of its output."""
        self._on_output(replica.pid, line)

    def _start_failed(self, reason: str) -> None:
        self._failures.start_failed(reason, asyncio.get_running_loop().time())
        logger.error("replica did not start reason=%s starts_failed=%s", self._failures.reason, self._failures.starts)
        if self._failures.given_up:
            self._refuse()


def _cost(replica: ReplicaProcess) -> tuple[bool, int, int]:
    """What draining it would disturb, least first: one that does not serve yet, then by events in flight."""
    return replica.state is ReplicaState.READY, replica.status.in_flight, replica.status.connections


def _no_program(generation: Generation, exc: OSError) -> str:
    return f"can't run {generation.command[0]}: {exc.strerror}"
