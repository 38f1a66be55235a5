"""The JetStream sink, beyond the contract: streams, and messages that the broker does not take."""

import asyncio
from collections.abc import AsyncIterator
from itertools import count

import pytest
from support.nats import RunningBroker

from headrace.triggers.errors import MessageRefused, StreamMissing, TriggerError
from headrace.triggers.nats.client import connect
from headrace.triggers.nats.jetstream import JetStream
from headrace.triggers.nats.sink import JetStreamSink
from headrace.triggers.nats.spec import NatsSink
from headrace.triggers.protocols import Message
from headrace.triggers.units import Seconds

pytestmark = pytest.mark.integration
NAMES = count()
ONE = Message(id="1", data=b"x", content_type="text/plain")


@pytest.fixture
async def jetstream(broker: RunningBroker) -> AsyncIterator[JetStream]:
    connection = await connect(broker.url, "test")
    yield JetStream(connection)
    await connection.aclose()


@pytest.fixture
def subject() -> str:
    return f"sink{next(NAMES)}.out"


@pytest.fixture
async def sink(broker: RunningBroker, subject: str) -> AsyncIterator[JetStreamSink]:
    opened = JetStreamSink(NatsSink(subject=subject, publish_timeout=Seconds(0.3)), broker.url, create=True)
    await opened.open()
    yield opened
    await opened.aclose()


async def test_a_stream_is_named_after_its_subject(jetstream: JetStream, sink: JetStreamSink, subject: str) -> None:
    await sink.publish([ONE])
    assert (await jetstream.stream(subject.replace(".", "_"))).state.messages == 1


async def test_a_stream_that_takes_the_subject_is_used(
    jetstream: JetStream, broker: RunningBroker, subject: str
) -> None:
    name = subject.partition(".")[0]
    await jetstream.ensure_stream(name, (f"{name}.>",))
    sink = JetStreamSink(NatsSink(subject=subject), broker.url, create=False)
    await sink.open()
    await sink.publish([ONE])
    assert (await jetstream.stream(name)).state.messages == 1
    await sink.aclose()


async def test_a_named_stream_is_widened(jetstream: JetStream, broker: RunningBroker, subject: str) -> None:
    name = subject.partition(".")[0]
    await jetstream.ensure_stream(name, (f"{name}.other", f"{name}.out"))
    await jetstream.ensure_stream(name, (f"{name}.>",))
    assert (await jetstream.stream(name)).config["subjects"] == [f"{name}.>"]


@pytest.mark.parametrize(
    ("stream", "said"), [(None, r"no stream takes `sink\d+\.out` - at `nats://\*"), ("NONE", "no stream named `NONE`")]
)
async def test_a_missing_stream_is_an_error_with_a_url_of_ones_own(
    broker: RunningBroker, subject: str, stream: str | None, said: str
) -> None:
    with pytest.raises(StreamMissing, match=said):
        await JetStreamSink(NatsSink(subject=subject, stream=stream), broker.url, create=False).open()


async def test_a_stream_that_has_gone(jetstream: JetStream, sink: JetStreamSink, subject: str) -> None:
    await jetstream._call(f"STREAM.DELETE.{subject.replace('.', '_')}", None, dict)
    with pytest.raises(StreamMissing, match=f"publish to `{subject}`: no stream takes it within 0.3 s"):
        await sink.publish([ONE])


async def test_headers(jetstream: JetStream, sink: JetStreamSink, subject: str) -> None:
    got: asyncio.Queue[dict[str, str] | None] = asyncio.Queue()

    async def receive(message: object) -> None:
        got.put_nowait(getattr(message, "headers", None))

    await jetstream.connection.subscribe(subject, receive)
    await jetstream.connection.flush()
    headers = (("x-a", "1"), ("x-a", "2"), ("ce-id", "7"))
    await sink.publish([Message(id="t/s/1", data=b"x", content_type="image/png", headers=headers)])
    async with asyncio.timeout(5):
        assert await got.get() == {"Nats-Msg-Id": "t/s/1", "Content-Type": "image/png", "x-a": "1, 2", "ce-id": "7"}


async def test_messages_that_can_never_be_taken(jetstream: JetStream, sink: JetStreamSink, subject: str) -> None:
    large = Message(id="large", data=bytes(9 * 2**20), content_type="text/plain")
    odd = Message(id="odd", data=b"", content_type="text/plain", headers=(("x y", "1"),))
    with pytest.raises(
        MessageRefused, match="2 of 3 refused: expected at most 8388608 bytes, got 9437184 - at"
    ) as caught:
        await sink.publish([large, ONE, odd])
    assert caught.value.ids == ("large", "odd")
    with pytest.raises(MessageRefused, match="1 of 1 refused: expected headers named in ASCII letters, got"):
        await sink.publish([odd])
    assert (await jetstream.stream(subject.replace(".", "_"))).state.messages == 1


async def test_a_stream_that_refuses(jetstream: JetStream, sink: JetStreamSink, subject: str) -> None:
    name = subject.replace(".", "_")
    config = (await jetstream.stream(name)).config
    await jetstream._call(f"STREAM.UPDATE.{name}", config | {"max_msg_size": 500}, dict)
    with pytest.raises(MessageRefused, match=f"publish to `{subject}`: 1 of 2 refused: message size exceeds maximum"):
        await sink.publish([Message(id="2", data=bytes(1000), content_type="text/plain"), ONE])
    assert (await jetstream.stream(name)).state.messages == 1


async def test_a_stream_that_is_full(jetstream: JetStream, sink: JetStreamSink, subject: str) -> None:
    name = subject.replace(".", "_")
    config = (await jetstream.stream(name)).config
    await jetstream._call(f"STREAM.UPDATE.{name}", config | {"max_msgs": 1, "discard": "new"}, dict)
    await sink.publish([ONE])
    with pytest.raises(TriggerError, match=f"publish to `{subject}`: maximum messages exceeded within 0.3 s"):
        await sink.publish([Message(id="2", data=b"", content_type="text/plain")])
