"""Acks that cannot be sent."""

import pytest

from headrace.triggers.errors import BrokerUnavailable
from headrace.triggers.nats.client import Connection
from headrace.triggers.nats.outbox import ACK, Outbox


async def test_acks_without_a_broker_are_dropped_and_said(caplog: pytest.LogCaptureFixture) -> None:
    outbox = Outbox(Connection("127.0.0.1", "test"))  # never opened: it can keep nothing
    outbox.put("$JS.ACK.1", ACK)
    outbox.put("$JS.ACK.2", ACK)
    with pytest.raises(BrokerUnavailable, match="flush: the connection is down"):
        await outbox.flush()
    assert caplog.messages == ["acks dropped count=2 reason=the broker is away; their events come again"]
