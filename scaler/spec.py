"""The scaler's sections of func.yaml: `scale` and `resources`, and what it reads of the whole."""

from collections.abc import Mapping
from typing import Any, Literal

import msgspec

from headrace.triggers.errors import SpecError
from headrace.triggers.spec import TriggerSpec, parse_triggers
from headrace.triggers.units import Seconds, convert


class Scale(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="camel"):
    """How many replicas, and when.

    Attributes:
        min_replica_count: Kept when nothing flows.
        max_replica_count: Never exceeded.
        scaler_class: The PodAutoscaler class on Knative (`class` in func.yaml).
        target_drain: The backlog is to be gone in this time.
        cooldown_period: What was asked for last is kept this long before replicas go.
    """

    min_replica_count: int = 0
    max_replica_count: int = 20
    scaler_class: Literal["headrace.dev", "kpa.autoscaling.knative.dev", "hpa.autoscaling.knative.dev"] = msgspec.field(
        default="headrace.dev", name="class"
    )
    target_drain: Seconds = Seconds(10)
    cooldown_period: Seconds = Seconds(60)


class ScalerSpec(msgspec.Struct, frozen=True, kw_only=True):
    """What the scaler knows of a function."""

    name: str
    triggers: tuple[TriggerSpec, ...]
    scale: Scale


def parse(whole: Mapping[str, Any]) -> ScalerSpec:
    """The scaler's part of a whole func.yaml.

    Raises:
        SpecError: *expected X, got Y - at `$.path`*.
    """
    scale = convert(whole.get("scale") or {}, Scale, "$.scale")
    if scale.min_replica_count < 0:
        raise SpecError(f"expected >= 0, got {scale.min_replica_count} - at `$.scale.minReplicaCount`")
    least = max(1, scale.min_replica_count)
    if scale.max_replica_count < least:
        raise SpecError(f"expected >= {least}, got {scale.max_replica_count} - at `$.scale.maxReplicaCount`")
    if scale.target_drain <= 0:
        raise SpecError(f"expected > 0s, got {scale.target_drain:g}s - at `$.scale.targetDrain`")
    return ScalerSpec(
        name=convert(whole.get("name") or "function", str, "$.name"),
        triggers=parse_triggers(whole.get("triggers")),
        scale=scale,
    )
