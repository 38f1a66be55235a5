"""One worker of a supervisor: its process and control socket, and what it last said of itself.

What does not belong here: how many there are, and what happens to connections.
"""

import asyncio
import enum
import logging
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from typing import Protocol

from headrace.triggers import wire
from headrace.triggers.channel import Channel

logger = logging.getLogger(__name__)

PING_INTERVAL_S = 5.0
"""Between two looks whether a worker's loop turns."""


class WorkerState(enum.Enum):
    """Where a worker is in its life."""

    STARTING = "starting"
    READY = "ready"
    LEAVING = "leaving"


class Owner(Protocol):
    """What a worker tells of itself; called on the loop."""

    def worker_ready(self, worker: "Worker") -> None:
        """It serves."""

    def worker_leaving(self, worker: "Worker") -> None:
        """It takes nothing new any more."""

    def worker_changed(self, worker: "Worker") -> None:
        """Its status is another."""

    def worker_passed(self, worker: "Worker", connections: Sequence[socket.socket]) -> None:
        """It gave up these connections."""

    def worker_exited(self, worker: "Worker") -> None:
        """Its process is gone."""


class Worker:
    """A started worker.

    Args:
        environ: Its environment; descriptors are added.
        listener: The socket that it accepts from.
        silent_s: Longer without a sign of life, it is killed.
        owner: Told of everything.

    Raises:
        OSError: It can't be started.

    Attributes:
        state: Where it is in its life.
        status: What it last said.
        families: What it had counted when last asked.
        failure: Why it could not start, if it said so.
    """

    def __init__(self, environ: Mapping[str, str], listener: socket.socket, silent_s: float, owner: Owner) -> None:
        self.state = WorkerState.STARTING
        self.was_ready = False
        self.status = wire.Status(in_flight=0)
        self.families: list[wire.Family] = []
        self.failure: str | None = None
        self._owner = owner
        self._silent_s = silent_s
        self._loop = asyncio.get_running_loop()
        self._asked_at: float | None = None
        self._partial: list[wire.Family] = []
        self._scrapes: list[asyncio.Future[None]] = []
        self._process, control = _spawn(environ, listener)
        self._pidfd = os.pidfd_open(self._process.pid)
        self._loop.add_reader(self._pidfd, self._exited)
        self._channel = Channel(control, wire.FromReplica, self._received, self._on_silence)
        self._channel.start()
        self._pinging = self._loop.call_later(PING_INTERVAL_S, self._ping)

    @property
    def pid(self) -> int:
        """Of its process."""
        return self._process.pid

    @property
    def code(self) -> int | None:
        """Exit status; negative: the signal that ended it; None: it runs."""
        return self._process.returncode

    def adopt(self, connections: Sequence[socket.socket]) -> None:
        """Pass at most `wire.MAX_DESCRIPTORS` clients' connections to it."""
        self._channel.send(wire.Adopt(count=len(connections)), connections)

    def drain(self, hand_over: bool) -> None:
        """Have it finish and exit."""
        self.state = WorkerState.LEAVING
        self._channel.send(wire.Drain(hand_over=hand_over))

    def kill(self) -> None:
        """End it now."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGKILL)

    async def scrape(self) -> None:
        """Renew `families`; returns when they have come, or it is gone."""
        if self._channel.closed:
            return
        asked: asyncio.Future[None] = self._loop.create_future()
        self._scrapes.append(asked)
        if len(self._scrapes) == 1:
            self._partial = []
            self._channel.send(wire.Scrape())
        await asyncio.shield(asked)

    # -- messages -------------------------------------------------------------------------------------------

    def _received(self, message: wire.FromReplica, sockets: list[socket.socket]) -> None:
        self._asked_at = None
        match message:
            case wire.Status():
                self.status = message
                self._owner.worker_changed(self)
            case wire.Samples():
                self._on_samples(message)
            case wire.Connections():
                self._owner.worker_passed(self, sockets)
            case wire.Ready() if self.state is WorkerState.STARTING:
                self.state = WorkerState.READY
                self.was_ready = True
                self._owner.worker_ready(self)
            case wire.Draining() | wire.Unready():
                self._leave()
            case wire.Failed():
                self.failure = message.reason
            case wire.Hello() | wire.Ready():
                pass

    def _on_samples(self, message: wire.Samples) -> None:
        self._partial += message.families
        if not message.more:
            self.families, self._partial = self._partial, []
            self._scraped()

    def _scraped(self) -> None:
        asked, self._scrapes = self._scrapes, []
        for one in asked:
            one.set_result(None)

    def _on_silence(self) -> None:
        """It closed its end, as it does when it exits."""
        self._leave()
        self._scraped()

    def _leave(self) -> None:
        if self.state is not WorkerState.LEAVING:
            self.state = WorkerState.LEAVING
            self._owner.worker_leaving(self)

    def _ping(self) -> None:
        """Ask for a sign of life, or give up waiting for the last one."""
        now = self._loop.time()
        if self._asked_at is None:
            if self.was_ready:  # `start` of a function may take its time
                self._asked_at = now
                self._channel.send(wire.Ping())
        elif now - self._asked_at >= self._silent_s:
            logger.error("worker hangs pid=%s silent_s=%.1f", self.pid, now - self._asked_at)
            self.kill()
            return
        self._pinging = self._loop.call_later(PING_INTERVAL_S, self._ping)

    def _exited(self) -> None:
        self._process.wait()
        self._loop.remove_reader(self._pidfd)
        os.close(self._pidfd)
        self._pinging.cancel()
        self._channel.read_rest()
        self._channel.close()
        self._scraped()
        self.state = WorkerState.LEAVING
        self._owner.worker_exited(self)


def _spawn(environ: Mapping[str, str], listener: socket.socket) -> tuple[subprocess.Popen[bytes], socket.socket]:
    """The process, and our end of its control socket."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    own = {wire.CONTROL_FD: str(theirs.fileno()), wire.LISTEN_FD: str(listener.fileno())}
    try:
        process = subprocess.Popen(
            # -P: the project's folder in front of the standard library would let a file of its own stand for it
            (sys.executable, "-P", "-m", "headrace.runtime.main"),
            env={**environ, **own},
            stdin=subprocess.DEVNULL,
            pass_fds=(theirs.fileno(), listener.fileno()),
        )
    except BaseException:
        ours.close()
        raise
    finally:
        theirs.close()
    return process, ours
