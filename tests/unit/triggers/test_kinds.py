"""From func.yaml's sections to sources, sinks and backlogs."""

import subprocess
import sys

import pytest

from headrace.triggers.errors import ReferenceMissing, SpecError, UsageError
from headrace.triggers.events import Trigger
from headrace.triggers.http.spec import HttpTrigger
from headrace.triggers.kafka.backlog import KafkaBacklog
from headrace.triggers.kafka.sink import KafkaTopicSink
from headrace.triggers.kafka.source import KafkaSource
from headrace.triggers.kafka.spec import KafkaSink, KafkaTrigger, Security
from headrace.triggers.kinds import make_backlog, make_sink, make_source
from headrace.triggers.nats.backlog import JetStreamBacklog
from headrace.triggers.nats.sink import JetStreamSink
from headrace.triggers.nats.source import JetStreamSource
from headrace.triggers.nats.spec import NatsSink, NatsTrigger
from headrace.triggers.references import References

ENVIRON = {"HEADRACE_NATS_URL": "nats://127.0.0.1:4222", "STREAM": "S", "TOKEN": "hush", "BAD": "a b"}
REFERENCES = References(ENVIRON)
TRIGGER = Trigger("t", "nats")


def test_makes_nats_parts() -> None:
    spec = NatsTrigger(name="t", stream="{{ env:STREAM }}", subjects=("{{ env:STREAM }}.>",))
    assert isinstance(make_source(spec, TRIGGER, REFERENCES, ENVIRON), JetStreamSource)
    assert isinstance(make_backlog(spec, REFERENCES, ENVIRON), JetStreamBacklog)
    assert isinstance(make_sink(NatsSink(subject="out"), REFERENCES, ENVIRON), JetStreamSink)


def test_makes_kafka_parts() -> None:
    security = Security(protocol="SASL_SSL", mechanism="PLAIN", username="u", password="{{ env:TOKEN }}")
    spec = KafkaTrigger(name="t", brokers=("k:1",), topics=("{{ env:STREAM }}",), security=security)
    source = make_source(spec, TRIGGER, REFERENCES, ENVIRON)
    assert isinstance(source, KafkaSource)
    assert (source._spec.topics, source._spec.security and source._spec.security.password) == (("S",), "hush")
    assert isinstance(make_backlog(spec, REFERENCES, ENVIRON), KafkaBacklog)
    assert isinstance(make_sink(KafkaSink(brokers=("k:1",), topic="t"), REFERENCES, ENVIRON), KafkaTopicSink)


def test_resolved_values_of_kafka_are_checked() -> None:
    with pytest.raises(SpecError, match=r"got `a b` - at `bindings\[topic=.*\]\.topic`"):
        make_sink(KafkaSink(brokers=("k:1",), topic="{{ env:BAD }}"), REFERENCES, ENVIRON)


def test_http_has_no_source_and_no_backlog() -> None:
    assert make_backlog(HttpTrigger(name="http"), REFERENCES, ENVIRON) is None
    with pytest.raises(UsageError, match="trigger `http`: expected a stream, got kind `http`"):
        make_source(HttpTrigger(name="http"), TRIGGER, REFERENCES, ENVIRON)


def test_no_broker_to_speak_of() -> None:
    with pytest.raises(
        UsageError, match=r"expected `url`, or .* `HEADRACE_NATS_URL`, got neither - at `triggers.t.url`"
    ):
        make_backlog(NatsTrigger(name="t", stream="S"), REFERENCES, {})


def test_missing_reference_says_where() -> None:
    with pytest.raises(ReferenceMissing, match=r"`NONE` is not set - at `triggers\.t\.url`"):
        make_source(NatsTrigger(name="t", stream="S", url="{{ env:NONE }}"), TRIGGER, REFERENCES, ENVIRON)


def test_resolved_values_are_checked() -> None:
    with pytest.raises(SpecError, match=r"got `a b` - at `triggers\.t\.stream`"):
        make_source(NatsTrigger(name="t", stream="{{ env:BAD }}"), TRIGGER, REFERENCES, ENVIRON)


def test_bad_url_does_not_show_credentials() -> None:
    spec = NatsTrigger(name="t", stream="S", url="http://me:{{ env:TOKEN }}@host")
    with pytest.raises(UsageError, match=r"expected a URL .* got `http://\*\*\*@host`"):
        make_source(spec, TRIGGER, REFERENCES, ENVIRON)


WITHOUT = """
import sys
class Hide:
    def find_spec(self, name, path=None, target=None):
        if name == {hidden!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Hide())
from headrace.triggers.kafka.spec import KafkaTrigger
from headrace.triggers.kinds import make_backlog
from headrace.triggers.nats.spec import NatsTrigger
from headrace.triggers.references import References
try:
    make_backlog({spec}, References(), {{}})
except ImportError as exc:
    print(type(exc).__name__, exc)
"""

NATS = "NatsTrigger(name='t', stream='S')"
KAFKA = "KafkaTrigger(name='t', brokers=('k:1',), topics=('a',))"


@pytest.mark.parametrize(
    ("hidden", "spec", "said"),
    [
        ("nats", NATS, "ImportError kind `nats` needs its client: pip install 'headrace[nats]'"),
        ("aiokafka", KAFKA, "ImportError kind `kafka` needs its client: pip install 'headrace[kafka]'"),
        ("email.parser", NATS, "ModuleNotFoundError No module named 'email.parser'"),
    ],
)
def test_a_missing_extra_names_what_installs_it(hidden: str, spec: str, said: str) -> None:
    code = WITHOUT.format(hidden=hidden, spec=spec)
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert shown.strip() == said


def test_kinds_import_no_client_by_themselves() -> None:
    code = (
        "import sys, headrace.triggers.kinds; print([m for m in sys.modules if m.split('.')[0] in "
        "('aiokafka', 'nats', 'asyncio')])"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert shown.strip() == "[]"
