"""Answers with the length of each body."""

from headrace import Batch


async def handle(batch: Batch) -> list[bytes]:
    return [b"%d" % len(value) for value in batch.values]
