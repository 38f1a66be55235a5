"""What commands print: data to stdout in the format asked for, notes to stderr.

What does not belong here: errors (`errors`, `group`), and live displays, which make a `console()` of their own.
"""

import json
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from rich.console import Console

Function = TypeVar("Function", bound=Callable[..., Any])

FORMATS = ("human", "json", "yaml")


def output_option(function: Function) -> Function:
    """Add `-o/--output human|json|yaml`, passed as `output`."""
    option = click.option(
        "-o", "--output", type=click.Choice(FORMATS), default="human", show_default=True, help="How to print the data."
    )
    return option(function)


def show(data: Any, output: str, human: Callable[[], str]) -> None:
    """Print `data` as `output` says.

    Args:
        data: Plain data: what JSON and YAML can hold.
        output: One of `FORMATS`.
        human: Gives the text for people; called for `human` alone.
    """
    if output == "json":
        click.echo(json.dumps(data, indent=2, ensure_ascii=False))
    elif output == "yaml":
        import yaml

        click.echo(yaml.safe_dump(data, sort_keys=False, allow_unicode=True), nl=False)
    else:
        click.echo(human())


def note(text: str) -> None:
    """Print `text` to stderr: progress and next steps, which are no data."""
    click.echo(text, err=True)


def table(headers: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Aligned columns under upper-case headers, as kubectl prints them."""
    lines = [[header.upper() for header in headers], *([str(cell) for cell in row] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "   ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines
    )


def console(*, stderr: bool = False) -> "Console":
    """A rich console; imported when first asked for."""
    from rich.console import Console

    return Console(stderr=stderr)
