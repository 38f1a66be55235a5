"""function/__init__.py: give an event up after five deliveries."""

import logging

from headrace import Event, Reject

ATTEMPTS = 5

logger = logging.getLogger(__name__)


def parse(data: memoryview) -> int:
    return int(bytes(data))


def handle(event: Event) -> int | Reject:
    if event.attempt > ATTEMPTS:  # first, so that it holds for an event that kills the process, too
        logger.error("given up event=%s", event.id)
        return Reject(f"failed {ATTEMPTS} times")
    return parse(event.data) * 2
