"""Answers JSON requests: a greeting for whoever the request names."""

import msgspec

from headrace import Event, Reject


class Greeting(msgspec.Struct):
    """What the function answers with."""

    message: str


class Person(msgspec.Struct):
    """What a request holds."""

    name: str = "World"


async def handle(event: Event) -> Greeting | Reject:
    """Greet the person in the request's body; without one, everybody.

    A result is the response's body, as JSON; `Reject` is answered with 422.
    """
    try:
        person = event.json(type=Person) if event.data else Person()
    except msgspec.DecodeError as exc:
        return Reject(f'expected {{"name": ...}}: {exc}')
    return Greeting(message=f"Hello, {person.name}!")
