"""Durations and sizes as func.yaml spells them, checked when it is read.

`30s`, `100ms`, `1m30s` (Go's and Knative's spelling) and `64Mi`, `1G`, `512` (Kubernetes quantities of bytes).
"""

import re
from typing import Any, TypeVar

import msgspec

from .errors import SpecError

T = TypeVar("T")

_DURATION = re.compile(r"(?:\d+(?:\.\d+)?(?:ms|us|µs|s|m|h))+|0")
_PART = re.compile(r"(\d+(?:\.\d+)?)(ms|us|µs|s|m|h)")
_SECONDS = {"us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_SIZE = re.compile(r"(\d+(?:\.\d+)?)(k|M|G|T|Ki|Mi|Gi|Ti)?")
_BYTES = {
    "": 1, "k": 10**3, "M": 10**6, "G": 10**9, "T": 10**12,
    "Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40,
}  # fmt: skip


class Seconds(float):
    """A duration, in seconds; written `30s`, `100ms`, `1m30s`."""

    __slots__ = ()


class Bytes(int):
    """A size, in bytes; written `64Mi`, `1G`, `512`."""

    __slots__ = ()


def duration(text: object) -> Seconds:
    """Parse a duration.

    Raises:
        ValueError: It is not one.
    """
    if isinstance(text, str) and _DURATION.fullmatch(text):
        return Seconds(sum(float(number) * _SECONDS[unit] for number, unit in _PART.findall(text)))
    raise ValueError(f"expected a duration such as `30s` or `100ms`, got {_shown(text)}")


def size(text: object) -> Bytes:
    """Parse a quantity of bytes.

    Raises:
        ValueError: It is not one.
    """
    if isinstance(text, int) and not isinstance(text, bool) and text >= 0:
        return Bytes(text)
    if isinstance(text, str) and (match := _SIZE.fullmatch(text)):
        return Bytes(float(match[1]) * _BYTES[match[2] or ""])
    raise ValueError(f"expected a size such as `64Mi` or `1G`, got {_shown(text)}")


def _shown(value: object) -> str:
    return f"`{value}`" if isinstance(value, str) else f"{value!r}"


def _decode(type_: type, value: Any) -> Any:
    if type_ is Seconds:
        return duration(value)
    if type_ is Bytes:
        return size(value)
    raise NotImplementedError(type_)


def convert(value: object, type_: type[T], at: str = "$") -> T:
    """`value` (as YAML or JSON gave it) as the struct `type_`.

    Args:
        value: Plain data.
        type_: A msgspec struct or union of them.
        at: Where `value` stands in func.yaml, put into errors.

    Raises:
        SpecError: *expected X, got Y - at `$.path`*.
    """
    try:
        return msgspec.convert(value, type_, dec_hook=_decode)
    except msgspec.ValidationError as exc:
        text = str(exc)
        said, _, place = text.rpartition(" - at `$")
        if not said:
            said, place = text, "`"
        said = said[:1].lower() + said[1:]
        raise SpecError(f"{said} - at `{at}{place}") from exc
