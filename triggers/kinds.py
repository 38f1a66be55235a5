"""From a section of func.yaml to the source, sink or backlog that it describes.

References are resolved here, in the process that uses the values, and a kind's client is imported here, when
a function uses the kind. What does not belong here: what a kind does.
"""

import os
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from typing import TypeVar

import msgspec

from . import wire
from .errors import UsageError
from .events import Trigger
from .http.spec import HttpTrigger
from .kafka import spec as kafka
from .nats import spec as nats
from .protocols import Backlog, Sink, Source
from .references import References
from .spec import SinkSpec, TriggerSpec

_CLIENTS = {"nats": "nats", "kafka": "aiokafka"}  # the package that each extra brings

S = TypeVar("S", nats.NatsTrigger, nats.NatsSink, kafka.KafkaTrigger, kafka.KafkaSink)
N = TypeVar("N", bound=msgspec.Struct)


def make_source(
    spec: TriggerSpec, trigger: Trigger, references: References, environ: Mapping[str, str] = os.environ
) -> Source:
    """The source of a stream trigger; not connected yet.

    Raises:
        UsageError: A reference has no value, there is no broker to speak of, or the kind has no source.
        ImportError: The kind's extra is not installed; it names the line that installs it.
    """
    if isinstance(spec, HttpTrigger):
        raise UsageError(
            f"trigger `{spec.name}`: expected a stream, got kind `http`, whose requests come by themselves"
        )
    at = f"triggers.{spec.name}"
    if isinstance(spec, kafka.KafkaTrigger):
        with _extra("kafka"):
            from .kafka.source import KafkaSource
        return KafkaSource(_resolve(spec, references, at), trigger)
    with _extra("nats"):
        from .nats.source import JetStreamSource
    resolved = _resolve(spec, references, at)
    return JetStreamSource(resolved, trigger, _url(resolved, environ, at), create=spec.url is None)


def make_sink(spec: SinkSpec, references: References, environ: Mapping[str, str] = os.environ) -> Sink:
    """The sink that a binding describes; not connected yet.

    Raises:
        UsageError: A reference has no value, or there is no broker to speak of.
        ImportError: The kind's extra is not installed; it names the line that installs it.
    """
    if isinstance(spec, kafka.KafkaSink):
        with _extra("kafka"):
            from .kafka.sink import KafkaTopicSink
        return KafkaTopicSink(_resolve(spec, references, f"bindings[topic={spec.topic}]"))
    with _extra("nats"):
        from .nats.sink import JetStreamSink
    at = f"bindings[subject={spec.subject}]"
    resolved = _resolve(spec, references, at)
    return JetStreamSink(resolved, _url(resolved, environ, at), create=spec.url is None)


def make_backlog(spec: TriggerSpec, references: References, environ: Mapping[str, str] = os.environ) -> Backlog | None:
    """What tells how much waits for a trigger; None for HTTP, whose listener the platform watches itself.

    Raises:
        UsageError: A reference has no value, or there is no broker to speak of.
        ImportError: The kind's extra is not installed; it names the line that installs it.
    """
    if isinstance(spec, HttpTrigger):
        return None
    at = f"triggers.{spec.name}"
    if isinstance(spec, kafka.KafkaTrigger):
        with _extra("kafka"):
            from .kafka.backlog import KafkaBacklog
        return KafkaBacklog(_resolve(spec, references, at))
    with _extra("nats"):
        from .nats.backlog import JetStreamBacklog
    resolved = _resolve(spec, references, at)
    return JetStreamBacklog(resolved, _url(resolved, environ, at), create=spec.url is None)


def _resolve(spec: S, references: References, at: str) -> S:
    """`spec` with every reference in its strings replaced, checked again with the values in."""
    whole = _replaced(spec, references, at)
    if isinstance(whole, kafka.KafkaTrigger | kafka.KafkaSink):
        kafka.check(whole, at)
    else:
        nats.check(whole, at)
    return whole


def _replaced(spec: N, references: References, at: str) -> N:
    changed: dict[str, object] = {}
    for name, value in msgspec.structs.asdict(spec).items():
        if isinstance(value, str):
            changed[name] = references.resolve(value, f"{at}.{name}")
        elif isinstance(value, tuple):
            changed[name] = tuple(references.resolve(value, f"{at}.{name}"))
        elif isinstance(value, msgspec.Struct):
            changed[name] = _replaced(value, references, f"{at}.{name}")
    return msgspec.structs.replace(spec, **changed)


def _url(spec: nats.NatsTrigger | nats.NatsSink, environ: Mapping[str, str], at: str) -> str:
    url = spec.url or environ.get(wire.BROKER)
    if not url:
        raise UsageError(f"expected `url`, or the embedded broker's in `{wire.BROKER}`, got neither - at `{at}.url`")
    return url


@contextmanager
def _extra(name: str) -> Generator[None, None, None]:
    """Name the line that installs `name` where (only) its own client is missing."""
    try:
        yield
    except ModuleNotFoundError as exc:
        if (exc.name or "").partition(".")[0] != _CLIENTS[name]:
            raise
        raise ImportError(f"kind `{name}` needs its client: pip install 'headrace[{name}]'", name=exc.name) from exc
