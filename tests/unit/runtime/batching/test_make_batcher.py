"""The parts put together, as a replica has them."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from headrace.runtime.batching import Batcher, make_batcher
from headrace.runtime.eager import EagerRunner
from headrace.runtime.handlers import Handler, Shape
from headrace.runtime.metrics import Metrics
from headrace.runtime.spec import Adaptive, Batching
from headrace.runtime.threads import HandlerThreads
from headrace.triggers.events import Batch, Event, Trigger
from headrace.triggers.units import Seconds

TRIGGER = Trigger("t", "memory")
Made = tuple[Batcher, Metrics, list[int]]


@pytest.fixture(params=[Batching(max_batch_size=32), Batching(adaptive=Adaptive(target_latency=Seconds(60)))])
async def made(request: pytest.FixtureRequest) -> AsyncIterator[Made]:
    sizes: list[int] = []

    async def handle(batch: Batch) -> list[bytes]:
        sizes.append(len(batch))
        return [event.copy() for event in batch]

    loop, metrics = asyncio.get_running_loop(), Metrics(["t"])
    runner, threads = EagerRunner(loop, 5), HandlerThreads(loop, 1, 5)
    handler = Handler(shape=Shape.BATCH, call=handle, is_async=True)
    batcher = make_batcher(
        handler, request.param, workers=1, runner=runner, threads=threads, timeout_s=5, metrics=metrics, loop=loop
    )
    yield batcher, metrics, sizes
    runner.close()
    threads.close()


async def ask(batcher: Batcher, data: bytes) -> object:
    answer: asyncio.Future[object] = asyncio.get_running_loop().create_future()
    batcher.submit(Event(data, trigger=TRIGGER), lambda event, result: answer.set_result(result))
    return await answer


async def test_events_go_through(made: Made) -> None:
    batcher, metrics, sizes = made
    for _ in range(3):
        results = await asyncio.gather(*(ask(batcher, b"%d" % number) for number in range(20)))
        assert results == [b"%d" % number for number in range(20)]
    assert sum(sizes) == 60
    assert sizes[-1] > 1
    page = metrics.render().decode()
    for line in ("batch_bisections_total 0.0", "batch_out_of_memory_total 0.0", "batch_size_limit"):
        assert f"headrace_{line}" in page
