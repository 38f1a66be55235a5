"""tests/test_function.py: the function, called as the runtime calls it, without a server."""

from pathlib import Path

from headrace.testing import make_event, run

PROJECT = Path(__file__).parents[1]


def test_greets() -> None:
    assert run(PROJECT, [make_event(json={"name": "Ada"})]) == [{"message": "Hello, Ada!"}]
