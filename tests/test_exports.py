"""`__all__` and reality are the same."""

import ast
from pathlib import Path

import headrace
import headrace.testing

ROOT = Path(__file__).parents[1]


def test_every_public_name_resolves() -> None:
    for name in headrace.__all__:
        assert getattr(headrace, name) is not None
    assert dir(headrace) == sorted(headrace.__all__)


def test_all_is_sorted_and_typed() -> None:
    tree = ast.parse((ROOT / "src/headrace/__init__.py").read_text())
    block = next(node for node in tree.body if isinstance(node, ast.If))
    typed = {alias.name for node in block.body if isinstance(node, ast.ImportFrom) for alias in node.names}
    assert typed | {"__version__"} == set(headrace.__all__)
    assert headrace.__all__ == sorted(headrace.__all__)


def test_testing_exports() -> None:
    assert headrace.testing.__all__ == sorted(headrace.testing.__all__)
    for name in headrace.testing.__all__:
        assert getattr(headrace.testing, name).__doc__


def test_version_is_the_packages() -> None:
    assert f'version = "{headrace.__version__}"' in (ROOT / "pyproject.toml").read_text()
