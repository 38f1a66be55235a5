"""From events to batches: who waits (`queues`), how many go together (`sizing`, `adaptive`, `memory`, `batcher`).

`invoking` calls the batch handler, and finds out which event makes it raise. `make_batcher` puts them together.
"""

import asyncio

from ..eager import EagerRunner
from ..handlers import Handler
from ..metrics import Metrics
from ..spec import Batching
from ..threads import HandlerThreads
from .batcher import Batcher
from .invoking import BatchInvoker
from .memory import MemoryLimit

__all__ = ["BatchInvoker", "Batcher", "MemoryLimit", "make_batcher"]


def make_batcher(
    handler: Handler,
    batching: Batching,
    *,
    workers: int,
    runner: EagerRunner,
    threads: HandlerThreads,
    timeout_s: float,
    metrics: Metrics,
    loop: asyncio.AbstractEventLoop,
) -> Batcher:
    """The `Intake` of a function that handles batches.

    Args:
        handler: Of shape BATCH.
        batching: func.yaml's section.
        workers: Batches that may run side by side.
        runner: For async handlers.
        threads: For sync ones.
        timeout_s: For one call of the handler.
        metrics: Counts all of it.
        loop: The running loop.
    """
    memory = MemoryLimit(batching.max_batch_size)
    adaptive = None
    if batching.adaptive is not None:
        from .adaptive import AdaptiveSize

        adaptive = AdaptiveSize(float(batching.adaptive.target_latency))
    invoker = BatchInvoker(
        handler, runner, threads, timeout_s, metrics, memory=memory, learn=adaptive.ran if adaptive else None
    )
    metrics.gauge("batch_size_limit", "Rows that a batch may have at present", lambda: memory.size)
    return Batcher(
        invoker.invoke,
        batching,
        workers,
        metrics,
        loop,
        sizing=adaptive,
        memory=memory,
        arrived=adaptive.arrived if adaptive else None,
    )
