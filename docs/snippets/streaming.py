"""function/__init__.py: a result bit by bit."""

from collections.abc import AsyncIterator

from headrace import Event


async def handle(event: Event) -> AsyncIterator[str]:
    for word in event.text().split():
        yield f"{word.upper()}\n"
