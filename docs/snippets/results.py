"""Print the results that a function has published so far."""

import asyncio
import sys

import nats


async def main(url: str) -> None:
    client = await nats.connect(url)
    jetstream = client.jetstream()
    count = (await jetstream.stream_info("SUMMARIES")).state.messages
    results = await jetstream.subscribe("summaries.all", ordered_consumer=True)
    for _ in range(count):
        message = await results.next_msg(timeout=5)
        print((message.headers or {})["Nats-Msg-Id"], message.data.decode())
    await client.close()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
