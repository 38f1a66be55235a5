"""From a source to the intake and back, with a source and sink that keep a ledger."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence

import pytest

from headrace.runtime.inflight import InFlight
from headrace.runtime.metrics import TriggerMetrics
from headrace.runtime.streams import StreamPump, message_of
from headrace.triggers.errors import BrokerUnavailable, MessageRefused
from headrace.triggers.events import Attributes, Event, Trigger
from headrace.triggers.headers import Headers
from headrace.triggers.outcomes import Ack, Outcome, Reject, Response, Retry
from headrace.triggers.protocols import Buffers, Capabilities, Device, Failure, Message, Settle

TRIGGER = Trigger("t", "ledger")


class LedgerSource:
    """Gives events out of a queue and remembers how each was settled."""

    capabilities = Capabilities()

    def __init__(self) -> None:
        self.queue: asyncio.Queue[Event] = asyncio.Queue()
        self.settled: list[tuple[str, Outcome]] = []
        self.handed_back: list[str] = []
        self.limits: list[int] = []
        self.closed = False

    def put(self, *ids: str, headers: Headers | None = None) -> None:
        for id_ in ids:
            attributes = Attributes(id=id_, source="s", type="test")
            self.queue.put_nowait(Event(id_.encode(), attributes, trigger=TRIGGER, headers=headers))

    async def open(self, buffers: Buffers, device: Device | None) -> None: ...

    async def fetch(self, limit: int) -> Sequence[Event]:
        self.limits.append(limit)
        events = [await self.queue.get()]
        while len(events) < limit and not self.queue.empty():
            events.append(self.queue.get_nowait())
        return events

    def settle(self, event: Event, outcome: Outcome) -> None:
        self.settled.append((event.id, outcome))

    async def hand_back(self, events: Sequence[Event]) -> None:
        self.handed_back += [event.id for event in events]

    async def aclose(self) -> None:
        self.closed = True


class LedgerSink:
    """Keeps messages; can be told to fail."""

    def __init__(self) -> None:
        self.messages: list[Message] = []
        self.calls = 0
        self.failing = False

    async def open(self) -> None: ...

    async def publish(self, messages: Sequence[Message]) -> None:
        self.calls += 1
        await asyncio.sleep(0)
        if self.failing:
            raise BrokerUnavailable("broker away")
        self.messages += [message for message in messages if len(message.data) <= 100]
        if refused := tuple(message.id for message in messages if len(message.data) > 100):
            raise MessageRefused("too large", refused)

    async def aclose(self) -> None: ...


class Answers:
    """An intake that answers at once, or keeps events until told."""

    def __init__(self, answer: Callable[[Event], object] | None = None) -> None:
        self._answer = answer
        self.held: list[tuple[Event, Settle]] = []

    def submit(self, event: Event, settle: Settle) -> None:
        if self._answer is None:
            self.held.append((event, settle))
        else:
            settle(event, self._answer(event))


class Bench:
    def __init__(self, answer: Callable[[Event], object] | None, limit: int = 10, sink: bool = True) -> None:
        self.source, self.sink, self.intake = LedgerSource(), LedgerSink(), Answers(answer)
        self.in_flight, self.metrics = InFlight(limit), TriggerMetrics()
        self.pump = StreamPump(
            "t",
            self.source,
            self.sink if sink else None,
            self.intake,
            in_flight=self.in_flight,
            metrics=self.metrics,
        )

    async def run(self, *ids: str, headers: Headers | None = None) -> None:
        """Put events in, wait until they are settled."""
        self.source.put(*ids, headers=headers)
        self.pump.start()
        while len(self.source.settled) < len(ids):
            await asyncio.sleep(0)
        await self.stop()

    async def stop(self) -> None:
        await self.pump.stop_fetching(lambda trigger: [])
        await self.pump.settled()
        await self.pump.aclose()


async def test_result_is_published_before_the_ack() -> None:
    bench = Bench(lambda event: {"id": event.id})
    await bench.run("1", "2", "3")
    assert bench.source.settled == [("1", Ack()), ("2", Ack()), ("3", Ack())]
    assert [message.id for message in bench.sink.messages] == ["t/s/1", "t/s/2", "t/s/3"]
    assert bench.sink.calls == 1  # gathered
    assert bench.sink.messages[0].data == b'{"id":"1"}'
    assert (bench.metrics.received, bench.metrics.ok, bench.in_flight.count) == (3, 3, 0)


@pytest.mark.parametrize(
    ("answer", "outcome", "fault"),
    [
        (None, Ack(), None),
        (Ack(), Ack(), None),
        (Retry(after_s=3), Retry(after_s=3), "retry"),
        (Reject("bad"), Reject("bad"), "rejected"),
        (Failure(ValueError(), "handler"), Retry(), "handler"),
        (Failure(ValueError(), "timeout"), Retry(), "timeout"),
        ({1, object()}, Retry(), "handler"),  # no result that can be sent
    ],
)
async def test_outcomes(answer: object, outcome: Outcome, fault: str | None) -> None:
    bench = Bench(lambda event: answer)
    await bench.run("1")
    assert bench.source.settled == [("1", outcome)]
    assert bench.sink.messages == []
    assert bench.metrics.errors == ({fault: 1} if fault else {})
    assert bench.metrics.settled == 1


async def test_without_a_sink_results_are_dropped() -> None:
    bench = Bench(lambda event: b"result", sink=False)
    await bench.run("1")
    assert bench.source.settled == [("1", Ack())]


async def test_unpublished_result_is_retried() -> None:
    bench = Bench(lambda event: b"result")
    bench.sink.failing = True
    await bench.run("1")
    assert bench.source.settled == [("1", Retry())]
    assert bench.metrics.errors == {"sink": 1}


async def test_a_result_that_the_broker_refuses_fails_alone() -> None:
    bench = Bench(lambda event: b"x" * (200 if event.id == "2" else 10))
    await bench.run("1", "2", "3")
    assert sorted(bench.source.settled, key=lambda pair: pair[0]) == [("1", Ack()), ("2", Retry()), ("3", Ack())]
    assert [message.id for message in bench.sink.messages] == ["t/s/1", "t/s/3"]


async def items(*values: object) -> AsyncIterator[object]:
    for value in values:
        if isinstance(value, Exception):
            raise value
        yield value


async def test_generator_is_published_item_by_item() -> None:
    bench = Bench(lambda event: items(b"a", None, b"b"))
    await bench.run("1")
    assert [(m.id, m.data) for m in bench.sink.messages] == [("t/s/1/0", b"a"), ("t/s/1/2", b"b")]
    assert bench.source.settled == [("1", Ack())]


@pytest.mark.parametrize("wrong", [ValueError("half way"), {1, object()}])
async def test_generator_that_fails_is_retried(wrong: object) -> None:
    bench = Bench(lambda event: items(b"a", wrong))
    await bench.run("1")
    assert bench.source.settled == [("1", Retry())]
    assert bench.metrics.errors == {"handler": 1}


async def test_generator_whose_sink_fails_is_retried() -> None:
    bench = Bench(lambda event: Response(items(b"a")))
    bench.sink.failing = True
    await bench.run("1")
    assert bench.source.settled == [("1", Retry())]


async def test_response_and_trace_become_the_message() -> None:
    bench = Bench(lambda event: Response(b"x", headers={"k": "v"}, content_type="image/png"))
    await bench.run("1", headers=Headers.of({"traceparent": "00-a-b-01"}))
    message = bench.sink.messages[0]
    assert (message.content_type, list(message.headers)) == ("image/png", [("traceparent", "00-a-b-01"), ("k", "v")])


async def test_fetches_only_what_there_is_room_for() -> None:
    bench = Bench(None, limit=2)
    bench.source.put("1", "2", "3", "4")
    bench.pump.start()
    while len(bench.intake.held) < 2:
        await asyncio.sleep(0)
    assert bench.source.limits == [2]
    event, settle = bench.intake.held[0]
    settle(event, None)
    while len(bench.source.limits) < 2:
        await asyncio.sleep(0)
    assert bench.source.limits == [2, 1]
    for event, settle in bench.intake.held[1:]:
        settle(event, None)
    bench.in_flight.enter(2)  # full by others: nothing more is fetched
    await bench.pump.stop_fetching(lambda trigger: [])
    bench.in_flight.leave(2)


async def test_what_has_not_begun_is_handed_back() -> None:
    bench = Bench(None)
    bench.source.put("1", "2", "3")
    bench.pump.start()
    while len(bench.intake.held) < 3:
        await asyncio.sleep(0)
    (first, settle), *rest = bench.intake.held
    await bench.pump.stop_fetching(lambda trigger: [event for event, _ in rest])
    assert bench.source.handed_back == ["2", "3"]
    settle(first, None)
    await bench.pump.settled()
    await bench.pump.aclose()
    assert bench.source.closed
    assert bench.in_flight.count == 0


async def test_closing_cancels_generators() -> None:
    closed = asyncio.Event()

    async def endless() -> AsyncIterator[bytes]:
        try:
            yield b"a"
            await asyncio.get_running_loop().create_future()
        finally:
            closed.set()

    bench = Bench(lambda event: endless())
    bench.source.put("1")
    bench.pump.start()
    while not bench.sink.messages:
        await asyncio.sleep(0)
    await bench.pump.stop_fetching(lambda trigger: [])
    await bench.pump.aclose()
    await closed.wait()


def test_message_id_of_an_item() -> None:
    event = Event(b"", Attributes(id="9", source="nats:S", type="t"), trigger=TRIGGER)
    assert message_of(event, "text", 4).id == "t/nats:S/9/4"
