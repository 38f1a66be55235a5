"""The function, called as the runtime calls it, without a broker."""

from pathlib import Path

from headrace import Reject
from headrace.testing import make_event, run

PROJECT = Path(__file__).parents[1]


def test_summarises_each_event() -> None:
    events = [make_event(json={"sensor": "a", "values": [1, 2, 6]}), make_event(json={"sensor": "b", "values": [4.5]})]
    first, second = run(PROJECT, events)
    assert (first.sensor, first.count, first.mean, first.lowest, first.highest) == ("a", 3, 3.0, 1.0, 6.0)
    assert (second.sensor, second.count, second.mean) == ("b", 1, 4.5)


def test_sends_nothing_without_values() -> None:
    assert run(PROJECT, [make_event(json={"sensor": "a", "values": []})]) == [None]


def test_rejects_what_is_no_reading() -> None:
    [outcome] = run(PROJECT, [make_event(json={"sensor": "a"})])
    assert isinstance(outcome, Reject)
    assert "values" in str(outcome.reason)
