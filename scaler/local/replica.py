"""One replica: its process, its control socket, its output, and the deadlines that it is held to.

What does not belong here: how many there are, and what happens to connections.
"""

import asyncio
import logging
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from headrace.triggers.channel import Channel
from headrace.triggers.wire import (
    CONTROL_FD,
    LISTEN_FD,
    MAX_DESCRIPTORS,
    Adopt,
    Connections,
    Drain,
    Draining,
    Failed,
    FromReplica,
    Hello,
    Ping,
    Ready,
    Samples,
    Status,
    Unready,
)

from ..platform import Replica, ReplicaState
from .output import Output
from .settings import Generation, Limits

logger = logging.getLogger(__name__)

_KILL_S = 2.0
"""From SIGTERM to SIGKILL, once all other time was given."""


class Owner(Protocol):
    """What a replica tells of itself; called on the loop."""

    def replica_ready(self, replica: "ReplicaProcess") -> None:
        """It serves."""

    def replica_leaving(self, replica: "ReplicaProcess") -> None:
        """It takes nothing new any more: it drains, or is unready."""

    def replica_progressed(self, replica: "ReplicaProcess", completed: Mapping[str, int]) -> None:
        """So many more events are settled, by trigger name."""

    def replica_passed(self, replica: "ReplicaProcess", sockets: Sequence[socket.socket]) -> None:
        """It gave up these connections."""

    def replica_failed(self, replica: "ReplicaProcess", reason: str) -> None:
        """It will never be ready. `replica_exited` follows."""

    def replica_exited(self, replica: "ReplicaProcess") -> None:
        """Its process is gone."""

    def replica_wrote(self, replica: "ReplicaProcess", line: str) -> None:
        """A line of its output."""


class ReplicaProcess:
    """A started replica.

    Args:
        generation: What to start.
        number: Of the generation.
        listener: Descriptor of the listening socket; None without one.
        limits: Deadlines.
        owner: Told of everything.

    Raises:
        OSError: The program can't be started.
    """

    def __init__(self, generation: Generation, number: int, listener: int | None, limits: Limits, owner: Owner) -> None:
        self.generation = number
        self.state = ReplicaState.STARTING
        self.failed = False
        self.was_ready = False
        self.asked_to_drain = False
        self.status = Status(in_flight=0)
        self._limits = limits
        self._owner = owner
        self._loop = asyncio.get_running_loop()
        self._cold_start_s: float | None = None
        self._pinged_at: float | None = None
        self._deadline: asyncio.TimerHandle | None = None
        self._pinging: asyncio.TimerHandle | None = None
        self._started_s = time.time()
        self._started = self._loop.time()
        self._process, control, output = _spawn(generation, listener)
        self._pidfd = os.pidfd_open(self.pid)
        self._loop.add_reader(self._pidfd, self._exited)
        self._output = Output(output, lambda line: owner.replica_wrote(self, line))
        self._channel = Channel(control, FromReplica, self._on_message, self._on_silence)
        self._channel.start()
        self._by(limits.start_timeout_s, self._start_timed_out)

    @property
    def pid(self) -> int:
        """Of its process."""
        return self._process.pid

    @property
    def code(self) -> int | None:
        """Exit status; negative: the signal that ended it; None: it runs."""
        return self._process.returncode

    def look(self) -> Replica:
        """What is known of it."""
        return Replica(
            pid=self.pid,
            state=self.state,
            in_flight=self.status.in_flight,
            completed=self.status.completed,
            connections=self.status.connections,
            busy_s=self.status.busy_s,
            started_s=self._started_s,
            cold_start_s=self._cold_start_s,
            first_event_s=self.status.first_event_s,
            generation=self.generation,
        )

    def drain(self) -> None:
        """Have it finish and exit; by force if it takes longer than it may."""
        if self.asked_to_drain:
            return
        self.asked_to_drain = True
        self._channel.send(Drain())
        self._turn(ReplicaState.DRAINING)

    def adopt(self, sockets: Sequence[socket.socket]) -> None:
        """Pass clients' connections to it."""
        for at in range(0, len(sockets), MAX_DESCRIPTORS):
            some = sockets[at : at + MAX_DESCRIPTORS]
            self._channel.send(Adopt(count=len(some)), some)

    def kill(self) -> None:
        """End it now."""
        self._signal(signal.SIGKILL)

    # -- messages -------------------------------------------------------------------------------------------

    def _on_message(self, message: FromReplica, sockets: list[socket.socket]) -> None:
        self._pinged_at = None
        match message:
            case Status():
                self._on_status(message)
            case Connections():
                self._owner.replica_passed(self, sockets)
            case Ready() if self.state is ReplicaState.STARTING:
                self._on_ready()
            case Draining() | Unready():
                if isinstance(message, Unready):
                    logger.warning("replica unready pid=%s reason=%s", self.pid, message.reason)
                self._leave(ReplicaState.DRAINING if isinstance(message, Draining) else ReplicaState.UNREADY)
            case Failed():
                self._fail(message.reason)
            case Hello() | Ready() | Samples():  # the last is a worker's, for its supervisor
                pass

    def _on_ready(self) -> None:
        self.state = ReplicaState.READY
        self.was_ready = True
        self._cold_start_s = self._loop.time() - self._started
        self._by(None, None)
        self._pinging = self._loop.call_later(self._limits.ping_interval_s, self._ping)
        self._owner.replica_ready(self)

    def _on_status(self, status: Status) -> None:
        before, self.status = self.status.completed, status
        more = {name: count - before.get(name, 0) for name, count in status.completed.items()}
        if any(more.values()):
            self._owner.replica_progressed(self, more)

    def _on_silence(self) -> None:
        """It closed its end, as it does when it exits; one that lives on is of no use."""
        if self.state is not ReplicaState.DRAINING:
            self._leave(ReplicaState.UNREADY)

    def _leave(self, state: ReplicaState) -> None:
        self._turn(state)
        self._owner.replica_leaving(self)

    def _turn(self, state: ReplicaState) -> None:
        first = self.state in (ReplicaState.STARTING, ReplicaState.READY)
        self.state = state
        if self._pinging is not None:
            self._pinging.cancel()
            self._pinging = None
        if first:
            self._by(self._limits.drain_timeout_s + self._limits.grace_s, self._terminate)

    def _fail(self, reason: str) -> None:
        if self.was_ready or self.failed or self.asked_to_drain:
            return
        self.failed = True
        self.state = ReplicaState.UNREADY
        self._by(self._limits.grace_s, self._terminate)
        self._owner.replica_failed(self, reason)

    # -- deadlines ------------------------------------------------------------------------------------------

    def _by(self, seconds: float | None, then: Callable[[], None] | None) -> None:
        """Its one deadline: replaces the last."""
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
        if seconds is not None and then is not None:
            self._deadline = self._loop.call_later(seconds, then)

    def _start_timed_out(self) -> None:
        self._fail(f"expected to be ready within {self._limits.start_timeout_s:g} s of its start")
        self.kill()

    def _terminate(self) -> None:
        logger.warning("replica did not exit in time pid=%s", self.pid)
        self._signal(signal.SIGTERM)
        self._by(_KILL_S, self.kill)

    def _ping(self) -> None:
        """Ask for a sign of life, or give up waiting for the last one."""
        now, allowed_s = self._loop.time(), self._limits.handler_timeout_s + self._limits.grace_s
        if self._pinged_at is None:
            self._pinged_at = now
            self._channel.send(Ping())
        elif now - self._pinged_at >= allowed_s:
            logger.error("replica hangs pid=%s silent_s=%.1f", self.pid, now - self._pinged_at)
            self.kill()
            return
        # the deadline of an unanswered ping may come before the next would be due
        due = min(self._limits.ping_interval_s, max(0.0, self._pinged_at + allowed_s - now))
        self._pinging = self._loop.call_later(due, self._ping)

    # -- its end --------------------------------------------------------------------------------------------

    def _signal(self, number: signal.Signals) -> None:
        if self._process.poll() is None:
            self._process.send_signal(number)

    def _exited(self) -> None:
        self._process.wait()
        self._loop.remove_reader(self._pidfd)
        os.close(self._pidfd)
        self._by(None, None)
        if self._pinging is not None:
            self._pinging.cancel()
        self._channel.read_rest()
        self._channel.close()
        self._output.finish()
        self._owner.replica_exited(self)


def _spawn(generation: Generation, listener: int | None) -> tuple[subprocess.Popen[bytes], socket.socket, int]:
    """The process, our end of its control socket, and the reading end of its output."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    reading, writing = os.pipe()
    passed = [theirs.fileno(), *([] if listener is None else [listener])]
    environ = {**generation.environ, CONTROL_FD: str(theirs.fileno())}
    if listener is not None:
        environ[LISTEN_FD] = str(listener)
    try:
        process = subprocess.Popen(
            generation.command,
            env=environ,
            cwd=generation.cwd,
            stdin=subprocess.DEVNULL,
            stdout=writing,
            stderr=writing,
            pass_fds=passed,
            process_group=0,  # Ctrl-C in the terminal is for the platform, which drains its replicas
        )
    except BaseException:
        ours.close()
        os.close(reading)
        raise
    finally:
        theirs.close()
        os.close(writing)
    return process, ours, reading
