"""JSON logs, one event a line, with the id and trace of the event being handled; never its payload.

`current` is set around every invocation. What does not belong here: deciding what is worth logging.
"""

import logging
import sys
import traceback
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any, TextIO

import msgspec

from headrace.triggers.events import Event

current: ContextVar[Event | None] = ContextVar("headrace_event", default=None)
"""The event that this task or thread handles (a batch's first)."""

_LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}


def configure(level: str, form: str, function: str, stream: TextIO | None = None) -> None:
    """Send all logs of this process to `stream` (stderr).

    Args:
        level: `debug`, `info`, `warning` or `error`; anything else is `info`.
        form: `text`, else JSON.
        function: The function's name, in every JSON line.
        stream: For tests.
    """
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(TextFormatter() if form == "text" else JsonFormatter(function))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(_LEVELS.get(level.lower(), logging.INFO))


class JsonFormatter(logging.Formatter):
    """One JSON object a record: `time`, `level`, `logger`, `function`, `message`, and what is known of the event."""

    def __init__(self, function: str) -> None:
        super().__init__()
        self._function = function

    def format(self, record: logging.LogRecord) -> str:
        fields: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "function": self._function,
            "message": record.getMessage(),
            **event_fields(),
        }
        if record.exc_info:
            fields["exception"] = exception_text(record)
        return msgspec.json.encode(fields, enc_hook=repr).decode()


class TextFormatter(logging.Formatter):
    """For people: time, level, message, then the event's fields."""

    def format(self, record: logging.LogRecord) -> str:
        moment = datetime.fromtimestamp(record.created).strftime("%H:%M:%S.%f")[:-3]
        fields = "".join(f" {key}={value}" for key, value in event_fields().items())
        text = f"{moment} {record.levelname:7} {record.getMessage()}{fields}"
        return f"{text}\n{exception_text(record)}" if record.exc_info else text


def event_fields() -> dict[str, str]:
    """`trigger`, `event` and, where its headers carry one, `trace` of the event being handled."""
    if (event := current.get()) is None:
        return {}
    fields = {"trigger": event.trigger.name, "event": event.id}
    trace = event.headers.get("traceparent", "").split("-")
    if len(trace) == 4:  # W3C Trace Context §3.2: version-traceid-parentid-flags
        fields["trace"] = trace[1]
    return fields


def exception_text(record: logging.LogRecord) -> str:
    """The traceback as the interpreter prints it."""
    if not record.exc_info or record.exc_info[1] is None:
        return ""
    return "".join(traceback.format_exception(record.exc_info[1])).rstrip()
