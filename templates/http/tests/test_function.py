"""The function, called as the runtime calls it, without a server."""

from pathlib import Path

from headrace import Reject
from headrace.testing import make_event, run

PROJECT = Path(__file__).parents[1]


def test_greets_the_person() -> None:
    [greeting] = run(PROJECT, [make_event(json={"name": "Ada"})])
    assert greeting.message == "Hello, Ada!"


def test_greets_everybody_without_a_body() -> None:
    [greeting] = run(PROJECT, [make_event()])
    assert greeting.message == "Hello, World!"


def test_rejects_what_is_no_json() -> None:
    [answer] = run(PROJECT, [make_event(b"no json")])
    assert isinstance(answer, Reject)
