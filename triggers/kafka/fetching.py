"""aiokafka's consumer, handing out each fetch as `Columns` in place of its records.

aiokafka keeps groups, metadata, positions, pauses and fetch requests. It names what it makes of a response's bytes
in two places: `AIOKafkaConsumer.start` makes a `Fetcher`, and `Fetcher._proc_fetch_request` makes `MemoryRecords` and
`PartitionRecords` (aiokafka 0.12 to 0.14). Both functions are used as they are, with those names bound to the classes
below, in our subclasses alone; `_rebound` refuses an aiokafka where they do not use the names. What does not belong
here: decoding, and what is done with the columns.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from types import FunctionType
from typing import Any, TypeVar, cast

from aiokafka import AIOKafkaConsumer
from aiokafka.consumer.fetcher import READ_COMMITTED, Fetcher
from aiokafka.structs import TopicPartition

from .columnar import Columns, decode

F = TypeVar("F", bound=Callable[..., Any])


def _rebound(function: F, **names: object) -> F:
    """`function` with some of its module's global names bound to something else.

    Raises:
        ImportError: It does not use one of the names: another version of aiokafka.
    """
    plain = cast(FunctionType, function)
    if missing := names.keys() - set(plain.__code__.co_names):
        import aiokafka

        raise ImportError(
            f"aiokafka {aiokafka.__version__}: expected `{plain.__qualname__}` to use {', '.join(sorted(missing))}, "
            "got another form of it"
        )
    twin = FunctionType(plain.__code__, {**plain.__globals__, **names}, plain.__name__, plain.__defaults__)
    twin.__kwdefaults__ = plain.__kwdefaults__
    return cast(F, twin)


class Fetched:
    """What one fetch of one partition held; it stands where aiokafka's users get a record.

    Attributes:
        partition: Where it was fetched.
        columns: The records; at least one.
        fetch_offset: Where the fetch began.
        next_offset: Where the next begins.
    """

    __slots__ = ("columns", "fetch_offset", "next_offset", "partition")

    def __init__(self, partition: TopicPartition, columns: Columns, fetch_offset: int, next_offset: int) -> None:
        self.partition = partition
        self.columns = columns
        self.fetch_offset = fetch_offset
        self.next_offset = next_offset

    def __repr__(self) -> str:
        return f"Fetched({self.partition.topic}/{self.partition.partition}, {self.columns!r})"


class RawRecords:
    """Stands for aiokafka's `MemoryRecords`: the bytes as they were fetched.

    It never claims that a response holds no whole batch: aiokafka would take that for a record larger than the fetch,
    and step over it. Brokers since 0.10.1 send the first batch whole (KIP-74), so to `decode` it is corrupt.
    """

    __slots__ = ("data",)

    def __init__(self, data: bytes | None) -> None:
        self.data = data or b""

    def has_next(self) -> bool:
        """Whether anything was fetched."""
        return bool(self.data)

    def size_in_bytes(self) -> int:
        """Size of what was fetched."""
        return len(self.data)


class PartitionColumns(Iterator[Fetched]):
    """Stands for aiokafka's `PartitionRecords`: one `Fetched`, decoded when it is asked for.

    Where corrupt bytes follow good records, those are given, and the error is met by the next fetch, which begins
    there.

    Attributes:
        next_fetch_offset: Read by aiokafka for the consumer's position.
    """

    def __init__(
        self,
        tp: TopicPartition,
        records: RawRecords,
        aborted_transactions: Sequence[tuple[int, int]] | None,
        fetch_offset: int,
        _key_deserializer: object,
        _value_deserializer: object,
        check_crcs: bool,
        isolation_level: int,
    ) -> None:
        self.next_fetch_offset = fetch_offset
        self._partition = tp
        self._data: bytes | None = records.data
        self._decode = partial(
            decode,
            topic=tp.topic,
            partition=tp.partition,
            fetch_offset=fetch_offset,
            aborted=aborted_transactions,
            read_committed=isolation_level == READ_COMMITTED,
            check_crc=check_crcs,
        )

    def __next__(self) -> Fetched:
        """The fetch's records.

        Raises:
            StopIteration: They were given, or it holds none that count.
            CorruptRecords: Its first record can't be read.
        """
        if self._data is None:
            raise StopIteration
        data, self._data = self._data, None
        fetch_offset = self.next_fetch_offset
        columns, self.next_fetch_offset, error = self._decode(data)
        if len(columns):
            return Fetched(self._partition, columns, fetch_offset, self.next_fetch_offset)
        if error is not None:
            raise error
        raise StopIteration


class ColumnarFetcher(Fetcher):  # type: ignore[misc]  # aiokafka has no types
    """Fetches as aiokafka does, and keeps what it fetched undecoded until it is asked for."""

    _proc_fetch_request = _rebound(
        Fetcher._proc_fetch_request, MemoryRecords=RawRecords, PartitionRecords=PartitionColumns
    )


class ColumnarConsumer(AIOKafkaConsumer):  # type: ignore[misc]  # aiokafka has no types
    """`AIOKafkaConsumer` whose `getmany` and `getone` give `Fetched` in place of records.

    Its `max_records` counts fetches. `getmany` raises `CorruptRecords` where what lies at a partition's position can't
    be read, and fetches it again when called again. Deserializers are not used.
    """

    start = _rebound(AIOKafkaConsumer.start, Fetcher=ColumnarFetcher)
