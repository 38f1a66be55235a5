"""`headrace.testing`: events made, functions run, nothing left behind."""

import asyncio
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.projects import write

import headrace.testing
from headrace import Ack, Batch, Context, Event, Response, Retry
from headrace.runtime.errors import HandlerShapeError, ResultError
from headrace.runtime.handlers import Handler, Shape
from headrace.testing import make_event, run, running
from headrace.triggers.arrays import Row
from headrace.triggers.errors import UsageError


def upper(event: Event) -> str:
    return event.text().upper()


async def upper_async(event: Event, context: Context) -> str:
    await asyncio.sleep(0)
    return f"{context.name} {event.text().upper()}"


class Counting:
    """A function with a life."""

    def __init__(self) -> None:
        self.seen: list[str] = []

    def start(self) -> None:
        self.seen.append("start")

    def handle(self, event: Event) -> list[str]:
        self.seen.append(event.id)
        return list(self.seen)

    def stop(self) -> None:
        self.seen.append("stop")


# -- events ------------------------------------------------------------------------------------------------


def test_public_names() -> None:
    assert headrace.testing.__all__ == ["Function", "broker", "make_event", "run", "running"]


def test_make_event() -> None:
    event = make_event(
        "héllo", id="7", source="s", type="t", subject="a.b", time="2026-01-02T03:04:05Z", key=b"k", partition=1,
        offset=2, attempt=3, trigger="frames", kind="nats", headers={"A": "b"}, extensions={"x": "y"},
    )  # fmt: skip
    assert (event.text(), event.id, event.source, event.type, event.subject) == ("héllo", "7", "s", "t", "a.b")
    assert (event.time, event.key, event.partition, event.offset, event.attempt) == (
        "2026-01-02T03:04:05Z", b"k", 1, 2, 3,
    )  # fmt: skip
    assert (event.trigger.name, event.trigger.kind, event.headers["a"]) == ("frames", "nats", "b")
    assert (event.extensions, event.datacontenttype) == ({"x": "y"}, None)


def test_make_event_of_json_and_arrays() -> None:
    event = make_event(json={"a": [1]})
    assert (event.json(), event.datacontenttype) == ({"a": [1]}, "application/json")
    assert make_event(json=0).json() == 0
    assert make_event(headers={"content-type": "text/x"}).datacontenttype == "text/x"
    array = np.arange(6, dtype="float32").reshape(2, 3)
    assert (make_event(array.data).tensor("float32", (2, 3)) == array).all()
    with pytest.raises(TypeError, match="make_event: expected `data` or `json`, got both"):
        make_event(b"x", json=1)


# -- running -----------------------------------------------------------------------------------------------


async def test_function_object() -> None:
    async with running(upper) as function:
        assert await function(make_event(b"a")) == "A"
        assert await function("b") == "B"
        assert await function.batch([b"c", make_event("d")]) == ["C", "D"]
    async with running(upper_async) as function:
        assert await function("b") == "test B"


async def test_class_and_instance() -> None:
    instance = Counting()
    async with running(instance) as function:
        assert await function(make_event(id="1")) == ["start", "1"]
    assert instance.seen == ["start", "1", "stop"]
    async with running(Counting) as function:
        assert await function(make_event(id="2")) == ["start", "2"]


def test_run() -> None:
    assert run(Counting, [make_event(id="1"), make_event(id="2")]) == [["start", "1"], ["start", "1", "2"]]
    assert run(upper_async, ["x"]) == ["test X"]


async def test_sync_handlers_run_in_a_thread() -> None:
    def handle(event: Event) -> bool:
        return threading.current_thread() is threading.main_thread()

    async with running(handle) as function:
        assert await function(b"") is False


async def test_generators_are_collected() -> None:
    def sync(event: Event) -> Iterator[int]:
        yield from (1, 2)

    async def asynchronous(event: Event) -> AsyncIterator[int]:
        yield 1
        yield 2

    async def in_response(event: Event) -> Response:
        return Response(asynchronous(event), status=201)

    assert await asyncio.to_thread(run, sync, [b""]) == [[1, 2]]
    assert await asyncio.to_thread(run, asynchronous, [b""]) == [[1, 2]]
    async with running(in_response) as function:
        response = await function(b"")
    assert (response.body, response.status) == ([1, 2], 201)


async def test_batch() -> None:
    async def handle(batch: Batch) -> Any:
        return np.array([len(event.data) for event in batch])

    async with running(handle) as function:
        assert await function.batch([b"a", b"bc"]) == [1, 2]
        assert await function(b"abc") == 3


@pytest.mark.parametrize("outcome", [None, Ack(), Retry(1)])
def test_batch_of_one_outcome(outcome: object) -> None:
    def handle(batch: Batch) -> object:
        return outcome

    assert run(handle, [b"a", b"b"]) == [outcome, outcome]


@pytest.mark.parametrize(
    ("result", "text"),
    [
        ([1], "batch handler: expected 2 results, got 1"),
        ("ab", "batch handler: expected a sequence of 2 results, got `str`"),
        (3, "batch handler: expected a sequence of 2 results, got `int`"),
        (Response(), "batch handler: expected a sequence of 2 results, got `Response`"),
    ],
)
def test_batch_with_wrong_results(result: object, text: str) -> None:
    def handle(batch: Batch) -> object:
        return result

    with pytest.raises(ResultError, match=text):
        run(handle, [b"a", b"b"])


@pytest.mark.parametrize("kind", [ValueError, StopIteration, SystemExit])
def test_what_the_handler_raises(kind: type[BaseException]) -> None:
    def handle(event: Event) -> None:
        raise kind("told")

    async def run_one() -> BaseException:
        async with running(handle) as function:
            try:
                await function(b"")
            except (Exception, SystemExit) as exc:
                return exc
        raise AssertionError("expected it to raise")

    error = asyncio.run(run_one())
    assert isinstance(error, RuntimeError if kind is StopIteration else kind)


async def test_bindings_and_device() -> None:
    def handle(event: Event, out: list[str], context: Context) -> int:
        out.append(event.text())
        return int(context.xp.sum(event.tensor("uint8", (1,))))

    out: list[str] = []
    async with running(handle, bindings={"out": out}) as function:  # type: ignore[dict-item]
        assert await function(b"\x05") == 5
    assert out == ["\x05"]


async def test_request_and_event_are_told_apart() -> None:
    async def app(scope: object, receive: object, send: object) -> None: ...

    async with running(app) as function:
        with pytest.raises(UsageError, match=r"expected `function.http\(\.\.\.\)`, got an event for an ASGI app"):
            await function(b"")
    async with running(upper) as function:
        with pytest.raises(UsageError, match=r"expected `await function\(event\)`, got a request"):
            await function.http()


async def test_loaded_handler() -> None:
    async with running(Handler(shape=Shape.EVENT, call=upper, is_async=False)) as function:
        assert await function("a") == "A"


async def test_object_of_no_shape() -> None:
    with pytest.raises(HandlerShapeError, match=r"handler `.*:int`: expected .* got an object of type `int`"):
        async with running(3):
            pass


async def test_project_is_unloaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "a", "from part import handle")
    write(tmp_path / "a", "def handle(event): return 'a'", "part.py")
    write(tmp_path / "b", "from part import handle")
    write(tmp_path / "b", "def handle(event): return 'b'", "part.py")
    path = list(sys.path)
    for name in ("a", "b"):
        monkeypatch.chdir(tmp_path / name)
        async with running() as function:
            assert await function(b"") == name
    assert sys.path == path
    assert not {"function", "part"} & set(sys.modules)


async def test_batch_handler_that_relies_on_its_declared_row() -> None:
    def double(batch: Batch) -> object:
        return batch.tensor() * 2

    row = Row(dtype="uint8", shape=(2,))
    async with running(double) as function:
        results = await function.batch([make_event(b"\1\2", row=row), make_event(b"\1\2\3\4", row=row)])
    assert [result.tolist() for result in results] == [[[2, 4]], [[2, 4], [6, 8]]]
