"""The `triggers:` and sink bindings of func.yaml: which kinds there are, and rules over all of them.

Each kind owns the struct of its section (`<kind>/spec.py`); this module joins them. The clients behind a
kind are imported by `kinds` when a replica or the scaler needs them, never here.
"""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from .errors import SpecError
from .http import spec as http
from .kafka import spec as kafka
from .nats import spec as nats
from .protocols import Capabilities
from .units import convert

TriggerSpec = http.HttpTrigger | nats.NatsTrigger | kafka.KafkaTrigger
SinkSpec = nats.NatsSink | kafka.KafkaSink

CAPABILITIES: Mapping[str, Capabilities] = {
    "http": http.CAPABILITIES,
    "nats": nats.CAPABILITIES,
    "kafka": kafka.CAPABILITIES,
}

_NAME = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")  # Kubernetes: RFC 1123 label


def kind_of(spec: TriggerSpec | SinkSpec) -> str:
    """The `kind` that selected `spec`'s struct."""
    return str(type(spec).__struct_config__.tag)


def parse_triggers(value: object, at: str = "$.triggers") -> tuple[TriggerSpec, ...]:
    """The `triggers:` list; absent or empty it is one HTTP trigger.

    Raises:
        SpecError: Naming the place, and for an unknown kind those that there are.
    """
    if value is None or value == []:
        return (http.HttpTrigger(name="http"),)
    for index, entry in enumerate(convert(value, list[Any], at)):
        check_kind(entry, CAPABILITIES, f"{at}[{index}]")
    specs = convert(value, tuple[TriggerSpec, ...], at)
    _check_names(specs, at)
    for index, spec in enumerate(specs):
        if isinstance(spec, nats.NatsTrigger):
            nats.check(spec, f"{at}[{index}]")
        elif isinstance(spec, kafka.KafkaTrigger):
            kafka.check(spec, f"{at}[{index}]")
        else:
            http.check(spec, f"{at}[{index}]")
    return specs


def parse_sink(value: object, at: str) -> SinkSpec:
    """A binding whose kind is a trigger kind."""
    check_kind(value, ["nats", "kafka"], at)
    # msgspec reads a union of structs where the type is given so, which mypy does not take for a type
    spec: SinkSpec = convert(value, SinkSpec, at)  # type: ignore[arg-type]
    if isinstance(spec, kafka.KafkaSink):
        kafka.check(spec, at)
    else:
        nats.check(spec, at)
    return spec


def check_kind(entry: object, known: Mapping[str, object] | Sequence[str], at: str) -> None:
    """Raise `SpecError` unless `entry` is a mapping whose `kind` is in `known`."""
    if not isinstance(entry, dict):
        raise SpecError(f"expected `object`, got `{type(entry).__name__}` - at `{at}`")
    kind = entry.get("kind")
    if kind not in known:
        wanted = " or ".join(f"`{name}`" for name in known)
        raise SpecError(f"expected {wanted}, got {'nothing' if kind is None else f'`{kind}`'} - at `{at}.kind`")


def _check_names(specs: Sequence[TriggerSpec], at: str) -> None:
    for index, spec in enumerate(specs):
        if not _NAME.fullmatch(spec.name) or len(spec.name) > 63:
            raise SpecError(
                "expected a name of lower-case letters, digits and `-` (63 at most), "
                f"got `{spec.name}` - at `{at}[{index}].name`"
            )
    for what in ("name", "http"):
        keys = [spec.name for spec in specs] if what == "name" else [k for k in map(kind_of, specs) if k == "http"]
        for key, count in Counter(keys).items():
            if count > 1:
                noun = f"one trigger named `{key}`" if what == "name" else "one trigger of kind `http`"
                raise SpecError(f"expected {noun}, got {count} - at `{at}`")


def to_plain(spec: msgspec.Struct) -> dict[str, Any]:
    """A struct as plain data, in func.yaml's spelling."""
    plain: dict[str, Any] = msgspec.to_builtins(spec, enc_hook=str)
    return plain
