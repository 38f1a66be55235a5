"""Kafka's sections of func.yaml."""

from typing import Any

import pytest

from headrace.triggers.errors import SpecError
from headrace.triggers.kafka.spec import KafkaSink, KafkaTrigger
from headrace.triggers.spec import parse_sink, parse_triggers

TRIGGER: dict[str, Any] = {"name": "t", "kind": "kafka", "brokers": ["k:9092"], "topics": ["a"]}
SINK: dict[str, Any] = {"kind": "kafka", "brokers": ["k:9092"], "topic": "a"}
SASL = {"protocol": "SASL_SSL", "mechanism": "PLAIN", "username": "u", "password": "{{ secret:k:p }}"}
PEM = "-----BEGIN CERTIFICATE-----"


def test_defaults() -> None:
    (spec,) = parse_triggers([TRIGGER])
    assert isinstance(spec, KafkaTrigger)
    assert (spec.group, spec.ordering, spec.offset_reset, spec.max_uncommitted) == ("t", "key", "earliest", 10_000)


def test_sink() -> None:
    assert parse_sink(SINK, "$.bindings.out") == KafkaSink(brokers=("k:9092",), topic="a")


@pytest.mark.parametrize(
    "change",
    [
        {"brokers": ["{{ env:BROKER }}"]},
        {"topics": [], "topicPattern": "frames-.*"},
        {"security": SASL},
        {"security": {"protocol": "SSL", "ca": PEM, "certificate": "{{ secret:k:c }}", "key": "{{ secret:k:k }}"}},
        {"security": SASL | {"mechanism": "OAUTHBEARER", "tokenEndpoint": "https://t", "scopes": ["a"]}},
    ],
)
def test_good(change: dict[str, Any]) -> None:
    assert len(parse_triggers([TRIGGER | change])) == 1


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"brokers": []}, r"expected at least one broker, got none - at `\$\.triggers\[0\]\.brokers`"),
        ({"brokers": ["k"]}, r"expected `host:port`, got `k` - at `\$\.triggers\[0\]\.brokers\[0\]`"),
        ({"topics": []}, "expected either `topics` or `topicPattern`, got neither"),
        ({"topicPattern": "a"}, "expected either `topics` or `topicPattern`, got both"),
        ({"topics": [], "topicPattern": "("}, "expected a regular expression, got .*topicPattern"),
        ({"topics": ["a b"]}, r"expected a name of letters.*got `a b` - at `\$\.triggers\[0\]\.topics\[0\]`"),
        ({"ordering": "subject"}, "invalid enum value 'subject'"),
        ({"maxUncommitted": 0}, "expected >= 1, got 0"),
        ({"sessionTimeout": "10ms"}, "expected >= 1, got 0.01"),
        ({"security": {"mechanism": "PLAIN"}}, "expected a SASL protocol, got `PLAINTEXT`"),
        ({"security": {"protocol": "SASL_SSL"}}, "expected a `mechanism`, got none"),
        ({"security": SASL | {"password": None}}, "expected `username` and `password` for SASL"),
        ({"security": SASL | {"mechanism": "OAUTHBEARER"}}, "expected `tokenEndpoint` with the mechanism OAUTHBEARER"),
        ({"security": {"protocol": "SSL", "key": PEM}}, "expected `certificate` and `key`, got one"),
        ({"security": {"ca": PEM}}, "expected a protocol with SSL for `ca`"),
        ({"security": {"protocol": "SSL", "ca": "/etc/ca.pem"}}, "expected PEM text"),
    ],
)
def test_bad_triggers(change: dict[str, Any], said: str) -> None:
    with pytest.raises(SpecError, match=said):
        parse_triggers([TRIGGER | change])


@pytest.mark.parametrize(
    ("change", "said"), [({"topic": ".."}, "expected a name"), ({"publishTimeout": "1ms"}, "expected >= 0.1")]
)
def test_bad_sinks(change: dict[str, Any], said: str) -> None:
    with pytest.raises(SpecError, match=said):
        parse_sink(SINK | change, "$.bindings.out")
