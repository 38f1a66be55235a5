"""Local secrets: `.func/secrets/<name>/<key>`, for `{{ secret:name:key }}` and `func run`.

Folders are 0700 and files 0600; values are written, never shown. What does not belong here: resolving references
(`triggers/references`).
"""

import os
import re
import shutil
from collections.abc import Mapping
from pathlib import Path

from .errors import MisuseError, did_you_mean

_NAME = re.compile(r"[a-z0-9]([-a-z0-9.]*[a-z0-9])?")  # Kubernetes: a secret's name is a DNS subdomain
_KEY = re.compile(r"[-._a-zA-Z0-9]{1,253}")  # Kubernetes: IsConfigMapKey


def names(root: Path) -> Mapping[str, list[str]]:
    """Name → keys, of all secrets in the folder `root`."""
    folders = sorted(entry for entry in root.iterdir() if entry.is_dir()) if root.is_dir() else []
    return {folder.name: sorted(file.name for file in folder.iterdir() if file.is_file()) for folder in folders}


def store(root: Path, name: str, key: str, value: bytes) -> Path:
    """Write one value.

    Returns:
        Its file.

    Raises:
        MisuseError: No secret or key can be called so.
    """
    check(name, key)
    folder = root / name
    for one in (root, folder):
        one.mkdir(mode=0o700, parents=True, exist_ok=True)
        one.chmod(0o700)
    beside = folder / f".{key}.{os.getpid()}"
    beside.unlink(missing_ok=True)
    with os.fdopen(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(value)
    return beside.replace(folder / key)


def remove(root: Path, name: str, key: str | None) -> None:
    """Remove one key, or a whole secret.

    Raises:
        MisuseError: There is no such key or secret.
    """
    known = names(root)
    if name not in known:
        have = ", ".join(f"`{one}`" for one in known) or "none"
        raise MisuseError(f"secret: expected one of {have}, got `{name}`{did_you_mean(name, known)}")
    if key is not None and key not in known[name]:
        have = ", ".join(f"`{one}`" for one in known[name]) or "none"
        raise MisuseError(f"secret `{name}`: expected a key of {have}, got `{key}`{did_you_mean(key, known[name])}")
    if key is None or known[name] == [key]:
        shutil.rmtree(root / name)
    else:
        (root / name / key).unlink()


def check(name: str, key: str) -> None:
    """Raise `MisuseError` unless Kubernetes would take these names too."""
    if not _NAME.fullmatch(name) or len(name) > 253 or ".." in name:
        raise MisuseError(f"secret: expected a name of lower-case letters, digits, `-` and `.`, got `{name}`")
    if not _KEY.fullmatch(key) or key.startswith(".."):
        raise MisuseError(f"secret `{name}`: expected a key of letters, digits, `-`, `_` and `.`, got `{key}`")
