"""Log lines, as JSON and for people."""

import io
import logging
from collections.abc import Iterator

import msgspec
import pytest

from headrace.runtime import logs
from headrace.triggers.events import Attributes, Event, Trigger
from headrace.triggers.headers import Headers

TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@pytest.fixture
def stream() -> Iterator[io.StringIO]:
    root = logging.getLogger()
    before = root.handlers[:], root.level
    yield io.StringIO()
    root.handlers[:], level = before
    root.setLevel(level)


@pytest.fixture
def event() -> Iterator[Event]:
    headers = Headers.of({"traceparent": TRACE})
    event = Event(b"payload", Attributes(id="7", source="s", type="t"), headers=headers, trigger=Trigger("q", "nats"))
    token = logs.current.set(event)
    yield event
    logs.current.reset(token)


def test_json(stream: io.StringIO, event: Event) -> None:
    logs.configure("info", "json", "detect", stream)
    logging.getLogger("x").debug("hidden")
    logging.getLogger("x").info("seen count=%s", 3)
    line = msgspec.json.decode(stream.getvalue())
    assert line.pop("time").endswith("+00:00")
    assert line == {
        "level": "info",
        "logger": "x",
        "function": "detect",
        "message": "seen count=3",
        "trigger": "q",
        "event": "7",
        "trace": "0af7651916cd43dd8448eb211c80319c",
    }


def test_json_exception(stream: io.StringIO) -> None:
    logs.configure("debug", "json", "detect", stream)
    try:
        raise ValueError("no")
    except ValueError:
        logging.getLogger("x").exception("broken")
    line = msgspec.json.decode(stream.getvalue())
    assert line["exception"].endswith("ValueError: no")
    assert "event" not in line


def test_text(stream: io.StringIO, event: Event) -> None:
    logs.configure("nonsense", "text", "detect", stream)
    logging.getLogger("x").error("broken", exc_info=ValueError("no"))
    first, *rest = stream.getvalue().splitlines()
    assert first[13:] == "ERROR   broken trigger=q event=7 trace=0af7651916cd43dd8448eb211c80319c"
    assert rest == ["ValueError: no"]
