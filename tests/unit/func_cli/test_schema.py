import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
import yaml
from support.func_cli import call

from headrace.func_cli.schema import func_yaml
from headrace.func_cli.templates import all_templates

SCHEMA = func_yaml()
JSON_TYPES: dict[str, type | tuple[type, ...]] = {
    "object": dict, "array": list, "string": str, "integer": int, "number": (int, float), "boolean": bool,
}  # fmt: skip


def problems(value: Any, schema: dict[str, Any], at: str = "$") -> Iterator[str]:
    """What `schema` has against `value`: the part of JSON Schema that ours uses."""
    if "$ref" in schema:
        yield from problems(value, SCHEMA["$defs"][schema["$ref"].rpartition("/")[2]], at)
    if "anyOf" in schema and all(any(problems(value, option, at)) for option in schema["anyOf"]):
        yield f"{at}: none of anyOf"
    if "type" in schema and not isinstance(value, JSON_TYPES[schema["type"]]):
        yield f"{at}: no {schema['type']}"
    elif value not in schema.get("enum", [value]) or value != schema.get("const", value):
        yield f"{at}: not in enum"
    elif isinstance(value, str) and not re.search(schema.get("pattern", ""), value):
        yield f"{at}: pattern"
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from problems(item, schema.get("items", {}), f"{at}[{index}]")
    elif isinstance(value, dict):
        yield from (f"{at}: {key} missing" for key in schema.get("required", ()) if key not in value)
        for key, item in value.items():
            below = schema.get("properties", {}).get(key, schema.get("additionalProperties", {}))
            yield from [f"{at}.{key}: unknown"] if below is False else problems(item, below, f"{at}.{key}")


def test_it_is_printed_whole() -> None:
    assert json.loads(call("schema").stdout) == SCHEMA
    assert yaml.safe_load(call("schema", "-o", "yaml").stdout) == SCHEMA
    assert SCHEMA["$schema"].endswith("2020-12/schema")


def test_every_key_is_described() -> None:
    for definition in [SCHEMA, *SCHEMA["$defs"].values()]:
        assert definition["description"]
        assert definition["additionalProperties"] is False
        for key, schema in definition["properties"].items():
            assert key == "kind" or schema.get("description"), key


def test_every_reference_leads_somewhere() -> None:
    references = set(re.findall(r'"#/\$defs/(\w+)"', json.dumps(SCHEMA)))
    assert references == set(SCHEMA["$defs"])


@pytest.mark.parametrize("template", all_templates())
def test_the_templates_fit(template: str) -> None:
    text = (all_templates()[template].path / "func.yaml").read_text()
    assert list(problems(yaml.safe_load(text), SCHEMA)) == []


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("scal: 1", "$.scal: unknown"),
        ("limits: {handlerTimeout: 5}", "$.limits.handlerTimeout: no string"),
        ("limits: {handlerTimeout: 5 s}", "$.limits.handlerTimeout: pattern"),
        ("limits: {maxBody: 64MB}", "$.limits.maxBody: none of anyOf"),
        ("triggers: [{name: a, kind: kafka}]", "$.triggers[0]: none of anyOf"),
        ("triggers: [{name: a, kind: nats}]", "$.triggers[0]: none of anyOf"),
        ("bindings: {a: {kind: nats}}", "$.bindings.a: none of anyOf"),
        ("invoke: x", "$.invoke: not in enum"),
    ],
)
def test_mistakes_do_not_fit(text: str, problem: str) -> None:
    assert list(problems(yaml.safe_load(text), SCHEMA)) == [problem]


def test_defaults_are_spelled_as_they_may_be_written() -> None:
    limits = SCHEMA["$defs"]["Limits"]["properties"]
    assert (limits["maxBody"]["default"], limits["maxHeader"]["default"]) == ("64Mi", "32Ki")
    assert limits["handlerTimeout"]["default"] == "60s"
