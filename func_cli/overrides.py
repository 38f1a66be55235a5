"""What is laid over func.yaml: func.local.yaml, `--set path=value`, `-e NAME=value`.

What does not belong here: checking the result (`spec`).
"""

import re
from collections.abc import Sequence

from .documents import Node, parse
from .errors import MisuseError, did_you_mean

# `scale`, `[0]`, `["nvidia.com/gpu"]`
_STEP = re.compile(r"""(?:^|\.)([^.\[\]=]+)|\[(\d+)\]|\[(?:"([^"]+)"|'([^']+)')\]""")
_ENV_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.\-]*")  # Kubernetes: C_IDENTIFIER, `.` and `-`


def merge(base: Node, over: Node) -> Node:
    """`over` laid on `base`: mappings key by key, lists of named things by `name`, all else replaced."""
    if isinstance(base.value, dict) and isinstance(over.value, dict):
        merged = dict(base.value)
        for key, item in over.value.items():
            merged[key] = merge(merged[key], item) if key in merged else item
        return Node(merged, over.place)
    if _names(base) and _names(over):
        return _merge_named(base, over)
    return over


def _merge_named(base: Node, over: Node) -> Node:
    items = {item.value["name"].value: item for item in base.value}
    for item in over.value:
        name = item.value["name"].value
        items[name] = merge(items[name], item) if name in items else item
    return Node(list(items.values()), base.place)


def _names(node: Node) -> list[str]:
    """Names of the items, if it is a list of named things, each of another name."""
    if not isinstance(node.value, list):
        return []
    found = [item.get("name") for item in node.value]
    names = [item.value for item in found if item is not None]
    complete = len(names) == len(node.value) == len(set(map(str, names)))
    return names if complete else []


def assign(root: Node, override: str) -> None:
    """Carry out one `--set path=value`; the value is YAML.

    Raises:
        MisuseError: It is not of that form, or leads through something that is not there.
    """
    path, equals, text = _split(override)
    steps = _steps(path)
    if not equals or not steps:
        raise MisuseError(
            f"--set: expected `path=value`, got `{override}`",
            hint="--set scale.maxReplicaCount=4, --set triggers.<name>.ackWait=5s",
        )
    node = root
    for index, step in enumerate(steps[:-1]):
        node = _descend(node, step, steps[index + 1], override)
    value = parse(text, "--set")
    _put(node, steps[-1], Node.of(value.plain(), "--set"), override)


def _split(override: str) -> tuple[str, str, str]:
    """At the first `=` that is not inside brackets."""
    depth = 0
    for index, char in enumerate(override):
        depth += (char == "[") - (char == "]")
        if char == "=" and depth == 0:
            return override[:index], "=", override[index + 1 :]
    return override, "", ""


def _steps(path: str) -> list[str | int]:
    steps: list[str | int] = []
    at = 0
    while at < len(path):
        if (match := _STEP.match(path, at)) is None:
            return []
        name, index, *quoted = match.groups()
        steps.append(int(index) if index is not None else name or next(filter(None, quoted)))
        at = match.end()
    return steps


def _descend(node: Node, step: str | int, following: str | int, override: str) -> Node:
    if isinstance(node.value, list):
        return _item(node, step, override)
    if not isinstance(node.value, dict) or isinstance(step, int):
        wanted = "list" if isinstance(step, int) else "mapping"
        raise MisuseError(f"--set: expected a {wanted} before `{step}`, got `{_shown(node)}` - at `{override}`")
    below = node.value.get(step)
    if below is None or below.value is None:
        if isinstance(following, int):
            raise MisuseError(f"--set: expected a list, got none - at `{override}`")
        below = node.value[step] = Node({}, "--set")
    return below


def _item(node: Node, step: str | int, override: str) -> Node:
    if isinstance(step, int):
        if step < len(node.value):
            return node.value[step]  # type: ignore[no-any-return]
        raise MisuseError(f"--set: expected an index below {len(node.value)}, got {step} - at `{override}`")
    names = _names(node)
    if step in names:
        return node.value[names.index(step)]  # type: ignore[no-any-return]
    have = ", ".join(f"`{name}`" for name in names) or "none"
    meant = did_you_mean(step, map(str, names))
    raise MisuseError(f"--set: expected a name in the list (there are: {have}), got `{step}`{meant} - at `{override}`")


def _put(node: Node, step: str | int, value: Node, override: str) -> None:
    if isinstance(node.value, dict) and isinstance(step, str):
        node.value[step] = value
    elif isinstance(node.value, list):
        item = _item(node, step, override)
        item.value, item.place = value.value, value.place
    else:
        raise MisuseError(f"--set: expected a mapping or list before `{step}`, got `{_shown(node)}` - at `{override}`")


def _shown(node: Node) -> str:
    return type(node.value).__name__


def apply_envs(root: Node, envs: Sequence[str]) -> None:
    """Carry out `-e NAME=value` (set) and `-e NAME-` (remove) on `run.envs`.

    Raises:
        MisuseError: One of neither form.
    """
    for given in envs:
        name, equals, value = given.partition("=")
        remove = not equals and name.endswith("-")
        name = name.removesuffix("-") if remove else name
        if not (equals or remove) or not _ENV_NAME.fullmatch(name):
            raise MisuseError(f"-e: expected `NAME=value` or `NAME-`, got `{name if equals else given}`")
        _put_env(root, name, None if remove else value)


def _put_env(root: Node, name: str, value: str | None) -> None:
    run = root.get("run") or Node({}, "-e")
    envs = run.get("envs") or Node([], "-e")
    if not isinstance(run.value, dict) or not isinstance(envs.value, list):
        return  # the check of the whole says what is wrong there
    kept = [item for item in envs.value if (known := item.get("name")) is None or known.value != name]
    if value is not None:
        kept.append(Node.of({"name": name, "value": value}, "-e"))
    run.value["envs"] = Node(kept, envs.place)
    root.value["run"] = run
