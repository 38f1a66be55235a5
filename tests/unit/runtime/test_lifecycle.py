"""`start`, `stop`, `ready`, `alive`: what they are given, where they run, what their errors say."""

import asyncio
import logging
import threading
from pathlib import Path
from typing import Any

import pytest
from support.projects import loaded, write

from headrace.runtime.context import Context
from headrace.runtime.errors import HandlerError, HandlerLoadError
from headrace.testing import make_event

EVENT = make_event("abc")


def function(body: str) -> str:
    """A class `Function` with `body` (indented by its lines) and a handler that tells of `self.seen`."""
    lines = "\n".join(f"    {line}" for line in body.splitlines())
    return f"class Function:\n    seen = None\n    def handle(self, event): return self.seen\n{lines}\n"


async def started(folder: Path, body: str, **options: Any) -> Any:
    """What `start` left in `self.seen`."""
    with loaded(write(folder, function(body)), **options) as handler:
        await handler.start()
        return handler.call(EVENT)


@pytest.mark.parametrize(
    "body",
    [
        "def start(self, context): self.seen = context",
        "async def start(self, context): self.seen = context",
        "def start(self, surroundings): self.seen = surroundings",
        "def start(self, *, context): self.seen = context",
        "from headrace import Context\ndef start(self, c: Context): self.seen = c",
    ],
)
async def test_start_is_given_the_context(tmp_path: Path, body: str) -> None:
    assert isinstance(await started(tmp_path, body), Context)


@pytest.mark.parametrize("parameter", ["cfg", "settings: dict", "settings: dict[str, str]"])
async def test_start_is_given_the_environment(tmp_path: Path, parameter: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODEL", "resnet")
    name = parameter.partition(":")[0]
    assert (await started(tmp_path, f"def start(self, {parameter}): self.seen = {name}"))["MODEL"] == "resnet"


async def test_start_is_given_bindings(tmp_path: Path) -> None:
    body = "def start(self, context, out): self.seen = (context.name, out)"
    assert await started(tmp_path, body, bindings={"out": "sink"}) == ("test", "sink")


async def test_start_without_arguments(tmp_path: Path) -> None:
    assert await started(tmp_path, "def start(self): self.seen = 1") == 1


async def test_sync_start_leaves_the_loop_free(tmp_path: Path) -> None:
    body = "def start(self, out):\n    self.seen = out.wait(10)"
    released = threading.Event()
    with loaded(write(tmp_path, function(body)), bindings={"out": released}) as handler:
        starting = asyncio.ensure_future(handler.start())
        asyncio.get_running_loop().call_soon(released.set)
        await starting
        assert handler.call(EVENT) is True


async def test_sync_start_that_gives_an_awaitable(tmp_path: Path) -> None:
    body = "async def later(self): self.seen = 1\ndef start(self): return self.later()"
    assert await started(tmp_path, body) == 1


@pytest.mark.parametrize(
    ("raised", "told"),
    [
        ("raise ValueError('no model\\nat all')", "ValueError: no model at all"),
        ("raise SystemExit(3)", "SystemExit: 3"),
        ("next(iter(()))", "RuntimeError: it raised StopIteration"),
    ],
)
@pytest.mark.parametrize("kind", ["def", "async def"])
async def test_start_that_raises(tmp_path: Path, raised: str, told: str, kind: str) -> None:
    source = function(f"{kind} start(self, context):\n    {raised}")
    with loaded(write(tmp_path, source)) as handler, pytest.raises(HandlerLoadError, match=r".") as caught:
        await handler.start()
    if kind == "async def":
        told = told.replace("it raised", "coroutine raised")
    assert str(caught.value) == (
        f"`start` of `function:Function.handle`: expected it to return, got {told} - at function/__init__.py:5"
    )


async def test_stop(tmp_path: Path) -> None:
    with loaded(write(tmp_path, function("async def stop(self, context): self.seen = context.name"))) as handler:
        await handler.start()  # there is none
        await handler.stop()
        assert handler.call(EVENT) == "test"


async def test_stop_that_raises(tmp_path: Path) -> None:
    source = function("def stop(self): raise OSError('gone')")
    with loaded(write(tmp_path, source)) as handler, pytest.raises(HandlerError, match=r".") as caught:
        await handler.stop()
    assert str(caught.value) == (
        "`stop` of `function:Function.handle`: expected it to return, got OSError: gone - at function/__init__.py:4"
    )


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ("True", (True, "")),
        ("False", (False, "")),
        ("None", (False, "")),
        ("(True, 'fine')", (True, "fine")),
        ("(0, 'loading')", (False, "loading")),
    ],
)
def test_checks(tmp_path: Path, answer: str, said: tuple[bool, str]) -> None:
    body = f"def ready(self): return {answer}\ndef alive(self, context): return {answer}"
    with loaded(write(tmp_path, function(body))) as handler:
        assert handler.ready() == said
        assert handler.alive() == said


def test_checks_are_optional(tmp_path: Path) -> None:
    with loaded(write(tmp_path, function("ready = 3"))) as handler:
        assert handler.ready() == (True, "")
        assert handler.alive() == (True, "")


def test_check_that_raises(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with loaded(write(tmp_path, function("def ready(self): raise ValueError('token abc')"))) as handler:
        assert handler.ready() == (False, "`ready` raised ValueError")
    assert [record.message for record in caplog.records] == ["ready raised ValueError"]


async def test_async_checks_answer_with_their_last_result(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    body = """
async def ready(self, out):
    if out.is_set():
        raise ValueError
    await out.wait()
    return True, "fine"
async def alive(self): return True
"""
    asked = asyncio.Event()
    with loaded(write(tmp_path, function(body)), bindings={"out": asked}) as handler:
        assert handler.ready() == (False, "`ready` has not answered yet")
        assert handler.alive() == (True, "`alive` has not answered yet")
        await asyncio.sleep(0)
        assert handler.ready() == (False, "`ready` has not answered yet")
        asked.set()
        async with asyncio.timeout(5):
            while handler.ready() != (False, "`ready` raised ValueError"):
                await asyncio.sleep(0)
        assert handler.alive() == (True, "")
    assert caplog.records[0].levelno == logging.ERROR


async def test_module_has_them_too(tmp_path: Path) -> None:
    source = """
        from threading import Event as start
        from os import getpid as alive
        seen = []
        def stop(context): seen.append(context.name)
        def ready(): return not seen
        def handle(event): return seen
        """
    with loaded(write(tmp_path, source)) as handler:
        await handler.start()  # what a module imported is not its own
        assert handler.alive() == (True, "")
        assert handler.ready() == (True, "")
        await handler.stop()
        assert handler.ready() == (False, "")
        assert handler.call(EVENT) == ["test"]
