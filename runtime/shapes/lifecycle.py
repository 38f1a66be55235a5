"""`start`, `stop`, `ready` and `alive` of a function: each optional, sync or async.

Sync `start` and `stop` run in a thread, so that health is answered meanwhile. What does not belong here:
when they are called.
"""

import asyncio
import functools
import inspect
import logging
import os
from collections.abc import Awaitable, Callable
from typing import Any, TypedDict

from ..context import Context
from ..errors import HandlerError, HandlerLoadError, HandlerShapeError
from ..places import of_code, of_error, told
from .signatures import Candidate, Role, binding, is_async, parameters

logger = logging.getLogger(__name__)


class Hooks(TypedDict, total=False):
    """The optional fields of `Handler`."""

    start: Callable[[], Awaitable[None]]
    stop: Callable[[], Awaitable[None]]
    ready: Callable[[], tuple[bool, str]]
    alive: Callable[[], tuple[bool, str]]


def hooks(found: Candidate, context: Context, default: Role = Role.CONTEXT) -> Hooks:
    """What the candidate's owner has of them.

    Args:
        found: The handler.
        context: Given where a parameter asks for it; bindings likewise.
        default: What a parameter with a name of its own is given: the context, or the environment.

    Raises:
        HandlerShapeError: One of them asks for something that there is not.
    """
    bound = {name: _bound(name, found, context, default) for name in ("start", "stop", "ready", "alive")}
    given: Hooks = {}
    if (start := bound["start"]) is not None:
        given["start"] = start_of(start, "start", found)
    if (stop := bound["stop"]) is not None:
        given["stop"] = stop_of(stop, found)
    if (ready := bound["ready"]) is not None:
        given["ready"] = _Check("ready", ready)
    if (alive := bound["alive"]) is not None:
        given["alive"] = _Check("alive", alive)
    return given


def start_of(function: Callable[[], Any], name: str, found: Candidate) -> Callable[[], Awaitable[None]]:
    """`Handler.start`: raises `HandlerLoadError` for whatever `function` raises."""

    async def start() -> None:
        try:
            await finished(function)
        except (Exception, SystemExit) as exc:
            raise HandlerLoadError(_failure(name, exc, found)) from exc

    return start


def stop_of(function: Callable[[], Any], found: Candidate) -> Callable[[], Awaitable[None]]:
    """`Handler.stop`: raises `HandlerError` for whatever `function` raises."""

    async def stop() -> None:
        try:
            await finished(function)
        except (Exception, SystemExit) as exc:
            raise HandlerError(_failure("stop", exc, found)) from exc

    return stop


async def finished(function: Callable[[], Any]) -> Any:
    """The result of `function`, on the loop where it is async, else from a thread."""
    if is_async(function):
        return await function()

    def attempt() -> tuple[Any, BaseException | None]:
        try:
            return function(), None
        except BaseException as exc:  # a StopIteration cannot cross a Future, and SystemExit would end the loop
            return None, exc

    result, error = await asyncio.to_thread(attempt)
    if isinstance(error, StopIteration):
        raise RuntimeError("it raised StopIteration") from error
    if error is not None:
        raise error
    return await result if inspect.isawaitable(result) else result


def _failure(name: str, exc: BaseException, found: Candidate) -> str:
    place = of_error(exc, found.project)
    return f"`{name}` of `{found.name}`: expected it to return, got {told(exc)} - at {place}"


def _bound(name: str, found: Candidate, context: Context, default: Role) -> Callable[[], Any] | None:
    """The owner's method of this name, with what its signature asks for."""
    function = getattr(found.owner, name, None)
    if not callable(function):
        return None
    if inspect.ismodule(found.owner):  # a module may have imported something of this name
        package = found.owner.__name__.partition(".")[0]
        if isinstance(function, type) or (function.__module__ or "").partition(".")[0] != package:
            return None
    place = of_code(function, found.project)
    positional: list[object] = []
    named: dict[str, object] = {}
    for index, one in enumerate(parameters(function, context.bindings, f"{found.name}.{name}", place)):
        if not one.required and one.role not in (Role.CONTEXT, Role.BINDING):
            continue
        role = default if one.role is Role.UNKNOWN and index == 0 else one.role
        value = _argument(role, one.name, name, found, context)
        if one.keyword:
            named[one.name] = value
        else:
            positional.append(value)
    return functools.partial(function, *positional, **named)


def _argument(role: Role, parameter: str, name: str, found: Candidate, context: Context) -> object:
    if role is Role.CONTEXT:
        return context
    if role is Role.ENVIRON:
        return dict(os.environ)
    if role is Role.BINDING:
        return binding(context, parameter)
    raise HandlerShapeError(
        f"`{name}` of `{found.name}`: expected `{name}(context)` or names of bindings, got `{parameter}` "
        f"- at {of_code(getattr(found.owner, name), found.project)}"
    )


class _Check:
    """`ready` or `alive`, answered at once.

    An async one runs beside: the answer is that of its last run, and before its first has ended what
    the absence of the method would mean for `alive`, and unready for `ready`.
    """

    def __init__(self, name: str, function: Callable[[], Any]) -> None:
        self._name = name
        self._function = function
        self._async = is_async(function)
        self._running: asyncio.Task[None] | None = None
        self._last = (name == "alive", f"`{name}` has not answered yet")

    def __call__(self) -> tuple[bool, str]:
        if not self._async:
            try:
                return _answer(self._function())
            except Exception as exc:
                return self._raised(exc)
        if self._running is None:
            self._running = asyncio.get_running_loop().create_task(self._run())
        return self._last

    async def _run(self) -> None:
        try:
            self._last = _answer(await self._function())
        except Exception as exc:
            self._last = self._raised(exc)
        finally:
            self._running = None

    def _raised(self, exc: Exception) -> tuple[bool, str]:
        logger.error("%s raised %s", self._name, type(exc).__name__, exc_info=exc)
        return False, f"`{self._name}` raised {type(exc).__name__}"


def _answer(result: Any) -> tuple[bool, str]:
    """func-python's rule: a bool, or (bool, message)."""
    if isinstance(result, tuple) and len(result) == 2:
        return bool(result[0]), str(result[1])
    return bool(result), ""
