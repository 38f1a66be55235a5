"""What a member leaves beside a committed offset for whoever owns the partition next.

Which events beyond the offset have been delivered, and how often, so that `Event.attempt` survives a crash and
an event that kills its process does not begin at 1 for ever. It travels as the commit's metadata string.
"""

import re
from collections.abc import Mapping

import msgspec

MAX_CHARS = 4000
"""A broker takes 4,096 bytes (offset.metadata.max.bytes)."""

_FORM = re.compile(r"headrace/1 (running|idle) (\d+)((?: \d+=\d+)*)")


class Note(msgspec.Struct, frozen=True):
    """The state beyond a committed offset.

    Attributes:
        reach: Events from the committed offset up to here (excluded) have been delivered at least once.
        running: Some of them were being worked on when this was written; read later, their process died.
        deliveries: By offset, for those that were delivered more than once.
    """

    reach: int = 0
    running: bool = False
    deliveries: Mapping[int, int] = {}

    def attempt(self, offset: int) -> int:
        """Which delivery of the event at `offset` the next is, from 1."""
        return self.deliveries.get(offset, 1) + 1 if offset < self.reach else 1


def write(note: Note, committed: int) -> str:
    """As metadata of `committed`; empty where there is nothing to tell."""
    if note.reach <= committed:
        return ""
    text = f"headrace/1 {'running' if note.running else 'idle'} {note.reach - committed}"
    # what has failed most often is kept if not all fits: it decides about dead letters
    for offset, count in sorted(note.deliveries.items(), key=lambda item: -item[1]):
        part = f" {offset - committed}={count}"
        if len(text) + len(part) > MAX_CHARS:
            break
        text += part
    return text


def read(metadata: str | None, committed: int) -> Note:
    """From a commit's metadata; what is not ours says nothing."""
    match = _FORM.fullmatch(metadata or "")
    if match is None:
        return Note()
    pairs = (part.split("=") for part in match[3].split())
    return Note(
        reach=committed + int(match[2]),
        running=match[1] == "running",
        deliveries={committed + int(offset): int(count) for offset, count in pairs},
    )
