"""Function projects for tests: written to a folder, loaded, and forgotten again."""

import sys
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from textwrap import dedent
from typing import Any

from headrace.runtime.context import Context
from headrace.runtime.device.cpu import CpuDevice
from headrace.runtime.handlers import Handler
from headrace.runtime.loading import load
from headrace.runtime.places import is_own
from headrace.runtime.spec import parse

FIXTURES = Path(__file__).parents[1] / "fixtures"


def write(folder: Path, source: str, file: str = "function/__init__.py") -> Path:
    """`source`, dedented, in a file of the project `folder`."""
    path = folder / file
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(dedent(source).lstrip("\n"))
    return folder


@contextmanager
def loaded(folder: Path, *, bindings: Mapping[str, Any] | None = None, **spec: Any) -> Generator[Handler]:
    """The project's handler; afterwards its modules are unloaded, and `sys.path` is as before."""
    modules, path = set(sys.modules), list(sys.path)
    try:
        yield load(folder, parse({"name": "test", **spec}), Context("test", CpuDevice(), bindings))
    finally:
        sys.path[:] = path
        for name in set(sys.modules) - modules:
            if (file := getattr(sys.modules[name], "__file__", None)) and is_own(file, folder.resolve()):
                del sys.modules[name]
