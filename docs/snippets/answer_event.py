"""function/__init__.py: answers each event with an event."""

from headrace import Attributes, Event


async def handle(event: Event) -> Event:
    attributes = Attributes(id=event.id, source="/detect", type="com.example.detected", datacontenttype="text/plain")
    return Event(b"a cat", attributes)
