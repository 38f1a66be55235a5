"""The templates that `func create` writes projects from: which there are, and copying one.

What does not belong here: the templates' content (`templates/`).
"""

import re
import shutil
from collections.abc import Mapping
from pathlib import Path

import msgspec

from .errors import MisuseError, did_you_mean

# What running a template where it lies leaves behind.
_LEFT_BEHIND = shutil.ignore_patterns("__pycache__", ".*_cache", ".func", ".venv", "func.local.yaml", ".coverage*")


class Template(msgspec.Struct, frozen=True):
    """A project to begin with.

    Attributes:
        name: What `-t` takes.
        path: Its folder.
        summary: What it does, in one line.
    """

    name: str
    path: Path
    summary: str


def all_templates() -> Mapping[str, Template]:
    """Name → template, in alphabetical order."""
    import headrace.templates

    root = Path(next(iter(headrace.templates.__path__)))
    folders = sorted(file.parent for file in root.glob("*/func.yaml"))
    return {folder.name: Template(folder.name, folder, _summary(folder)) for folder in folders}


def find(name: str) -> Template:
    """The template called `name`.

    Raises:
        MisuseError: There is none.
    """
    known = all_templates()
    if name not in known:
        have = ", ".join(f"`{one}`" for one in known)
        raise MisuseError(
            f"template: expected one of {have}, got `{name}`{did_you_mean(name, known)}", hint="func templates"
        )
    return known[name]


def copy(template: Template, folder: Path, name: str) -> list[Path]:
    """Write a project called `name` into `folder`.

    Returns:
        The files, relative to `folder`.
    """
    shutil.copytree(template.path, folder, ignore=_LEFT_BEHIND, dirs_exist_ok=True)
    _rename(folder / "func.yaml", rf"^name: {template.name}$", f"name: {name}")
    _rename(folder / "pyproject.toml", rf'^name = "{template.name}"$', f'name = "{name}"')
    _rename(folder / "README.md", rf"^# {template.name}$", f"# {name}")
    copied = sorted(file.relative_to(template.path) for file in template.path.rglob("*") if file.is_file())
    return [file for file in copied if (folder / file).is_file()]


def _rename(file: Path, pattern: str, line: str) -> None:
    file.write_text(re.sub(pattern, line, file.read_text(), count=1, flags=re.MULTILINE))


def _summary(folder: Path) -> str:
    """The first line of text of its README."""
    paragraphs = (folder / "README.md").read_text().split("\n\n")
    return " ".join(paragraphs[1].split()).partition(". ")[0].removesuffix(".")
