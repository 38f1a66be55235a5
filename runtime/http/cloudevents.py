"""CloudEvents 1.0 in HTTP requests: binary, structured and batched mode (HTTP protocol binding §3, JSON format §3).

What does not belong here: events without CloudEvents' fields, and sending (`runtime/cloudevents`).
"""

import binascii
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import msgspec

from headrace.triggers.events import Attributes

from ..cloudevents import BATCHED, STRUCTURED
from .errors import RequestError

if TYPE_CHECKING:
    from .exchange import Exchange

_REQUIRED = ("specversion", "id", "source", "type")
_OPTIONAL = ("subject", "time", "dataschema", "datacontenttype")
_NAME = re.compile(r"[a-z0-9]+")
# RFC 3339; Python 3.11's fromisoformat takes more
_TIME = re.compile(r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:\d\d)")
_STRUCTURED = "application/cloudevents"
_JSON = re.compile(r"[^/]+/(json|[^/]+\+json)")

_QUOTE = ord('"')

_decode = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_decode_batch = msgspec.json.Decoder(list[dict[str, msgspec.Raw]]).decode


def read(exchange: "Exchange") -> tuple[Attributes, memoryview] | None:
    """(attributes, data) of a request that carries a CloudEvent; None: it carries none.

    Raises:
        RequestError: It means to, but is malformed (400), or of a mode that is not supported (415).
    """
    content_type = (exchange.head.header(b"content-type") or b"").decode("latin-1")
    media_type = _media_type(content_type)
    if media_type.startswith(_STRUCTURED):
        if media_type != STRUCTURED:
            raise RequestError(415, f"CloudEvents: expected `{STRUCTURED}` or `{BATCHED}`, got `{media_type}`")
        return _read_structured(exchange.body)
    found = {
        name[3:].decode("latin-1"): _text(value)
        for name, value in exchange.head.headers
        if name.startswith(b"ce-") and name != b"ce-datacontenttype"
    }
    if not any(name in found for name in _REQUIRED):
        return None
    if content_type:
        found["datacontenttype"] = content_type
    return _attributes(found), exchange.body


def is_structured(exchange: "Exchange") -> bool:
    """Whether the request is one event in structured mode: so is the answer then."""
    return _mode(exchange) == STRUCTURED


def is_batch(exchange: "Exchange") -> bool:
    """Whether the request is a batch of events."""
    return _mode(exchange) == BATCHED


def read_batch(exchange: "Exchange") -> list[tuple[Attributes, memoryview]]:
    """(attributes, data) of each event of a batch.

    Raises:
        RequestError: It is malformed (400); none of its events is to be handled then.
    """
    try:
        items = _decode_batch(exchange.body)
    except (msgspec.DecodeError, UnicodeDecodeError) as exc:
        raise RequestError(400, f"CloudEvents: expected a JSON array of objects ({exc})") from None
    return [_read_members(members) for members in items]


def _mode(exchange: "Exchange") -> str:
    return _media_type((exchange.head.header(b"content-type") or b"").decode("latin-1"))


def _media_type(content_type: str) -> str:
    return content_type.partition(";")[0].strip().lower()


def _read_structured(body: memoryview) -> tuple[Attributes, memoryview]:
    try:
        members = _decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError) as exc:
        raise RequestError(400, f"CloudEvents: expected a JSON object ({exc})") from None
    return _read_members(members)


def _read_members(members: dict[str, msgspec.Raw]) -> tuple[Attributes, memoryview]:
    try:
        data, encoded = members.pop("data", None), members.pop("data_base64", None)
        data = None if data is not None and bytes(data) == b"null" else data
        values: dict[str, Any] = {name: msgspec.json.decode(raw) for name, raw in members.items()}
    except (msgspec.DecodeError, UnicodeDecodeError) as exc:
        raise RequestError(400, f"CloudEvents: expected a JSON object ({exc})") from None
    attributes = _attributes({name: _plain(name, value) for name, value in values.items() if value is not None})
    if encoded is not None:
        if data is not None:
            raise RequestError(400, "CloudEvents: expected `data` or `data_base64`, got both")
        return attributes, _unbase64(encoded)
    if data is None:
        return attributes, memoryview(b"")
    return attributes, _payload(data, attributes.datacontenttype)


def _payload(data: msgspec.Raw, content_type: str | None) -> memoryview:
    """JSON format §3.1.1: a JSON value stays JSON; a string of another media type is its text."""
    raw = memoryview(data)
    if raw[0] == _QUOTE and content_type is not None and _JSON.fullmatch(_media_type(content_type)) is None:
        return memoryview(msgspec.json.decode(data, type=str).encode())
    return raw


def _unbase64(encoded: msgspec.Raw) -> memoryview:
    try:
        return memoryview(binascii.a2b_base64(msgspec.json.decode(encoded, type=str), strict_mode=True))
    except (msgspec.DecodeError, ValueError):
        raise RequestError(400, "CloudEvents: expected `data_base64` to be Base64") from None


def _plain(name: str, value: Any) -> str:
    """An attribute's canonical text (spec §"Type System"): strings, booleans and integers alone."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    raise RequestError(400, f"CloudEvents: expected `{name}` to be a string, boolean or integer")


def _attributes(found: Mapping[str, str]) -> Attributes:
    for name in _REQUIRED:
        if not found.get(name):
            raise RequestError(400, f"CloudEvents: expected the attribute `{name}`, got none")
    if found["specversion"] != "1.0":
        raise RequestError(400, f"CloudEvents: expected specversion `1.0`, got `{found['specversion']}`")
    time = found.get("time")
    if time is not None and _TIME.fullmatch(time) is None:
        raise RequestError(400, f"CloudEvents: expected `time` to be RFC 3339, got `{time}`")
    extensions = {name: value for name, value in found.items() if name not in _REQUIRED and name not in _OPTIONAL}
    for name in extensions:
        if _NAME.fullmatch(name) is None:
            raise RequestError(400, f"CloudEvents: expected names of lower-case letters and digits, got `{name}`")
    return Attributes(
        id=found["id"],
        source=found["source"],
        type=found["type"],
        subject=found.get("subject"),
        time=time,
        dataschema=found.get("dataschema"),
        datacontenttype=found.get("datacontenttype"),
        extensions=extensions,
    )


def _text(value: bytes) -> str:
    """HTTP binding §3.1.3.2: percent-decoded UTF-8; some SDKs send UTF-8 as it is."""
    text = value.decode("utf-8", "replace")
    if "%" not in text:
        return text
    from urllib.parse import unquote

    return unquote(text)
