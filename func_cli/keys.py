"""Keys that func.yaml does not have, and words that its choices do not have: refused with what was probably meant.

The structs of the sections say what there is. What does not belong here: values' types and ranges, which the
sections' own parsers check.
"""

from collections.abc import Iterator, Mapping
from functools import cache

import msgspec
from msgspec import inspect

from headrace.triggers.errors import SpecError

from .documents import Node
from .errors import did_you_mean, nearest

# Settings that the documentation describes for kinds to come, with what holds until then.
_LATER = {
    "retry": "failed events are delivered again without end, from 100ms up to 30s apart",
    "deadLetter": "failed events are delivered again without end",
    "ordering": "events are handled side by side",
}


def check_keys(node: Node, type_: type[msgspec.Struct]) -> None:
    """Raise `SpecError` for the first key or choice in `node` that `type_` does not have."""
    _check(node, inspect.type_info(type_), "$", type_)


def _check(node: Node, info: inspect.Type, at: str, root: type[msgspec.Struct]) -> None:
    for option in _options(info):
        if isinstance(option, inspect.StructType) and isinstance(node.value, dict):
            if _selected(node, option):
                _check_struct(node, option, at, root)
        elif isinstance(option, inspect.DictType) and isinstance(node.value, dict):
            for key, item in node.value.items():
                _check(item, option.value_type, f"{at}.{key}", root)
        elif isinstance(option, inspect.VarTupleType | inspect.ListType) and isinstance(node.value, list):
            for index, item in enumerate(node.value):
                _check(item, option.item_type, f"{at}[{index}]", root)
        elif isinstance(option, inspect.LiteralType) and isinstance(node.value, str):
            _check_choice(node.value, option, info, at)


def _check_struct(node: Node, info: inspect.StructType, at: str, root: type[msgspec.Struct]) -> None:
    fields = {field.encode_name: field.type for field in info.fields}
    known = [info.tag_field, *fields] if info.tag_field else list(fields)
    for key, item in node.value.items():
        if key in fields:
            _check(item, fields[key], f"{at}.{key}", root)
        elif key not in known:
            raise SpecError(f"{_unknown(key, known, root, at)} - at `{at}.{key}`")


def _unknown(key: str, known: list[str], root: type[msgspec.Struct], at: str) -> str:
    if key in _LATER and at.startswith("$.triggers["):
        return f"`{key}` is not there yet ({_LATER[key]})"
    if close := nearest(key, known):
        return f"unknown key `{key}` (did you mean `{close}`?)"
    if homes := _homes(root).get(key):
        return f"unknown key `{key}` (did you mean `{homes[0]}`?)"
    return f"unknown key `{key}`: expected one of {', '.join(f'`{name}`' for name in known)}"


def _check_choice(value: str, option: inspect.LiteralType, info: inspect.Type, at: str) -> None:
    choices = [str(choice) for choice in option.values]
    others = [other for other in _options(info) if not isinstance(other, inspect.LiteralType | inspect.NoneType)]
    if value in choices or any(isinstance(other, inspect.StrType) for other in others):
        return
    wanted = " or ".join([*(f"`{choice}`" for choice in choices), *(_noun(other) for other in others)])
    raise SpecError(f"expected {wanted}, got `{value}`{did_you_mean(value, choices)} - at `{at}`")


def _noun(info: inspect.Type) -> str:
    return "a number" if isinstance(info, inspect.IntType | inspect.FloatType) else "another type"


def _options(info: inspect.Type) -> tuple[inspect.Type, ...]:
    return info.types if isinstance(info, inspect.UnionType) else (info,)


def _selected(node: Node, info: inspect.StructType) -> bool:
    """Whether `node` is meant for this struct; a wrong `kind` is left to the parser of the section."""
    if info.tag_field is None:
        return True
    kind = node.value.get(info.tag_field)
    return kind is not None and kind.value == info.tag


@cache
def _homes(root: type[msgspec.Struct]) -> Mapping[str, list[str]]:
    """Each key of func.yaml → the paths where it may stand, ours before Knative's."""
    homes: dict[str, list[str]] = {}
    for path in _paths(inspect.type_info(root), ""):
        homes.setdefault(path.rpartition(".")[2], []).append(path)
    return {key: sorted(paths, key=lambda path: path.startswith("deploy.")) for key, paths in homes.items()}


def _paths(info: inspect.Type, prefix: str) -> Iterator[str]:
    for option in _options(info):
        if isinstance(option, inspect.StructType):
            for field in option.fields:
                path = f"{prefix}{field.encode_name}"
                yield path
                yield from _paths(field.type, f"{path}.")
        elif isinstance(option, inspect.VarTupleType):
            yield from _paths(option.item_type, f"{prefix.removesuffix('.')}[].")
        elif isinstance(option, inspect.DictType):
            yield from _paths(option.value_type, f"{prefix}<name>.")


def located(error: SpecError, places: Mapping[str, str]) -> SpecError:
    """`error` with the file and line of the `$.path` that it ends with, or of the nearest one above."""
    text = str(error).replace(" | null`", "`")  # a key without a value is as if it were not written
    _, found, tail = text.rpartition(" - at `$")
    if not found or not tail.endswith("`"):
        return SpecError(text)
    path = f"${tail[:-1]}"
    while path not in places and path != "$":
        path = path[: max(path.rfind("."), path.rfind("["))]
    place = places.get(path)
    return SpecError(f"{text} ({place})") if place and path != "$" else SpecError(text)


def all_places(node: Node) -> dict[str, str]:
    """Path → place, of every value."""
    return {path: item.place for path, item in node.walk()}
