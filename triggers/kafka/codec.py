"""What a Kafka record says about itself, as an `Event`.

Attributes come from CloudEvents headers (`ce_*`, Kafka protocol binding §3.2, binary mode), from a JSON
envelope (§3.3, structured mode), else from the record's position. They are read when asked for. What does not
belong here: how records are decoded from a fetch (`records`).
"""

from binascii import a2b_base64
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from ..events import Attributes, Event, Trigger
from ..headers import Headers

TYPE = "dev.headrace.kafka"
STRUCTURED = "application/cloudevents+json"
NONE = Headers()
"""Of records without headers."""

_KNOWN = ("id", "source", "type", "subject", "time", "datacontenttype", "dataschema", "specversion")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_decode = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


class KafkaEvent(Event):
    """A record of a topic.

    Attributes:
        topic: The topic's name.
        timestamp_ms: Unix time at which it was made, or appended to the log, as the topic is configured.
        place: Whatever the source tells it by; None once it is settled.
        index: Its place among the records of its fetch.
    """

    __slots__ = ("index", "place", "timestamp_ms", "topic")

    def __init__(
        self,
        topic: str,
        partition: int,
        offset: int,
        timestamp_ms: int,
        key: bytes | None,
        value: bytes | memoryview,
        headers: Headers,
        trigger: Trigger,
        attempt: int,
        place: Any,
        index: int,
    ) -> None:
        # one event per record on the hot path: the slots are set here, not through Event.__init__
        self.topic = topic
        self.partition = partition
        self.offset = offset
        self.timestamp_ms = timestamp_ms
        self.key = key
        self.data = memoryview(value)
        self.headers = headers
        self.trigger = trigger
        self.attempt = attempt
        self.place = place
        self.index = index
        self._attributes = None if headers is NONE else self._opened()

    def again(self) -> "KafkaEvent":
        """The same record, to be delivered once more; this event has no part in it any more."""
        return KafkaEvent(
            self.topic, self.partition or 0, self.offset or 0, self.timestamp_ms, self.key, self.data, self.headers,
            self.trigger, self.attempt + 1, None, self.index,
        )  # fmt: skip

    def _read_attributes(self) -> Attributes:
        said = {name[3:]: value for name, value in self.headers.items() if name.startswith(("ce_", "ce-"))}
        return self._attributes_of(said, self.headers.get("content-type"))

    def _opened(self) -> Attributes | None:
        """The attributes of an event in structured mode, whose data takes the envelope's place; else None."""
        media_type = self.headers.get("content-type", "").partition(";")[0]
        if media_type.strip().lower() != STRUCTURED:
            return None
        try:
            members = _decode(self.data)
            said = {
                name: msgspec.json.decode(value, type=str)
                for name, value in members.items()
                if name not in ("data", "data_base64") and bytes(value)[:1] == b'"'
            }
            body = (
                a2b_base64(msgspec.json.decode(members["data_base64"], type=str), strict_mode=True)
                if "data_base64" in members
                else None
            )
        except (msgspec.DecodeError, UnicodeDecodeError, ValueError, TypeError):
            return None
        if not all(name in said for name in ("id", "source", "type")):
            return None
        self.data = memoryview(body if body is not None else _plain(members.get("data"), said))
        return self._attributes_of(said, None)

    def _attributes_of(self, said: dict[str, str], content_type: str | None) -> Attributes:
        return Attributes(
            id=said.get("id") or f"{self.topic}/{self.partition}/{self.offset}",
            source=said.get("source") or f"kafka:{self.topic}",
            type=said.get("type") or TYPE,
            subject=said.get("subject"),
            time=said.get("time") or self._time(),
            datacontenttype=said.get("datacontenttype") or content_type,
            dataschema=said.get("dataschema"),
            extensions={name: value for name, value in said.items() if name not in _KNOWN},
        )

    def _time(self) -> str | None:
        if self.timestamp_ms < 0:  # the producer gave none
            return None
        try:
            return (_EPOCH + timedelta(milliseconds=self.timestamp_ms)).isoformat(timespec="milliseconds")[:-6] + "Z"
        except OverflowError:
            return None


def headers_of(pairs: Sequence[tuple[str, bytes | None]]) -> Headers:
    """A record's headers; names and values are bytes of any sort in Kafka."""
    return Headers([(name.encode(), value or b"") for name, value in pairs]) if pairs else NONE


def _plain(data: msgspec.Raw | None, said: dict[str, str]) -> bytes:
    """`data` of an envelope: JSON as it stands, but text for what is not JSON (JSON format §3.1.1)."""
    if data is None:
        return b""
    media_type = said.get("datacontenttype", "application/json").partition(";")[0].strip().lower()
    if not media_type.endswith(("/json", "+json")) and bytes(data)[:1] == b'"':
        return msgspec.json.decode(data, type=str).encode()
    return bytes(data)
