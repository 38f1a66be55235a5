"""The server answers or closes; it never hangs or crashes, nor shows another request's bytes.

Seeded mutations of valid requests are sent on one connection while another works; each run is the same.
"""

import asyncio
import random
import re

import pytest
from support.http import Served, echo, echo_later, on_uvloop, serving

SEEDS = [
    b"GET /a HTTP/1.1\r\nHost: x\r\n\r\n",
    b"POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello",
    b"POST /a HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    b"POST /a HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\nhello",
    b"POST /a HTTP/1.1\r\nHost: x\r\nce-id: 1\r\nce-type: t\r\n"
    b"ce-source: s\r\nce-specversion: 1.0\r\nContent-Length: 2\r\n\r\nhi",
    b'POST / HTTP/1.1\r\nHost: x\r\nContent-Type: application/cloudevents+json\r\nContent-Length: 9\r\n\r\n{"id":12}',
    b"HEAD /health/liveness HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
]
PIECES = [b"\r\n", b"\n", b"\r", b" ", b":", b"\0", b"\xff", b"0", b"f" * 20, b"Host: x\r\n", b"Content-Length: 3\r\n"]
SECRET = b"another-clients-secret"


def mutated(rng: random.Random) -> bytes:
    data = bytearray(b"".join(rng.choice(SEEDS) for _ in range(rng.randint(1, 3))))
    for _ in range(rng.randint(0, 6)):
        at = rng.randrange(len(data))
        what = rng.random()
        if what < 0.4:
            data[at] = rng.randrange(256)
        elif what < 0.6:
            del data[at : at + rng.randint(1, 8)]
        else:
            data[at:at] = rng.choice(PIECES)
        data = data or bytearray(b"x")
    return bytes(data)


async def attack(served: Served, rng: random.Random) -> bytes:
    """What comes back for a mutated pipeline, sent in pieces, whose sender then half-closes."""
    client = await served.connect()
    data = mutated(rng)
    at = rng.randrange(len(data))
    for piece in (data[:at], data[at:]):
        client.send(piece)
        await asyncio.sleep(0)
    client.writer.write_eof()
    return await client.rest()


async def work(served: Served, stop: asyncio.Event) -> int:
    """A well-behaved client beside; how many answers it got."""
    client = await served.connect()
    answered = 0
    while not stop.is_set():
        client.send(b"POST /s HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(SECRET) + SECRET)
        assert (await client.response())[2] == b"POST /s " + SECRET
        answered += 1
    await client.close()
    return answered


@pytest.mark.parametrize("seed", range(4))
def test_mutated_requests(seed: int) -> None:
    async def run() -> None:
        rng = random.Random(seed)
        async with serving(echo if seed % 2 else echo_later, max_body=10_000) as served:
            stop = asyncio.Event()
            other = asyncio.create_task(work(served, stop))
            for _ in range(250):
                got = await attack(served, rng)
                assert SECRET not in got
                assert re.fullmatch(rb"(HTTP/1\.1 \d{3} .*)?", got, re.DOTALL)
            stop.set()
            assert await other > 0
            assert served.in_flight.count == 0

    on_uvloop(run)
