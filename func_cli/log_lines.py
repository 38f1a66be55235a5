"""What the lines of a run's log say, and how they look to people.

Replicas and `func run` itself write JSON objects (`time`, `level`, `message`, further fields); what a function
prints is wrapped into one. What does not belong here: where lines are kept (run_log).
"""

import re
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click
import msgspec

import headrace

# Of a JSON line: shown elsewhere, or the same in every line.
_PLACED = frozenset({"time", "level", "message", "logger", "function", "pid", "exception"})
_COLOURS = {"warning": "yellow", "error": "red", "critical": "red", "debug": "bright_black"}
_FRAME = re.compile(r'  File "(.+)", line \d+')
# This package by both its names: linked into an environment, and where the link leads.
_PACKAGE = Path(headrace.__file__).parent
_FOREIGN = (
    "<frozen importlib",
    *(str(place) for name in ("runtime", "triggers") for place in (_PACKAGE / name, (_PACKAGE / name).resolve())),
)
_IMPORTLIB = "/importlib/__init__.py"
_DECODER = msgspec.json.Decoder(dict[str, Any])


def platform_line(message: str, level: str = "info", **fields: object) -> bytes:
    """A line that `func run` itself says."""
    return _encode({"time": _now(), "level": level, "message": message} | fields)


def replica_line(line: bytes, pid: int) -> bytes:
    """What a replica wrote, as a JSON line with its `pid`: its own JSON, or printed text wrapped."""
    fields = _fields(line)
    if fields is None:
        return _encode({"time": _now(), "level": "info", "message": line.decode("utf-8", "replace"), "pid": pid})
    return _encode({"pid": pid} | fields)


def readable(line: bytes) -> str:
    """`12:00:01 INFO  [pid] message key=value`, with the exception's lines below."""
    fields = _fields(line)
    if fields is None:
        return line.decode("utf-8", "replace")
    level = str(fields.get("level", "info")).lower()
    pid = f" [{fields['pid']}]" if "pid" in fields else ""
    rest = "".join(f" {key}={_shown(value)}" for key, value in fields.items() if key not in _PLACED)
    message = fields.get("message", "")
    head = f"{_clock(fields.get('time'))} {level.upper():5}{pid} {message}"
    text = click.style(head, fg=_COLOURS.get(level)) + (click.style(rest, fg="bright_black") if rest else "")
    return f"{text}\n{own_frames(str(fields['exception']))}" if "exception" in fields else text


def own_frames(traceback: str) -> str:
    """A traceback without the frames of Headrace and of Python's import machinery: the function's own code."""
    kept: list[str] = []
    foreign = False
    for line in traceback.splitlines():
        if match := _FRAME.match(line):
            foreign = match[1].startswith(_FOREIGN) or match[1].endswith(_IMPORTLIB)
        elif not line.startswith("    "):  # a frame's source lines are indented deeper than all else
            foreign = False
        if not foreign:
            kept.append(line)
    return "\n".join(kept)


def _fields(line: bytes) -> dict[str, Any] | None:
    """The line's fields where it is a log line: an object with a message."""
    try:
        fields = _DECODER.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    return fields if "message" in fields else None


def _encode(fields: dict[str, Any]) -> bytes:
    return msgspec.json.encode(fields, enc_hook=str)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def _clock(moment: object) -> str:
    """Local time of day of an RFC 3339 time; now where there is none."""
    try:
        return datetime.fromisoformat(str(moment)).astimezone().strftime("%H:%M:%S")
    except ValueError:
        return time.strftime("%H:%M:%S")


def _shown(value: object) -> str:
    text = value if isinstance(value, str) else msgspec.json.encode(value).decode()
    return f'"{text}"' if isinstance(value, str) and " " in value else text
