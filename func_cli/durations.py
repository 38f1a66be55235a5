"""`DURATION`: options that take a time, `60s` or `500ms`, spelled as in func.yaml."""

from typing import Any

import click

from headrace.triggers.units import Seconds, duration


class _Duration(click.ParamType):  # type: ignore[type-arg]
    """Converts to seconds."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Seconds:
        if isinstance(value, Seconds):
            return value
        try:
            return duration(value)
        except ValueError as exc:
            self.fail(str(exc), param, ctx)


DURATION = _Duration()
