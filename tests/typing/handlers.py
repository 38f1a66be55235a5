"""Handlers as users write them, for the type checkers: they run over this file, nobody imports it."""

from collections.abc import AsyncIterator, Iterator
from typing import assert_type

from headrace import Ack, Batch, Context, Event, Reject, Response, Retry


async def handle(event: Event, context: Context) -> dict[str, str] | Reject:
    assert_type(event.data, memoryview)
    assert_type(event.id, str)
    assert_type(event.headers.get("traceparent"), str | None)
    context.logger.info("seen key=%s", event.key)
    return {"id": event.id} if event.data else Reject("empty")


def handle_batch(batch: Batch) -> list[bytes | Retry]:
    assert_type(batch[0], Event)
    assert_type(batch[1:], Batch)
    assert_type(batch.values, list[memoryview])
    return [event.copy() if event.attempt < 3 else Retry(after_s=1.5) for event in batch]


def items(event: Event) -> Iterator[str]:
    yield from event.text().split()


async def items_async(event: Event) -> AsyncIterator[Response]:
    yield Response(b"x", 201, {"x-a": "b"}, "text/plain")


class Function:
    """Every method is optional but `handle`."""

    def start(self, context: Context) -> None:
        self.device = context.device.name

    def handle(self, event: Event) -> Ack:
        return Ack()

    def stop(self) -> None: ...

    def ready(self) -> bool:
        return True
