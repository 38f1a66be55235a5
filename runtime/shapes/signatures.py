"""What a callable's signature says: its parameters, what each asks for, and whether it is async.

Annotations are read by hand: `typing.get_type_hints` evaluates all of them, and one that cannot be (a name
imported under `TYPE_CHECKING`) would fail a handler that is right. What does not belong here: choosing a shape.
"""

import asyncio
import enum
import functools
import inspect
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

import msgspec

from headrace.triggers.events import Batch, Event

from ..context import Context
from ..errors import HandlerShapeError
from ..places import of_code

FORMS = (
    "`handle(event[, context])`, `handle(batch[, context])`, `handle(scope, receive, send)`, "
    "`handler(context, event)` or an ASGI app"
)

_POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
_VARIADIC = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)


class Role(enum.Enum):
    """What a parameter asks for."""

    EVENT = "event"
    BATCH = "batch"
    CONTEXT = "context"
    ENVIRON = "cfg"
    """A dict of the environment, as func-python's `start(cfg)` is given."""
    BINDING = "binding"
    UNKNOWN = ""


_CLASSES: Sequence[tuple[type, Role]] = ((Event, Role.EVENT), (Batch, Role.BATCH), (Context, Role.CONTEXT))
_BY_NAME = {role.value: role for role in (Role.EVENT, Role.BATCH, Role.CONTEXT, Role.ENVIRON)}


class Parameter(msgspec.Struct, frozen=True, kw_only=True):
    """One parameter.

    Attributes:
        name: As written.
        role: What it asks for, by its annotation or else its name.
        annotated: The annotation names a class of Headrace; a name alone may mean another platform's.
        required: It has no default.
        positional: It can be passed by position.
        keyword: It can be passed by name.
    """

    name: str
    role: Role
    annotated: bool
    required: bool
    positional: bool
    keyword: bool


class Candidate(msgspec.Struct, frozen=True, kw_only=True):
    """Something in the project that is to be called for events.

    Attributes:
        target: The callable, bound to its instance.
        attribute: What it is called there: `handle`, `handler`, `app`.
        owner: The instance or module whose `start`, `stop`, `ready` and `alive` go with it.
        name: `module:attribute`, for errors and logs.
        place: `function/__init__.py:12`.
        project: The folder that places are told from.
        parameters: In order, without `self`, `*args` and `**kwargs`.
    """

    target: Any
    attribute: str
    owner: object
    name: str
    place: str
    project: Path
    parameters: tuple[Parameter, ...]

    @property
    def required(self) -> tuple[Parameter, ...]:
        """Positional parameters without a default."""
        return tuple(one for one in self.parameters if one.required and one.positional)

    def having(self, role: Role) -> tuple[Parameter, ...]:
        """The parameters of `role`."""
        return tuple(one for one in self.parameters if one.role is role)

    def misfit(self) -> HandlerShapeError:
        """The error for a handler of no known shape."""
        got = ", ".join(one.name for one in self.parameters)
        return HandlerShapeError(f"handler `{self.name}`: expected {FORMS}, got `({got})` - at {self.place}")


def candidate(target: Any, attribute: str, owner: object, name: str, project: Path, context: Context) -> Candidate:
    """Read the signature of `target`.

    Raises:
        HandlerShapeError: It cannot be called, or has no signature that can be read.
    """
    place = of_code(target, project) or of_code(owner, project) or str(project)
    if not callable(target):
        raise HandlerShapeError(
            f"handler `{name}`: expected {FORMS}, got an object of type `{type(target).__name__}` - at {place}"
        )
    return Candidate(
        target=target,
        attribute=attribute,
        owner=owner,
        name=name,
        place=place,
        project=project,
        parameters=parameters(target, context.bindings, name, place),
    )


def parameters(target: Any, bindings: Mapping[str, object], name: str, place: str) -> tuple[Parameter, ...]:
    """The parameters of a callable; decorators that use `functools.wraps` are looked through.

    Raises:
        HandlerShapeError: It has no signature that can be read (some builtins).
    """
    try:
        signature = inspect.signature(target)
    except (TypeError, ValueError, NameError) as exc:
        raise HandlerShapeError(
            f"handler `{name}`: expected a signature that can be read, got an object of type `{type(target).__name__}` "
            f"- at {place}"
        ) from exc
    names = {binding.replace("-", "_") for binding in bindings}
    scope = getattr(innermost(target), "__globals__", {})
    return tuple(_parameter(one, names, scope) for one in signature.parameters.values() if one.kind not in _VARIADIC)


def binding(context: Context, name: str) -> object:
    """The binding that a parameter called `name` asks for; `-` in func.yaml is `_` in Python."""
    for key, value in context.bindings.items():
        if key.replace("-", "_") == name:
            return value
    raise KeyError(name)


def required_names(target: Any) -> list[str]:
    """Names of the parameters that must be passed; empty where that cannot be told."""
    try:
        signature = inspect.signature(target)
    except (TypeError, ValueError):
        return []
    return [
        one.name
        for one in signature.parameters.values()
        if one.kind not in _VARIADIC and one.default is inspect.Parameter.empty
    ]


def is_async(target: Any) -> bool:
    """Whether calling `target` gives a coroutine or an async generator."""
    if isinstance(target, functools.partial):
        return is_async(target.func)
    if inspect.iscoroutinefunction(target) or inspect.isasyncgenfunction(target):
        return True
    if inspect.isroutine(target) or isinstance(target, type) or not callable(target):
        return False
    call = _method(type(target))
    return inspect.iscoroutinefunction(call) or inspect.isasyncgenfunction(call)


def innermost(target: Any) -> Any:
    """The function that partials, bound methods, callable objects and `functools.wraps` lead to."""
    for _ in range(16):  # a cycle of wrappers must not hang the start
        if isinstance(target, functools.partial):
            target = target.func
        elif inspect.ismethod(target) or isinstance(target, staticmethod):
            target = target.__func__
        elif inspect.isfunction(target) and (wrapped := getattr(target, "__wrapped__", None)) is not None:
            target = wrapped
        elif not inspect.isroutine(target) and not isinstance(target, type):
            call = _method(type(target))
            return target if call is None else innermost(call)
        else:
            break
    return target


def _method(kind: type) -> Any:
    """The `__call__` that a class was written with."""
    return next((vars(one)["__call__"] for one in kind.__mro__ if inspect.isfunction(vars(one).get("__call__"))), None)


def payload_call(found: Candidate, payload: Role, context: Context) -> tuple[Callable[[Any], Any], bool]:
    """`call(payload)` with all else that the signature asks for bound, and whether it is async.

    Raises:
        HandlerShapeError: A required parameter asks for nothing that there is.
    """
    call = _bind(found, payload, context)
    if is_async(found.target):
        return call, True
    if is_async(innermost(found.target)):
        return _awaiting(call), True
    return call, False


def _bind(found: Candidate, payload: Role, context: Context) -> Callable[[Any], Any]:
    before: list[object] = []
    after: list[object] = []
    named: dict[str, object] = {}
    seen = False
    for one in found.parameters:
        if one.role is payload:
            seen = one.positional
            continue
        if not one.required and one.role in (Role.UNKNOWN, Role.ENVIRON):
            continue
        value = _value(one, found, context)
        if not seen:
            before.append(value)
        elif one.keyword:
            named[one.name] = value
        else:
            after.append(value)
    if not seen:  # it is there, but can be passed by name alone
        raise found.misfit()
    target = found.target
    if after:
        return lambda event: target(*before, event, *after, **named)
    # A partial calls about twice as fast as a closure with unpacking.
    return functools.partial(target, *before, **named) if before or named else target


def _value(one: Parameter, found: Candidate, context: Context) -> object:
    if one.role is Role.CONTEXT:
        return context
    if one.role is Role.BINDING:
        return binding(context, one.name)
    have = ", ".join(f"`{name}`" for name in context.bindings) or "none"
    raise HandlerShapeError(
        f"handler `{found.name}`: expected the parameter `{one.name}` to be `context` or the name of a binding "
        f"(there are: {have}), got neither - at {found.place}"
    )


def _awaiting(call: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """For a plain function that wraps an async one: it may pass the coroutine on, or run it to its end.

    Which of the two is seen at the first call; until then it runs in a thread, where both are right.
    """
    passes_on = False

    async def awaiting(payload: Any) -> Any:
        nonlocal passes_on
        result = call(payload) if passes_on else await asyncio.to_thread(call, payload)
        if not inspect.isawaitable(result):
            return result
        passes_on = True
        return await result

    return awaiting


def _parameter(one: inspect.Parameter, bindings: set[str], scope: Mapping[str, Any]) -> Parameter:
    role, annotated = _annotated(one.annotation, scope)
    if role is None:
        role = Role.BINDING if one.name in bindings else _BY_NAME.get(one.name, Role.UNKNOWN)
    return Parameter(
        name=one.name,
        role=role,
        annotated=annotated,
        required=one.default is inspect.Parameter.empty,
        positional=one.kind in _POSITIONAL,
        keyword=one.kind is not inspect.Parameter.POSITIONAL_ONLY,
    )


def _annotated(annotation: Any, scope: Mapping[str, Any]) -> tuple[Role | None, bool]:
    """(role, whether the class itself was seen) of an annotation; None where it says nothing to us."""
    resolved = _resolved(annotation, scope) if isinstance(annotation, str) else annotation
    # `Event | None` and `Annotated[Event, ...]` ask for an event; `list[Event]` does not
    members = get_args(resolved) if get_origin(resolved) in (Union, UnionType, Annotated) else (resolved,)
    for member in members:
        for kind, role in _CLASSES:
            if isinstance(member, type) and issubclass(member, kind):
                return role, True
    if (get_origin(resolved) or resolved) in (dict, Mapping):
        return Role.ENVIRON, False
    if isinstance(resolved, str):  # imported under TYPE_CHECKING
        module, _, name = resolved.rpartition(".")
        return {kind.__name__: role for kind, role in _CLASSES}.get(name) if module in ("", "headrace") else None, False
    return None, False


def _resolved(text: str, scope: Mapping[str, Any]) -> Any:
    """What a dotted name stands for in the handler's module; else the text itself."""
    text = text.partition("|")[0].strip("'\" ")
    first, *rest = text.split(".")
    value = scope.get(first)
    for name in rest:
        value = getattr(value, name, None)
    return text if value is None else value
