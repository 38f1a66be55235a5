"""`loading`: what is found in a project, and each error's text."""

import sys
from pathlib import Path
from typing import Any

import pytest
from support.projects import loaded, write

from headrace.runtime.errors import HandlerLoadError, HandlerShapeError
from headrace.runtime.handlers import Handler, Shape
from headrace.testing import make_event
from headrace.triggers.errors import HeadraceError, UsageError
from headrace.triggers.events import Batch

FORMS = (
    "`handle(event[, context])`, `handle(batch[, context])`, `handle(scope, receive, send)`, "
    "`handler(context, event)` or an ASGI app"
)
EVENT = make_event("abc")
BATCH = Batch([EVENT])


async def result(handler: Handler, payload: Any) -> Any:
    """What the handler gives, generators as lists."""
    value = handler.call(payload)
    if handler.is_async:
        return [item async for item in value] if hasattr(value, "__anext__") else await value
    return list(value) if hasattr(value, "__next__") else value


def failure(folder: Path, kind: type[HeadraceError], **spec: Any) -> str:
    """The text of the error that loading ends with."""
    with pytest.raises(kind, match=r"."), loaded(folder, **spec):
        pass
    try:
        with loaded(folder, **spec):
            raise AssertionError("expected an error")
    except kind as exc:
        return str(exc)


# -- shapes ------------------------------------------------------------------------------------------------

SYNC = {
    "function": "def handle(event): return event.text()",
    "by annotation": "from headrace import Event\ndef handle(e: Event): return e.text()",
    "by string annotation": "from headrace import Event\ndef handle(e: 'Event', *, n: 'Unknown' = 1): return e.text()",
    "dotted annotation": "import headrace\ndef handle(e: 'headrace.Event'): return e.text()",
    "optional": "from headrace import Event\ndef handle(e: Event | None): return e.text()",
    "optional string": "from headrace import Event\ndef handle(e: 'Event | None'): return e.text()",
    "annotated": "from typing import Annotated, Optional\nfrom headrace import Event\n"
    "def handle(e: Annotated[Event, 'frame'], n: Optional[int] = None): return e.text()",
    "type checking": """
        from __future__ import annotations
        from typing import TYPE_CHECKING
        if TYPE_CHECKING:
            from headrace import Context, Event
            from nowhere import Model
        def handle(e: Event, c: Context, model: Model = None): return e.text() if c.name == "test" else None
        """,
    "context": "def handle(event, context): return event.text() if context.name == 'test' else None",
    "context first": """
        from headrace import Context, Event
        def handle(context: Context, event: Event): return event.text() if context.name == "test" else None
        """,
    "positional only": "def handle(event, context, /): return event.text() if context.name == 'test' else None",
    "keyword only": "def handle(event, *, context): return event.text() if context.name == 'test' else None",
    "default": "def handle(event, mode='x', *args, **kwargs): return event.text() if mode == 'x' else None",
    "called handler": "def handler(event, context): return event.text()",
    "class": "class Function:\n    def handle(self, event, context): return event.text()",
    "new": "class F:\n    def handle(self, event): return event.text()\ndef new(): return F()",
    "new beside its class": "class Function:\n    def handle(self, event): return event.text()\n"
    "def new(): return Function()",
    "new gives a function": "def new():\n    def handle(event): return event.text()\n    return handle",
    "static method": "class Function:\n    @staticmethod\n    def handle(event): return event.text()",
    "class method": "class Function:\n    @classmethod\n    def handle(cls, event): return event.text()",
    "callable instance": "class C:\n    def __call__(self, event): return event.text()\nhandle = C()",
    "instance with handle": "class C:\n    def handle(self, event): return event.text()\nhandle = C()",
    "bound method": "class C:\n    def go(self, event): return event.text()\nhandle = C().go",
    "partial": "from functools import partial\n"
    "def go(prefix, event): return event.text() if prefix == 'p' else None\nhandle = partial(go, 'p')",
    "decorated": """
        import functools
        def traced(f):
            @functools.wraps(f)
            def inner(*args, **kwargs): return f(*args, **kwargs)
            return inner
        @traced
        def handle(event, context): return event.text()
        """,
    "lambda": "handle = lambda event: event.text()",
    "staticmethod object": "handle = staticmethod(lambda event: event.text())",
}
ASYNC = {
    "function": "async def handle(event): return event.text()",
    "class": "class Function:\n    async def handle(self, event, context): return event.text()",
    "callable instance": "class C:\n    async def __call__(self, event): return event.text()\nhandle = C()",
    "partial": "from functools import partial\nasync def go(prefix, event): return event.text()\n"
    "handle = partial(go, 'p')",
    "partial of instance": "from functools import partial\nclass C:\n"
    "    async def __call__(self, prefix, event): return event.text()\nhandle = partial(C(), 'p')",
    "awaiting decorator": """
        import functools
        def traced(f):
            @functools.wraps(f)
            async def inner(*args, **kwargs): return await f(*args, **kwargs)
            return inner
        @traced
        async def handle(event, context): return event.text()
        """,
    "passing decorator": """
        import functools
        def traced(f):
            @functools.wraps(f)
            def inner(*args): return f(*args)
            return inner
        @traced
        async def handle(event): return event.text()
        """,
    "running decorator": """
        import asyncio, functools
        def synced(f):
            @functools.wraps(f)
            def inner(*args): return asyncio.run(f(*args))
            return inner
        @synced
        async def handle(event): return event.text()
        """,
}
GENERATORS = {
    "sync": ("def handle(event):\n    yield event.text()", False),
    "sync method": ("class Function:\n    def handle(self, event, context):\n        yield event.text()", False),
    "async": ("async def handle(event):\n    yield event.text()", True),
    "async method": ("class Function:\n    async def handle(self, event):\n        yield event.text()", True),
    "async callable": (
        "class C:\n    async def __call__(self, event):\n        yield event.text()\nhandle = C()",
        True,
    ),
}


@pytest.mark.parametrize("source", SYNC.values(), ids=SYNC)
async def test_sync_event_handler(tmp_path: Path, source: str) -> None:
    with loaded(write(tmp_path, source)) as handler:
        assert (handler.shape, handler.is_async) == (Shape.EVENT, False)
        assert await result(handler, EVENT) == "abc"


@pytest.mark.parametrize("source", ASYNC.values(), ids=ASYNC)
async def test_async_event_handler(tmp_path: Path, source: str) -> None:
    with loaded(write(tmp_path, source)) as handler:
        assert (handler.shape, handler.is_async) == (Shape.EVENT, True)
        assert await result(handler, EVENT) == "abc"
        assert await result(handler, EVENT) == "abc"  # a decorator's kind is known by now


@pytest.mark.parametrize(("source", "is_async"), GENERATORS.values(), ids=GENERATORS)
async def test_generator(tmp_path: Path, source: str, is_async: bool) -> None:
    with loaded(write(tmp_path, source)) as handler:
        assert (handler.shape, handler.is_async) == (Shape.EVENT, is_async)
        assert await result(handler, EVENT) == ["abc"]


@pytest.mark.parametrize(
    ("source", "is_async"),
    [
        ("def handle(batch): return [e.text() for e in batch]", False),
        ("def handle(batch, context): return [e.text() for e in batch]", False),
        ("from headrace import Batch\ndef handle(events: Batch): return [e.text() for e in events]", False),
        ("from headrace import Batch\ndef handle(event: 'Batch'): return [e.text() for e in event]", False),
        ("async def handle(batch): return [e.text() for e in batch]", True),
        ("class Function:\n    async def handle(self, batch, context): return [e.text() for e in batch]", True),
    ],
)
async def test_batch_handler(tmp_path: Path, source: str, is_async: bool) -> None:
    with loaded(write(tmp_path, source)) as handler:
        assert (handler.shape, handler.is_async) == (Shape.BATCH, is_async)
        assert await result(handler, BATCH) == ["abc"]


async def test_bindings_are_injected_by_name(tmp_path: Path) -> None:
    source = "def handle(event, out_queue, context=None, users=None): return out_queue, context.name, users"
    with loaded(write(tmp_path, source), bindings={"out-queue": "the queue"}) as handler:
        assert await result(handler, EVENT) == ("the queue", "test", None)


def test_annotation_outweighs_name(tmp_path: Path) -> None:
    with loaded(write(tmp_path, "from headrace import Event\ndef handle(batch: Event): ...")) as handler:
        assert handler.shape is Shape.EVENT


# -- where it is found -------------------------------------------------------------------------------------


def test_package_goes_before_module(tmp_path: Path) -> None:
    write(tmp_path, "def handle(event): ...", "func.py")
    with loaded(tmp_path) as handler:
        assert handler.name == "func:handle"
    write(tmp_path, "def handle(event): ...")
    with loaded(tmp_path) as handler:
        assert handler.name == "function:handle"
        assert sys.path[0] == str(tmp_path)


@pytest.mark.parametrize(
    ("attribute", "name"),
    [("encode", "app.code:encode"), ("Model", "app.code:Model.handle"), ("model", "app.code:model.handle")],
)
async def test_named_handler(tmp_path: Path, attribute: str, name: str) -> None:
    write(tmp_path, "", "app/__init__.py")
    source = """
        def encode(event): return event.text()
        class Model:
            def handle(self, event): return event.text()
        model = Model()
        """
    with loaded(write(tmp_path, source, "app/code.py"), handler=f"app.code:{attribute}") as handler:
        assert handler.name == name
        assert await result(handler, EVENT) == "abc"


def test_two_projects_of_one_process(tmp_path: Path) -> None:
    write(tmp_path / "a", "def handle(event): return 'a'")
    write(tmp_path / "b", "from .part import handle")
    write(tmp_path / "b", "def handle(event): return 'b'", "function/part.py")
    with loaded(tmp_path / "a") as a, loaded(tmp_path / "b") as b, loaded(tmp_path / "b") as again:
        assert (a.call(EVENT), b.call(EVENT), again.call(EVENT)) == ("a", "b", "b")
        assert b.call is again.call  # the module was there already


# -- errors ------------------------------------------------------------------------------------------------


def test_no_code(tmp_path: Path) -> None:
    assert failure(tmp_path, HandlerLoadError) == (
        "function: expected `function/__init__.py` or `func.py`, or `handler: module:attribute` in func.yaml, "
        f"got none of them - at {tmp_path}"
    )


@pytest.mark.parametrize(
    ("source", "text"),
    [
        (
            "import os\nimport torch_not_installed",
            "`function`: expected it to import, got ModuleNotFoundError: No module named 'torch_not_installed' "
            "- at function/__init__.py:2",
        ),
        (
            "\ndef handle(event:\n",
            "`function`: expected it to import, got SyntaxError: '(' was never closed (__init__.py, line 1) "
            "- at function/__init__.py:1",
        ),
        (
            "import json\ndef load():\n    json.loads('{')\nload()",
            "`function`: expected it to import, got JSONDecodeError: Expecting property name enclosed in double "
            "quotes: line 1 column 2 (char 1) - at function/__init__.py:3",
        ),
        ("raise SystemExit", "`function`: expected it to import, got SystemExit - at function/__init__.py:1"),
        (
            "import nuclio_sdk",
            "`function`: expected it to import, got ModuleNotFoundError: No module named 'nuclio_sdk' (install it "
            "with `pip install nuclio-sdk`, or leave it out: `context` and `event` do not need it) "
            "- at function/__init__.py:1",
        ),
        (
            "def handle(event): ...\ndef new(): ...",
            "`function`: expected one of `new` and `handle`, got both - at function/__init__.py",
        ),
        (
            "def handle(event): ...\nclass Function: ...",
            "`function`: expected one of `Function` and `handle`, got both - at function/__init__.py",
        ),
        (
            "class Function:\n    def __init__(self):\n        raise OSError('no model')",
            "class `Function`: expected it to return, got OSError: no model - at function/__init__.py:3",
        ),
        (
            "def new():\n    return 1 / 0",
            "`new`: expected it to return, got ZeroDivisionError: division by zero - at function/__init__.py:2",
        ),
    ],
)
def test_load_error(tmp_path: Path, source: str, text: str) -> None:
    assert failure(write(tmp_path, source), HandlerLoadError) == text


@pytest.mark.parametrize(
    ("source", "text"),
    [
        (
            "import os\n\ndef handle(request): ...",
            f"handler `function:handle`: expected {FORMS}, got `(request)` - at function/__init__.py:3",
        ),
        (
            "def handle(): ...",
            f"handler `function:handle`: expected {FORMS}, got `()` - at function/__init__.py:1",
        ),
        (
            "def handle(event, batch): ...",
            f"handler `function:handle`: expected {FORMS}, got `(event, batch)` - at function/__init__.py:1",
        ),
        (
            "def main(context): ...",
            f"`function`: expected {FORMS}, a class `Function` or a function `new`, got none of them "
            "- at function/__init__.py",
        ),
        (
            "class Function:\n\n    handle = 3",
            f"handler `function:Function.handle`: expected {FORMS}, got an object of type `int` "
            "- at function/__init__.py",
        ),
        (
            "class Function:\n    def go(self, event): ...",
            f"handler `function:Function`: expected {FORMS}, got an object of type `Function` "
            "- at function/__init__.py:2",
        ),
        (
            "def handle(event, contxt): ...",
            "handler `function:handle`: expected the parameter `contxt` to be `context` or the name of a binding "
            "(there are: `out`), got neither - at function/__init__.py:1",
        ),
        (
            "class Function:\n    def __init__(self, model, size=3): ...\n    def handle(self, event): ...",
            "class `Function`: expected a constructor without arguments, got `(model)` - at function/__init__.py:2",
        ),
        (
            "def new(config): ...",
            "`new`: expected a function without arguments, got `(config)` - at function/__init__.py:1",
        ),
        (
            "async def new(): ...",
            "`new`: expected `def`, got `async def`: wait in `start` - at function/__init__.py:1",
        ),
        (
            "def new(): ...",
            "`new`: expected it to return an object with a `handle` method, got one of type `NoneType` "
            "- at function/__init__.py:1",
        ),
        (
            "def handle(scope, receive, send): ...",
            "handler `function:handle`: expected `async def handle(scope, receive, send)`, got `def` "
            "- at function/__init__.py:1",
        ),
        (
            "def handle(*, event): ...",
            "handler `function:handle`: expected {FORMS}, got `(event)` - at function/__init__.py:1",
        ),
        (
            "handle = max",
            "handler `function:handle`: expected a signature that can be read, got an object of type "
            "`builtin_function_or_method` - at function/__init__.py",
        ),
        (
            "handle = dict.fromkeys",
            "handler `function:handle`: expected {FORMS}, got `(iterable, value)` - at function/__init__.py",
        ),
        (
            "class Function:\n    def handle(self, event): ...\n    def start(self, context, extra): ...",
            "`start` of `function:Function.handle`: expected `start(context)` or names of bindings, got `extra` "
            "- at function/__init__.py:3",
        ),
    ],
)
def test_shape_error(tmp_path: Path, source: str, text: str) -> None:
    with pytest.raises(HandlerShapeError, match=r".") as caught, loaded(write(tmp_path, source), bindings={"out": 1}):
        pass
    assert str(caught.value) == text.replace("{FORMS}", FORMS)


def test_named_but_missing(tmp_path: Path) -> None:
    write(tmp_path, "def encode(event): ...", "main.py")
    assert failure(tmp_path, HandlerLoadError, handler="main:encoder") == (
        "`main:encoder`: expected `encoder` in the module, got nothing of this name - at main.py"
    )
    assert failure(tmp_path, HandlerLoadError, handler="mein:encode") == (
        f"`mein`: expected it to import, got ModuleNotFoundError: No module named 'mein' - at {tmp_path}"
    )


def test_name_of_a_python_module(tmp_path: Path) -> None:
    write(tmp_path, "def handle(event): ...", "queue.py")
    assert failure(tmp_path, HandlerLoadError, handler="queue:handle") == (
        f"`queue`: expected a name that no module of Python has, got `queue` - at {tmp_path}"
    )


@pytest.mark.parametrize(
    ("source", "got"),
    [
        ("async def handle(scope, receive, send): ...", "`handle(scope, receive, send)`"),
        ("async def app(scope, receive, send): ...", "an ASGI app"),
    ],
)
def test_stream_trigger_needs_events(tmp_path: Path, source: str, got: str) -> None:
    triggers = [{"name": "http", "kind": "http"}, {"name": "frames", "kind": "nats", "stream": "FRAMES"}]
    assert failure(write(tmp_path, source), UsageError, triggers=triggers) == (
        f"trigger `frames`: expected a handler of events or batches, got {got}, which takes HTTP only "
        "- at function/__init__.py:1"
    )
