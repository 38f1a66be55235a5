"""Publishing to a stream trigger, on a real broker."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.nats import RunningBroker, running_broker

from headrace.func_cli.errors import CommandError, MisuseError
from headrace.func_cli.publishing import Published, publish, stream_trigger
from headrace.triggers.errors import StreamMissing
from headrace.triggers.nats.client import connect
from headrace.triggers.nats.spec import NatsTrigger
from headrace.triggers.references import References

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningBroker]:
    with running_broker(tmp_path_factory.mktemp("nats")) as running:
        yield running


def trigger(stream: str, *subjects: str, url: str | None = None) -> NatsTrigger:
    return NatsTrigger(name="frames", stream=stream, subjects=subjects, url=url)


async def test_an_event_lies_in_the_stream_with_its_headers(broker: RunningBroker) -> None:
    lies = await publish(trigger("A", "a.>", "in"), broker.url, b"\x00data", {"ce-id": "7"})
    assert lies == Published(stream="A", subject="in", sequence=1)
    connection = await connect(broker.url, "test")
    try:
        message = await connection.client.jetstream().get_msg("A", 1)
        assert message.data == b"\x00data"
        assert (message.headers or {})["ce-id"] == "7"
    finally:
        await connection.aclose()


async def test_a_subject_can_be_given(broker: RunningBroker) -> None:
    lies = await publish(trigger("B", "b.*"), broker.url, b"x", {}, "b.one")
    assert lies.subject == "b.one"


async def test_wildcards_alone_are_not_guessed_at(broker: RunningBroker) -> None:
    with pytest.raises(MisuseError, match=r"all of its own have wildcards \(`c\.\*\.>`, `c\.\*\.>`\)") as caught:
        await publish(trigger("C", "c.*.>"), broker.url, b"x", {})
    assert caught.value.hint == "func invoke --trigger frames --subject c.test.test"


async def test_without_subjects_the_streams_own_are_used(broker: RunningBroker) -> None:
    assert (await publish(trigger("D"), broker.url, b"x", {})).subject == "D"


async def test_a_missing_stream_of_a_given_broker_is_an_error(broker: RunningBroker) -> None:
    with pytest.raises(StreamMissing, match="no stream named `NONE`"):
        await publish(trigger("NONE", "n", url=broker.url), None, b"x", {})


async def test_no_broker_runs() -> None:
    with pytest.raises(CommandError, match="trigger `frames`: no broker runs"):
        await publish(trigger("A", "a"), None, b"x", {})


@pytest.fixture
def spec(tmp_path: Path) -> Path:
    triggers = [
        {"name": "http", "kind": "http"},
        {"name": "frames", "kind": "nats", "stream": "{{ env:STREAM }}", "ackWait": "2s"},
    ]
    path = tmp_path / "spec.json"
    path.write_text(json.dumps({"name": "f", "triggers": triggers}))
    return path


def test_a_triggers_references_are_resolved(spec: Path) -> None:
    found = stream_trigger(spec, "frames", References({"STREAM": "FRAMES"}))
    assert (found.stream, found.ack_wait) == ("FRAMES", 2.0)


def test_a_trigger_that_is_not_there(spec: Path) -> None:
    with pytest.raises(MisuseError, match=r"no trigger `frame` \(did you mean `frames`\?\)"):
        stream_trigger(spec, "frame", References({}))
    with pytest.raises(MisuseError, match=r"no trigger `zzz` \(there are: `http`, `frames`\)"):
        stream_trigger(spec, "zzz", References({}))


def test_a_trigger_that_takes_requests(spec: Path) -> None:
    with pytest.raises(MisuseError, match="expected one that reads a stream, got kind `http`"):
        stream_trigger(spec, "http", References({}))
