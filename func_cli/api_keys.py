"""The local secret that holds a function's API keys: which one it is, and the lines in it.

What does not belong here: what a line is (`runtime/http/api_keys`), and storing secrets (`secrets`).
"""

import re
from collections.abc import Mapping
from pathlib import Path

from headrace.runtime.http.api_keys import line_of, new_token, parse
from headrace.triggers.http.spec import HttpTrigger

from . import secrets
from .errors import MisuseError, did_you_mean
from .spec import Spec

DEFAULT = ("http", "keys")
"""Name and key of the secret, where func.yaml names none."""

_REFERENCE = re.compile(r"\{\{\s*secret:([^\s:{}]+):([^\s:{}]+)\s*\}\}")


class StoredKeys:
    """API keys in one secret.

    Args:
        root: `.func/secrets`.
        name: The secret's.
        key: The key of it.
    """

    def __init__(self, root: Path, name: str, key: str) -> None:
        self._root = root
        self.name = name
        self.key = key

    @property
    def reference(self) -> str:
        """What func.yaml says for it."""
        return f"{{{{ secret:{self.name}:{self.key} }}}}"

    def names(self) -> list[str]:
        """Of the keys, in the order in which they were made."""
        return list(self._hashes())

    def create(self, name: str) -> str:
        """Store a new key's hash.

        Returns:
            The key itself, which is nowhere else.

        Raises:
            UsageError: It is no name for a key.
            MisuseError: There is one of that name.
        """
        token = new_token()
        line = line_of(name, token)
        if name in self._hashes():
            raise MisuseError(
                f"API key: expected a new name, got `{name}` - at `{self.reference}`",
                hint=f"func config keys remove {name}",
            )
        self._write([*self._lines(), line])
        return token

    def remove(self, name: str) -> None:
        """Forget a key; raises `MisuseError` where there is none of that name."""
        known = self._hashes()
        if name not in known:
            have = ", ".join(f"`{one}`" for one in known) or "none"
            raise MisuseError(f"API key: expected one of {have}, got `{name}`{did_you_mean(name, known)}")
        self._write([line for line in self._lines() if not line.startswith(f"{name}:")])

    def _lines(self) -> list[str]:
        path = self._root / self.name / self.key
        return [line.strip() for line in path.read_text().splitlines()] if path.is_file() else []

    def _hashes(self) -> Mapping[str, bytes]:
        lines = [line for line in self._lines() if line and not line.startswith("#")]
        return parse("\n".join(lines), str(self._root / self.name / self.key)) if lines else {}

    def _write(self, lines: list[str]) -> None:
        secrets.store(self._root, self.name, self.key, "".join(f"{line}\n" for line in lines).encode())


def of(spec: Spec, root: Path) -> tuple[StoredKeys, bool]:
    """The secret that the HTTP trigger's `apiKeys` names, and whether it names one.

    Raises:
        MisuseError: It names something else than one secret of this machine.
    """
    written = next((one.api_keys for one in spec.runtime.triggers if isinstance(one, HttpTrigger)), None)
    if written is None:
        return StoredKeys(root, *DEFAULT), False
    if (match := _REFERENCE.fullmatch(written.strip())) is None:
        raise MisuseError(
            "API keys: expected `apiKeys` to be one secret, such as `{{ secret:http:keys }}`, got something else "
            "- at `$.triggers`"
        )
    return StoredKeys(root, match[1], match[2]), True
