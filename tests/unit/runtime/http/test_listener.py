"""Accepting, adopting, draining and handing over."""

import asyncio
import errno
import socket

import pytest
from support.http import Client, echo, serving, until

from headrace.runtime.http.protocol import Connection
from headrace.triggers.events import Event
from headrace.triggers.protocols import Settle

GET = b"GET /a HTTP/1.1\r\nHost: x\r\n\r\n"
Pending = list[tuple[Event, Settle]]


async def test_accepts_only_up_to_max_connections() -> None:
    async with serving(max_connections=2) as served:
        clients = [await served.connect() for _ in range(3)]
        for client in clients:
            client.send(GET)
        for client in clients[:2]:
            assert (await client.response())[0] == 200
        assert served.listener.connections == 2
        await clients[0].close()
        assert (await clients[2].response())[0] == 200
        for client in clients[1:]:
            await client.close()


async def test_accepts_only_while_there_is_room() -> None:
    pending: Pending = []
    async with serving(lambda *call: pending.append(call), in_flight=2) as served:
        clients = [await served.connect() for _ in range(2)]
        for client in clients:
            client.send(GET)
        await until(lambda: len(pending) == 2)
        late = await served.connect()
        late.send(GET)
        await asyncio.sleep(0)
        assert served.listener.connections == 2
        pending[0][1](pending[0][0], b"x")
        await until(lambda: len(pending) == 3)
        pending[2][1](pending[2][0], b"y")
        assert (await late.response())[2] == b"y"
        for client in [*clients, late]:
            await client.close()


async def test_two_listeners_share_a_socket() -> None:
    async with serving() as first, serving(accept=False) as second:
        shared = first.socket.dup()
        second.listener._sock = shared
        second.listener.start()
        clients = [await first.connect() for _ in range(40)]
        for client in clients:
            client.send(GET)
        for client in clients:
            assert (await client.response())[0] == 200
        both = (first.listener.connections, second.listener.connections)
        assert sum(both) == 40
        assert min(both) > 0
        for client in clients:
            await client.close()


async def test_stop_accepting_leaves_connections_alone() -> None:
    async with serving() as served:
        kept = served.socket.dup()
        client = await served.connect()
        client.send(GET)
        await client.response()
        served.listener.stop_accepting()
        client.send(GET)
        assert (await client.response())[0] == 200
        late = await served.connect()  # into the backlog of the copy that is left
        await asyncio.sleep(0)
        assert served.listener.connections == 1
        await late.close()
        await client.close()
        kept.close()


async def test_drain_without_hand_over_closes() -> None:
    pending: Pending = []
    async with serving(lambda *call: pending.append(call)) as served:
        idle, busy, half = [await served.connect() for _ in range(3)]
        busy.send(GET * 2)
        half.send(GET[:10])
        await until(lambda: len(pending) == 1 and served.listener.connections == 3)
        await until(
            lambda: sum(isinstance(c, Connection) and bool(c._pending) for c in served.listener._edge.connections) == 2
        )
        drain = asyncio.ensure_future(served.listener.drain())
        assert await idle.rest() == b""
        event, settle = pending.pop()
        settle(event, b"x")
        assert (await busy.response())[1]["connection"] == "close"
        half.send(GET[10:])
        await until(lambda: len(pending) == 1)
        event, settle = pending.pop()
        settle(event, b"y")
        assert (await half.response())[2] == b"y"
        await busy.close()
        await half.close()
        async with asyncio.timeout(5):
            await drain


async def test_drain_hands_idle_connections_over() -> None:
    pending: Pending = []
    handed: list[socket.socket] = []
    async with serving(lambda *call: pending.append(call)) as old, serving(echo) as new:
        idle, busy = [await old.connect() for _ in range(2)]
        busy.send(GET * 2)
        await until(lambda: len(pending) == 1 and old.listener.connections == 2)
        drain = asyncio.ensure_future(old.listener.drain(handed.extend))
        await until(lambda: len(handed) == 1)
        idle.send(GET)  # while nobody watches it
        for _ in range(2):
            await until(lambda: len(pending) == 1)
            event, settle = pending.pop()
            settle(event, b"old")
            status, headers, body = await busy.response()
            assert (status, headers.get("connection"), body) == (200, None, b"old")
        await drain
        assert len(handed) == 2
        for sock in handed:
            assert not sock.getblocking()
            new.listener.adopt(sock)
        busy.send(GET)
        for client in (idle, busy):
            assert (await client.response())[2] == b"GET /a "
            await client.close()


async def test_nothing_is_lost_while_connections_change_hands() -> None:
    async def ask(client: Client, path: bytes) -> None:
        client.send(b"GET /%b HTTP/1.1\r\nHost: x\r\n\r\n" % path)
        assert (await client.response())[2] == b"GET /" + path + b" "

    async def ask_all(client: Client, number: int) -> None:
        for index in range(30):
            await ask(client, b"%d-%d" % (number, index))

    groups: list[int] = []
    async with serving() as old, serving() as new:

        def adopt(sockets: list[socket.socket]) -> None:
            groups.append(len(sockets))
            for sock in sockets:
                new.listener.adopt(sock)

        clients = [await old.connect() for _ in range(150)]
        await until(lambda: old.listener.connections == 150)
        tasks = [asyncio.ensure_future(ask_all(client, number)) for number, client in enumerate(clients)]
        await old.listener.drain(adopt)
        async with asyncio.timeout(20):
            await asyncio.gather(*tasks)
        assert sum(groups) == 150
        assert max(groups) <= 64
        for client in clients:
            await client.close()


async def test_connection_that_closed_meanwhile_is_dropped() -> None:
    handed: list[socket.socket] = []
    async with serving() as old, serving() as new:
        client = await old.connect()
        client.send(GET)
        await client.response()
        await old.listener.drain(handed.extend)
        client.reset()
        await client.close()
        for sock in handed:
            new.listener.adopt(sock)
        await until(lambda: new.listener.connections == 0)


async def test_out_of_descriptors(caplog: pytest.LogCaptureFixture) -> None:
    class Exhausted(socket.socket):
        left = 2

        def accept(self) -> tuple[socket.socket, object]:
            if self.left:
                self.left -= 1
                raise OSError(errno.EMFILE, "too many open files")
            return super().accept()

    async with serving(accept=False) as served:
        served.listener._sock = Exhausted(fileno=served.socket.dup().detach())
        served.listener.start()
        client = await served.connect()
        client.send(GET)
        assert (await client.response())[0] == 200
        assert "accept failed error=too many open files" in caplog.text
        await client.close()


async def test_stop_while_waiting_for_room_or_descriptors() -> None:
    class Exhausted(socket.socket):
        def accept(self) -> tuple[socket.socket, object]:
            raise OSError(errno.EMFILE, "too many open files")

    async with serving(in_flight=1) as full, serving(accept=False) as exhausted:
        full.in_flight.enter()
        client = await full.connect()
        await until(lambda: full.listener._waits_for_room)
        full.listener.stop_accepting()
        full.in_flight.leave()
        assert not full.listener._accepting
        exhausted.listener._sock = Exhausted(fileno=exhausted.socket.dup().detach())
        exhausted.listener.start()
        other = await exhausted.connect()
        await until(lambda: exhausted.listener._retry is not None)
        exhausted.listener.stop_accepting()
        assert exhausted.listener._retry is None
        await client.close()
        await other.close()


async def test_abort_while_a_connection_is_being_opened() -> None:
    async with serving() as served:
        ours, theirs = socket.socketpair()
        served.listener.adopt(ours)
        served.listener.abort()
        await until(lambda: served.listener.connections == 0)
        theirs.close()


async def test_unix_sockets_are_connections_too() -> None:
    async with serving() as served:
        ours, theirs = socket.socketpair()
        served.listener.adopt(ours)
        client = Client(*await asyncio.open_unix_connection(sock=theirs))
        client.send(GET)
        assert (await client.response())[2] == b"GET /a "
        await client.close()


async def test_hand_over_without_descriptors_closes(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(fd: int) -> int:
        raise OSError(errno.EMFILE, "too many open files")

    handed: list[socket.socket] = []
    async with serving() as served:
        client = await served.connect()
        await until(lambda: served.listener.connections == 1)
        monkeypatch.setattr("os.dup", refuse)
        await served.listener.drain(handed.extend)
        assert handed == []
        assert "connection not handed over error=too many open files" in caplog.text
        assert await client.rest() == b""


async def test_adopting_what_is_no_connection_does_no_harm() -> None:
    async with serving() as served:
        sock = socket.socket()
        sock.close()
        with pytest.raises(OSError, match="Bad file descriptor"):
            served.listener.adopt(sock)
        assert served.listener.connections == 0


async def test_an_idle_listener_has_no_timer() -> None:
    async with serving() as served:
        client = await served.connect()
        client.send(GET)
        await client.response()
        assert served.listener._edge._sweeper is not None
        await client.close()
        await until(lambda: served.listener.connections == 0)
        assert served.listener._edge._sweeper is None
