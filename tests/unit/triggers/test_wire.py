"""What replicas and the platform say to each other."""

import msgspec
import pytest

from headrace.triggers import wire

FROM_REPLICA: list[wire.FromReplica] = [
    wire.Hello(1),
    wire.Ready(),
    wire.Unready("hang"),
    wire.Failed("no module"),
    wire.Status(3, {"t": 2}, 0.5, 1.5, 4),
    wire.Draining(),
    wire.Connections(2),
    wire.Samples(
        [wire.Family(name="f", kind="gauge", text="t", samples=[wire.Sample(name="f", value=1.5)])], more=True
    ),
]


@pytest.mark.parametrize("message", FROM_REPLICA)
def test_messages_of_a_replica_come_back_as_they_were(message: wire.FromReplica) -> None:
    line = msgspec.json.encode(message)
    assert b"\n" not in line
    assert msgspec.json.decode(line, type=wire.FromReplica) == message


@pytest.mark.parametrize(
    "message", [wire.Drain(), wire.Drain(hand_over=False), wire.Adopt(3), wire.Ping(), wire.Scrape()]
)
def test_messages_of_the_platform_come_back_as_they_were(message: wire.FromPlatform) -> None:
    assert msgspec.json.decode(msgspec.json.encode(message), type=wire.FromPlatform) == message


def test_messages_are_told_apart_by_name() -> None:
    assert msgspec.json.encode(wire.Hello(7)) == b'{"is":"hello","pid":7}'
