"""aiokafka's own fetcher on a client of our own: what it makes of responses, and that it is the aiokafka we know."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer
from aiokafka.consumer.fetcher import Fetcher
from aiokafka.consumer.subscription_state import SubscriptionState
from aiokafka.structs import TopicPartition
from support.record_batches import marker, values

from headrace.triggers.errors import CorruptRecords
from headrace.triggers.kafka.fetching import (
    ColumnarConsumer,
    ColumnarFetcher,
    Fetched,
    PartitionColumns,
    RawRecords,
    _rebound,
)

PLACE = TopicPartition("t", 0)


class Broker:
    """Stands for aiokafka's client: answers fetches from a log, one response an entry, keyed by offset."""

    def __init__(self, log: dict[int, bytes], aborted: list[tuple[int, int]] | None = None) -> None:
        self._loop = asyncio.get_running_loop()
        self._metadata_max_age_ms = 60_000
        self.cluster = SimpleNamespace(leader_for_partition=lambda _: 1)
        self.log = log
        self.aborted = aborted
        self.asked: list[int] = []

    async def send(self, _node: int, request: Any) -> object:
        ((topic, ((partition, offset, _),)),) = request.topics
        self.asked.append(offset)
        if offset not in self.log:
            await asyncio.get_running_loop().create_future()
        rest = (900, 800, 0, self.aborted, -1, self.log[offset])
        return SimpleNamespace(API_VERSION=11, topics=[(topic, [(partition, 0, *rest)])])


@asynccontextmanager
async def fetching(broker: Broker, **options: Any) -> AsyncGenerator[tuple[Any, Any]]:
    """A fetcher, and aiokafka's state of the one partition, whose position is 0."""
    state = SubscriptionState()
    state.assign_from_user({PLACE})
    state.seek(PLACE, 0)
    fetcher = ColumnarFetcher(broker, state, **options)
    try:
        yield fetcher, state.subscription.assignment.state_value(PLACE)
    finally:
        await fetcher.close()


async def fetch(fetcher: Any) -> Fetched:
    (found,) = (await fetcher.fetched_records([], timeout=5))[PLACE]
    assert isinstance(found, Fetched)
    return found


async def test_a_fetch_is_columns_and_the_position_moves_on() -> None:
    broker = Broker({0: values(0, b"a", b"b") + marker(2, 9, commit=True), 3: values(3, b"c")})
    async with fetching(broker) as (fetcher, state):
        first = await fetch(fetcher)
        assert (first.columns.copies(), first.fetch_offset, first.next_offset) == ([b"a", b"b"], 0, 3)
        assert (state.position, state.highwater, state.lso) == (3, 900, 800)
        assert repr(first) == "Fetched(t/0, Columns(2 records, offsets 0 to 1))"
        assert (await fetch(fetcher)).columns.copies() == [b"c"]
        assert broker.asked[:2] == [0, 3]


async def test_one_at_a_time_too() -> None:
    async with fetching(Broker({0: values(0, b"a")})) as (fetcher, state):
        found = await fetcher.next_record([])
        assert (found.columns.copies(), state.position) == ([b"a"], 1)


async def test_aborted_transactions_are_left_out() -> None:
    data = values(0, b"no", attributes=0x10, producer_id=9) + marker(1, 9, commit=False)
    broker = Broker({0: data, 2: values(2, b"yes")}, [(9, 0)])
    async with fetching(broker, isolation_level="read_committed") as (fetcher, _):
        assert (await fetch(fetcher)).columns.copies() == [b"yes"]


async def test_good_records_come_before_the_error_and_the_position_stays() -> None:
    bad = values(1, b"b")[:-1] + b"!"
    broker = Broker({0: values(0, b"a") + bad, 1: bad})
    async with fetching(broker) as (fetcher, state):
        assert (await fetch(fetcher)).columns.copies() == [b"a"]
        for _ in range(2):
            with pytest.raises(CorruptRecords, match=r"expected crc .* - at t/0/1"):
                await fetch(fetcher)
            assert state.position == 1
        broker.log[1] = values(1, b"sound again")
        assert (await fetch(fetcher)).columns.copies() == [b"sound again"]


async def test_bytes_without_a_whole_batch_are_never_stepped_over() -> None:
    async with fetching(Broker({0: values(0, b"a")[:50]})) as (fetcher, state):
        with pytest.raises(CorruptRecords, match="expected a batch of 69 bytes, got 50"):
            await fetch(fetcher)
        assert state.position == 0


async def test_an_empty_response_is_no_fetch() -> None:
    async with fetching(Broker({0: b""})) as (fetcher, _):
        assert await fetcher.fetched_records([], timeout=0.05) == {}


async def test_checksums_are_left_out_where_the_consumer_says_so() -> None:
    bad = values(0, b"a")[:-2] + b"b\0"
    async with fetching(Broker({0: bad}), check_crcs=False) as (fetcher, _):
        assert (await fetch(fetcher)).columns.copies() == [b"b"]


def test_raw_records() -> None:
    assert (RawRecords(None).has_next(), RawRecords(b"abc").size_in_bytes()) == (False, 3)


def test_only_our_classes_are_changed() -> None:
    assert ColumnarConsumer.start.__globals__["Fetcher"] is ColumnarFetcher
    assert AIOKafkaConsumer.start.__globals__["Fetcher"] is Fetcher
    assert ColumnarFetcher._proc_fetch_request.__globals__["PartitionRecords"] is PartitionColumns
    assert Fetcher._proc_fetch_request.__globals__["PartitionRecords"] is not PartitionColumns


def test_another_aiokafka_is_refused() -> None:
    with pytest.raises(ImportError, match=r"aiokafka .*: expected `Fetcher._proc_fetch_request` to use RecordsOfOld"):
        _rebound(Fetcher._proc_fetch_request, RecordsOfOld=RawRecords)
