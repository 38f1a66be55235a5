"""Where in the user's project something stands or went wrong: `function/__init__.py:12`, for errors.

What does not belong here: reading or importing that code.
"""

import inspect
import sys
from pathlib import Path
from types import CodeType
from typing import Any

# Below these a file is installed, not the user's own.
_INSTALLED = frozenset({"site-packages", "dist-packages", ".venv", "venv", ".func"})


def of_code(target: object, project: Path) -> str:
    """Where `target` (a function, method, class, partial, module or callable object) is written, or ``."""
    if inspect.ismodule(target):
        return _shown(target.__file__ or target.__name__, None, project)
    code = _code(target)
    if code is not None:
        return _shown(code.co_filename, code.co_firstlineno, project)
    file = getattr(sys.modules.get(getattr(target, "__module__", None) or ""), "__file__", None)
    return _shown(file, None, project) if file is not None and is_own(file, project) else ""


def of_error(error: BaseException, project: Path) -> str:
    """The last line of the project's own code that `error`, or what caused it, came through."""
    if isinstance(error, SyntaxError) and error.filename:
        return _shown(error.filename, error.lineno, project)
    place = ""
    trace = error.__traceback__
    while trace is not None:
        filename = trace.tb_frame.f_code.co_filename
        if is_own(filename, project):
            place = _shown(filename, trace.tb_lineno, project)
        trace = trace.tb_next
    if not place and error.__cause__ is not None:
        return of_error(error.__cause__, project)
    return place or str(project)


def is_own(filename: str, project: Path) -> bool:
    """Whether a file is of the project itself, not of something installed inside its folder."""
    path = Path(filename)
    return path.is_relative_to(project) and _INSTALLED.isdisjoint(path.relative_to(project).parts)


def told(error: BaseException) -> str:
    """`ValueError: its text`, on one line."""
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def _shown(filename: str, line: int | None, project: Path) -> str:
    path = Path(filename)
    shown = str(path.relative_to(project)) if path.is_relative_to(project) else filename
    return shown if line is None else f"{shown}:{line}"


def _code(target: Any) -> CodeType | None:
    for _ in range(16):  # a cycle of wrappers must not hang the start
        if isinstance(target, CodeType):
            return target
        for attribute in ("func", "__func__", "__wrapped__", "__code__"):
            if (inner := _own(target, attribute)) is not None:
                break
        else:
            inner = target.__dict__.get("__init__") if isinstance(target, type) else _own(type(target), "__call__")
            if inner is None or inspect.ismethodwrapper(inner):
                inner = next((value for value in vars(_type(target)).values() if inspect.isfunction(value)), None)
        if inner is None:
            return None
        target = inner
    return None


def _own(target: object, attribute: str) -> Any:
    """An attribute of callables; user classes may answer anything for any name (`__getattr__`)."""
    return inspect.getattr_static(target, attribute, None) and getattr(target, attribute, None)


def _type(target: object) -> type:
    return target if isinstance(target, type) else type(target)
