"""What a Nuclio handler is given: `Context`, `Event`, `Response`, `Logger`, named as Nuclio's Python SDK does.

Written from the documented members (nuclio-sdk-py 0.5). What does not belong here: calling the handler and
what becomes of its result.
"""

import base64
import json
import logging
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import cached_property
from types import SimpleNamespace
from typing import Any

from headrace.triggers.events import Event as Received

_NO_EXPLICIT_ACK = "explicit acknowledgement: return from the handler instead, or raise to have the event again"


class TriggerInfo:
    """`event.trigger` and `context.trigger`.

    Attributes:
        kind: `http`, `nats`, ...
        name: Its name in func.yaml.
    """

    def __init__(self, kind: str = "", name: str = "") -> None:
        self.kind = kind
        self.name = name


class Response:
    """`context.Response`: a result with headers, content type and status.

    Args:
        headers: By name.
        body: bytes, str, dict (JSON), or a generator of chunks; anything else as its `str`.
        content_type: `text/plain` unless given.
        status_code: HTTP status.
        event_id: Kept for handlers that set it.
    """

    def __init__(
        self,
        headers: dict[str, Any] | None = None,
        body: Any = None,
        content_type: str | None = None,
        status_code: int = 200,
        event_id: str | None = None,
    ) -> None:
        self.headers = headers or {}
        self.body = body
        self.content_type = content_type or "text/plain"
        self.status_code = status_code
        self.event_id = event_id

    def ensure_no_ack(self) -> None:
        """Not supported: an event is settled when its handler returns."""
        raise NotImplementedError(_NO_EXPLICIT_ACK)

    def __repr__(self) -> str:
        return f"Response(status_code={self.status_code}, content_type={self.content_type!r})"


class Logger:
    """`context.logger`: the function's logger, with key=value fields by keyword."""

    def __init__(self, logger: logging.Logger) -> None:
        self._logger = logger
        self._bound: dict[str, Any] = {}

    def debug(self, message: Any, *args: Any) -> None:
        """Log at level DEBUG."""
        self._log(logging.DEBUG, message, args, {})

    def info(self, message: Any, *args: Any) -> None:
        """Log at level INFO."""
        self._log(logging.INFO, message, args, {})

    def warn(self, message: Any, *args: Any) -> None:
        """Log at level WARNING."""
        self._log(logging.WARNING, message, args, {})

    def error(self, message: Any, *args: Any) -> None:
        """Log at level ERROR."""
        self._log(logging.ERROR, message, args, {})

    def debug_with(self, message: Any, *args: Any, **fields: Any) -> None:
        """Log at level DEBUG, with fields."""
        self._log(logging.DEBUG, message, args, fields)

    def info_with(self, message: Any, *args: Any, **fields: Any) -> None:
        """Log at level INFO, with fields."""
        self._log(logging.INFO, message, args, fields)

    def warn_with(self, message: Any, *args: Any, **fields: Any) -> None:
        """Log at level WARNING, with fields."""
        self._log(logging.WARNING, message, args, fields)

    def error_with(self, message: Any, *args: Any, **fields: Any) -> None:
        """Log at level ERROR, with fields."""
        self._log(logging.ERROR, message, args, fields)

    warning = warn
    warning_with = warn_with

    def bind(self, **fields: Any) -> None:
        """Add fields to every line from now on."""
        self._bound.update(fields)

    def _log(self, level: int, message: Any, args: tuple[Any, ...], fields: Mapping[str, Any]) -> None:
        if not self._logger.isEnabledFor(level):
            return
        text = str(message) % args if args else str(message)
        pairs = "".join(f" {name}={value}" for name, value in {**fields, **self._bound}.items())
        # 3: this method and the public one are not where the user's code logged.
        self._logger.log(level, "%s%s", text, pairs, stacklevel=3)


class Platform:
    """`context.platform`: only what one function can do without Nuclio's control plane."""

    def __init__(self) -> None:
        self.callbacks: list[Callable[[], Any]] = []

    def set_drain_callback(self, callback: Callable[[], Any]) -> None:
        """Call `callback` when the replica stops, after its events are settled."""
        self.callbacks.append(callback)

    set_termination_callback = set_drain_callback

    def call_function(self, name: str, event: Any, timeout: float | None = None, **_options: Any) -> Any:
        """Not supported: functions have addresses of their own."""
        raise NotImplementedError(f"`context.platform.call_function`: send `{name}` an HTTP request instead")

    async def explicit_ack(self, offset: Any) -> None:
        """Not supported: an event is settled when its handler returns."""
        raise NotImplementedError(_NO_EXPLICIT_ACK)


class Context:
    """A Nuclio handler's first argument; handlers may set attributes of their own.

    Args:
        logger: The function's.
        trigger: The one that its events come by.
    """

    def __init__(self, logger: logging.Logger, trigger: TriggerInfo) -> None:
        self.logger = Logger(logger)
        self.platform = Platform()
        self.user_data: Any = SimpleNamespace()
        self.Response = Response
        self.worker_id = 0
        self.trigger = trigger
        self.trigger_name = trigger.name


class Event:
    """A Nuclio handler's second argument; read from `event` when asked for, and free to be changed."""

    num_shards = 0
    type_version = ""
    last_in_batch = False

    def __init__(self, event: Received) -> None:
        self._event = event
        self.trigger = TriggerInfo(event.trigger.kind, event.trigger.name)
        self.offset = event.offset or 0
        self.shard_id = event.partition or 0
        self.size = event.data.nbytes

    @cached_property
    def body(self) -> Any:
        """The payload: decoded where its type is exactly `application/json` and it is JSON, else bytes."""
        data = bytes(self._event.data)
        if self.content_type == "application/json":
            try:
                return json.loads(data)
            except ValueError:
                return data
        return data

    @cached_property
    def content_type(self) -> str:
        """Media type of the payload, or ``."""
        return self._event.datacontenttype or ""

    @cached_property
    def headers(self) -> dict[str, str]:
        """By name; HTTP's are spelled `Like-This`, as Nuclio's server does."""
        headers = self._event.headers
        names = {name.decode("latin-1") for name, _ in headers.raw}
        if self.trigger.kind == "http":
            names = {"-".join(part.capitalize() for part in name.split("-")) for name in names}
        return {name: headers.getlist(name)[-1] for name in names}

    @cached_property
    def fields(self) -> dict[str, str]:
        """Query parameters of an HTTP request; of a repeated one the last."""
        return dict(getattr(self._event, "query_params", {}))

    @cached_property
    def id(self) -> str:
        """The event's id."""
        return self._event.id

    @cached_property
    def method(self) -> str:
        """Method of an HTTP request, or ``."""
        return str(getattr(self._event, "method", ""))

    @cached_property
    def path(self) -> str:
        """Path of an HTTP request, or `/`."""
        return str(getattr(self._event, "path", "/"))

    @cached_property
    def url(self) -> str:
        """Path and query of an HTTP request, or ``."""
        if self.trigger.kind != "http":
            return ""
        query = getattr(self._event, "query", "")
        return f"{self.path}?{query}" if query else self.path

    @cached_property
    def timestamp(self) -> datetime:
        """When it happened, or was read: UTC, without a time zone."""
        time = self._event.time
        moment = datetime.fromisoformat(time) if time is not None else datetime.now(UTC)
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC).replace(tzinfo=None)

    @cached_property
    def type(self) -> str:
        """A CloudEvent's type."""
        return self._event.type

    @cached_property
    def version(self) -> str:
        """A CloudEvent's `specversion`."""
        return self._event.specversion

    @cached_property
    def topic(self) -> str:
        """Subject or topic of a stream's event, or ``."""
        return "" if self.trigger.kind == "http" else self._event.subject or ""

    def get_header(self, header_key: str) -> str | None:
        """The header of this name in any case, or None."""
        wanted = header_key.lower()
        return next((value for name, value in self.headers.items() if name.lower() == wanted), None)

    def to_json(self) -> str:
        """All members as a JSON object; bytes as base64."""
        body = base64.b64encode(self.body).decode() if isinstance(self.body, bytes) else self.body
        members = {name: getattr(self, name) for name in _MEMBERS}
        trigger = {"kind": self.trigger.kind, "name": self.trigger.name}
        return json.dumps({**members, "body": body, "trigger": trigger, "timestamp": str(self.timestamp)})

    def __repr__(self) -> str:
        return f"Event(id={self.id!r}, trigger={self.trigger.name!r}, {self.size} bytes)"


_MEMBERS = (
    "content_type", "fields", "headers", "id", "method", "path", "size", "url", "shard_id", "num_shards",
    "type", "type_version", "version", "last_in_batch", "offset", "topic",
)  # fmt: skip
