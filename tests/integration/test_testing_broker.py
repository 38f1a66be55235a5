"""`headrace.testing.broker`: a real NATS server, there and gone."""

import asyncio
from pathlib import Path
from urllib.parse import urlsplit

import nats
import pytest

from headrace.testing import broker

pytestmark = pytest.mark.integration


async def test_streams_live_in_the_folder(tmp_path: Path) -> None:
    for created in (True, False):
        async with broker(tmp_path) as url:
            client = await nats.connect(url)
            stream = client.jetstream()
            if created:
                await stream.add_stream(name="FRAMES", subjects=["frames.>"])
                await stream.publish("frames.a", b"x")
            assert (await stream.stream_info("FRAMES")).state.messages == 1
            await client.close()


async def test_temporary_folder() -> None:
    async with broker() as url:
        client = await nats.connect(url)
        assert (await client.jetstream().account_info()).streams == 0
        await client.close()
    address = urlsplit(url)
    with pytest.raises(ConnectionRefusedError, match=r"."):
        await asyncio.open_connection(address.hostname, address.port)
