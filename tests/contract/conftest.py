"""What the contract suites run on."""

from collections.abc import AsyncIterator

import pytest
from support.nats import broker as broker
from support.queues import Bench, InMemory, OnJetStream, Queue, bench


@pytest.fixture(params=["memory", pytest.param("nats", marks=pytest.mark.integration)])
async def desk(request: pytest.FixtureRequest) -> AsyncIterator[Bench]:
    """A fresh queue of each kind."""
    queue: Queue = InMemory() if request.param == "memory" else OnJetStream(request.getfixturevalue("broker"))
    async with bench(queue) as opened:
        yield opened
