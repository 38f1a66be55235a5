"""`run.envs`: which variables a function's process gets, and their values.

What does not belong here: changing func.yaml (`edit`).
"""

import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from headrace.triggers.errors import ReferenceMissing, SpecError
from headrace.triggers.references import References

from .knative import Env

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.\-]*")  # Kubernetes: IsEnvVarName
_WHOLE = re.compile(r"\{\{\s*(secret|configMap):([^\s:{}]+)\s*\}\}")
_PART = re.compile(r"\{\{\s*(?:env:[^\s:{}]+|(?:secret|configMap):[^\s:{}]+:[^\s:{}]+)\s*\}\}")


def check(envs: Sequence[Env], at: str = "$.run.envs") -> None:
    """Raise `SpecError` for names that no variable can have, given twice, or broken references."""
    for index, env in enumerate(envs):
        value = env.value or ""
        if env.name is None and not _WHOLE.fullmatch(value):
            raise SpecError(
                "expected a `name`, or `{{ secret:name }}` or `{{ configMap:name }}` as `value` "
                f"- at `{at}[{index}]`"
            )
        if env.name is not None and not _NAME.fullmatch(env.name):
            raise SpecError(f"expected a name of letters, digits and `_`, got `{env.name}` - at `{at}[{index}].name`")
        if "{{" in _PART.sub("", value) and (env.name is not None or not _WHOLE.fullmatch(value)):
            raise SpecError(
                "expected `{{ env:NAME }}`, `{{ secret:name:key }}` or `{{ configMap:name:key }}` "
                f"- at `{at}[{index}].value`"
            )
    for name, count in Counter(env.name for env in envs if env.name is not None).items():
        if count > 1:
            raise SpecError(f"expected one variable named `{name}`, got {count} - at `{at}`")


def resolve(envs: Sequence[Env], references: References, private: Path) -> dict[str, str]:
    """The variables' values here.

    Args:
        envs: `run.envs`, checked.
        references: What resolves them.
        private: The project's `.func/`, with its `secrets/` and `config/`.

    Raises:
        ReferenceMissing: A reference has no value.
    """
    values: dict[str, str] = {}
    for index, env in enumerate(envs):
        at = f"$.run.envs[{index}].value"
        if env.name is None:
            whole = _WHOLE.fullmatch(env.value or "")
            assert whole is not None, "check() lets no other through"
            values |= _whole(whole[1], whole[2], private, at)
        elif env.value is not None:
            values[env.name] = references.resolve(env.value, at)
    return values


def _whole(kind: str, name: str, private: Path, at: str) -> dict[str, str]:
    """Every key of a local secret or config map as a variable."""
    root = private / ("secrets" if kind == "secret" else "config")
    folder = root / name
    if not folder.resolve().is_relative_to(root.resolve()) or not folder.is_dir():
        raise ReferenceMissing(f"{kind} `{name}` is not there: expected files in the folder `{folder}` - at `{at}`")
    return {path.name: path.read_text().removesuffix("\n") for path in sorted(folder.iterdir()) if path.is_file()}
