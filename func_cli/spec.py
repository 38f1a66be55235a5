"""The whole of func.yaml: Knative's fields and the sections of triggers, runtime and scaler, checked together.

`read` goes the whole way: file → func.local.yaml → `--set` → one spelling of what can be said twice → keys →
values. What does not belong here: the sections' own rules, which are in their packages.
"""

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from headrace.runtime import spec as runtime
from headrace.scaler import spec as scaler
from headrace.triggers.errors import SpecError
from headrace.triggers.http.spec import HttpTrigger
from headrace.triggers.nats.spec import NatsSink, NatsTrigger
from headrace.triggers.spec import SinkSpec, TriggerSpec
from headrace.triggers.units import convert, duration

from . import documents, envs, nuclio
from .documents import Node
from .equivalents import fold
from .keys import all_places, check_keys, located
from .knative import Env, Knative, Volume
from .overrides import apply_envs, assign, merge

_NAME = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")  # Knative's func, and a DNS label: at most 63
_START_TIMEOUT_S = 60.0  # Knative's func: DefaultStartTimeout


class FuncYaml(Knative, frozen=True, kw_only=True):
    """A function's func.yaml.

    Attributes:
        handler: `module:attribute` where the project does not follow the usual names.
        triggers: What brings events; none: HTTP requests.
        batching: How events are joined for a batch handler.
        concurrency: How much runs side by side in one replica.
        limits: Bounds on what comes from outside, and on time.
        bindings: Where results go, by name.
        resources: What one replica gets of a machine.
        placement: Which nodes of a cluster it may run on.
        scale: How many replicas, and when.
    """

    handler: str | None = None
    triggers: tuple[TriggerSpec, ...] | None = None
    batching: runtime.Batching | None = None
    concurrency: runtime.Concurrency | None = None
    limits: runtime.Limits | None = None
    bindings: dict[str, SinkSpec] | None = None
    resources: scaler.Resources | None = None
    placement: scaler.Placement | None = None
    scale: scaler.Scale | None = None


class Spec(msgspec.Struct, frozen=True, kw_only=True):
    """A checked func.yaml.

    Attributes:
        name: The function's name.
        whole: All of it as plain data, references unresolved: what replicas are given.
        file: All of it as structs.
        runtime: What a replica reads of it.
        scaler: What the scaler reads of it.
    """

    name: str
    whole: dict[str, Any]
    file: FuncYaml
    runtime: runtime.RuntimeSpec
    scaler: scaler.ScalerSpec

    @property
    def envs(self) -> tuple[Env, ...]:
        """`run.envs`, references unresolved."""
        return (self.file.run.envs if self.file.run else None) or ()

    @property
    def secure(self) -> bool:
        """Whether the function's listener speaks TLS."""
        return any(isinstance(trigger, HttpTrigger) and trigger.tls is not None for trigger in self.runtime.triggers)

    @property
    def needs_broker(self) -> bool:
        """Whether a NATS trigger or binding has no `url`, and so uses the embedded broker."""
        parts = [*self.runtime.triggers, *self.runtime.bindings.values()]
        return any(isinstance(part, NatsTrigger | NatsSink) and part.url is None for part in parts)

    @property
    def start_timeout_s(self) -> float:
        """A replica that is not ready after this has failed."""
        given = self.file.run.start_timeout if self.file.run else None
        return _START_TIMEOUT_S if given is None else _start_timeout(given)


def read(
    file: Path,
    local: Path | None = None,
    overrides: Sequence[str] = (),
    *,
    embedded: bool = False,
    variables: Sequence[str] = (),
) -> Spec:
    """Read and check a function's file.

    Args:
        file: func.yaml, or Nuclio's function.yaml.
        local: func.local.yaml, merged over it.
        overrides: `path=value` each, over both.
        embedded: NATS triggers and bindings use the embedded broker, whatever their `url`.
        variables: `NAME=value` or `NAME-` each, over `run.envs`.

    Raises:
        SpecError: *expected X, got Y - at `$.path` (file, line)*.
        MisuseError: One of `overrides` or `variables` is malformed.
    """
    root = nuclio.load(file) if file.name == "function.yaml" else documents.load(file)
    if local is not None:
        root = merge(root, documents.load(local))
    for override in overrides:
        assign(root, override)
    apply_envs(root, variables)
    if embedded:
        _use_embedded(root)
    return compose(root, default_name=slug(file.absolute().parent.name))


def compose(root: Node, default_name: str = "function") -> Spec:
    """Check a whole func.yaml given as nodes.

    Raises:
        SpecError: *expected X, got Y - at `$.path` (file, line)*.
    """
    try:
        check_keys(root, FuncYaml)
        fold(root)
        _write_as_text(root)
        whole = {"name": default_name, **root.plain()}
        return _parse(whole)
    except SpecError as exc:
        raise located(exc, all_places(root)) from exc


def slug(text: str) -> str:
    """`text` as a function's name: lower-case letters, digits and `-`."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:63].rstrip("-") or "function"


def check_name(name: str, at: str) -> None:
    """Raise `SpecError` unless `name` can be a function's name."""
    if not _NAME.fullmatch(name) or len(name) > 63:
        raise SpecError(f"expected a name of lower-case letters, digits and `-` (63 at most), got `{name}` - at `{at}`")


def write_checked(whole: Mapping[str, Any], path: Path) -> Path:
    """Write a checked whole for replicas (`HEADRACE_SPEC`): JSON, references unresolved, mode 0600, at once.

    Returns:
        `path`.
    """
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(msgspec.json.encode(whole))
    beside.replace(path)
    return path


def _parse(whole: dict[str, Any]) -> Spec:
    check_name(convert(whole["name"], str, "$.name"), "$.name")
    # The packages' parsers come first: they say which kinds of trigger there are, and name the binding at fault.
    of_runtime, of_scaler = runtime.parse(whole), scaler.parse(whole)
    file = convert(whole, FuncYaml)
    if file.run is not None:
        envs.check(file.run.envs or ())
        _check_run(file)
    return Spec(name=of_runtime.name, whole=whole, file=file, runtime=of_runtime, scaler=of_scaler)


def _check_run(file: FuncYaml) -> None:
    assert file.run is not None
    if file.run.kafka is not None:
        raise SpecError("expected nothing, got Knative's Kafka transport, which is for Go functions - at `$.run.kafka`")
    for index, volume in enumerate(file.run.volumes or ()):
        _check_volume(volume, f"$.run.volumes[{index}]")
    if file.run.start_timeout is not None:
        _start_timeout(file.run.start_timeout)


def _check_volume(volume: Volume, at: str) -> None:
    kinds = ("secret", "configMap", "persistentVolumeClaim", "emptyDir")
    values = (volume.secret, volume.config_map, volume.persistent_volume_claim, volume.empty_dir)
    given = [kind for kind, value in zip(kinds, values, strict=True) if value is not None]
    if len(given) != 1:
        wanted = ", ".join(f"`{kind}`" for kind in kinds)
        got = " and ".join(f"`{kind}`" for kind in given) or "none"
        raise SpecError(f"expected one of {wanted}, got {got} - at `{at}`")


def _start_timeout(value: int | str) -> float:
    """Seconds; Go writes a duration as an int of nanoseconds."""
    try:
        seconds = value / 1e9 if isinstance(value, int) else float(duration(value))
    except ValueError as exc:
        raise SpecError(f"{exc} - at `$.run.startTimeout`") from exc
    if seconds <= 0:
        raise SpecError(f"expected > 0s, got {seconds:g}s - at `$.run.startTimeout`")
    return seconds


def _use_embedded(root: Node) -> None:
    triggers, bindings = root.get("triggers"), root.get("bindings")
    parts = [
        *(triggers.value if triggers and isinstance(triggers.value, list) else ()),
        *(bindings.value.values() if bindings and isinstance(bindings.value, dict) else ()),
    ]
    for part in parts:
        if (kind := part.get("kind")) is not None and kind.value == "nats":
            part.value.pop("url", None)


def _write_as_text(root: Node) -> None:
    """Let `value: 8080` be text where Knative's fields are text, as Go's YAML reader does."""
    for key in ("specVersion", "created"):
        if (node := root.get(key)) is not None:
            _as_text(node)
    for section, key in (("run", "envs"), ("build", "buildEnvs"), ("deploy", "labels")):
        listed = root.get(section, key)
        for item in listed.value if listed is not None and isinstance(listed.value, list) else ():
            if (value := item.get("value")) is not None:
                _as_text(value)


def _as_text(node: Node) -> None:
    if node.text is not None and isinstance(node.value, int | float):
        node.value = node.text
