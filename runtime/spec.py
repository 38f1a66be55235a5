"""The runtime's sections of func.yaml: `batching`, `concurrency`, `limits`, `bindings`, `handler`.

Here are the structs and what a replica reads of the whole; `func_cli/spec` composes the rest.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import msgspec

from headrace.triggers.arrays import Row
from headrace.triggers.errors import SpecError
from headrace.triggers.http.spec import HttpTrigger
from headrace.triggers.spec import SinkSpec, TriggerSpec, parse_sink, parse_triggers
from headrace.triggers.units import Bytes, Seconds, convert


class QueuePolicy(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="camel"):
    """Which events may wait for a batch, and for how long.

    Attributes:
        max_queue_size: Events that may wait in one priority level of one trigger; beyond: 503 or redelivery.
            0: any number.
        default_timeout: How long an event may wait; 0: any time.
        timeout_action: What becomes of one that waited longer: `reject` (504 or redelivery), or `delay`: it
            is handled when none of its level is left that did not.
        allow_timeout_override: An event's header `timeout` (CloudEvents extension `timeout`), in milliseconds,
            shortens its own time; it never lengthens it.
    """

    max_queue_size: int = 0
    default_timeout: Seconds = Seconds(0)
    timeout_action: Literal["reject", "delay"] = "reject"
    allow_timeout_override: bool = False


class Adaptive(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="camel"):
    """Batches as large as a latency allows, learned from how long batches take.

    Attributes:
        target_latency: From an event's receipt to its result.
    """

    target_latency: Seconds


class Batching(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="camel"):
    """How events are joined for a batch handler. Sizes count rows where `row` is declared, else events.

    Attributes:
        max_batch_size: At most this many in a batch; an event of more rows is refused.
        preferred_batch_size: Sizes worth waiting for; empty: `max_batch_size` alone.
        max_queue_delay: How long the oldest event may wait for a preferred size; 0: never.
        adaptive: Sizes and delay are learned instead.
        row: What one row of an event's data is; an event that is no whole number of rows is refused.
        priority_levels: An event's header `priority` (CloudEvents extension `priority`) says its level: 1, the
            highest, to this. A level waits as long as a higher one has events. 0: no levels.
        default_priority_level: Level of events without one, or with one that is none; the lowest unless given.
        default_queue_policy: For levels without a policy of their own.
        priority_queue_policy: By level.
    """

    max_batch_size: int = 64
    preferred_batch_size: tuple[int, ...] = ()
    max_queue_delay: Seconds = Seconds(0)
    adaptive: Adaptive | None = None
    row: Row | None = None
    priority_levels: int = 0
    default_priority_level: int | None = None
    default_queue_policy: QueuePolicy | None = None
    priority_queue_policy: dict[str, QueuePolicy] = {}


class Concurrency(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="camel"):
    """How much runs side by side in one replica.

    Attributes:
        workers: Processes of one replica, under a supervisor that shares its socket among them.
        threads: For sync handlers; `auto`: min(32, cores + 4) for per-event handlers, 1 for batches.
        in_flight: Events received and not settled, per process.
    """

    workers: int = 1
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
        gpus: How many `resources.limits."nvidia.com/gpu"` asks for.
    """

    name: str
    handler: str | None
    invoke: Literal["http", "cloudevent"]
    triggers: tuple[TriggerSpec, ...]
    bindings: Mapping[str, SinkSpec]
    batching: Batching
    concurrency: Concurrency
    limits: Limits
    gpus: int = 0


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
        gpus=_gpus(whole),
    )
    _check_numbers(spec)
    _check_batching(spec.batching)
    return spec


def read(path: Path) -> RuntimeSpec:
    """The checked whole that `HEADRACE_SPEC` names."""
    return parse(msgspec.json.decode(path.read_bytes()))


def section(whole: Mapping[str, Any], name: str) -> Any:
    """A section as it was written; absent or empty (`limits:` without a value) it is `{}`."""
    value = whole.get(name)
    return {} if value is None else value


def _gpus(whole: Mapping[str, Any]) -> int:
    limits = section(convert(section(whole, "resources"), dict[str, Any], "$.resources"), "limits")
    amount = convert(limits, dict[str, Any], "$.resources.limits").get("nvidia.com/gpu", 0)
    try:
        return int(amount)
    except (TypeError, ValueError):
        path = '$.resources.limits["nvidia.com/gpu"]'
        raise SpecError(f"expected a whole number, got `{amount}` - at `{path}`") from None


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
        ("batching.priorityLevels", spec.batching.priority_levels, 0),
        ("concurrency.workers", spec.concurrency.workers, 1),
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


def _check_batching(batching: Batching) -> None:
    levels, default = batching.priority_levels, batching.default_priority_level
    for index, preferred in enumerate(batching.preferred_batch_size):
        if preferred > batching.max_batch_size:
            raise SpecError(
                f"expected at most `maxBatchSize` ({batching.max_batch_size}), got {preferred} "
                f"- at `$.batching.preferredBatchSize[{index}]`"
            )
    if default is not None and not 1 <= default <= levels:
        raise SpecError(
            f"expected a level from 1 to `priorityLevels` ({levels}), got {default} "
            "- at `$.batching.defaultPriorityLevel`"
        )
    for level, policy in batching.priority_queue_policy.items():
        at = f"$.batching.priorityQueuePolicy.{level}"
        if not (level.isdecimal() and 1 <= int(level) <= levels):
            raise SpecError(f"expected a level from 1 to `priorityLevels` ({levels}), got `{level}` - at `{at}`")
        _check_policy(policy, at)
    _check_policy(batching.default_queue_policy or QueuePolicy(), "$.batching.defaultQueuePolicy")
    for index, size in enumerate(batching.row.shape if batching.row else ()):
        if size < 1:
            raise SpecError(f"expected >= 1, got {size} - at `$.batching.row.shape[{index}]`")
    if batching.adaptive is not None:
        _check_adaptive(batching, batching.adaptive)


def _check_policy(policy: QueuePolicy, at: str) -> None:
    if policy.max_queue_size < 0:
        raise SpecError(f"expected >= 0, got {policy.max_queue_size} - at `{at}.maxQueueSize`")


def _check_adaptive(batching: Batching, adaptive: Adaptive) -> None:
    if adaptive.target_latency < 0.001:
        raise SpecError(f"expected >= 1ms, got {adaptive.target_latency:g}s - at `$.batching.adaptive.targetLatency`")
    for key, given in (
        ("preferredBatchSize", batching.preferred_batch_size),
        ("maxQueueDelay", batching.max_queue_delay),
    ):
        if given:
            raise SpecError(f"expected nothing beside `adaptive`, which learns it - at `$.batching.{key}`")
