"""`func delete`: drain a run, then end it."""

import click

from ..command import Command
from ..durations import DURATION

_AT_ONCE_S = 10.0  # for killing replicas and removing files, once nothing is waited for


@click.command(
    cls=Command,
    examples="""
      func delete                       # the project in this folder
      func delete detect --timeout 5s   # after five seconds without waiting for what is in flight
    """,
)
@click.argument("name", required=False)
@click.option(
    "--timeout",
    default="60s",
    show_default=True,
    type=DURATION,
    help="How long what is in flight may take; then it is cut off, and events are delivered again.",
)
def command(name: str | None, timeout: float) -> None:
    """Drain a running function, then stop it.

    NAME is that of a running function; without it, the project in the current folder is meant. Its files stay.
    """
    from .. import control_socket
    from ..errors import CommandError
    from ..output import note
    from ..runs import Registry
    from ..selection import select

    registry = Registry.of()
    run = select(name, registry)
    folder = registry.folder(run.name)
    try:
        ended = control_socket.stop(folder, timeout)
        if not ended:
            note(f"`{run.name}` has not drained in {timeout:g}s: it ends now")
            ended = control_socket.stop(folder, _AT_ONCE_S, at_once=True)
    except control_socket.Unanswered as exc:
        ended = registry.find(run.name) is None
        if not ended:
            raise CommandError(f"`{run.name}` does not answer: {exc}", f"kill {run.pid}") from exc
    if not ended:
        raise CommandError(f"`{run.name}`: expected it to end, still there after {_AT_ONCE_S:g}s", f"kill -9 {run.pid}")
    click.echo(f"deleted {run.name}")
