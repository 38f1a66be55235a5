"""The scaler's sections of func.yaml: `scale`, `resources`, `placement`, and what it reads of the whole."""

import re
from collections.abc import Mapping
from decimal import Decimal
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


class Resources(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="camel"):
    """What one replica gets of a machine, as Kubernetes spells it.

    Attributes:
        requests: Kept free for it: `cpu`, `memory`, `ephemeral-storage`, or `nvidia.com/gpu` and its like.
        limits: Never exceeded.
    """

    requests: dict[str, str | int | float] = {}
    limits: dict[str, str | int | float] = {}


class Toleration(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="camel"):
    """A taint of nodes that does not keep the function away (Kubernetes core/v1 Toleration).

    Attributes:
        key: The taint's; empty with `Exists`: all.
        operator: How `value` is compared.
        value: The taint's.
        effect: Empty: all effects.
        toleration_seconds: With `NoExecute`: how long it stays.
    """

    key: str | None = None
    operator: Literal["Exists", "Equal"] | None = None
    value: str | None = None
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] | None = None
    toleration_seconds: int | None = None


class Affinity(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="camel"):
    """Nodes and pods to be near to or away from (Kubernetes core/v1 Affinity; passed on as it is).

    Attributes:
        node_affinity: Kubernetes NodeAffinity.
        pod_affinity: Kubernetes PodAffinity.
        pod_anti_affinity: Kubernetes PodAntiAffinity.
    """

    node_affinity: dict[str, Any] | None = None
    pod_affinity: dict[str, Any] | None = None
    pod_anti_affinity: dict[str, Any] | None = None


class Placement(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="camel"):
    """Which nodes of a cluster the replicas may run on.

    Attributes:
        node_selector: Labels that a node must have.
        tolerations: Taints that do not keep it away.
        affinity: Nodes and pods to be near to or away from.
        priority_class_name: What it may push aside.
        runtime_class_name: What runs its containers.
    """

    node_selector: dict[str, str] = {}
    tolerations: tuple[Toleration, ...] = ()
    affinity: Affinity | None = None
    priority_class_name: str = ""
    runtime_class_name: str = ""


class ScalerSpec(msgspec.Struct, frozen=True, kw_only=True):
    """What the scaler knows of a function."""

    name: str
    triggers: tuple[TriggerSpec, ...]
    scale: Scale
    resources: Resources = Resources()
    placement: Placement = Placement()


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
        resources=_resources(whole.get("resources") or {}),
        placement=convert(whole.get("placement") or {}, Placement, "$.placement"),
    )


_QUANTITY = re.compile(r"(\d+(?:\.\d*)?|\.\d+)(m|k|M|G|T|P|E|Ki|Mi|Gi|Ti|Pi|Ei|[eE][+-]?\d+)?")
_UNITS = {
    "": Decimal(1), "m": Decimal("0.001"),
    **{unit: Decimal(1000) ** power for power, unit in enumerate("kMGTPE", 1)},
    **{f"{unit}i": Decimal(1024) ** power for power, unit in enumerate("KMGTPE", 1)},
}  # fmt: skip
_PLAIN_RESOURCES = ("cpu", "memory", "ephemeral-storage")


def quantity(value: object) -> Decimal:
    """A Kubernetes quantity as a number: `500m` is 0.5, `1Gi` is 1073741824.

    Raises:
        ValueError: It is none (apimachinery resource.Quantity), or below zero.
    """
    match = None if isinstance(value, bool) else _QUANTITY.fullmatch(str(value))
    if match is None:
        raise ValueError(f"expected a quantity such as `500m` or `1Gi`, got `{value}`")
    number, unit = match[1], match[2] or ""
    return Decimal(number) * _UNITS[unit] if unit in _UNITS else Decimal(number + unit)


def _resources(value: object) -> Resources:
    resources = convert(value, Resources, "$.resources")
    for section in ("requests", "limits"):
        for name, amount in getattr(resources, section).items():
            _check_resource(name, amount, f"$.resources.{section}.{name}")
    for name in resources.requests.keys() & resources.limits.keys():
        request, limit = resources.requests[name], resources.limits[name]
        # Kubernetes: an extended resource cannot be overcommitted, others may only have a higher limit
        if quantity(request) > quantity(limit) or ("/" in name and quantity(request) != quantity(limit)):
            wanted = f"`limits.{name}` (`{limit}`)" if "/" in name else f"at most `limits.{name}` (`{limit}`)"
            raise SpecError(f"expected {wanted}, got `{request}` - at `$.resources.requests.{name}`")
    return resources


def _check_resource(name: str, amount: object, at: str) -> None:
    if "/" not in name and name not in _PLAIN_RESOURCES and not name.startswith("hugepages-"):
        known = ", ".join(f"`{known}`" for known in _PLAIN_RESOURCES)
        raise SpecError(f"expected {known} or an extended resource such as `nvidia.com/gpu`, got `{name}` - at `{at}`")
    try:
        number = quantity(amount)
    except ValueError as exc:
        raise SpecError(f"{exc} - at `{at}`") from exc
    if "/" in name and number != int(number):
        raise SpecError(f"expected a whole number, got `{amount}` - at `{at}`")
