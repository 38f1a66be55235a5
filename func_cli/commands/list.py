"""`func list`: the runs of this user, a line each."""

from typing import Any

import click

from ..command import Command
from ..output import output_option


@click.command(
    cls=Command,
    examples="""
      func list
      func list -o json
    """,
)
@output_option
def command(output: str) -> None:
    """List the functions that run here."""
    from ..output import show, table
    from ..runs import Registry

    registry = Registry.of()
    rows = [_row(registry, run.name) for run in registry.running()]
    present = [row for row in rows if row is not None]

    def human() -> str:
        if not present:
            return "Nothing runs here."
        return table(
            ("name", "address", "replicas", "state", "backlog"),
            [[_cell(row[key]) for key in ("name", "url", "replicas", "state", "backlog")] for row in present],
        )

    show(present, output, human)


def _row(registry: Any, name: str) -> dict[str, Any] | None:
    """A run in short; None where it ended meanwhile."""
    from .. import control_socket

    keys = ("name", "url", "replicas", "state", "backlog", "project")
    try:
        whole = control_socket.describe(registry.folder(name))
    except control_socket.Unanswered:
        if (run := registry.find(name)) is None:
            return None
        return dict(zip(keys, (name, run.url, 0, "starting", None, run.project), strict=True))
    return {key: whole[key] for key in keys} | {"replicas": len(whole["replicas"])}


def _cell(value: object) -> str:
    return "-" if value is None else str(value)
