"""The local platform's parts: failures, output, the listener at zero, parked connections."""

import asyncio
import json
import os
import socket
from collections.abc import AsyncIterator

import pytest

from headrace.scaler.local.failures import Failures, shortened
from headrace.scaler.local.listener import Listener, refusal
from headrace.scaler.local.output import MAX_LINE, Output
from headrace.scaler.local.parked import Parked
from headrace.scaler.local.platform import cores


async def turn() -> None:
    """Let the loop see what is readable now."""
    for _ in range(3):
        await asyncio.sleep(0)


# -- failures ----------------------------------------------------------------------------------------------


def test_starts_are_tried_ever_later() -> None:
    failures, waits = Failures(), []
    for _ in range(9):
        failures.start_failed("x", 100.0)
        waits.append(failures.wait_s(100.0))
    assert waits == [0.25, 0.5, 1, 2, 4, 8, 16, 30, 30]
    assert failures.wait_s(1000.0) == 0


def test_the_third_failed_start_gives_up_and_one_that_serves_forgives() -> None:
    failures = Failures()
    given_up = []
    for _ in range(3):
        failures.start_failed("no such module", 0.0)
        given_up.append(failures.given_up)
    assert (given_up, failures.reason) == ([False, False, True], "no such module")
    failures.ready()
    assert (failures.given_up, failures.reason) == (False, None)


def test_one_that_had_served_is_replaced_at_once_the_next_later() -> None:
    failures, waits = Failures(), []
    for _ in range(3):
        failures.exited(0.0)
        waits.append(failures.wait_s(0.0))
    failures.progressed()
    failures.exited(0.0)
    assert [*waits, failures.wait_s(0.0)] == [0, 0.25, 0.5, 0]


@pytest.mark.parametrize(
    ("reason", "line"),
    [
        ("plain", "plain"),
        ("", "no reason given"),
        ("first\n second  part", "first"),
        ("Traceback (most recent call last):\n  File\nValueError: bad\n", "ValueError: bad"),
        ("x" * 600, "x" * 499 + "…"),
    ],
)
def test_reasons_are_one_short_line(reason: str, line: str) -> None:
    assert shortened(reason) == line


def test_cores_are_those_that_may_be_used() -> None:
    assert 1 <= cores() <= (os.cpu_count() or 1)


# -- output ------------------------------------------------------------------------------------------------


async def test_output_is_cut_into_lines() -> None:
    lines: list[str] = []
    reading, writing = os.pipe()
    output = Output(reading, lines.append)
    for piece in (b"one\ntw", b"o\r\n\xff\n", b"x" * (MAX_LINE + 5), b"y" * 60_000, b"\nlast"):
        os.write(writing, piece)
        await turn()
    os.close(writing)
    await turn()
    output.finish()
    assert lines == ["one", "two", "�", "x" * MAX_LINE + "…", "last"]


async def test_output_that_another_process_holds_open_is_left() -> None:
    lines: list[str] = []
    reading, writing = os.pipe()
    output = Output(reading, lines.append)
    os.write(writing, b"left")
    output.finish()
    assert lines == ["left"]
    with pytest.raises(BrokenPipeError, match="Broken pipe"):
        os.write(writing, b"x")
    os.close(writing)


# -- the listener ------------------------------------------------------------------------------------------


class Listening:
    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.fired = 0
        self.news = asyncio.Event()
        self.listener = Listener(sock, self.on_waiting)

    def on_waiting(self) -> None:
        self.fired += 1
        self.news.set()

    def connect(self) -> socket.socket:
        client = socket.socket(self.sock.family)
        client.connect(self.sock.getsockname())
        return client


@pytest.fixture
async def listening() -> AsyncIterator[Listening]:
    made = Listening(socket.create_server(("127.0.0.1", 0)))
    yield made
    await made.listener.aclose()


async def test_the_listener_counts_and_tells_once(listening: Listening) -> None:
    listening.listener.arm()
    listening.listener.arm()
    assert listening.listener.waiting() == 0
    clients = [listening.connect() for _ in range(3)]
    await asyncio.wait_for(listening.news.wait(), 5)
    await turn()
    assert (listening.fired, listening.listener.waiting()) == (1, 3)
    for client in clients:
        client.close()


async def test_disarmed_it_does_not_tell(listening: Listening) -> None:
    listening.listener.arm()
    listening.listener.disarm()
    with listening.connect():
        await turn()
        assert listening.fired == 0


async def test_refused_clients_get_the_reason(listening: Listening) -> None:
    clients = [listening.connect() for _ in range(2)]
    clients[0].sendall(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n" + b"x" * 10_000)
    clients[1].close()
    for sock in listening.listener.accept_all():
        listening.listener.refuse(sock, "no `function`", 3.2)
    reader, writer = await asyncio.open_connection(sock=clients[0])
    head, _, body = (await asyncio.wait_for(reader.read(), 5)).partition(b"\r\n\r\n")
    writer.close()
    assert head.startswith(b"HTTP/1.1 503 Service Unavailable\r\n")
    assert b"\r\nretry-after: 4\r\n" in head
    assert json.loads(body) == {"error": "the function can't be started", "reason": "no `function`"}


async def test_a_unix_listener_tells_whether_any_waits() -> None:
    sock = socket.socket(socket.AF_UNIX)
    sock.bind("\0headrace-test-listener")
    sock.listen()
    made = Listening(sock)
    assert made.listener.waiting() == 0
    with made.connect():
        assert made.listener.waiting() == 1
    await made.listener.aclose()


def test_a_refusal_is_a_whole_response() -> None:
    head, _, body = refusal('say "no"', 0).partition(b"\r\n\r\n")
    assert b"content-length: %d" % len(body) in head
    assert b"retry-after: 1" in head


# -- parked connections ------------------------------------------------------------------------------------


class Parking:
    def __init__(self, limit: int = 10, idle_timeout_s: float = 60) -> None:
        self.news = asyncio.Event()
        self.parked = Parked(limit, idle_timeout_s, self.news.set)
        self.clients: list[socket.socket] = []

    def add(self) -> socket.socket:
        here, there = socket.socketpair()
        self.parked.add(here)
        there.settimeout(5)
        self.clients.append(there)
        return there

    def close(self) -> None:
        self.parked.close()
        for client in self.clients:
            client.close()


@pytest.fixture
async def parking() -> AsyncIterator[Parking]:
    made = Parking()
    yield made
    made.close()


async def test_one_that_speaks_waits(parking: Parking) -> None:
    parking.add()
    speaking = parking.add()
    speaking.send(b"G")
    await asyncio.wait_for(parking.news.wait(), 5)
    assert (parking.parked.speaking, len(parking.parked)) == (1, 2)
    first, second = parking.parked.take_all()
    assert first.recv(10) == b"G"  # nothing was read of it
    assert len(parking.parked) == 0
    first.close()
    second.close()


async def test_one_that_closes_is_reaped(parking: Parking) -> None:
    parking.add().close()
    await turn()
    assert (parking.parked.speaking, len(parking.parked)) == (0, 0)


async def test_beyond_the_limit_the_oldest_goes() -> None:
    parking = Parking(limit=2)
    oldest = parking.add()
    parking.add()
    parking.add()
    assert oldest.recv(1) == b""
    assert len(parking.parked) == 2
    parking.close()


async def test_those_silent_too_long_are_closed() -> None:
    parking = Parking(idle_timeout_s=0.02)
    first = parking.add()
    await asyncio.sleep(0.01)
    second = parking.add()
    reader, writer = await asyncio.open_connection(sock=second)
    assert await asyncio.wait_for(reader.read(), 5) == b""
    assert first.recv(1) == b""
    assert len(parking.parked) == 0
    writer.close()
    parking.close()


async def test_only_those_that_speak_are_taken_to_be_refused(parking: Parking) -> None:
    parking.add()
    parking.add().send(b"G")
    await asyncio.wait_for(parking.news.wait(), 5)
    (taken,) = parking.parked.take_speaking()
    assert (parking.parked.speaking, len(parking.parked)) == (0, 1)
    taken.close()
