"""Events that a handler returns, as CloudEvents 1.0: header fields and body, or one JSON object.

The same for responses and for sinks (HTTP binding §3, NATS binding §3, JSON format §3). What does not belong
here: reading CloudEvents (`http/cloudevents`), and where they go.
"""

import re
from typing import Any

import msgspec

from headrace.triggers.events import Attributes, Event

from .errors import ResultError

STRUCTURED = "application/cloudevents+json"
BATCHED = "application/cloudevents-batch+json"

_NAME = re.compile(r"[a-z0-9]+")
_JSON = re.compile(r"[^/]+/(json|[^/]+\+json)")
# HTTP binding §3.1.3.2: what is not printable ASCII, and `"` and `%`, is percent-encoded
_ENCODED = re.compile(r'[^\x21-\x7e]|["%]')


def header_fields(event: Event) -> list[tuple[str, str]]:
    """Binary mode: `ce-*` pairs; the data's media type is for the caller to send, as Content-Type.

    Raises:
        ResultError: The event has no attributes of its own, or such as CloudEvents does not have.
    """
    return [(f"ce-{name}", _ENCODED.sub(_percent, value)) for name, value in _attributes(event).items()]


def structured(event: Event) -> bytes:
    """Structured mode: attributes and data as one JSON object.

    Raises:
        ResultError: As `header_fields`, or the data is not of its JSON media type.
    """
    return msgspec.json.encode(_members(event))


def batched(events: list[Event]) -> bytes:
    """Batched mode: a JSON array of events; raises `ResultError` as `structured` does."""
    return msgspec.json.encode([_members(event) for event in events])


def payload(data: memoryview, content_type: str | None) -> dict[str, Any]:
    """`{"data": ...}` or `{"data_base64": ...}` (JSON format §3.1); nothing where there is no data.

    Raises:
        ResultError: `content_type` says JSON, and `data` is none.
    """
    if not data:
        return {}
    media_type = (content_type or "").partition(";")[0].strip().lower()
    if not media_type or _JSON.fullmatch(media_type):
        try:
            msgspec.json.decode(data)
            return {"data": msgspec.Raw(data)}
        except (msgspec.DecodeError, UnicodeDecodeError) as exc:
            if media_type:
                raise ResultError(f"result: expected data of `{media_type}`, got none ({exc})") from exc
    if media_type.startswith("text/"):
        try:
            return {"data": str(data, "utf-8")}
        except UnicodeDecodeError:
            pass
    return {"data_base64": bytes(data)}  # msgspec writes bytes as Base64


def _members(event: Event) -> dict[str, Any]:
    members: dict[str, Any] = dict(_attributes(event))
    if event.datacontenttype is not None:
        members["datacontenttype"] = event.datacontenttype
    return members | payload(event.data, event.datacontenttype)


def _attributes(event: Event) -> dict[str, str]:
    if type(event) is Event and event._attributes is None:
        raise ResultError("result: expected an Event with attributes (id, source, type), got one without")
    attributes = event.attributes
    for name in ("id", "source", "type"):
        if not getattr(attributes, name):
            raise ResultError(f"result: expected an Event with the attribute `{name}`, got none")
    found = {"specversion": "1.0", "id": attributes.id, "source": attributes.source, "type": attributes.type}
    for name in ("subject", "time", "dataschema"):
        if (value := getattr(attributes, name)) is not None:
            found[name] = value
    return found | _extensions(attributes)


def _extensions(attributes: Attributes) -> dict[str, str]:
    for name in attributes.extensions:
        if _NAME.fullmatch(name) is None or name in ("data", "datacontenttype"):
            raise ResultError(f"result: expected extensions of lower-case letters and digits, got `{name}`")
    return dict(attributes.extensions)


def _percent(match: re.Match[str]) -> str:
    return "".join(f"%{byte:02X}" for byte in match[0].encode())
