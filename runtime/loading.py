"""Finds a function's code in its project and makes a `Handler` of it.

Import → find (`new`, `Function`, `handle`, `handler`, `app`) → read its shape, once. What does not belong
here: how a shape is called (`shapes/`), and when.
"""

import importlib
import inspect
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any, Protocol

from headrace.triggers.errors import UsageError
from headrace.triggers.http.spec import HttpTrigger

from .context import Context
from .errors import HandlerLoadError, HandlerShapeError
from .handlers import Handler, Shape
from .places import is_own, of_code, of_error, told
from .shapes import asgi, batch, event, knative, nuclio
from .shapes.signatures import FORMS, Candidate, candidate, required_names
from .spec import RuntimeSpec


class _HandlerShape(Protocol):
    """What a module of `shapes/` offers."""

    @property
    def FORM(self) -> str: ...
    def fits(self, found: Candidate) -> bool: ...
    def adapt(self, found: Candidate, spec: RuntimeSpec, context: Context) -> Handler: ...


_SHAPES: tuple[_HandlerShape, ...] = (knative, asgi, nuclio, batch, event)
"""The first that fits."""


def load(project: Path, spec: RuntimeSpec, context: Context) -> Handler:
    """Import the project's function and read its shape.

    Args:
        project: Its folder: put in front of `sys.path`, and nothing else is.
        spec: `handler` names the code where `function/__init__.py` and `func.py` do not hold it.
        context: What the function's signature may ask for.

    Raises:
        HandlerLoadError: It cannot be imported or made; the message names the user's line.
        HandlerShapeError: Its signature fits no shape.
        UsageError: It takes HTTP only, and there is a trigger of another kind.
    """
    project = project.resolve()
    module_name, _, attribute = (spec.handler or _usual(project)).partition(":")
    module = _import(module_name, project)
    found = _named(module, attribute, project, context) if attribute else _conventional(module, project, context)
    return _adapt(found, spec, context)


def adapt(target: object, spec: RuntimeSpec, context: Context, project: Path) -> Handler:
    """Read the shape of a function, instance, class or app that is imported already.

    Raises: as `load`.
    """
    name = getattr(target, "__name__", None) or type(target).__name__
    module = getattr(target, "__module__", None) or type(target).__module__
    return _adapt(_resolve(target, name, f"{module}:{name}", None, project.resolve(), context), spec, context)


def _adapt(found: Candidate, spec: RuntimeSpec, context: Context) -> Handler:
    shape = next((shape for shape in _SHAPES if shape.fits(found)), None)
    if shape is None:
        raise found.misfit()
    handler = shape.adapt(found, spec, context)
    if handler.shape is Shape.ASGI:
        for trigger in spec.triggers:
            if not isinstance(trigger, HttpTrigger):
                raise UsageError(
                    f"trigger `{trigger.name}`: expected a handler of events or batches, got {_article(shape.FORM)}, "
                    f"which takes HTTP only - at {found.place}"
                )
    return handler


def _article(form: str) -> str:
    return form if form.startswith("an ") else f"`{form}`"


def _usual(project: Path) -> str:
    if (project / "function" / "__init__.py").is_file():
        return "function"
    if (project / "func.py").is_file():
        return "func"
    raise HandlerLoadError(
        "function: expected `function/__init__.py` or `func.py`, or `handler: module:attribute` in func.yaml, "
        f"got none of them - at {project}"
    )


# -- importing ---------------------------------------------------------------------------------------------


def _import(name: str, project: Path) -> ModuleType:
    if (entry := str(project)) not in sys.path[:1]:
        sys.path[:] = [entry, *(path for path in sys.path if path != entry)]
    top = name.partition(".")[0]
    written = (project / f"{top}.py").is_file() or (project / top).is_dir()
    if written and top in sys.stdlib_module_names:
        raise HandlerLoadError(f"`{name}`: expected a name that no module of Python has, got `{top}` - at {project}")
    if written:
        _forget_others(top, project)
    try:
        return importlib.import_module(name)
    except (Exception, SystemExit) as exc:
        said = f"{told(exc)}{_hint(exc)}"
        raise HandlerLoadError(f"`{name}`: expected it to import, got {said} - at {of_error(exc, project)}") from exc


def _forget_others(top: str, project: Path) -> None:
    """Drop another project's module of this name: a test run may load several functions in turn."""
    loaded = sys.modules.get(top)
    if loaded is None or any(is_own(path, project) for path in _paths(loaded)):
        return
    for name in [name for name in sys.modules if name == top or name.startswith(f"{top}.")]:
        del sys.modules[name]


def _paths(module: ModuleType) -> Iterator[str]:
    if (file := getattr(module, "__file__", None)) is not None:
        yield file
    yield from getattr(module, "__path__", ())


def _hint(exc: BaseException) -> str:
    if not isinstance(exc, ModuleNotFoundError) or not exc.name:
        return ""
    if exc.name.partition(".")[0] == "nuclio_sdk":
        return " (install it with `pip install nuclio-sdk`, or leave it out: `context` and `event` do not need it)"
    return ""


# -- finding -----------------------------------------------------------------------------------------------


def _conventional(module: ModuleType, project: Path, context: Context) -> Candidate:
    """By the usual names: `new()`, `Function`, `handle`, `handler` (Nuclio), `app` (ASGI)."""
    values = {name: getattr(module, name, None) for name in ("new", "Function", "handle", "handler", "app")}
    names = [name for name, value in values.items() if callable(value) or (name == "handle" and _has_handle(value))]
    if "handle" in names and (rival := next((name for name in ("new", "Function") if name in names), None)):
        raise HandlerLoadError(
            f"`{module.__name__}`: expected one of `{rival}` and `handle`, got both - at {of_code(module, project)}"
        )
    if not names:
        raise HandlerShapeError(
            f"`{module.__name__}`: expected {FORMS}, a class `Function` or a function `new`, got none of them "
            f"- at {of_code(module, project)}"
        )
    return _resolve(values[names[0]], names[0], f"{module.__name__}:{names[0]}", module, project, context)


def _named(module: ModuleType, attribute: str, project: Path, context: Context) -> Candidate:
    if (value := getattr(module, attribute, None)) is None:
        raise HandlerLoadError(
            f"`{module.__name__}:{attribute}`: expected `{attribute}` in the module, got nothing of this name "
            f"- at {of_code(module, project)}"
        )
    return _resolve(value, attribute, f"{module.__name__}:{attribute}", module, project, context)


def _resolve(
    value: Any, attribute: str, name: str, owner: ModuleType | None, project: Path, context: Context
) -> Candidate:
    """The callable that `value` stands for: itself, its `handle`, or that of what it makes."""
    if isinstance(value, type):
        value, owner = _make(value, f"class `{value.__name__}`", "a constructor", project), None
    elif attribute == "new" and inspect.isroutine(value):
        new = value
        value, owner = _make(new, "`new`", "a function", project), None
        if not callable(value) and not _has_handle(value):
            raise HandlerShapeError(
                "`new`: expected it to return an object with a `handle` method, got one of type "
                f"`{type(value).__name__}` - at {of_code(new, project)}"
            )
        attribute = getattr(value, "__name__", "app")
    handle = getattr(value, "handle", None)
    if not inspect.isroutine(value) and handle is not None and not (attribute == "app" and callable(value)):
        return candidate(handle, "handle", value, f"{name}.handle", project, context)
    return candidate(value, attribute, owner or value, name, project, context)


def _has_handle(value: object) -> bool:
    return getattr(value, "handle", None) is not None and not inspect.ismodule(value)


def _make(factory: Any, name: str, what: str, project: Path) -> Any:
    """Call a class or `new`."""
    place = of_code(factory, project) or str(project)
    if asked := required_names(factory):
        raise HandlerShapeError(f"{name}: expected {what} without arguments, got `({', '.join(asked)})` - at {place}")
    if inspect.iscoroutinefunction(factory):
        raise HandlerShapeError(f"{name}: expected `def`, got `async def`: wait in `start` - at {place}")
    try:
        return factory()
    except (Exception, SystemExit) as exc:
        raise HandlerLoadError(f"{name}: expected it to return, got {told(exc)} - at {of_error(exc, project)}") from exc
