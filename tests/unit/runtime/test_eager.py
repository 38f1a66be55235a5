"""Coroutines whose first step is taken at once."""

import asyncio
from collections.abc import AsyncIterator
from contextvars import ContextVar

import pytest

from headrace.runtime.eager import EagerRunner

colour: ContextVar[str] = ContextVar("colour", default="none")


class Results:
    """Collects what `done` is told."""

    def __init__(self) -> None:
        self.all: list[tuple[object, BaseException | None]] = []
        self._came = asyncio.Condition()

    def __call__(self, result: object, error: BaseException | None) -> None:
        self.all.append((result, error))

    async def count(self, wanted: int) -> None:
        while len(self.all) < wanted:
            await asyncio.sleep(0)


@pytest.fixture
async def runner() -> AsyncIterator[EagerRunner]:
    runner = EagerRunner(asyncio.get_running_loop(), timeout_s=0.05)
    yield runner
    runner.cancel_all()
    runner.close()
    await asyncio.sleep(0)


async def test_finishes_before_run_returns(runner: EagerRunner) -> None:
    done = Results()

    async def quick() -> int:
        return 7

    runner.run(quick(), done)
    assert done.all == [(7, None)]


async def test_exception_of_the_first_step(runner: EagerRunner) -> None:
    done = Results()

    async def broken() -> None:
        raise ValueError("no")

    runner.run(broken(), done)
    assert [type(error) for _, error in done.all] == [ValueError]


async def test_one_task_before_and_after_suspension(runner: EagerRunner) -> None:
    done = Results()

    async def suspends() -> bool:
        before = asyncio.current_task()
        async with asyncio.timeout(1):  # needs a current task in the first step
            await asyncio.sleep(0)
        return before is asyncio.current_task() is not None

    runner.run(suspends(), done)
    assert done.all == []
    await done.count(1)
    assert done.all == [(True, None)]


async def test_exception_after_suspension(runner: EagerRunner) -> None:
    done = Results()

    async def broken() -> None:
        await asyncio.sleep(0)
        raise ValueError("later")

    runner.run(broken(), done)
    await done.count(1)
    assert str(done.all[0][1]) == "later"


async def test_exceptions_are_thrown_in(runner: EagerRunner) -> None:
    done = Results()
    failing: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def catches() -> str:
        try:
            await failing
        except KeyError:
            return "caught"
        return "missed"

    runner.run(catches(), done)
    failing.set_exception(KeyError())
    await done.count(1)
    assert done.all == [("caught", None)]


async def test_timeout_settles_once_though_cancellation_is_swallowed(runner: EagerRunner) -> None:
    done = Results()
    ended = asyncio.Event()

    async def stubborn() -> str:
        try:
            await asyncio.get_running_loop().create_future()
        except asyncio.CancelledError:
            ended.set()
        return "late"

    runner.run(stubborn(), done)
    await ended.wait()
    await asyncio.sleep(0)
    assert [type(error) for _, error in done.all] == [TimeoutError]


async def test_context_variables_do_not_leak(runner: EagerRunner) -> None:
    done = Results()

    async def sets() -> str:
        seen = colour.get()
        colour.set("red")
        return seen

    for _ in range(2):
        runner.run(sets(), done)
    assert done.all == [("none", None), ("none", None)]


async def test_context_variables_stay_over_suspension(runner: EagerRunner) -> None:
    done = Results()

    async def sets() -> str:
        colour.set("blue")
        await asyncio.sleep(0)
        return colour.get()

    runner.run(sets(), done)
    await done.count(1)
    assert done.all == [("blue", None)]


async def test_runs_side_by_side(runner: EagerRunner) -> None:
    done = Results()
    gates = [asyncio.Event() for _ in range(3)]

    async def wait(index: int) -> int:
        await gates[index].wait()
        return index

    for index in range(3):
        runner.run(wait(index), done)
    for index in (2, 0, 1):
        gates[index].set()
        await done.count(len(done.all) + 1)
    assert [result for result, _ in done.all] == [2, 0, 1]


async def test_cancel_all_tells_done(runner: EagerRunner) -> None:
    done = Results()

    async def waits() -> None:
        await asyncio.get_running_loop().create_future()

    runner.run(waits(), done)
    runner.cancel_all()
    await done.count(1)
    assert isinstance(done.all[0][1], asyncio.CancelledError)
