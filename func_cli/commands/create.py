"""`func create`: a new project from a template."""

import shlex
from pathlib import Path

import click

from ..command import Command
from ..errors import MisuseError
from ..output import note, output_option, show

# A fresh clone of an empty repository is as good as an empty folder.
_NOT_IN_THE_WAY = {".git"}
_SHOWN = 8


@click.command(
    cls=Command,
    examples="""
      func create detect -t http                # a function that answers requests, in ./detect
      func create types -t stream-inference     # a model over a stream, from zero to many replicas
      func templates                            # what -t takes
    """,
)
@click.argument("path", default=".")
@click.option("-t", "--template", default="http", show_default=True, help="What to begin with: see `func templates`.")
@click.option("-n", "--name", help="The function's name; the folder's unless given.")
@output_option
def command(path: str, template: str, name: str | None, output: str) -> None:
    """Make a new function from a template."""
    from .. import templates
    from ..project import FILE
    from ..spec import check_name, slug

    folder = Path(path).absolute()
    chosen = templates.find(template)
    name = name if name is not None else slug(folder.resolve().name)
    check_name(name, "--name")
    _check_empty(folder)
    files = templates.copy(chosen, folder, name)
    data = {"name": name, "template": chosen.name, "path": str(folder), "files": [str(file) for file in files]}
    show(data, output, lambda: f"created `{name}` in {folder}")
    if output == "human":
        enter = f"cd {shlex.quote(path)} && " if folder != Path.cwd() else ""
        note(f"\nNext:\n  {enter}func run --reload\n  then open README.md and {FILE}")


def _check_empty(folder: Path) -> None:
    if folder.is_file():
        raise MisuseError(f"create: expected a new or empty folder, got a file - at `{folder}`")
    there = sorted(entry.name for entry in folder.iterdir()) if folder.is_dir() else []
    if inside := [entry for entry in there if entry not in _NOT_IN_THE_WAY]:
        shown = ", ".join(f"`{entry}`" for entry in inside[:_SHOWN])
        more = f" and {len(inside) - _SHOWN} more" if len(inside) > _SHOWN else ""
        raise MisuseError(
            f"create: expected a new or empty folder, got one with {shown}{more} - at `{folder}`",
            hint="func create <new folder>",
        )
