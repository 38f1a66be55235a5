"""What the contract suites run on."""

from collections.abc import AsyncIterator

import pytest
from support.kafka import kafka as kafka
from support.nats import broker as broker
from support.queues import Bench, InMemory, OnJetStream, OnKafka, Queue, bench

REAL = [pytest.param(kind, marks=pytest.mark.integration) for kind in ("nats", "kafka")]


@pytest.fixture(params=["memory", *REAL])
async def desk(request: pytest.FixtureRequest) -> AsyncIterator[Bench]:
    """A fresh queue of each kind."""
    queue: Queue
    if request.param == "memory":
        queue = InMemory()
    elif request.param == "nats":
        queue = OnJetStream(request.getfixturevalue("broker"))
    else:
        queue = await OnKafka.make(request.getfixturevalue("kafka"))
    async with bench(queue) as opened:
        yield opened
