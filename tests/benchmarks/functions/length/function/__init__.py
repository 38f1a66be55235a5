"""Answers with the length of the body."""

from headrace import Event


async def handle(event: Event) -> bytes:
    return b"%d" % len(event.data)
