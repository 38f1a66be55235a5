"""What a partition lets be delivered, and how far it may be committed."""

from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from headrace.triggers.events import Trigger
from headrace.triggers.kafka.codec import KafkaEvent
from headrace.triggers.kafka.note import Note, read
from headrace.triggers.kafka.partition import Partition
from headrace.triggers.kafka.records import Row


class Rows:
    """Records of given offsets and keys."""

    def __init__(self, offsets: Sequence[int], keys: str = "", next_offset: int | None = None) -> None:
        self.offsets = list(offsets)
        self.next_offset = (self.offsets[-1] + 1) if next_offset is None else next_offset
        self._keys = keys

    def rows(self) -> Iterator[Row]:
        for index, offset in enumerate(self.offsets):
            key = self._keys[index].encode() if self._keys else None
            yield (offset, 0, None if key == b"-" else key, b"%d" % offset, ())


def made(*records: Rows, note: Note | None = None, position: int = 0, **fields: Any) -> Partition:
    given: dict[str, Any] = {"ordering": "key", "max_uncommitted": 100, "trigger": Trigger("t", "kafka")}
    partition = Partition("t", 0, position, note or Note(), **(given | fields))
    for one in records:
        partition.add(one)
    return partition


def offsets(events: Sequence[KafkaEvent]) -> list[int | None]:
    return [event.offset for event in events]


def test_the_lowest_unsettled_offset_is_committed() -> None:
    partition = made(Rows([0, 1, 2]), Rows([5, 6]))
    events = partition.take(10)
    for index in (1, 3):
        partition.settle(events[index])
    assert partition.watermark == 0
    partition.settle(events[0])
    assert partition.watermark == 2
    partition.settle(events[2])
    assert partition.watermark == 6
    partition.settle(events[4])
    assert partition.commitment == (7, "")


def test_gaps_and_control_records_are_passed() -> None:
    partition = made(Rows([0]), Rows([], next_offset=9))
    assert partition.hungry is False
    (event,) = partition.take(5)
    assert (partition.watermark, partition.hungry) == (0, True)
    partition.settle(event)
    assert partition.watermark == 9


@pytest.mark.parametrize(("ordering", "taken"), [("key", [0, 2, 3, 4]), ("partition", [0]), ("none", [0, 1, 2, 3, 4])])
def test_ordering(ordering: str, taken: list[int]) -> None:
    partition = made(Rows(range(5), "aab--"), ordering=ordering)
    assert offsets(partition.take(10)) == taken


def test_a_key_goes_on_in_order() -> None:
    partition = made(Rows(range(4), "aaaa"))
    for expected in range(4):
        (event,) = partition.take(10)
        assert event.offset == expected
        assert partition.take(10) == []
        assert partition.settle(event)
    assert partition.take(10) == []


def test_a_retry_waits_and_holds_its_key() -> None:
    partition = made(Rows(range(3), "aab"))
    a, b = partition.take(10)
    assert partition.park(a, 5.0)
    partition.settle(b)
    assert (partition.due(4.9), partition.take(10)) == (5.0, [])
    assert partition.due(5.0) is None
    (again,) = partition.take(10)
    assert (again.offset, again.attempt, again.copy()) == (0, 2, b"0")
    assert partition.watermark == 0


def test_settling_twice_says_nothing() -> None:
    partition = made(Rows([0, 1]))
    first, _ = partition.take(2)
    assert partition.settle(first)
    assert not partition.settle(first)
    assert not partition.park(first, 0.0)
    assert partition.in_flight == 1


def test_settling_what_was_released_says_nothing() -> None:
    partition = made(Rows([0]))
    (event,) = partition.take(1)
    partition.release()
    assert not partition.settle(event)
    assert not partition.park(event, 0.0)


def test_no_more_than_max_uncommitted_is_delivered() -> None:
    partition = made(Rows(range(20)), max_uncommitted=5)
    events = partition.take(100)
    assert offsets(events) == [0, 1, 2, 3, 4]
    partition.settle(events[0])
    assert offsets(partition.take(100)) == [5]


def test_nothing_is_added_beyond_max_uncommitted() -> None:
    partition = made(Rows(range(5)), max_uncommitted=5)
    events = partition.take(100)
    assert not partition.hungry
    partition.settle(events[0])
    assert partition.hungry


def test_put_back_is_delivered_first_and_counts_once() -> None:
    partition = made(Rows(range(3)))
    partition.put_back(partition.take(2))
    assert [(event.offset, event.attempt) for event in partition.take(5)] == [(0, 1), (1, 1), (2, 1)]


def test_handed_back_does_not_count() -> None:
    partition = made(Rows([7]), position=7)
    (event,) = partition.take(1)
    partition.claim(ahead=False)
    partition.park(event, 0.0, begun=False)
    offset, metadata = partition.commitment
    assert read(metadata, offset).attempt(7) == 1


def test_the_note_tells_what_is_being_worked_on() -> None:
    partition = made(Rows(range(10)))
    first, *_ = partition.take(4)
    assert partition.unclaimed
    partition.claim(ahead=False)
    partition.settle(first)
    offset, metadata = partition.commitment
    assert (offset, read(metadata, offset)) == (1, Note(4, True))


def test_a_claim_ahead_is_taken_back_when_idle() -> None:
    partition = made(Rows(range(10)))
    events = partition.take(3)
    partition.claim(ahead=True)
    assert read(partition.commitment[1], 0).reach == 6
    for event in events:
        partition.settle(event)
    assert partition.overclaimed
    partition.unclaim()
    partition.unclaim()
    assert partition.commitment == (3, "")


def test_suspects_are_told_by_the_note() -> None:
    note = Note(2, True, {0: 4})
    partition = made(Rows(range(3)), note=note)
    attempts = []
    while partition.suspect:
        (event,) = partition.take(1)
        attempts.append(event.attempt)
        partition.settle(event)
    assert attempts == [5, 2]
    assert [event.attempt for event in partition.take(5)] == [1]


def test_what_an_owner_before_counted_is_handed_on() -> None:
    partition = made(note=Note(9, True, {3: 4}), position=3)
    offset, metadata = partition.commitment
    assert read(metadata, offset) == Note(9, True, {3: 4})
