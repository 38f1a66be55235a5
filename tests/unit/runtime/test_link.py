"""The replica's end of the control socket, against a real one."""

import asyncio
import os
import socket
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest

from headrace.runtime.inflight import InFlight
from headrace.runtime.link import PlatformLink
from headrace.runtime.metrics import Metrics
from headrace.triggers import wire
from headrace.triggers.channel import Channel


class FakeReplica:
    def __init__(self) -> None:
        self.stopped: list[str] = []
        self.adopted: list[socket.socket] = []

    def stop(self, reason: str) -> None:
        self.stopped.append(reason)

    def adopt(self, connections: Sequence[socket.socket]) -> None:
        self.adopted += connections


class Ends:
    """A link, the replica behind it, and the platform's end of the socket."""

    def __init__(self) -> None:
        ours, theirs = socket.socketpair()
        self.received: list[Any] = []
        self.sockets: list[socket.socket] = []
        self.replica = FakeReplica()
        self.platform = Channel(ours, wire.FromReplica, self._receive, lambda: None)
        self.platform.start()
        self.link = PlatformLink({wire.CONTROL_FD: str(theirs.detach())}, self.replica)
        self.link.open(60)

    def _receive(self, message: Any, sockets: list[socket.socket]) -> None:
        self.received.append(message)
        self.sockets += sockets

    async def messages(self, count: int) -> list[Any]:
        while len(self.received) < count:
            await asyncio.sleep(0)
        return self.received


@pytest.fixture
async def ends() -> AsyncIterator[Ends]:
    ends = Ends()
    yield ends
    ends.link.close()
    ends.platform.close()


async def test_hello(ends: Ends) -> None:
    assert await ends.messages(1) == [wire.Hello(pid=os.getpid())]
    assert ends.link.connected


async def test_status_comes_after_a_change(ends: Ends) -> None:
    in_flight, metrics = InFlight(5), Metrics(["t"])
    metrics.gauge("http_connections", "", lambda: 3)
    ends.link.report(in_flight, metrics)
    in_flight.enter(2)
    in_flight.leave()
    metrics.triggers["t"].ok = 1
    status = (await ends.messages(2))[1]
    assert (status.in_flight, status.completed, status.connections) == (1, {"t": 1}, 3)
    assert status.first_event_s == in_flight.first_s
    in_flight.leave()  # the hook is there again
    assert (await ends.messages(3))[2].in_flight == 0


async def test_ping_is_answered_before_and_after_reporting(ends: Ends) -> None:
    ends.platform.send(wire.Ping())
    assert (await ends.messages(2))[1] == wire.Status(in_flight=0)
    ends.link.report(InFlight(5), Metrics(["t"]))
    ends.platform.send(wire.Ping())
    assert (await ends.messages(3))[2].completed == {"t": 0}


async def test_drain_adopt_and_hand_over(ends: Ends) -> None:
    mine, theirs = socket.socketpair()
    ends.platform.send(wire.Adopt(count=1), [mine])
    ends.platform.send(wire.Drain())
    while not ends.replica.stopped:
        await asyncio.sleep(0)
    assert ends.replica.stopped == ["the platform asked for it"]
    assert len(ends.replica.adopted) == 1
    ends.link.hand_over(ends.replica.adopted)
    assert (await ends.messages(2))[1] == wire.Connections(count=1)
    theirs.send(b"x")
    ends.sockets[0].setblocking(True)
    assert ends.sockets[0].recv(1) == b"x"
    for sock in (*ends.sockets, theirs):
        sock.close()


async def test_stops_when_the_platform_is_gone(ends: Ends) -> None:
    await ends.messages(1)
    ends.platform.close()
    while not ends.replica.stopped:
        await asyncio.sleep(0)
    assert ends.replica.stopped == ["the platform is gone"]


async def test_without_a_platform_nothing_happens() -> None:
    replica = FakeReplica()
    link = PlatformLink({}, replica)
    link.open(60)
    in_flight = InFlight(1)
    link.report(in_flight, Metrics([]))
    in_flight.enter()
    link.send(wire.Ready())
    link.close()
    assert not link.connected


async def test_scrapes_are_answered_before_and_after_reporting(ends: Ends) -> None:
    ends.platform.send(wire.Scrape())
    assert (await ends.messages(2))[1] == wire.Samples(families=[])
    ends.link.report(InFlight(5), Metrics(["t"]))
    ends.platform.send(wire.Scrape())
    assert "headrace_events" in {family.name for family in (await ends.messages(3))[2].families}


async def test_a_drain_that_takes_no_connections(ends: Ends) -> None:
    assert ends.link.takes_connections
    ends.platform.send(wire.Drain(hand_over=False))
    while not ends.replica.stopped:
        await asyncio.sleep(0)
    assert not ends.link.takes_connections


async def test_a_status_of_ones_own(ends: Ends) -> None:
    ends.link.changed()  # nothing to say yet
    ends.link.report_as(lambda: wire.Status(in_flight=7))
    ends.link.changed()
    ends.link.changed()
    assert (await ends.messages(2))[1].in_flight == 7
