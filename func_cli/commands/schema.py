"""`func schema`: what func.yaml may hold, for editors."""

import click

from ..command import Command
from ..output import show


@click.command(
    cls=Command,
    examples="""
      func schema > func.schema.json
      # then in the first line of func.yaml, for editors with the YAML language server:
      # yaml-language-server: $schema=func.schema.json
    """,
)
@click.option("-o", "--output", type=click.Choice(["json", "yaml"]), default="json", show_default=True, help="Format.")
def command(output: str) -> None:
    """Print the JSON Schema of func.yaml."""
    from ..schema import func_yaml

    show(func_yaml(), output, str)
