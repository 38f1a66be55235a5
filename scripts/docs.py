"""Fills in what docs/ takes from the code: tables of settings and commands, and the snippets.

A guide says where with a pair of comments, `<!-- settings: Batching -->` ... `<!-- end -->`; what lies between them
is written anew. What does not belong here: any words of the guides themselves.
"""

import argparse
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import click
import msgspec

from headrace.func_cli.group import COMMANDS, func
from headrace.func_cli.knative import Knative
from headrace.func_cli.schema import func_yaml

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
_BLOCK = re.compile(r"(<!-- (\w+)(?:: ([^>]*?))? -->\n).*?(<!-- end -->)", re.DOTALL)

_Schema = Mapping[str, Any]


def main() -> int:
    """Write or check all guides; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="change nothing; exit 1 where something is stale")
    check = parser.parse_args().check
    stale = [file for file in sorted(DOCS.glob("*.md")) if filled(text := file.read_text()) != text]
    for file in stale:
        print(f"{'stale' if check else 'written'}: {file.relative_to(ROOT)}")
        if not check:
            file.write_text(filled(file.read_text()))
    return 1 if check and stale else 0


def filled(text: str) -> str:
    """A guide with all its blocks written anew."""
    return _BLOCK.sub(lambda block: f"{block[1]}{_MAKERS[block[2]](block[3] or '')}\n{block[4]}", text)


# -- settings ----------------------------------------------------------------------------------------------


def settings(name: str) -> str:
    """The settings of one struct, those below them as paths."""
    rows = ((f"`{path}`", _type(field), default, _text(field)) for path, field, default in _fields(_definition(name)))
    return _table(("setting", "type", "default", "what it does"), rows)


def knative(_: str) -> str:
    """Knative's fields, those below them as paths."""
    theirs = [field.encode_name for field in msgspec.structs.fields(Knative)]
    properties = {name: func_yaml()["properties"][name] for name in theirs}
    rows = ((f"`{path}`", _type(field), _text(field)) for path, field, _ in _fields({"properties": properties}))
    return _table(("field", "type", "what it is"), rows)


def _fields(definition: _Schema, prefix: str = "") -> Iterator[tuple[str, _Schema, str]]:
    """(path, schema, default) of each setting, depth first."""
    for name, field in definition["properties"].items():
        path = f"{prefix}{name}"
        yield path, field, "required" if name in definition.get("required", ()) else _default(field)
        below, suffix = field, ""
        if field.get("type") == "array":
            below, suffix = field["items"], "[]"
        elif isinstance(field.get("additionalProperties"), dict):
            below, suffix = field["additionalProperties"], ".<name>"
        for option in below.get("anyOf", [below]):
            if "$ref" in option:
                yield from _fields(_definition(option["$ref"].rpartition("/")[2]), f"{path}{suffix}.")


def _definition(name: str) -> _Schema:
    found: _Schema = func_yaml()["$defs"][name]
    return found


def _text(field: _Schema) -> str:
    """Its description, with names in func.yaml's spelling."""
    text = str(field.get("description", "Selects this table."))
    return _cell(re.sub(r"`[a-z]+_[a-z_]+`", lambda found: camel(found[0]), text))


def camel(name: str) -> str:
    """`max_batch_size` as func.yaml spells it."""
    return re.sub(r"_([a-z])", lambda found: found[1].upper(), name)


def _type(field: _Schema) -> str:
    if "const" in field:
        return f"`{field['const']}`"
    if "enum" in field:
        return " or ".join(f"`{choice}`" for choice in field["enum"] if choice != "")
    if "anyOf" in field:
        sizes = any("pattern" in option for option in field["anyOf"])
        return "size" if sizes else " or ".join(map(_type, field["anyOf"]))
    if field.get("type") == "array":
        return f"list of {_type(field['items'])}s"
    if "$ref" in field or field.get("type") == "object":
        return "mapping"
    return "duration" if "pattern" in field else str(field.get("type", "any"))


def _default(field: _Schema) -> str:
    value = field.get("default")
    if value is None or value in ({}, []):
        return ""
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"


# -- commands and snippets ---------------------------------------------------------------------------------


def commands(_: str) -> str:
    """All commands of `func`, groups' own included."""
    context = click.Context(func)
    rows: list[tuple[str, ...]] = []
    for name in (name for section in COMMANDS.values() for name in section):
        command = func.get_command(context, name)
        assert command is not None
        rows += [(f"`func {path}`", _cell(one.get_short_help_str(120))) for path, one in _leaves(command, name)]
    return _table(("command", "what it does"), rows)


def _leaves(command: click.Command, path: str) -> Iterator[tuple[str, click.Command]]:
    if isinstance(command, click.Group):
        for name, below in command.commands.items():
            yield from _leaves(below, f"{path} {name}")
    else:
        yield path, command


def snippet(name: str) -> str:
    """A file of docs/snippets, whole."""
    return f"```python\n{(DOCS / 'snippets' / name).read_text().rstrip()}\n```"


# -- tables ------------------------------------------------------------------------------------------------


def _table(headers: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [headers, ("---",) * len(headers), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


_MAKERS: Mapping[str, Callable[[str], str]] = {
    "settings": settings,
    "knative": knative,
    "commands": commands,
    "snippet": snippet,
}


if __name__ == "__main__":
    sys.exit(main())
