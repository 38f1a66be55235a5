"""Who waits and in which order, without a clock."""

import math

import pytest

from headrace.runtime.batching.queues import Policies, Queued, TriggerQueue
from headrace.runtime.spec import Batching, QueuePolicy
from headrace.triggers.events import Attributes, Event
from headrace.triggers.headers import Headers
from headrace.triggers.units import Seconds

TIMED = QueuePolicy(default_timeout=Seconds(1), allow_timeout_override=True)


def queued(received: float = 0, rows: int = 1, **headers: str) -> Queued:
    event = Event(b"", Attributes(id="1", source="s", type="t"), headers=Headers.of(headers))
    return Queued(event, lambda event, result: None, received, rows)


def read(item: Queued, **settings: object) -> Queued:
    Policies(Batching(**settings)).read(item)  # type: ignore[arg-type]
    return item


@pytest.mark.parametrize(
    ("said", "level"),
    [("1", 0), ("3", 2), ("0", 2), ("4", 2), ("-1", 2), ("1.0", 2), ("u=1, i", 2), ("²", 2), ("9" * 5000, 2)],
)
def test_level(said: str, level: int) -> None:
    assert read(queued(priority=said), priority_levels=3).level == level


def test_level_of_structured_cloudevents() -> None:
    headers = Headers.of({"content-type": "application/cloudevents+json"})
    item = queued()
    item.event = Event(b"", Attributes(id="1", source="s", type="t", extensions={"priority": "1"}), headers=headers)
    assert read(item, priority_levels=2).level == 0


@pytest.mark.parametrize(
    ("said", "deadline"),
    [("250", 10.25), ("0.5", 10.0005), ("5000", 11), ("0", 11), ("-1", 11), ("nan", 11), ("inf", 11), ("", 11)],
)
def test_deadline(said: str, deadline: float) -> None:
    assert read(queued(received=10, timeout=said), default_queue_policy=TIMED).deadline == deadline


def test_no_time_limit_and_no_override_by_default() -> None:
    assert read(queued(timeout="5"), default_queue_policy=QueuePolicy()).deadline == math.inf


def test_override_without_a_default() -> None:
    policy = QueuePolicy(allow_timeout_override=True)
    assert read(queued(received=1, timeout="500"), default_queue_policy=policy).deadline == 1.5
    assert read(queued(), default_queue_policy=policy).deadline == math.inf


def test_plain_or_not() -> None:
    assert Policies(Batching()).plain
    assert Policies(Batching(priority_levels=1)).plain
    assert not Policies(Batching(priority_levels=2)).plain
    assert not Policies(Batching(default_queue_policy=TIMED)).plain


def test_oldest_over_levels() -> None:
    queue = TriggerQueue(Policies(Batching(priority_levels=2)))
    for received, level in ((5.0, 0), (3.0, 1)):
        item = queued(received=received)
        item.level = level
        queue.put(item)
    assert queue.oldest.received == 3
    assert queue.urgency == (0, 3)


def test_event_larger_than_the_limit_goes_alone() -> None:
    queue = TriggerQueue(Policies(Batching()))
    for rows in (5, 1):
        queue.put(queued(rows=rows))
    assert [item.rows for item in queue.take(2)] == [5]
    assert queue.rows == 1


def test_full_counts_the_delayed() -> None:
    policy = QueuePolicy(max_queue_size=2, timeout_action="delay")
    queue = TriggerQueue(Policies(Batching(default_queue_policy=policy)))
    late = queued()
    late.deadline = 1
    assert queue.put(late)
    assert queue.next_deadline == 1
    assert queue.expire(now=2) == []
    assert queue.next_deadline == math.inf
    assert queue.put(queued(received=2))
    assert not queue.put(queued())
    assert queue.oldest is late
    assert [item.received for item in queue.withdraw()] == [2, 0]
    assert queue.withdraw() == []
