"""Events that a handler returns, as CloudEvents."""

import json
from typing import Any

import pytest

from headrace.runtime.cloudevents import batched, header_fields, structured
from headrace.runtime.errors import ResultError
from headrace.runtime.streams import message_of
from headrace.triggers.events import Attributes, Event

ATTRIBUTES: dict[str, Any] = {"id": "1", "source": "/s", "type": "t"}


def event(data: bytes = b"", **attributes: Any) -> Event:
    return Event(data, Attributes(**ATTRIBUTES | attributes))


def test_header_fields_are_percent_encoded() -> None:
    fields = header_fields(event(subject='Euro "€" 100%', time="2026-01-02T03:04:05Z", extensions={"n": "1"}))
    assert fields == [
        ("ce-specversion", "1.0"),
        ("ce-id", "1"),
        ("ce-source", "/s"),
        ("ce-type", "t"),
        ("ce-subject", "Euro%20%22%E2%82%AC%22%20100%25"),
        ("ce-time", "2026-01-02T03:04:05Z"),
        ("ce-n", "1"),
    ]


@pytest.mark.parametrize(
    ("data", "content_type", "members"),
    [
        (b"", None, {}),
        (b'{"a":1}', None, {"data": {"a": 1}}),
        (b"[1]", "application/x+json; charset=utf-8", {"data": [1]}),
        (b"\xff", None, {"data_base64": "/w=="}),
        (b"hi", "text/plain", {"data": "hi"}),
        (b"\xff", "text/plain", {"data_base64": "/w=="}),
        (b"1", "application/octet-stream", {"data_base64": "MQ=="}),
    ],
)
def test_structured(data: bytes, content_type: str | None, members: dict[str, Any]) -> None:
    own = {} if content_type is None else {"datacontenttype": content_type}
    expected = {"specversion": "1.0"} | ATTRIBUTES | own | members
    assert json.loads(structured(event(data, datacontenttype=content_type))) == expected
    assert json.loads(batched([event(data, datacontenttype=content_type)])) == [expected]


@pytest.mark.parametrize(
    ("result", "says"),
    [
        (Event(b""), "expected an Event with attributes"),
        (event(id=""), "the attribute `id`, got none"),
        (event(extensions={"a_b": "1"}), "got `a_b`"),
        (event(extensions={"data": "1"}), "got `data`"),
    ],
)
def test_what_is_no_cloudevent(result: Event, says: str) -> None:
    with pytest.raises(ResultError, match=says):
        header_fields(result)


def test_data_that_is_not_what_it_says() -> None:
    with pytest.raises(ResultError, match="expected data of `application/json`, got none"):
        structured(event(b"{", datacontenttype="application/json"))


def test_sinks_get_header_fields() -> None:
    message = message_of(event(id="9"), event(b"x", datacontenttype="text/plain"))
    assert (bytes(message.data), message.content_type, message.id) == (b"x", "text/plain", "test//s/9")
    assert ("ce-type", "t") in message.headers
