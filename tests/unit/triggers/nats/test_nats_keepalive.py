"""Signs of progress: one timer, for what stays."""

import asyncio

from headrace.triggers.nats.keepalive import Keepalive


async def test_touches_what_stays_until_it_ends() -> None:
    touched: asyncio.Queue[list[str]] = asyncio.Queue()
    keepalive = Keepalive(0.06, lambda replies: touched.put_nowait(list(replies)))
    keepalive.add("slow")
    keepalive.add("quick")
    assert keepalive.end("quick")
    assert not keepalive.end("quick")
    for _ in range(3):
        async with asyncio.timeout(5):
            assert await touched.get() == ["slow"]
    assert len(keepalive) == 1
    keepalive.close()
    assert (len(keepalive), keepalive._timer) == (0, None)
    keepalive.close()


async def test_no_timer_while_there_is_nothing() -> None:
    touched: list[list[str]] = []
    keepalive = Keepalive(0.03, lambda replies: touched.append(list(replies)))
    keepalive.add("a")
    keepalive.end("a")
    async with asyncio.timeout(5):
        while keepalive._timer is not None:
            await asyncio.sleep(0.005)
    assert touched == []
    keepalive.add("b")
    assert keepalive._timer is not None
    keepalive.close()
