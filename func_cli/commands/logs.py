"""`func logs`: what a run has said, and what it says from now on."""

from collections.abc import Iterable

import click

from ..command import Command
from ..output import output_option


@click.command(
    cls=Command,
    examples="""
      func logs                        # of the project in this folder
      func logs detect -f --tail 20    # the last 20 lines, then each new one
    """,
)
@click.argument("name", required=False)
@click.option("-f", "--follow", is_flag=True, help="Go on with new lines until the run ends.")
@click.option("--tail", type=click.IntRange(min=0), metavar="N", help="Only the last N lines.  [default: all]")
@output_option
def command(name: str | None, follow: bool, tail: int | None, output: str) -> None:
    """Show a function's logs.

    NAME is that of a running function; without it, the project in the current folder is meant.
    """
    from .. import run_log
    from ..runs import Registry
    from ..selection import select

    registry = Registry.of()
    run = select(name, registry)
    folder = registry.folder(run.name)
    if follow:
        lines: Iterable[bytes] = run_log.follow(folder, tail, lambda: registry.find(run.name) is not None)
    else:
        lines = run_log.tail(folder, tail)
    _print(lines, output)


def _print(lines: Iterable[bytes], output: str) -> None:
    from ..log_lines import readable

    for line in lines:
        if output == "json":
            click.echo(line)
        elif output == "yaml":
            click.echo(_as_yaml(line), nl=False)
        else:
            click.echo(readable(line))


def _as_yaml(line: bytes) -> str:
    """A document of its own."""
    import json

    import yaml

    text: str = yaml.safe_dump(json.loads(line), sort_keys=False, allow_unicode=True, explicit_start=True)
    return text
