"""CloudEvents over HTTP, both modes."""

import base64

import pytest
from support.http import serving

from headrace.triggers.events import Event
from headrace.triggers.protocols import Settle

BINARY = {"ce-specversion": "1.0", "ce-id": "1", "ce-source": "/s", "ce-type": "t"}
STRUCTURED = b'"specversion": "1.0", "id": "1", "source": "/s", "type": "t"'


def request_of(headers: dict[str, str], body: bytes = b"") -> bytes:
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return f"POST /a HTTP/1.1\r\nHost: x\r\n{lines}Content-Length: {len(body)}\r\n\r\n".encode() + body


def structured(members: bytes, content_type: str = "application/cloudevents+json; charset=utf-8") -> bytes:
    return request_of({"Content-Type": content_type}, b"{" + members + b"}")


async def deliver(data: bytes) -> tuple[Event | None, int, bytes]:
    """(event, status, body) of one request."""
    events: list[Event] = []

    def keep(event: Event, settle: Settle) -> None:
        events.append(event)
        settle(event, None)

    async with serving(keep) as served:
        client = await served.connect()
        client.send(data)
        status, _, body = await client.response()
        await client.close()
        assert served.metrics.triggers["http"].errors == ({} if status == 204 else {"client": 1})
        return (events[0] if events else None), status, body


async def test_binary_mode() -> None:
    headers = BINARY | {
        "CE-Subject": "Euro%20%E2%82%AC",
        "ce-time": "2026-01-02T03:04:05.6Z",
        "ce-partitionkey": "k",
        "ce-datacontenttype": "ignored/here",
        "Content-Type": "text/plain",
    }
    event, _, _ = await deliver(request_of(headers, b"hi"))
    assert event is not None
    assert (event.id, event.source, event.type, event.specversion) == ("1", "/s", "t", "1.0")
    assert (event.subject, event.time, event.datacontenttype) == ("Euro €", "2026-01-02T03:04:05.6Z", "text/plain")
    assert event.extensions == {"partitionkey": "k"}
    assert (event.key, event.text()) == (b"k", "hi")


PAYLOADS = [
    (STRUCTURED, b""),
    (STRUCTURED + b', "data": null', b""),
    (STRUCTURED + b', "data": {"a": [1, 2]}', b'{"a": [1, 2]}'),
    (STRUCTURED + b', "data": "x"', b'"x"'),
    (STRUCTURED + b', "datacontenttype": "application/foo+json", "data": "x"', b'"x"'),
    (STRUCTURED + b', "datacontenttype": "text/xml", "data": "<\\u00e9/>"', "<é/>".encode()),
    (STRUCTURED + b', "data_base64": "' + base64.b64encode(b"\0\1") + b'"', b"\0\1"),
]


@pytest.mark.parametrize(("members", "payload"), PAYLOADS)
async def test_structured_mode(members: bytes, payload: bytes) -> None:
    event, status, _ = await deliver(structured(members))
    assert status == 204
    assert event is not None
    assert (event.id, event.source, bytes(event.data)) == ("1", "/s", payload)


async def test_structured_attributes_are_text() -> None:
    event, _, _ = await deliver(structured(STRUCTURED + b', "n": 1, "yes": true, "none": null, "subject": "s"'))
    assert event is not None
    assert event.extensions == {"n": "1", "yes": "true"}
    assert event.subject == "s"


async def test_unrelated_fields_make_no_event() -> None:
    event, _, _ = await deliver(request_of({"ce-foo": "1", "user-agent": "cloudevents"}))
    assert event is not None
    assert event.type == "dev.headrace.http"


INVALID = [
    (400, "`id`", request_of({k: v for k, v in BINARY.items() if k != "ce-id"})),
    (400, "`type`", request_of(BINARY | {"ce-type": ""})),
    (400, "specversion", request_of(BINARY | {"ce-specversion": "0.3"})),
    (400, "RFC 3339", request_of(BINARY | {"ce-time": "yesterday"})),
    (400, "lower-case", request_of(BINARY | {"ce-a_b": "c"})),
    (400, "JSON", structured(b"broken")),
    (400, "JSON", request_of({"Content-Type": "application/cloudevents+json"}, b"[1]")),
    (400, "JSON", request_of({"Content-Type": "application/cloudevents+json"}, b"\xff")),
    (400, "`source`", structured(b'"specversion": "1.0", "id": "1", "type": "t"')),
    (400, "`x`", structured(STRUCTURED + b', "x": {}')),
    (400, "got both", structured(STRUCTURED + b', "data": 1, "data_base64": ""')),
    (400, "Base64", structured(STRUCTURED + b', "data_base64": "?"')),
    (400, "Base64", structured(STRUCTURED + b', "data_base64": 1')),
    (415, "batch+xml", request_of({"Content-Type": "application/cloudevents-batch+xml"}, b"[]")),
    (415, "xml", structured(STRUCTURED, "application/cloudevents+xml")),
]


@pytest.mark.parametrize(("status", "says", "data"), INVALID)
async def test_invalid_events_are_refused(status: int, says: str, data: bytes) -> None:
    event, got, body = await deliver(data)
    assert event is None
    assert got == status
    assert body.startswith(b'{"error":"CloudEvents: ')
    assert says in body.decode()
