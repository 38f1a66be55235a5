"""The control socket: lines in order, sockets beside them, faults closed."""

import asyncio
import json
import os
import socket
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from headrace.triggers.channel import MAX_QUEUED, Channel
from headrace.triggers.wire import (
    MAX_DESCRIPTORS,
    MAX_LINE,
    Adopt,
    Connections,
    Drain,
    Failed,
    FromPlatform,
    FromReplica,
    Hello,
    Ping,
    Status,
)


class End:
    """One end, which notes what comes."""

    def __init__(self, sock: socket.socket, receives: Any) -> None:
        self.messages: list[Any] = []
        self.sockets: list[socket.socket] = []
        self.closed = 0
        self.news = asyncio.Event()
        self.channel = Channel(sock, receives, self.take, self.end)

    def take(self, message: Any, sockets: list[socket.socket]) -> None:
        self.messages.append(message)
        self.sockets += sockets
        self.news.set()

    def end(self) -> None:
        self.closed += 1
        self.news.set()

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(10):
            while not condition():
                self.news.clear()
                await self.news.wait()

    def close(self) -> None:
        self.channel.close()
        for sock in self.sockets:
            sock.close()


class Pair:
    def __init__(self) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        self.platform = End(ours, FromReplica)
        self.replica = End(theirs, FromPlatform)


@pytest.fixture
async def pair() -> AsyncIterator[Pair]:
    made = Pair()
    made.platform.channel.start()
    made.replica.channel.start()
    yield made
    made.platform.close()
    made.replica.close()


@pytest.fixture
async def raw() -> AsyncIterator[tuple[End, socket.socket]]:
    """A platform's end, and the bare socket that its peer would have."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    end = End(ours, FromReplica)
    end.channel.start()
    yield end, theirs
    end.close()
    theirs.close()


async def test_messages_both_ways_in_order(pair: Pair) -> None:
    pair.replica.channel.send(Hello(pid=7))
    pair.replica.channel.send(Status(in_flight=2, completed={"http": 5}))
    pair.platform.channel.send(Ping())
    pair.platform.channel.send(Drain())
    await pair.platform.until(lambda: len(pair.platform.messages) == 2)
    await pair.replica.until(lambda: len(pair.replica.messages) == 2)
    assert pair.platform.messages == [Hello(pid=7), Status(in_flight=2, completed={"http": 5})]
    assert pair.replica.messages == [Ping(), Drain()]


async def test_sent_before_start_arrives() -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    one, other = End(ours, FromReplica), End(theirs, FromPlatform)
    other.channel.send(Hello(pid=1))
    one.channel.start()
    await one.until(lambda: bool(one.messages))
    one.close()
    other.close()
    assert one.messages == [Hello(pid=1)]


async def test_sockets_arrive_in_order_beside_their_lines(pair: Pair) -> None:
    pairs = [socket.socketpair() for _ in range(5)]
    pair.replica.channel.send(Hello(pid=1))
    pair.replica.channel.send(Connections(count=3), [here for here, _ in pairs[:3]])
    pair.replica.channel.send(Status(in_flight=0))
    pair.replica.channel.send(Connections(count=2), [here for here, _ in pairs[3:]])
    await pair.platform.until(lambda: len(pair.platform.messages) == 4)
    assert len(pair.platform.sockets) == 5
    for index, (passed, (_, there)) in enumerate(zip(pair.platform.sockets, pairs, strict=True)):
        passed.send(bytes([index]))
        assert there.recv(1) == bytes([index])
        assert not os.get_inheritable(passed.fileno())
        assert passed.gettimeout() == 0
        there.close()
    assert all(here.fileno() == -1 for here, _ in pairs)  # the sender's copies are closed


async def test_many_lines_with_sockets_through_a_full_buffer(pair: Pair) -> None:
    rounds = 40
    pairs = [socket.socketpair() for _ in range(rounds)]
    for index, (here, _) in enumerate(pairs):
        pair.platform.channel.send(Adopt(count=1), [here])
        for _ in range(40):
            pair.platform.channel.send(Ping())
        if index == rounds - 1:
            assert pair.platform.channel.queued > 0
    assert await pair.platform.channel.flush(10)
    await pair.replica.until(lambda: len(pair.replica.messages) == rounds * 41)
    assert pair.replica.messages == ([Adopt(count=1)] + [Ping()] * 40) * rounds
    for passed, (_, there) in zip(pair.replica.sockets, pairs, strict=True):
        there.send(b"x")
        assert passed.recv(1) == b"x"
        there.close()


async def test_peer_that_closes_is_told_of_once(pair: Pair) -> None:
    pair.replica.channel.send(Failed(reason="no such module"))
    pair.replica.channel.close()
    await pair.platform.until(lambda: pair.platform.closed > 0)
    assert pair.platform.messages == [Failed(reason="no such module")]
    pair.platform.channel.send(Ping())  # dropped
    pair.platform.channel.close()
    assert (pair.platform.closed, pair.replica.closed) == (1, 0)


async def test_what_a_closed_channel_is_given_is_closed(pair: Pair) -> None:
    here, there = socket.socketpair()
    pair.platform.channel.close()
    pair.platform.channel.send(Adopt(count=1), [here])
    assert there.recv(1) == b""
    there.close()


async def test_what_is_queued_is_closed_with_the_channel() -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    end = End(ours, FromReplica)
    end.channel.start()
    while not end.channel.queued:
        end.channel.send(Ping())
    here, there = socket.socketpair()
    end.channel.send(Adopt(count=1), [here])
    assert not await end.channel.flush(0.01)
    end.close()
    assert there.recv(1) == b""
    there.close()
    theirs.close()


@pytest.mark.parametrize(
    "line",
    [
        b"nonsense\n",
        b'{"is":"nonsense"}\n',
        b'{"is":"hello","pid":"x"}\n',
        b'{"is":"connections","count":1}\n',
        b'{"is":"connections","count":-1}\n',
        b"\xff\xfe\n",
        b"x" * MAX_LINE,
    ],
)
async def test_a_fault_closes(raw: tuple[End, socket.socket], line: bytes, caplog: pytest.LogCaptureFixture) -> None:
    end, peer = raw
    peer.send(b'{"is":"hello","pid":1}\n' + line if line.endswith(b"\n") else line)
    await end.until(lambda: end.closed == 1)
    assert [type(message) for message in end.messages] == ([Hello] if line.endswith(b"\n") else [])
    assert "control socket failed" in caplog.text
    assert end.channel.closed


async def test_lines_split_anywhere(raw: tuple[End, socket.socket]) -> None:
    end, peer = raw
    text = json.dumps({"is": "status", "in_flight": 3}).encode() + b"\n"
    for index in range(0, len(text), 7):
        peer.send(text[index : index + 7])
        await asyncio.sleep(0)
    await end.until(lambda: bool(end.messages))
    assert end.messages == [Status(in_flight=3)]


async def test_sockets_that_no_line_names_are_closed_at_the_end(raw: tuple[End, socket.socket]) -> None:
    end, peer = raw
    here, there = socket.socketpair()
    socket.send_fds(peer, [b'{"is":"hello","pid":1}\n'], [here.fileno()])
    here.close()
    await end.until(lambda: bool(end.messages))
    end.channel.close()
    assert there.recv(1) == b""
    there.close()


async def test_a_descriptor_that_is_no_socket_is_left_out(raw: tuple[End, socket.socket]) -> None:
    end, peer = raw
    here, there = os.pipe()
    socket.send_fds(peer, [b'{"is":"connections","count":1}\n'], [here])
    os.close(here)
    await end.until(lambda: bool(end.messages))
    assert end.sockets == []
    with pytest.raises(BrokenPipeError, match="Broken pipe"):
        os.write(there, b"x")
    os.close(there)


async def test_a_receiver_that_raises_keeps_the_channel(caplog: pytest.LogCaptureFixture) -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    seen = asyncio.Event()

    def take(message: Any, _: list[socket.socket]) -> None:
        if isinstance(message, Status):
            seen.set()
        raise RuntimeError("broken receiver")

    channel = Channel(ours, FromReplica, take, lambda: None)
    channel.start()
    theirs.send(b'{"is":"hello","pid":1}\n{"is":"status","in_flight":0}\n')
    await asyncio.wait_for(seen.wait(), 10)
    channel.close()
    theirs.close()
    assert "broken receiver" in caplog.text


async def test_a_peer_that_never_reads_counts_as_gone(raw: tuple[End, socket.socket]) -> None:
    end, _ = raw
    text = "x" * 60_000
    for _ in range(2 * MAX_QUEUED // len(text)):
        end.channel.send(Failed(reason=text))
    assert end.closed == 1


async def test_a_peer_that_is_gone_loses_what_is_sent(raw: tuple[End, socket.socket]) -> None:
    end, peer = raw
    peer.close()
    end.channel.send(Ping())
    assert not await end.channel.flush(1)
    await end.until(lambda: end.closed == 1)


def test_too_much_for_a_line_is_refused() -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    channel = Channel(ours, FromReplica, lambda *_: None, lambda: None)
    with pytest.raises(ValueError, match="Failed: expected at most 65536 bytes"):
        channel.send(Failed(reason="x" * MAX_LINE))
    with pytest.raises(ValueError, match="got 32 and 65"):
        channel.send(Connections(count=65), [ours] * (MAX_DESCRIPTORS + 1))
    channel.close()
    theirs.close()


def test_on_uvloop_too() -> None:
    import uvloop

    async def exchange() -> None:
        pair = Pair()
        pair.platform.channel.start()
        pair.replica.channel.start()
        await test_many_lines_with_sockets_through_a_full_buffer(pair)
        await test_peer_that_closes_is_told_of_once(pair)
        pair.platform.close()
        pair.replica.close()

    uvloop.run(exchange())
