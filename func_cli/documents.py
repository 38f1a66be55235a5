"""YAML files as trees that know where each value stands: file and line.

What does not belong here: what the values mean. Refused here: broken YAML, keys given twice, keys that are no
text, and documents that unfold to more than `MAX_VALUES` (aliases of aliases).
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml
from yaml.nodes import MappingNode, ScalarNode, SequenceNode

from headrace.triggers.errors import SpecError

MAX_VALUES = 100_000
_MAX_DEPTH = 100


class Node:
    """One value of a document.

    Attributes:
        value: A dict or list of nodes, or a scalar.
        place: `func.yaml, line 3`, or what else gave the value.
        text: A scalar as it was written; None where there is no source.
    """

    __slots__ = ("place", "text", "value")

    def __init__(self, value: Any, place: str, text: str | None = None) -> None:
        self.value = value
        self.place = place
        self.text = text

    @classmethod
    def of(cls, plain: Any, place: str) -> "Node":
        """Plain data, all of it from one place."""
        if isinstance(plain, Mapping):
            return cls({str(key): cls.of(item, place) for key, item in plain.items()}, place)
        if isinstance(plain, list | tuple):
            return cls([cls.of(item, place) for item in plain], place)
        return cls(plain, place)

    def plain(self) -> Any:
        """Plain data; keys without a value are left out, as if they were not written."""
        if isinstance(self.value, dict):
            return {key: item.plain() for key, item in self.value.items() if item.value is not None}
        if isinstance(self.value, list):
            return [item.plain() for item in self.value]
        return self.value

    def walk(self, at: str = "$") -> Iterator[tuple[str, "Node"]]:
        """This node and all below it, each with its path."""
        yield at, self
        if isinstance(self.value, dict):
            for key, item in self.value.items():
                yield from item.walk(f"{at}.{key}")
        elif isinstance(self.value, list):
            for index, item in enumerate(self.value):
                yield from item.walk(f"{at}[{index}]")

    def get(self, *path: str) -> "Node | None":
        """The node below, by keys; None where there is none, or no value."""
        node = self
        for key in path:
            found = node.value.get(key) if isinstance(node.value, dict) else None
            if found is None or found.value is None:
                return None
            node = found
        return node


class _Loader(yaml.SafeLoader):
    """Safe YAML 1.1 in which dates stay text: func.yaml becomes JSON."""


_Loader.yaml_implicit_resolvers = {
    first: [entry for entry in entries if entry[0] != "tag:yaml.org,2002:timestamp"]
    for first, entries in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def load(path: Path) -> Node:
    """The mapping that the file at `path` holds; an empty file is an empty mapping.

    Raises:
        SpecError: It is no UTF-8, no YAML, or no mapping.
    """
    try:
        text = path.read_text("utf-8")
    except UnicodeDecodeError as exc:
        raise SpecError(f"expected UTF-8, got byte 0x{exc.object[exc.start]:02x} - at `{path.name}`") from exc
    node = parse(text, path.name)
    if node.value is None:
        return Node({}, path.name)
    if not isinstance(node.value, dict):
        raise SpecError(f"expected a mapping, got {_noun(node.value)} - at `{path.name}`")
    return node


def parse(text: str, name: str) -> Node:
    """The one YAML document in `text`.

    Args:
        text: YAML.
        name: Of the file, for errors and places.
    """
    try:
        loader = _Loader(text)
        root = loader.get_single_node()
        return Node(None, name) if root is None else _Build(loader, name).node(root, root, 0)
    except yaml.MarkedYAMLError as exc:
        mark = exc.problem_mark or exc.context_mark
        where = f"{name}, line {mark.line + 1}, column {mark.column + 1}" if mark else name
        raise SpecError(f"expected valid YAML, got: {exc.problem or exc.context} - at `{where}`") from exc
    except (yaml.YAMLError, ValueError) as exc:  # unprintable characters; `2001-99` tagged as a date, and the like
        raise SpecError(f"expected valid YAML, got: {str(exc).splitlines()[0]} - at `{name}`") from exc


class _Build:
    def __init__(self, loader: _Loader, name: str) -> None:
        self._loader = loader
        self._name = name
        self._count = 0

    def node(self, source: yaml.Node, placed: yaml.Node, depth: int) -> Node:
        place = f"{self._name}, line {placed.start_mark.line + 1}"
        self._count += 1
        if self._count > MAX_VALUES or depth > _MAX_DEPTH:
            raise SpecError(f"expected at most {MAX_VALUES} values, {_MAX_DEPTH} deep - at `{place}`")
        if isinstance(source, MappingNode):
            return Node(self._mapping(source, depth), place)
        if isinstance(source, SequenceNode):
            return Node([self.node(item, item, depth + 1) for item in source.value], place)
        assert isinstance(source, ScalarNode)
        return Node(self._loader.construct_object(source), place, source.value)  # pyright: ignore[reportUnknownArgumentType]

    def _mapping(self, source: MappingNode, depth: int) -> dict[str, Node]:
        seen: dict[str, yaml.Node] = {}
        for key, _ in source.value:
            where = f"{self._name}, line {key.start_mark.line + 1}"
            if not isinstance(key, ScalarNode):
                raise SpecError(f"expected a key, got {key.id} - at `{where}`")
            if key.value in seen and key.tag != "tag:yaml.org,2002:merge":
                first = seen[key.value].start_mark.line + 1
                raise SpecError(f"key `{key.value}` is given twice, first in line {first} - at `{where}`")
            seen[key.value] = key
        self._loader.flatten_mapping(source)  # `<<: *anchor`: merged keys come first, own ones override
        return {str(key.value): self.node(value, key, depth + 1) for key, value in source.value}


def _noun(value: object) -> str:
    return "a list" if isinstance(value, list) else f"`{value}`"
