"""The layout rules that no linter knows: see ARCHITECTURE.md."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("func_cli", "runtime", "scaler", "triggers")


def imported(path: Path) -> Iterator[str]:
    """Yield every absolute module name that the file at `path` imports."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            yield node.module or ""


@pytest.mark.parametrize("package", [*PACKAGES, "templates"])
def test_package_link(package: str) -> None:
    link = ROOT / "src" / "headrace" / package
    assert link.is_symlink()
    assert link.resolve() == ROOT / package


@pytest.mark.parametrize("package", PACKAGES)
def test_relative_inside_absolute_across(package: str) -> None:
    for path in (ROOT / package).rglob("*.py"):
        for name in imported(path):
            assert not name.startswith(f"headrace.{package}"), f"{path}: import {name} relatively"
            assert name.split(".")[0] not in PACKAGES, f"{path}: import headrace.{name}"
