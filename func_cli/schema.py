"""The JSON Schema of func.yaml, made of the structs that check it: what editors complete and explain from.

Descriptions come from the structs' docstrings. What does not belong here: checking (`spec`).
msgspec's own `json.schema` is not used: it cannot write defaults of types such as `Seconds`.
"""

import re
from functools import cache
from typing import Any

import msgspec
from msgspec import inspect

from headrace.triggers.units import Bytes, Seconds

from .spec import FuncYaml

DIALECT = "https://json-schema.org/draft/2020-12/schema"

_Schema = dict[str, Any]
_CUSTOM: dict[type, _Schema] = {
    Seconds: {"type": "string", "pattern": r"^((\d+(\.\d+)?(ms|us|µs|s|m|h))+|0)$"},
    Bytes: {
        "anyOf": [
            {"type": "string", "pattern": r"^\d+(\.\d+)?(k|M|G|T|Ki|Mi|Gi|Ti)?$"},
            {"type": "integer", "minimum": 0},
        ]
    },
}
_PLAIN: dict[type[inspect.Type], str] = {
    inspect.StrType: "string",
    inspect.IntType: "integer",
    inspect.FloatType: "number",
    inspect.BoolType: "boolean",
}


def func_yaml() -> _Schema:
    """The schema of a whole func.yaml, self-contained."""
    writer = _Writer()
    writer.reference(inspect.type_info(FuncYaml))
    root = writer.definitions.pop(FuncYaml.__name__)
    return {"$schema": DIALECT, "title": "func.yaml", **root, "$defs": writer.definitions}


class _Writer:
    """Gathers a definition per struct."""

    def __init__(self) -> None:
        self.definitions: dict[str, _Schema] = {}

    def schema(self, info: inspect.Type) -> _Schema:
        """The schema of one type; `null` is left out: a key without a value is as if it were not there."""
        match info:
            case inspect.UnionType():
                options = [option for option in info.types if not isinstance(option, inspect.NoneType)]
                return self.schema(options[0]) if len(options) == 1 else {"anyOf": list(map(self.schema, options))}
            case inspect.StructType():
                return self.reference(info)
            case inspect.VarTupleType():
                return {"type": "array", "items": self.schema(info.item_type)}
            case inspect.DictType():
                return {"type": "object", "additionalProperties": self.schema(info.value_type)}
            case inspect.LiteralType():
                return {"enum": list(info.values)}
            case inspect.CustomType():
                return dict(_CUSTOM[info.cls])
            case inspect.AnyType():
                return {}
            case _:
                return {"type": _PLAIN[type(info)]}

    def reference(self, info: inspect.Type) -> _Schema:
        """A reference to a struct's definition, which is made when first asked for."""
        assert isinstance(info, inspect.StructType)
        name = info.cls.__name__
        if name not in self.definitions:
            self.definitions[name] = {}  # taken, should it refer to itself
            self.definitions[name] = self._definition(info)
        return {"$ref": f"#/$defs/{name}"}

    def _definition(self, info: inspect.StructType) -> _Schema:
        summary, attributes = _docstring(info.cls)
        properties: _Schema = {info.tag_field: {"const": info.tag}} if info.tag_field else {}
        for field in info.fields:
            described = {"description": attributes[field.name]} if field.name in attributes else {}
            properties[field.encode_name] = self.schema(field.type) | described | _default(field)
        required = [info.tag_field] if info.tag_field else []
        required += [field.encode_name for field in info.fields if field.required]
        return {
            "type": "object",
            "description": summary,
            "properties": properties,
            **({"required": required} if required else {}),
            "additionalProperties": False,
        }


def _default(field: inspect.Field) -> _Schema:
    value = field.default
    if value in (None, msgspec.NODEFAULT, (), ""):
        return {}
    if isinstance(value, Seconds):
        return {"default": f"{value:g}s"}
    if isinstance(value, Bytes):
        return {"default": f"{value // 2**20}Mi" if value % 2**20 == 0 else f"{value // 2**10}Ki"}
    return {"default": list(value) if isinstance(value, tuple) else value}


@cache
def _docstring(struct: type) -> tuple[str, dict[str, str]]:
    """Summary and attributes, with those of the classes that it extends."""
    attributes: dict[str, str] = {}
    for one in reversed(struct.__mro__):
        _, _, section = (one.__doc__ or "").partition("Attributes:")
        for name, text in re.findall(r"^ {8}(\w+): (.+(?:\n {12}.+)*)", section, re.MULTILINE):
            attributes[name] = " ".join(text.split())
    return (struct.__doc__ or "").strip().split("\n\n")[0], attributes
