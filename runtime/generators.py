"""Results that come bit by bit: a handler's generator as an async iterator, each item within the timeout.

Sync generators are advanced in the handler threads. What does not belong here: where the items go.
"""

import asyncio
from collections.abc import AsyncIterator, Generator
from typing import Any

from .errors import HandlerTimeout
from .threads import HandlerThreads

_END = object()


class TimedItems(AsyncIterator[Any]):
    """An async generator whose every item must come within `timeout_s`.

    Raises:
        HandlerTimeout: From `__anext__`, after which the generator is closed.
    """

    def __init__(self, items: AsyncIterator[Any], timeout_s: float) -> None:
        self._items = items
        self._timeout_s = timeout_s

    async def __anext__(self) -> Any:
        try:
            async with asyncio.timeout(self._timeout_s):
                return await anext(self._items)
        except TimeoutError as exc:
            await self.aclose()
            raise HandlerTimeout(f"generator: expected an item within {self._timeout_s:g} s") from exc

    async def aclose(self) -> None:
        """Run the generator's `finally` blocks, if it has any."""
        close = getattr(self._items, "aclose", None)
        if close is not None:
            await close()


class ThreadedItems(AsyncIterator[Any]):
    """A sync generator, advanced in `threads` one item at a time."""

    def __init__(self, items: Generator[Any, Any, Any], threads: HandlerThreads) -> None:
        self._items = items
        self._threads = threads

    async def __anext__(self) -> Any:
        item = await self._call(next, self._items, _END)
        if item is _END:
            raise StopAsyncIteration
        return item

    async def aclose(self) -> None:
        """Run the generator's `finally` blocks in a thread."""
        await self._call(self._items.close)

    async def _call(self, function: Any, *args: Any) -> Any:
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

        def done(result: Any, error: BaseException | None) -> None:
            if answer.done():
                return
            if error is None:
                answer.set_result(result)
            elif isinstance(error, TimeoutError):
                answer.set_exception(HandlerTimeout("generator: an item took longer than `limits.handlerTimeout`"))
            else:
                answer.set_exception(error)

        self._threads.submit(function, args, done)
        return await answer
