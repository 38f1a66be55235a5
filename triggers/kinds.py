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
from .nats import spec as nats
from .protocols import Backlog, Sink, Source
from .references import References
from .spec import SinkSpec, TriggerSpec

N = TypeVar("N", nats.NatsTrigger, nats.NatsSink)


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
    with _extra("nats"):
        from .nats.source import JetStreamSource
    at = f"triggers.{spec.name}"
    resolved = _resolve(spec, references, at)
    return JetStreamSource(resolved, trigger, _url(resolved, environ, at), create=spec.url is None)


def make_sink(spec: SinkSpec, references: References, environ: Mapping[str, str] = os.environ) -> Sink:
    """The sink that a binding describes; not connected yet.

    Raises:
        UsageError: A reference has no value, or there is no broker to speak of.
        ImportError: The kind's extra is not installed; it names the line that installs it.
    """
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
    with _extra("nats"):
        from .nats.backlog import JetStreamBacklog
    at = f"triggers.{spec.name}"
    resolved = _resolve(spec, references, at)
    return JetStreamBacklog(resolved, _url(resolved, environ, at), create=spec.url is None)


def _resolve(spec: N, references: References, at: str) -> N:
    """`spec` with every reference in its strings replaced, checked again with the values in."""
    strings = {name: value for name, value in msgspec.structs.asdict(spec).items() if isinstance(value, str | tuple)}
    resolved = references.resolve(strings, at)
    whole = msgspec.structs.replace(spec, **{k: tuple(v) if isinstance(v, list) else v for k, v in resolved.items()})
    nats.check(whole, at)
    return whole


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
        if (exc.name or "").partition(".")[0] != name:
            raise
        raise ImportError(f"kind `{name}` needs its client: pip install 'headrace[{name}]'", name=exc.name) from exc
