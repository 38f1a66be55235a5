"""Records as events."""

import json

import pytest

from headrace.triggers.events import Trigger
from headrace.triggers.kafka.codec import NONE, KafkaEvent, headers_of


def event(value: bytes = b"x", timestamp_ms: int = 1_700_000_000_123, **headers: str) -> KafkaEvent:
    pairs = [(name.replace("__", "-"), text.encode()) for name, text in headers.items()]
    return KafkaEvent(
        "t", 3, 42, timestamp_ms, b"k", value, headers_of(pairs), Trigger("in", "kafka"), 1, object(), 0
    )  # fmt: skip


def test_without_headers_the_position_names_it() -> None:
    plain = event()
    assert plain.headers is NONE
    assert (plain.id, plain.source, plain.type) == ("t/3/42", "kafka:t", "dev.headrace.kafka")
    assert plain.time == "2023-11-14T22:13:20.123Z"
    assert (plain.key, plain.partition, plain.offset, plain.datacontenttype) == (b"k", 3, 42, None)


@pytest.mark.parametrize("timestamp_ms", [-1, 1 << 62])
def test_no_time(timestamp_ms: int) -> None:
    assert event(timestamp_ms=timestamp_ms).time is None


def test_binary_mode() -> None:
    made = event(ce_id="7", ce_source="/s", ce_type="a", ce_tenant="x", content__type="text/plain")
    assert (made.id, made.source, made.type, made.datacontenttype) == ("7", "/s", "a", "text/plain")
    assert made.extensions == {"tenant": "x"}


@pytest.mark.parametrize(
    ("members", "data"),
    [
        ({"data": {"a": 1}}, b'{"a":1}'),
        ({"data": "text", "datacontenttype": "text/plain"}, b"text"),
        ({"data": "text"}, b'"text"'),
        ({"data_base64": "AAEC"}, b"\0\1\2"),
        ({}, b""),
    ],
)
def test_structured_mode(members: dict[str, object], data: bytes) -> None:
    envelope = {"specversion": "1.0", "id": "7", "source": "/s", "type": "a", "n": 1, **members}
    made = event(json.dumps(envelope, separators=(",", ":")).encode(), content__type="application/cloudevents+json")
    assert (made.id, made.source, made.copy()) == ("7", "/s", data)


@pytest.mark.parametrize("value", [b"no json", b'{"id": "7"}', b'{"id":"7","source":"s","type":"t","data_base64":"?"}'])
def test_what_is_no_envelope_is_left_as_it_is(value: bytes) -> None:
    made = event(value, content__type="application/cloudevents+json; charset=utf-8")
    assert (made.copy(), made.id) == (value, "t/3/42")


def test_again_is_the_next_attempt() -> None:
    first = event(a="b")
    again = first.again()
    assert (again.attempt, again.offset, again.copy(), again.headers["a"]) == (2, 42, b"x", "b")
    assert again.place is None
