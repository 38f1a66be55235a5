"""Nuclio's function.yaml, read as the func.yaml that says the same: handler, triggers, variables, replicas.

Fields that say how Nuclio builds and deploys are left alone. What does not belong here: Nuclio's handlers
themselves (`runtime/shapes`).
Source: nuclio pkg/functionconfig/types.go, pkg/functionconfig/util.go (ParseHandler).
"""

from pathlib import Path
from typing import Any

from headrace.triggers.errors import SpecError

from .documents import Node
from .documents import load as load_document

_KIND = "NuclioFunction"


def load(path: Path) -> Node:
    """The function.yaml at `path` as a func.yaml.

    Raises:
        SpecError: It is none of Nuclio's, not Python, or has a trigger of a kind that is not there.
    """
    root = load_document(path)
    kind = root.get("kind")
    if kind is not None and kind.value not in (_KIND, "Function"):
        raise SpecError(f"expected `{_KIND}`, got `{kind.value}` - at `$.kind` ({kind.place})")
    _check_runtime(root)
    out = Node({}, path.name)
    _take(out, ("name",), root.get("metadata", "name"))
    _take(out, ("handler",), _handler(root, path.parent))
    _take(out, ("run", "envs"), _envs(root))
    _take(out, ("resources",), _resources(root))
    _take(out, ("scale", "minReplicaCount"), root.get("spec", "minReplicas"))
    _take(out, ("scale", "maxReplicaCount"), root.get("spec", "maxReplicas"))
    _take(out, ("limits", "handlerTimeout"), root.get("spec", "eventTimeout"))
    _triggers(out, root)
    return out


def _take(out: Node, path: tuple[str, ...], node: Node | None) -> None:
    if node is None:
        return
    for key in path[:-1]:
        out = out.value.setdefault(key, Node({}, node.place))
    out.value[path[-1]] = node


def _check_runtime(root: Node) -> None:
    runtime = root.get("spec", "runtime")
    if runtime is not None and not str(runtime.value).startswith("python"):
        raise SpecError(f"expected `python`, got `{runtime.value}` - at `$.spec.runtime` ({runtime.place})")


def _handler(root: Node, folder: Path) -> Node | None:
    """`module:function`; Nuclio takes a function's name alone for one in the only file there is."""
    given = root.get("spec", "handler")
    if given is None or ":" in str(given.value):
        return given
    files = sorted(file.stem for file in folder.glob("*.py"))
    if len(files) != 1:
        raise SpecError(
            f"expected `module:function` (there are {len(files)} Python files), got `{given.value}` "
            f"- at `$.spec.handler` ({given.place})"
        )
    return Node(f"{files[0]}:{given.value}", given.place)


def _envs(root: Node) -> Node | None:
    """`spec.env` in Kubernetes' form as `run.envs`."""
    env = root.get("spec", "env")
    if env is None or not isinstance(env.value, list):
        return env
    return Node([_env(item) for item in env.value], env.place)


def _env(item: Node) -> Node:
    if not isinstance(item.value, dict):
        return item
    out = {key: value for key, value in item.value.items() if key != "valueFrom"}
    for kind, key in (("secret", "secretKeyRef"), ("configMap", "configMapKeyRef")):
        if (reference := item.get("valueFrom", key)) is not None:
            plain: dict[str, Any] = reference.plain()
            text = f"{{{{ {kind}:{plain.get('name')}:{plain.get('key')} }}}}"
            out["value"] = Node(text, reference.place)
    return Node(out, item.place)


def _resources(root: Node) -> Node | None:
    resources = root.get("spec", "resources")
    if resources is None or not isinstance(resources.value, dict):
        return resources
    kept = {key: item for key, item in resources.value.items() if key in ("requests", "limits")}
    return Node(kept, resources.place)


def _triggers(out: Node, root: Node) -> None:
    triggers = root.get("spec", "triggers")
    if triggers is None or not isinstance(triggers.value, dict):
        return
    listed: list[Node] = []
    for name, trigger in triggers.value.items():
        kind = trigger.get("kind")
        if kind is None or kind.value != "http":
            got = "nothing" if kind is None else f"`{kind.value}`"
            place = (kind or trigger).place
            raise SpecError(f"expected `http`, got {got} - at `$.spec.triggers.{name}.kind` ({place})")
        disabled = trigger.get("disabled")
        if disabled is not None and disabled.value is True:
            continue
        listed.append(Node.of({"name": name.lower(), "kind": "http"}, trigger.place))
        _take(out, ("concurrency", "threads"), trigger.get("numWorkers") or trigger.get("maxWorkers"))
        _take(out, ("limits", "maxBody"), trigger.get("attributes", "maxRequestBodySize"))
    if listed:
        out.value["triggers"] = Node(listed, triggers.place)
