"""function/__init__.py: a second way out, beside the trigger's sink."""

from headrace import Event
from headrace.triggers.protocols import Message, Sink


async def handle(event: Event, alerts: Sink) -> dict[str, float]:
    reading = event.json()
    if reading["celsius"] > 90:
        id_ = f"alert/{event.source}/{event.id}"  # the same after a redelivery: the broker drops the second
        await alerts.publish([Message(id=id_, data=b"too hot", content_type="text/plain")])
    return {"kelvin": reading["celsius"] + 273.15}
