"""Publish a reading, with an id that makes publishing it twice harmless."""

import asyncio
import json
import sys

import nats


async def main(url: str) -> None:
    client = await nats.connect(url)
    reading = json.dumps({"sensor": "a", "values": [1, 2, 6]}).encode()
    ack = await client.jetstream().publish("readings.a", reading, headers={"Nats-Msg-Id": "a-1"})
    print(ack.stream, ack.seq)
    await client.close()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
