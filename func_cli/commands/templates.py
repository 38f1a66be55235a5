"""`func templates`: what `func create -t` takes."""

import click

from ..command import Command
from ..output import output_option, show, table


@click.command(
    cls=Command,
    examples="""
      func templates
      func create detect -t stream-inference
    """,
)
@output_option
def command(output: str) -> None:
    """List the templates."""
    from ..templates import all_templates

    known = list(all_templates().values())
    rows = [(template.name, template.summary) for template in known]
    data = [{"name": name, "description": summary} for name, summary in rows]
    show(data, output, lambda: table(("name", "description"), rows))
