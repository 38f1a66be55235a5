"""tests/test_function.py: a handler with a binding; here the test keeps what would be published."""

import asyncio
from collections.abc import Sequence
from pathlib import Path

from headrace.testing import make_event, running
from headrace.triggers.protocols import Message

PROJECT = Path(__file__).parents[1]


class Kept:
    def __init__(self) -> None:
        self.messages: list[Message] = []

    async def publish(self, messages: Sequence[Message]) -> None:
        self.messages += messages


async def warn() -> None:
    alerts = Kept()
    async with running(PROJECT, bindings={"alerts": alerts}) as function:
        assert await function(make_event(json={"celsius": 100})) == {"kelvin": 373.15}
        await function.batch([make_event(json={"celsius": celsius}) for celsius in (20, 95)])
    assert [bytes(message.data) for message in alerts.messages] == [b"too hot", b"too hot"]


def test_warns() -> None:
    asyncio.run(warn())
