"""The runtime's sections of func.yaml: `batching`, `concurrency`, `limits`, `bindings`, `handler`.

Here are the structs and what a replica reads of the whole; `func_cli/spec` composes the rest.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import msgspec

from headrace.triggers.errors import SpecError
from headrace.triggers.http.spec import HttpTrigger
from headrace.triggers.spec import SinkSpec, TriggerSpec, parse_sink, parse_triggers
from headrace.triggers.units import Bytes, Seconds, convert


class Batching(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="camel"):
    """How events are joined for a batch handler.

    Attributes:
        max_batch_size: At most this many events in a batch.
        preferred_batch_size: Sizes worth waiting for; empty: `max_batch_size` alone.
        max_queue_delay: How long the oldest event may wait for a preferred size; 0: never.
    """

    max_batch_size: int = 64
    preferred_batch_size: tuple[int, ...] = ()
    max_queue_delay: Seconds = Seconds(0)


class Concurrency(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="camel"):
    """How much runs side by side in one replica.

    Attributes:
        workers: Processes; more than 1 is for replicas in containers.
        threads: For sync handlers; `auto`: min(32, cores + 4) for per-event handlers, 1 for batches.
        in_flight: Events received and not settled, per process.
    """

    workers: Literal[1] = 1
    threads: int | Literal["auto"] = "auto"
    in_flight: int = 256


class Limits(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="camel"):
    """Bounds on what comes from outside, and on time.

    Attributes:
        max_body: Largest request body; beyond: 413.
        max_header: Largest request head (request line and all fields); beyond: 431.
        max_connections: Open HTTP connections per process.
        slab: Memory for received bodies, per process.
        handler_timeout: One invocation; beyond: 504 or redelivery.
        read_timeout: From a request's first byte to its last.
        idle_timeout: A keep-alive connection without a request.
        drain_timeout: What is in flight at SIGTERM is given this long.
    """

    max_body: Bytes = Bytes(64 * 2**20)
    max_header: Bytes = Bytes(32 * 2**10)
    max_connections: int = 16_384
    slab: Bytes = Bytes(256 * 2**20)
    handler_timeout: Seconds = Seconds(60)
    read_timeout: Seconds = Seconds(30)
    idle_timeout: Seconds = Seconds(75)
    drain_timeout: Seconds = Seconds(30)


class RuntimeSpec(msgspec.Struct, frozen=True, kw_only=True):
    """What a replica knows of its function.

    Attributes:
        name: The function's name.
        handler: `module:attribute` where the project does not follow the usual names.
        invoke: `http` or `cloudevent`: what a Knative handler's `scope` and `send` are (func.yaml's `invoke`).
        triggers: At least one.
        bindings: Sinks by name.
    """

    name: str
    handler: str | None
    invoke: Literal["http", "cloudevent"]
    triggers: tuple[TriggerSpec, ...]
    bindings: Mapping[str, SinkSpec]
    batching: Batching
    concurrency: Concurrency
    limits: Limits


def parse(whole: Mapping[str, Any]) -> RuntimeSpec:
    """The runtime's part of a whole func.yaml (sections of others are left alone).

    Raises:
        SpecError: *expected X, got Y - at `$.path`*.
    """
    triggers = parse_triggers(whole.get("triggers"))
    bindings = {
        name: parse_sink(value, f"$.bindings.{name}")
        for name, value in convert(section(whole, "bindings"), dict[str, Any], "$.bindings").items()
    }
    _check_sinks(triggers, bindings)
    spec = RuntimeSpec(
        name=convert(whole.get("name") or "function", str, "$.name"),
        handler=_handler(whole.get("handler")),
        invoke=convert(whole.get("invoke") or "http", Literal["http", "cloudevent"], "$.invoke"),  # type: ignore[arg-type]
        triggers=triggers,
        bindings=bindings,
        batching=convert(section(whole, "batching"), Batching, "$.batching"),
        concurrency=convert(section(whole, "concurrency"), Concurrency, "$.concurrency"),
        limits=convert(section(whole, "limits"), Limits, "$.limits"),
    )
    _check_numbers(spec)
    return spec


def read(path: Path) -> RuntimeSpec:
    """The checked whole that `HEADRACE_SPEC` names."""
    return parse(msgspec.json.decode(path.read_bytes()))


def section(whole: Mapping[str, Any], name: str) -> Any:
    """A section as it was written; absent or empty (`limits:` without a value) it is `{}`."""
    value = whole.get(name)
    return {} if value is None else value


def _handler(value: object) -> str | None:
    if value is None:
        return None
    text = convert(value, str, "$.handler")
    module, colon, attribute = text.partition(":")
    if not (colon and module and attribute.isidentifier()):
        raise SpecError(f"expected `module:attribute`, got `{text}` - at `$.handler`")
    return text


def _check_sinks(triggers: tuple[TriggerSpec, ...], bindings: Mapping[str, SinkSpec]) -> None:
    for index, trigger in enumerate(triggers):
        if isinstance(trigger, HttpTrigger) or trigger.sink is None:
            continue
        if trigger.sink not in bindings:
            have = ", ".join(f"`{name}`" for name in bindings) or "none"
            raise SpecError(
                f"expected the name of a binding (there are: {have}), got `{trigger.sink}` "
                f"- at `$.triggers[{index}].sink`"
            )


def _check_numbers(spec: RuntimeSpec) -> None:
    least: tuple[tuple[str, float, float], ...] = (
        ("batching.maxBatchSize", spec.batching.max_batch_size, 1),
        *((f"batching.preferredBatchSize[{i}]", n, 1) for i, n in enumerate(spec.batching.preferred_batch_size)),
        ("concurrency.inFlight", spec.concurrency.in_flight, 1),
        ("concurrency.threads", 1 if spec.concurrency.threads == "auto" else spec.concurrency.threads, 1),
        ("limits.maxHeader", spec.limits.max_header, 1024),
        ("limits.maxConnections", spec.limits.max_connections, 1),
        ("limits.handlerTimeout", spec.limits.handler_timeout, 0.001),
        ("limits.readTimeout", spec.limits.read_timeout, 0.001),
        ("limits.idleTimeout", spec.limits.idle_timeout, 0.001),
    )
    for path, value, minimum in least:
        if value < minimum:
            raise SpecError(f"expected >= {minimum:g}, got {value:g} - at `$.{path}`")
    for index, preferred in enumerate(spec.batching.preferred_batch_size):
        if preferred > spec.batching.max_batch_size:
            raise SpecError(
                f"expected at most `maxBatchSize` ({spec.batching.max_batch_size}), got {preferred} "
                f"- at `$.batching.preferredBatchSize[{index}]`"
            )
