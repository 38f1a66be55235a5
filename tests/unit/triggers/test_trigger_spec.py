"""The `triggers:` section and sink bindings."""

from typing import Any

import pytest

from headrace.triggers.errors import SpecError
from headrace.triggers.http.spec import HttpTrigger
from headrace.triggers.nats.spec import NatsSink, NatsTrigger, valid_subject
from headrace.triggers.spec import kind_of, parse_sink, parse_triggers, to_plain
from headrace.triggers.units import Seconds

NATS = {"name": "t", "kind": "nats", "stream": "S"}


@pytest.mark.parametrize("value", [None, []])
def test_no_triggers_is_one_of_http(value: object) -> None:
    assert parse_triggers(value) == (HttpTrigger(name="http"),)


def test_nats_trigger() -> None:
    (spec,) = parse_triggers([NATS | {"subjects": ["a.>"], "ackWait": "2s", "sink": "out"}])
    assert spec == NatsTrigger(name="t", stream="S", subjects=("a.>",), ack_wait=Seconds(2), sink="out")
    assert isinstance(spec, NatsTrigger)
    assert spec.consumer == "t"
    assert kind_of(spec) == "nats"
    assert to_plain(spec)["maxAckPending"] == 10_000


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ({}, r"expected `array`, got `object` - at `\$\.triggers`"),
        ([1], r"expected `object`, got `int` - at `\$\.triggers\[0\]`"),
        ([{"name": "x"}], r"expected `http` or `nats` or `kafka`, got nothing - at `\$\.triggers\[0\]\.kind`"),
        ([{"name": "x", "kind": "mqtt"}], r"expected `http` or `nats` or `kafka`, got `mqtt` - at"),
        (
            [{"name": "X", "kind": "http"}],
            r"expected a name of lower-case letters.*got `X` - at `\$\.triggers\[0\]\.name`",
        ),
        ([NATS, NATS], r"expected one trigger named `t`, got 2"),
        ([{"name": "a", "kind": "http"}, {"name": "b", "kind": "http"}], "expected one trigger of kind `http`, got 2"),
        ([NATS | {"retry": 1}], r"unknown field `retry` - at `\$\.triggers\[0\]`"),
        ([NATS | {"ackWait": "1ms"}], r"expected >= 0.1, got 0.001 - at `\$\.triggers\[0\]\.ackWait`"),
        ([NATS | {"maxAckPending": 0}], r"expected >= 1, got 0 - at `\$\.triggers\[0\]\.maxAckPending`"),
        ([NATS | {"stream": "a.b"}], r"expected a name without blanks.* got `a\.b` - at `\$\.triggers\[0\]\.stream`"),
        ([NATS | {"durable": "a b"}], r"got `a b` - at `\$\.triggers\[0\]\.durable`"),
        (
            [NATS | {"subjects": ["a", "b..c"]}],
            r"expected a subject, got `b\.\.c` - at `\$\.triggers\[0\]\.subjects\[1\]`",
        ),
    ],
)
def test_bad_triggers(value: Any, said: str) -> None:
    with pytest.raises(SpecError, match=said):
        parse_triggers(value)


def test_sink() -> None:
    spec = parse_sink({"kind": "nats", "subject": "out.x"}, "$.bindings.out")
    assert spec == NatsSink(subject="out.x")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"kind": "http"}, "expected `nats` or `kafka`, got `http`"),
        ({"subject": "out.*"}, "expected a subject without wildcards, got `out.\\*`"),
        ({"publishTimeout": "0"}, "expected >= 0.001, got 0"),
    ],
)
def test_bad_sinks(change: dict[str, str], said: str) -> None:
    with pytest.raises(SpecError, match=said):
        parse_sink({"kind": "nats", "subject": "out"} | change, "$.bindings.out")


def test_references_are_checked_when_resolved() -> None:
    parse_triggers([NATS | {"stream": "{{ env:STREAM }}", "subjects": ["{{ env:S }}.>"]}])


@pytest.mark.parametrize("subject", ["a", "a.b", "*.b", "a.*", "a.>", ">", "*"])
def test_valid_filters(subject: str) -> None:
    assert valid_subject(subject, wildcards=True)
    assert valid_subject(subject, wildcards=False) is not any(wild in subject for wild in "*>")


@pytest.mark.parametrize("subject", ["", ".", "a.", ".a", "a b", "a.>.b", "a*", "a>", "a\r\nPUB x", ">.>"])
def test_invalid_subjects(subject: str) -> None:
    assert not valid_subject(subject, wildcards=True)


HTTP = {"name": "h", "kind": "http"}


def test_http_trigger() -> None:
    cors = {"allowOrigins": ["https://a.example:8443", "http://[::1]", "null", "{{ env:ORIGIN }}"], "maxAge": "1h"}
    tls = {"certificate": "{{ secret:tls:tls.crt }}", "key": "-----BEGIN PRIVATE KEY-----"}
    (spec,) = parse_triggers([HTTP | {"cors": cors, "tls": tls, "apiKeys": "{{ secret:http:keys }}"}])
    assert isinstance(spec, HttpTrigger)
    assert spec.cors is not None
    assert spec.cors.max_age == Seconds(3600)
    assert spec.cors.allow_headers == ("*",)


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ({"cors": {}}, r"`allowOrigins` - at `\$\.triggers\[0\]\.cors`"),
        ({"cors": {"allowOrigins": []}}, r"expected at least one origin, got none - at .*allowOrigins`"),
        ({"cors": {"allowOrigins": ["*"], "allowCredentials": True}}, r"no `\*` with `allowCredentials`"),
        ({"cors": {"allowOrigins": ["*", "http://a"]}}, r"expected `\*` alone"),
        ({"cors": {"allowOrigins": ["http://a/"]}}, r"got `http://a/` - at .*allowOrigins\[0\]`"),
        ({"cors": {"allowOrigins": ["http://A"]}}, "expected an origin such as"),
        ({"cors": {"allowOrigins": ["*"], "exposeHeaders": ["a b"]}}, r"got `a b` - at .*exposeHeaders\[0\]`"),
        ({"tls": {"certificate": "x", "key": "y"}}, r"expected PEM text, or a reference .*tls\.certificate`"),
        ({"tls": {"certificate": "{{ env:X }}"}}, "`key`"),
        ({"apiKeys": " "}, "expected a reference such as"),
    ],
)
def test_bad_http_triggers(value: Any, said: str) -> None:
    with pytest.raises(SpecError, match=said):
        parse_triggers([HTTP | value])
