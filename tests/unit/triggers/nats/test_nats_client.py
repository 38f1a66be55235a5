"""URLs, delays and subjects: what needs no server."""

from itertools import islice

import pytest

from headrace.triggers.errors import BrokerUnavailable, UsageError
from headrace.triggers.nats.client import Connection, backoff, connect, masked
from headrace.triggers.nats.jetstream import consumer_config, covers
from headrace.triggers.nats.outbox import delayed_nak
from headrace.triggers.nats.spec import NatsTrigger


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("nats://a:4222", "nats://a:4222"),
        ("nats://u:p@a:4222", "nats://***@a:4222"),
        ("tok@a", "***@a"),
        ("nats://u:p@a,nats://t@b", "nats://***@a,nats://***@b"),
    ],
)
def test_credentials_are_masked(url: str, shown: str) -> None:
    assert masked(url) == shown


def test_credentials_leave_the_url() -> None:
    assert Connection("nats://u:p%40@a:1,nats://b", "n")._servers == ["nats://a:1", "nats://b"]
    assert Connection("nats://u:p%40@a:1", "n")._credentials == {"user": "u", "password": "p@"}
    assert Connection("tok@a", "n")._credentials == {"token": "tok"}
    assert Connection("a", "n")._credentials == {}


@pytest.mark.parametrize("url", ["http://a", "nats://", "nats://a:port", "nats://a:99999", ""])
def test_bad_urls(url: str) -> None:
    with pytest.raises(UsageError, match="expected a URL such as `nats://host:4222`, got"):
        Connection(url, "n")


async def test_no_broker(unused_tcp_port: int) -> None:
    with pytest.raises(
        BrokerUnavailable, match=r"connect: no answer within 0.2 s \(last: .*at `nats://\*\*\*@127.0.0.1:"
    ):
        await connect(f"nats://u:secret@127.0.0.1:{unused_tcp_port}", "n", timeout_s=0.2)


async def test_closing_what_was_never_open() -> None:
    await Connection("a", "n").aclose()


async def test_asking_without_a_connection() -> None:
    connection = Connection("a", "n")
    with pytest.raises(BrokerUnavailable, match="request: the connection is down"):
        await connection.request("s", b"", 1)
    with pytest.raises(BrokerUnavailable, match="flush: the connection is down"):
        await connection.flush()


def test_backoff_doubles() -> None:
    delays = list(islice(backoff(0.1, 1.0), 8))
    for delay, most in zip(delays, (0.1, 0.2, 0.4, 0.8, 1, 1, 1, 1), strict=True):
        assert most / 2 <= delay <= most


@pytest.mark.parametrize(
    ("pattern", "subject", "covered"),
    [
        ("a.>", "a.b", True), ("a.>", "a.b.c", True), ("a.>", "a", False), (">", "a.b", True), ("a.*", "a.b", True),
        ("a.*", "a.>", False), ("a.*", "a.*", True), ("a.b", "a.*", False), ("a.>", "a.>", True), ("a.b", "a.b", True),
        ("a.b", "a.c", False), ("a.b", "a", False), ("a", "a.b", False),
    ],
)  # fmt: skip
def test_covers(pattern: str, subject: str, covered: bool) -> None:
    assert covers(pattern, subject) is covered


def test_consumer_config() -> None:
    config = consumer_config(NatsTrigger(name="t", stream="S", subjects=("a",)))
    assert config["ack_wait"] == 30_000_000_000
    assert (config["filter_subject"], config["durable_name"]) == ("a", "t")
    assert consumer_config(NatsTrigger(name="t", stream="S", subjects=("a", "b")))["filter_subjects"] == ["a", "b"]


def test_delayed_nak() -> None:
    assert delayed_nak(0) == b"-NAK"
    assert delayed_nak(0.25) == b'-NAK {"delay": 250000000}'
