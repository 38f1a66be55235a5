"""`{{ env:X }}`, `{{ secret:name:key }}` and `{{ configMap:name:key }}` in the strings of triggers and bindings.

They are resolved in the process that uses the value, so that no file that Headrace writes, no image and no
log holds a secret. Values never appear in errors.
"""

import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from .errors import ReferenceMissing

_REFERENCE = re.compile(r"\{\{\s*(env|secret|configMap):([^\s:{}]+)(?::([^\s:{}]+))?\s*\}\}")


class References:
    """Resolves references from the environment and from files.

    Args:
        environ: The environment to read.
        secrets: Folder of `name/key` files (0600); locally `.func/secrets`.
        config_maps: Folder of `name/key` files; locally `.func/config`.
    """

    def __init__(
        self,
        environ: Mapping[str, str] = os.environ,
        secrets: Path = Path(".func/secrets"),
        config_maps: Path = Path(".func/config"),
    ) -> None:
        self._environ = environ
        self._folders: Mapping[str, Path] = {"secret": secrets, "configMap": config_maps}

    def resolve(self, value: Any, at: str) -> Any:
        """Plain data with every reference in its strings replaced.

        Raises:
            ReferenceMissing: Naming each place that was looked in, and `at`.
        """
        if isinstance(value, str):
            return _REFERENCE.sub(self._replacement(at), value)
        if isinstance(value, dict):
            return {key: self.resolve(item, f"{at}.{key}") for key, item in value.items()}
        if isinstance(value, list | tuple):
            return [self.resolve(item, f"{at}[{index}]") for index, item in enumerate(value)]
        return value

    def _replacement(self, at: str) -> Callable[[re.Match[str]], str]:
        def replace(match: re.Match[str]) -> str:
            kind, name, key = match[1], match[2], match[3]
            if kind == "env":
                return self._env(name, at)
            if key is None:
                raise ReferenceMissing(f"reference `{match[0]}`: expected `{{{{ {kind}:name:key }}}}` - at `{at}`")
            return self._file(kind, name, key, at)

        return replace

    def _env(self, name: str, at: str) -> str:
        if (value := self._environ.get(name)) is None:
            raise ReferenceMissing(f"environment variable `{name}` is not set - at `{at}`")
        return value

    def _file(self, kind: str, name: str, key: str, at: str) -> str:
        variable = variable_name(kind, name, key)
        if (value := self._environ.get(variable)) is not None:
            return value
        folder = self._folders[kind]
        path = folder / name / key
        # `..` in a name must not lead out of the folder
        if path.resolve().is_relative_to(folder.resolve()) and path.is_file():
            return path.read_text().removesuffix("\n")
        raise ReferenceMissing(
            f"{kind} `{name}` has no key `{key}`: expected the file `{path}` "
            f"or the environment variable `{variable}` - at `{at}`"
        )


def variable_name(kind: str, name: str, key: str) -> str:
    """The environment variable that stands for a secret's or config map's key."""
    prefix = "HEADRACE_SECRET" if kind == "secret" else "HEADRACE_CONFIG"
    return re.sub(r"[^A-Z0-9]", "_", f"{prefix}_{name}_{key}".upper())


def has_references(value: Any) -> bool:
    """Whether any string in plain data holds a reference."""
    if isinstance(value, str):
        return _REFERENCE.search(value) is not None
    if isinstance(value, dict):
        return any(map(has_references, value.values()))
    return isinstance(value, list | tuple) and any(map(has_references, value))
