"""Changes `run.envs` in the text of a func.yaml, and leaves everything else as it was written, comments too.

Each change is read back; what does not come out as meant is refused. What does not belong here: what variables may
be called, and what their values may refer to (`envs`).
"""

import sys
from typing import Any

import yaml
from yaml.nodes import MappingNode, SequenceNode

from headrace.triggers.errors import SpecError

from . import documents
from .errors import CommandError


def set_env(text: str, name: str, value: str) -> str:
    """`text` with the variable `name` set to `value`.

    Raises:
        CommandError: The file is written in a way that cannot be changed safely.
    """
    wanted = _plain(text)
    envs = wanted.setdefault("run", {}).setdefault("envs", [])
    for env in envs:
        if env.get("name") == name:
            env["value"] = value
            break
    else:
        envs.append({"name": name, "value": value})
    # `NO` and `ON` are names of variables, and truth values of YAML
    key = name if yaml.safe_load(name) == name else _quoted(name)
    return _checked(_set(text, name, key, _quoted(value)), wanted)


def remove_env(text: str, name: str) -> str:
    """`text` without the variable `name`.

    Raises:
        CommandError: The file is written in a way that cannot be changed safely.
    """
    wanted = _plain(text)
    wanted["run"]["envs"] = [env for env in wanted["run"]["envs"] if env.get("name") != name]
    return _checked(_remove(text, name), wanted)


def _plain(text: str) -> Any:
    return documents.parse(text, "func.yaml").plain() or {}


def _quoted(text: str) -> str:
    """One line of YAML that is `text`, whatever it holds."""
    quoted: str = yaml.safe_dump(text, default_style='"', allow_unicode=True, width=sys.maxsize)
    return quoted.rstrip("\n")


def _checked(text: str, wanted: Any) -> str:
    try:
        if _plain(text) == wanted:
            return text
    except SpecError:
        pass
    raise CommandError("func.yaml: expected `run.envs` in a form that can be changed, got another: change it by hand")


def _set(text: str, name: str, key: str, value: str) -> str:
    root = yaml.compose(text, Loader=yaml.SafeLoader)
    run = _below(root, "run")
    envs = _below(run, "envs")
    if isinstance(envs, SequenceNode) and envs.value:
        return _set_in_list(text, envs, name, key, value)
    item = f"{{name: {key}, value: {value}}}"
    if envs is not None:  # `envs:` without a value, or `[]`
        return _replace(text, envs, f" [{item}]" if envs.start_mark.index == envs.end_mark.index else f"[{item}]")
    if isinstance(run, MappingNode) and run.value:
        if run.flow_style:
            return _insert(text, run.start_mark.index + 1, f"envs: [{item}], ")
        indent = " " * run.start_mark.column
        at = text.rindex("\n", 0, run.start_mark.index) + 1
        return _insert(text, at, f"{indent}envs:\n{indent}  - name: {key}\n{indent}    value: {value}\n")
    if run is not None:
        block = f" {{envs: [{item}]}}"
        return _replace(text, run, block if run.start_mark.index == run.end_mark.index else block.strip())
    end = "" if not text or text.endswith("\n") else "\n"
    return f"{text}{end}run:\n  envs:\n    - name: {key}\n      value: {value}\n"


def _set_in_list(text: str, envs: SequenceNode, name: str, key: str, value: str) -> str:
    for item in envs.value:
        if _named(item, name):
            known = _below(item, "value")
            if known is not None:
                empty = known.start_mark.index == known.end_mark.index
                return _replace(text, known, f" {value}" if empty else value)
            separator = ", " if item.flow_style else "\n" + " " * item.start_mark.column
            return _insert(text, _below(item, "name").end_mark.index, f"{separator}value: {value}")
    last = envs.value[-1]
    if envs.flow_style:
        return _insert(text, last.end_mark.index, f", {{name: {key}, value: {value}}}")
    indent = " " * envs.start_mark.column
    at = _line_end(text, _end(last))
    start = "" if text[at - 1 : at] == "\n" else "\n"
    return _insert(text, at, f"{start}{indent}- name: {key}\n{indent}  value: {value}\n")


def _remove(text: str, name: str) -> str:
    envs = _below(_below(yaml.compose(text, Loader=yaml.SafeLoader), "run"), "envs")
    assert isinstance(envs, SequenceNode)
    index = next(index for index, item in enumerate(envs.value) if _named(item, name))
    item = envs.value[index]
    if envs.flow_style:
        start, end = item.start_mark.index, item.end_mark.index
        if index + 1 < len(envs.value):
            end = envs.value[index + 1].start_mark.index
        elif index:
            start = envs.value[index - 1].end_mark.index
        return text[:start] + text[end:]
    start = text.rindex("\n", 0, item.start_mark.index) + 1
    end = _line_end(text, _end(item))
    if len(envs.value) > 1:
        return text[:start] + text[end:]
    key_end = text.rindex(":", 0, start) + 1
    return f"{text[:key_end]} []{text[key_end:start]}{text[end:]}"


def _below(node: yaml.Node | None, key: str) -> Any:
    if not isinstance(node, MappingNode):
        return None
    return next((value for known, value in node.value if known.value == key), None)


def _named(item: yaml.Node, name: str) -> bool:
    known = _below(item, "name")
    return known is not None and known.value == name


def _end(node: yaml.Node) -> int:
    """Where the last scalar or bracket of `node` ends; a block's own end mark lies behind the comments after it."""
    if isinstance(node, MappingNode) and not node.flow_style and node.value:
        return _end(node.value[-1][1])
    if isinstance(node, SequenceNode) and not node.flow_style and node.value:
        return _end(node.value[-1])
    end: int = node.end_mark.index
    return end


def _line_end(text: str, at: int) -> int:
    """Behind the line break that follows `at`; `at` itself where a block scalar took it already."""
    if text[at - 1 : at] == "\n":
        return at
    found = text.find("\n", at)
    return len(text) if found < 0 else found + 1


def _replace(text: str, node: yaml.Node, new: str) -> str:
    return text[: node.start_mark.index] + new + text[node.end_mark.index :]


def _insert(text: str, at: int, new: str) -> str:
    return text[:at] + new + text[at:]
