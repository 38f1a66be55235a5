"""Threads for sync handlers: results, withdrawal, and threads that hang."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable

import pytest

from headrace.runtime.threads import MAX_ABANDONED, HandlerThreads

Make = Callable[..., HandlerThreads]


@pytest.fixture
async def make() -> AsyncIterator[Make]:
    pools: list[HandlerThreads] = []

    def make(size: int = 1, timeout_s: float = 5.0, on_exhausted: Callable[[], None] = lambda: None) -> HandlerThreads:
        pools.append(HandlerThreads(asyncio.get_running_loop(), size, timeout_s, on_exhausted))
        return pools[-1]

    yield make
    for pool in pools:
        pool.close()


def call(pool: HandlerThreads, function: Callable[..., object], *args: object) -> asyncio.Future[object]:
    answer: asyncio.Future[object] = asyncio.get_running_loop().create_future()

    def done(result: object, error: BaseException | None) -> None:
        answer.set_exception(error) if error is not None else answer.set_result(result)

    pool.submit(function, args, done)
    return answer


async def test_result_and_exception(make: Make) -> None:
    pool = make()
    assert await call(pool, lambda a, b: a + b, 1, 2) == 3
    with pytest.raises(ZeroDivisionError, match="division"):
        await call(pool, lambda: 1 / 0)


async def test_runs_as_many_as_its_size(make: Make) -> None:
    pool = make(size=3)
    together = threading.Barrier(3)
    assert set(await asyncio.gather(*(call(pool, together.wait, 5.0) for _ in range(3)))) == {0, 1, 2}


async def test_many_calls_over_few_threads(make: Make) -> None:
    pool = make(size=2)
    assert await asyncio.gather(*(call(pool, abs, -n) for n in range(500))) == list(range(500))


async def test_order_with_one_thread(make: Make) -> None:
    pool = make(size=1)
    seen: list[int] = []
    await asyncio.gather(*(call(pool, seen.append, n) for n in range(100)))
    assert seen == list(range(100))


async def test_hung_call_is_settled_and_its_thread_replaced(make: Make) -> None:
    pool = make(size=1, timeout_s=0.05)
    release = threading.Event()
    hung, next_ = call(pool, release.wait), call(pool, lambda: "served")
    with pytest.raises(TimeoutError):
        await hung
    assert await next_ == "served"
    assert pool.abandoned == 1
    release.set()


async def test_a_thread_that_comes_back_is_no_longer_abandoned(make: Make) -> None:
    pool = make(size=1, timeout_s=0.05)
    release = threading.Event()
    with pytest.raises(TimeoutError):
        await call(pool, release.wait)
    release.set()
    while pool.abandoned:
        await asyncio.sleep(0)
    assert await call(pool, lambda: "fine") == "fine"


async def test_exhausted_after_four_hang(make: Make) -> None:
    exhausted = asyncio.Event()
    pool = make(size=MAX_ABANDONED, timeout_s=0.05, on_exhausted=exhausted.set)
    release = threading.Event()
    answers = [call(pool, release.wait) for _ in range(MAX_ABANDONED)]
    await exhausted.wait()
    results = await asyncio.gather(*answers, return_exceptions=True)
    assert {type(result) for result in results} == {TimeoutError}
    release.set()


async def test_withdraw_takes_only_what_has_not_begun(make: Make) -> None:
    pool = make(size=1)
    begun, release = threading.Event(), threading.Event()

    def hold() -> bool:
        begun.set()
        return release.wait(5)

    first = call(pool, hold)
    call(pool, print, "never")
    while not begun.is_set():
        await asyncio.sleep(0)
    taken = pool.withdraw(lambda call: True)
    assert [item.args for item in taken] == [("never",)]
    assert pool.queued == 0
    release.set()
    assert await first


async def test_result_after_the_loop_is_closed_is_dropped() -> None:
    release, ended = threading.Event(), threading.Event()

    def live() -> None:
        async def inner() -> None:
            pool = HandlerThreads(asyncio.get_running_loop(), 1, 5.0)
            pool.submit(lambda: release.wait(5), (), lambda result, error: None)
            pool.submit(lambda: ended.set(), (), lambda result, error: None)
            pool.close()

        asyncio.run(inner())

    await asyncio.to_thread(live)
    release.set()
    assert await asyncio.to_thread(ended.wait, 5)
