"""JetStream messages as events."""

import pytest
from nats.aio.client import Client
from nats.aio.msg import Msg

from headrace.triggers.events import Trigger
from headrace.triggers.nats.codec import NatsEvent

REPLY = "$JS.ACK.TICKS.detect.3.41.57.1700000000123456789.9"
TRIGGER = Trigger("ticks", "nats")


def message(headers: dict[str, str] | None = None, reply: str = REPLY) -> Msg:
    return Msg(_client=Client(), subject="ticks.a", reply=reply, data=b"body", headers=headers)


@pytest.mark.parametrize(
    "reply",
    [REPLY, REPLY.replace("$JS.ACK", "$JS.ACK._.account") + ".random", REPLY.replace("$JS.ACK", "$JS.ACK.hub.account")],
)
def test_position_without_cloudevents(reply: str) -> None:
    event = NatsEvent(message(reply=reply), TRIGGER)
    assert (event.attempt, event.offset, event.stream, event.reply) == (3, 41, "TICKS", reply)
    assert (event.id, event.source, event.type) == ("TICKS/41", "nats:TICKS", "dev.headrace.nats")
    assert event.subject == event.message_subject == "ticks.a"
    assert event.time == "2023-11-14T22:13:20.123456789Z"
    assert (event.datacontenttype, event.dataschema, dict(event.extensions)) == (None, None, {})
    assert (event.copy(), event.key, event.partition) == (b"body", None, None)


def test_cloudevents_headers() -> None:
    headers = {
        "ce-specversion": "1.0", "ce-id": "7", "ce-source": "/s", "ce-type": "t", "ce-subject": "caf%C3%A9",
        "ce-time": "2026-01-01T00:00:00Z", "ce-dataschema": "d", "ce-traceparent": "00-1", "Content-Type": "text/plain",
    }  # fmt: skip
    event = NatsEvent(message(headers), TRIGGER)
    assert (event.id, event.source, event.type, event.subject) == ("7", "/s", "t", "café")
    assert (event.time, event.dataschema, event.datacontenttype) == ("2026-01-01T00:00:00Z", "d", "text/plain")
    assert dict(event.extensions) == {"traceparent": "00-1"}
    assert event.headers["ce-id"] == "7"


def test_datacontenttype_attribute_goes_first() -> None:
    event = NatsEvent(message({"ce-datacontenttype": "image/png", "content-type": "text/plain"}), TRIGGER)
    assert event.datacontenttype == "image/png"
