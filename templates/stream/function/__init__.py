"""Summarises a stream of sensor readings: each event in, its summary out."""

import msgspec

from headrace import Event, Reject


class Readings(msgspec.Struct):
    """What an event holds."""

    sensor: str
    values: list[float]


class Summary(msgspec.Struct):
    """What goes to the sink."""

    sensor: str
    count: int
    mean: float
    lowest: float
    highest: float


async def handle(event: Event) -> Summary | Reject | None:
    """Summarise one event's readings.

    A result goes to the trigger's sink as JSON before the event is acknowledged; None sends nothing; an exception
    has the event delivered again; `Reject` gives it up.
    """
    try:
        readings = event.json(type=Readings)
    except msgspec.DecodeError as exc:
        return Reject(f"no readings: {exc}")
    values = readings.values
    if not values:
        return None
    return Summary(readings.sensor, len(values), sum(values) / len(values), min(values), max(values))
