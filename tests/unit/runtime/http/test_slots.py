"""Bodies in slots of the slab: received there, seen there, and what happens when there is none."""

import gc
import logging
import tracemalloc

import numpy as np
import pytest
from support.http import Client, Served, serving, until

from headrace.triggers.events import Event
from headrace.triggers.protocols import Settle

KIB = 1024
CHUNKED = b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"


def head(size: int) -> bytes:
    return b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % size


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


class Keeper:
    """A function that answers with the body's length, when it is told to."""

    def __init__(self) -> None:
        self.events: list[tuple[Event, Settle]] = []

    def __call__(self, event: Event, settle: Settle) -> None:
        self.events.append((event, settle))

    def answer(self, index: int = 0) -> None:
        event, settle = self.events.pop(index)
        settle(event, b"%d" % len(event.data))

    async def received(self, count: int) -> list[Event]:
        await until(lambda: len(self.events) == count)
        return [event for event, _ in self.events]


def length(event: Event, settle: Settle) -> None:
    settle(event, b"%d" % len(event.data))


async def slots_free(served: Served) -> None:
    def free() -> bool:
        gc.collect()
        return served.slab.used_bytes == 0

    await until(free)


@pytest.mark.parametrize("framing", ["length", "chunked"])
async def test_the_array_of_a_handler_is_the_slot(framing: str) -> None:
    keeper = Keeper()
    body = np.arange(150_528, dtype=np.float32)
    async with serving(keeper) as served:
        client = await served.connect()
        data = body.tobytes()
        client.send(head(len(data)) + data if framing == "length" else CHUNKED + chunk(data) + b"0\r\n\r\n")
        (event,) = await keeper.received(1)
        array = event.tensor("float32", (3, 224, 224))
        assert np.shares_memory(array, np.frombuffer(served.slab_memory, np.uint8))
        assert array.flags.writeable
        assert (array.reshape(-1) == body).all()
        del array, event
        keeper.answer()
        assert (await client.response())[2] == b"602112"
        await slots_free(served)
        await client.close()


async def test_declared_rows_lie_side_by_side_in_order() -> None:
    keeper = Keeper()
    row = 40_000  # 64 × 625
    async with serving(keeper, row_bytes=row) as served:
        clients = [await served.connect() for _ in range(4)]
        for number, client in enumerate(clients):
            client.send(head(row) + bytes([number]) * row)
            await keeper.received(number + 1)
        events = [event for event, _ in keeper.events]
        starts = [np.frombuffer(event.data, np.uint8).__array_interface__["data"][0] for event in events]
        assert [start - starts[0] for start in starts] == [0, row, 2 * row, 3 * row]
        assert np.shares_memory(np.frombuffer(served.slab_memory, np.uint8), np.frombuffer(events[3].data, np.uint8))
        del events
        keeper.events.clear()
        for client in clients:
            await client.close()


async def test_nothing_else_of_the_bodys_size_is_allocated() -> None:
    size = 4 * 1024 * KIB
    body = bytes(size)
    async with serving(length) as served:
        client = await served.connect()

        async def ask() -> None:
            client.send(head(size))
            client.send(body)
            assert (await client.response())[2] == b"%d" % size

        await ask()
        tracemalloc.start()
        before = tracemalloc.get_traced_memory()[0]
        await ask()
        peak = tracemalloc.get_traced_memory()[1] - before
        tracemalloc.stop()
        # asyncio's client keeps what the socket did not take, which is not ours; it is no more than its body
        assert peak < size + 300 * KIB
        await client.close()


async def test_a_hoarding_handler_never_sees_foreign_bytes(caplog: pytest.LogCaptureFixture) -> None:
    kept: list[tuple[memoryview, int]] = []

    def hoard(event: Event, settle: Settle) -> None:
        kept.append((event.data[100:200], event.data[0]))
        length(event, settle)

    async with serving(hoard, slab=10 * 64 * KIB, read_timeout=0.1) as served:
        client = await served.connect()
        for number in range(10):
            client.send(head(64 * KIB) + bytes([number]) * (64 * KIB))
            assert (await client.response())[0] == 200
        client.send(head(64 * KIB) + bytes([99]) * (64 * KIB))
        assert (await client.response())[0] == 503
        assert all(set(view) == {number} for view, number in kept)
        assert served.slab.held == 10
        assert served.metrics.http_refused == {"overload": 1}
        kept.clear()
        assert served.slab.held == 0
        await client.close()


async def test_held_slots_are_told_of_when_no_client_is_left(caplog: pytest.LogCaptureFixture) -> None:
    kept: list[memoryview] = []

    def hoard(event: Event, settle: Settle) -> None:
        kept.append(event.data)
        length(event, settle)

    caplog.set_level(logging.WARNING)
    async with serving(hoard, read_timeout=0.1) as served:
        client = await served.connect()
        client.send(head(64 * KIB) + bytes(64 * KIB))
        await client.response()
        await client.close()
        await until(lambda: "views of events are kept" in caplog.text)
        assert "handler=test slots=1" in caplog.text
        kept.clear()
        await until(lambda: served.listener._edge._sweeper is None)


async def test_a_full_slab_holds_clients_back_and_recovers() -> None:
    keeper = Keeper()
    size = 1024 * KIB
    async with serving(keeper, slab=2 * size) as served:
        clients = [await served.connect() for _ in range(5)]
        for number, client in enumerate(clients):
            client.send(head(size) + bytes([number]) * size + head(5) + b"small")
        await keeper.received(2)
        await until(lambda: served.slab.waiting == 3)
        seen = set()
        for _ in range(10):
            await until(lambda: bool(keeper.events))
            if len(keeper.events[0][0].data) == size:
                seen.add(keeper.events[0][0].data[-1])
            keeper.answer()
        assert seen == set(range(5))
        for client in clients:
            assert [(await client.response())[2] for _ in range(2)] == [b"%d" % size, b"5"]
            await client.close()
        await slots_free(served)


async def test_a_client_that_waits_for_memory_and_for_100_continue() -> None:
    keeper = Keeper()
    size = 64 * KIB
    async with serving(keeper, slab=size) as served:
        first, second = await served.connect(), await served.connect()
        first.send(head(size) + bytes(size))
        await keeper.received(1)
        second.send(head(size)[:-2] + b"Expect: 100-continue\r\n\r\n")
        await until(lambda: served.slab.waiting == 1)
        keeper.answer()
        assert (await second.response())[0] == 100
        second.send(bytes(size))
        await keeper.received(1)
        keeper.answer()
        assert (await second.response())[2] == b"%d" % size
        await first.close()
        await second.close()


async def begin_chunked(served: Served, slots: int, size: int) -> Client:
    """A client whose chunked body has grown into a slot."""
    client = await served.connect()
    client.send(CHUNKED + chunk(b"a" * size))
    await until(lambda: served.slab.used_bytes // (64 * KIB) == slots)
    return client


async def test_half_received_bodies_do_not_wait_for_each_other() -> None:
    async with serving(length, slab=256 * KIB) as served:
        first = await begin_chunked(served, 1, 20 * KIB)
        second = await begin_chunked(served, 2, 20 * KIB)
        first.send(chunk(b"b" * 60 * KIB))
        await until(lambda: served.slab.waiting == 1)
        second.send(chunk(b"b" * 60 * KIB))
        assert (await second.response())[0] == 503
        first.send(chunk(b"c" * 10 * KIB) + b"0\r\n\r\n")
        assert (await first.response())[2] == b"%d" % (90 * KIB)
        await first.close()
        await second.close()
        await slots_free(served)


async def test_the_end_of_a_listener_is_the_end_of_waiting() -> None:
    async with serving(length, slab=256 * KIB) as served:
        clients = [await begin_chunked(served, slots + 1, 20 * KIB) for slots in range(2)]
        clients[1].send(chunk(b"b" * 100 * KIB))
        await until(lambda: served.slab.waiting == 1)
        served.listener.abort()
        await until(lambda: served.listener.connections == 0)
        assert served.slab.waiting == 0
        await slots_free(served)
        for client in clients:
            await client.close()


async def test_a_chunked_body_alone_that_does_not_fit_beside_itself_is_refused() -> None:
    keeper = Keeper()
    async with serving(keeper, slab=5 * 64 * KIB) as served:
        first = await served.connect()
        first.send(head(64 * KIB) + bytes(64 * KIB))
        await keeper.received(1)
        client = await begin_chunked(served, 2, 20 * KIB)
        keeper.answer()
        await first.response()
        client.send(chunk(b"b" * 250 * KIB))
        await until(lambda: served.slab.used_bytes == 64 * KIB)
        client.send(chunk(b"c" * 30 * KIB))
        assert (await client.response())[0] == 503
        await first.close()
        await client.close()
        await slots_free(served)


async def test_a_body_larger_than_the_slab_is_refused() -> None:
    async with serving(length, slab=128 * KIB) as served:
        answer = await served.ask(head(129 * KIB))
        assert answer.startswith(b"HTTP/1.1 413 ")
        assert b"expected at most 131072 bytes of body" in answer


@pytest.mark.parametrize("begun", [head(1024 * KIB) + bytes(500 * KIB), CHUNKED + chunk(bytes(100 * KIB))])
async def test_a_client_gone_in_the_middle_of_a_body_frees_its_slot(begun: bytes) -> None:
    async with serving(length) as served:
        client = await served.connect()
        client.send(begun)
        await until(lambda: served.slab.used_bytes > 0)
        client.reset()
        await slots_free(served)


async def test_a_client_gone_while_it_waits_lets_the_next_pass() -> None:
    keeper = Keeper()
    size = 32 * KIB  # one read takes it whole
    async with serving(keeper, slab=size) as served:
        clients = [await served.connect() for _ in range(3)]
        for number, client in enumerate(clients):
            client.send(head(size) + bytes([number]) * size)
            await client.writer.drain()
            await until(lambda want=number: len(keeper.events) + served.slab.waiting == want + 1)  # type: ignore[misc]
        clients[1].reset()
        for last in (1, 2):
            keeper.answer()
            (event,) = await keeper.received(1)  # what the one who is gone sent was whole
            assert event.data[0] == last
            del event
        keeper.answer()
        await slots_free(served)
        await clients[0].close()
        await clients[2].close()


async def test_slow_bodies_time_out_and_free_their_slots() -> None:
    async with serving(length, read_timeout=0.1) as served:
        assert (await served.ask(head(1024 * KIB) + bytes(100 * KIB))).startswith(b"HTTP/1.1 408 ")
        await slots_free(served)


async def test_a_response_in_the_slot_is_not_overwritten_before_it_is_read() -> None:
    size = 1024 * KIB
    async with serving(lambda event, settle: settle(event, event.data), slab=3 * size) as served:
        slow = await served.connect()
        slow.reader._transport.pause_reading()  # type: ignore[attr-defined]
        slow.send(head(size) + b"s" * size)
        other = await served.connect()
        for letter in b"abcdef":
            other.send(head(size) + bytes([letter]) * size)
            assert (await other.response())[2] == bytes([letter]) * size
        slow.reader._transport.resume_reading()  # type: ignore[attr-defined]
        assert (await slow.response())[2] == b"s" * size
        await slow.close()
        await other.close()
        await slots_free(served)
