"""The replica's end of the control socket: tells the platform how it is, and hands on what it asks for.

Without a platform (a container) everything here does nothing. What does not belong here: carrying out.
"""

import asyncio
import logging
import os
import select
import socket
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from headrace.triggers import wire
from headrace.triggers.channel import Channel

from .inflight import InFlight
from .metrics import Metrics

logger = logging.getLogger(__name__)

EXIT_ORPHANED = 70
"""The platform was killed and the loop hangs in the handler (EX_SOFTWARE of sysexits.h)."""

STATUS_INTERVAL_S = 0.1
"""Between two `Status` lines: ten a second tell the scaler enough and cost it nothing."""


class Replica(Protocol):
    """Who carries out what the platform asks for: the server."""

    def stop(self, reason: str) -> None:
        """Drain and end."""
        ...

    def adopt(self, connections: Sequence[socket.socket]) -> None:
        """Take over established connections."""
        ...


class PlatformLink:
    """Speaks `triggers/wire` with the parent process.

    Args:
        environ: Names the control socket, or does not.
        replica: Carries out what is asked.
    """

    def __init__(self, environ: Mapping[str, str], replica: Replica) -> None:
        self._replica = replica
        self._channel: Channel | None = None
        self._read_status: Callable[[], wire.Status] | None = None
        self._in_flight: InFlight | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._descriptor: int | None = None
        self._ended = threading.Event()
        self._hand_over = True
        self._metrics: Metrics | None = None
        if (descriptor := environ.get(wire.CONTROL_FD)) is not None:
            sock = socket.socket(fileno=int(descriptor))
            sock.setblocking(False)
            self._descriptor = os.dup(sock.fileno())
            self._channel = Channel(sock, wire.FromPlatform, self._received, self._closed)

    @property
    def takes_connections(self) -> bool:
        """Whether idle connections are to be passed to the platform."""
        return self.connected and self._hand_over

    @property
    def connected(self) -> bool:
        """Whether a platform watches over this replica."""
        return self._channel is not None

    def open(self, grace_s: float) -> None:
        """Say hello; if the platform goes, this process ends `grace_s` later at the latest."""
        if self._channel is not None and self._descriptor is not None:
            self._channel.start()
            self.send(wire.Hello(pid=os.getpid()))
            threading.Thread(
                target=_end_with_platform, args=(self._descriptor, grace_s, self._ended), daemon=True
            ).start()

    def send(self, message: wire.FromReplica, sockets: Sequence[socket.socket] = ()) -> None:
        """Tell the platform `message`, with `sockets` beside it."""
        if self._channel is not None:
            self._channel.send(message, sockets)

    def hand_over(self, connections: Sequence[socket.socket]) -> None:
        """Pass idle connections to the platform; our descriptors are closed."""
        self.send(wire.Connections(count=len(connections)), connections)

    def report(self, in_flight: InFlight, metrics: Metrics) -> None:
        """Send a `Status` whenever something changed, from now on."""

        def status() -> wire.Status:
            return wire.Status(
                in_flight=in_flight.count,
                completed={name: counts.settled for name, counts in metrics.triggers.items()},
                busy_s=in_flight.busy_s,
                first_event_s=in_flight.first_s,
                connections=int(metrics.gauges["http_connections"][1]()) if "http_connections" in metrics.gauges else 0,
            )

        if self._channel is not None:
            self._metrics = metrics
            self._in_flight = in_flight
            self.report_as(status)
            in_flight.on_change = self.changed

    def report_as(self, read_status: Callable[[], wire.Status]) -> None:
        """Let `read_status` say what `Status` says; `changed` has it sent."""
        self._read_status = read_status

    def changed(self) -> None:
        """Send a `Status` soon; many calls send one."""
        if self._channel is not None and self._timer is None:
            # The hook is taken off until the line is sent: between two lines an event costs nothing here.
            if self._in_flight is not None:
                self._in_flight.on_change = None
            self._timer = asyncio.get_running_loop().call_later(STATUS_INTERVAL_S, self._send_status)

    def close(self) -> None:
        """Hang up: this process ends by itself."""
        self._ended.set()
        if self._timer is not None:
            self._timer.cancel()
        if self._channel is not None:
            self._channel.close()

    def _send_status(self) -> None:
        self._timer = None
        if self._in_flight is not None:
            self._in_flight.on_change = self.changed
        if self._read_status is not None:
            self.send(self._read_status())

    def _received(self, message: wire.FromPlatform, sockets: list[socket.socket]) -> None:
        match message:
            case wire.Drain():
                self._hand_over = message.hand_over
                self._replica.stop("the platform asked for it")
            case wire.Adopt():
                self._replica.adopt(sockets)
            case wire.Ping():
                status = self._read_status() if self._read_status is not None else wire.Status(in_flight=0)
                self.send(status)
            case wire.Scrape():
                self._send_samples()

    def _send_samples(self) -> None:
        from .exposition import families_of, lines_of

        for line in lines_of(families_of(self._metrics) if self._metrics is not None else ()):
            self.send(line)

    def _closed(self) -> None:
        # The parent is gone: nobody would replace or stop this process any more.
        self._replica.stop("the platform is gone")


def _end_with_platform(descriptor: int, grace_s: float, ended: threading.Event) -> None:
    """Wait, in a thread of its own, until the platform is gone; a loop that a handler blocks would never see it."""
    poller = select.poll()
    poller.register(descriptor, 0)  # POLLHUP alone: what there is to read is the loop's
    poller.poll()
    os.close(descriptor)
    if not ended.wait(grace_s):
        os._exit(EXIT_ORPHANED)
