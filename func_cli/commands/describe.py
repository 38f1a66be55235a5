"""`func describe`: all that a run knows of itself."""

import click

from ..command import Command
from ..output import output_option


@click.command(
    cls=Command,
    examples="""
      func describe                       # the project in this folder
      func describe detect -o json | jq .replicas
    """,
)
@click.argument("name", required=False)
@output_option
def command(name: str | None, output: str) -> None:
    """Show a running function: replicas, triggers, backlog, decisions.

    NAME is that of a running function; without it, the project in the current folder is meant.
    """
    from .. import control_socket
    from ..description import text
    from ..errors import CommandError
    from ..output import show
    from ..runs import Registry
    from ..selection import select

    registry = Registry.of()
    run = select(name, registry)
    try:
        whole = control_socket.describe(registry.folder(run.name))
    except control_socket.Unanswered as exc:
        what = "is still starting" if run.url is None else "does not answer"
        raise CommandError(f"`{run.name}` {what} (process {run.pid})", f"func logs {run.name}") from exc
    show(whole, output, lambda: text(whole))
