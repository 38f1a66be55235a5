"""Publishing to a stream trigger of a function that runs here, as `func invoke --trigger` does.

What does not belong here: requests (invocation), and the broker's client (triggers.nats).
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from headrace.triggers.nats.spec import NatsTrigger
from headrace.triggers.references import References
from headrace.triggers.spec import kind_of, parse_triggers
from headrace.triggers.units import convert

from .errors import CommandError, MisuseError, did_you_mean

_WILDCARDS = "*>"


class Published(msgspec.Struct, frozen=True, kw_only=True):
    """Where an event lies now."""

    stream: str
    subject: str
    sequence: int


def stream_trigger(spec: Path, name: str, references: References) -> NatsTrigger:
    """The trigger called `name` of the checked func.yaml at `spec`, references resolved.

    Raises:
        CommandError: The function has no such trigger, or it takes requests.
    """
    whole: dict[str, Any] = msgspec.json.decode(spec.read_bytes())
    triggers = {trigger.name: trigger for trigger in parse_triggers(whole.get("triggers"))}
    if (found := triggers.get(name)) is None:
        names = ", ".join(f"`{known}`" for known in triggers)
        raise MisuseError(f"no trigger `{name}`{did_you_mean(name, triggers) or f' (there are: {names})'}")
    if (kind := kind_of(found)) != "nats":
        raise MisuseError(f"trigger `{name}`: expected one that reads a stream, got kind `{kind}`", "func invoke")
    index = list(triggers).index(name)
    resolved = references.resolve(whole["triggers"][index], f"$.triggers[{index}]")
    trigger: NatsTrigger = convert(resolved, NatsTrigger, f"$.triggers[{index}]")
    return trigger


async def publish(
    trigger: NatsTrigger, broker: str | None, data: bytes, headers: Mapping[str, str], subject: str | None = None
) -> Published:
    """Put one event into the trigger's stream, and return when the broker has it on disk.

    Args:
        trigger: References resolved.
        broker: The embedded broker's URL, for a trigger without `url`.
        data: The event's payload.
        headers: Beside it.
        subject: The trigger's first without wildcards unless given.

    Raises:
        MisuseError: All subjects have wildcards and none was given.
        TriggerError: The broker is not there, or lacks the stream.
    """
    from headrace.triggers.nats.client import connect
    from headrace.triggers.nats.jetstream import JetStream

    url = trigger.url or broker
    if url is None:
        raise CommandError(f"trigger `{trigger.name}`: no broker runs", "func run")
    connection = await connect(url, "func invoke")
    try:
        stream = JetStream(connection)
        if trigger.url is None:
            await stream.ensure_stream(trigger.stream, trigger.subjects)
        info = await stream.stream(trigger.stream)
        place = subject or _concrete(trigger, [*trigger.subjects, *(info.config.get("subjects") or ())])
        with connection.mapped("publish"):
            ack = await connection.client.jetstream().publish(place, data, headers=dict(headers), stream=trigger.stream)
        return Published(stream=ack.stream, subject=place, sequence=ack.seq)
    finally:
        await connection.aclose()


def _concrete(trigger: NatsTrigger, subjects: Sequence[str]) -> str:
    for subject in subjects:
        if not any(wildcard in subject for wildcard in _WILDCARDS):
            return subject
    example = subjects[0].replace("*", "test").replace(">", "test") if subjects else trigger.stream
    raise MisuseError(
        f"trigger `{trigger.name}`: expected a subject, got none, and all of its own have wildcards "
        f"({', '.join(f'`{subject}`' for subject in subjects)})",
        f"func invoke --trigger {trigger.name} --subject {example}",
    )
