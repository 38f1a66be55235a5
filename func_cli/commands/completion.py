"""`func completion`: the script that a shell loads to complete func's commands."""

import click
from click.shell_completion import get_completion_class

from ..command import Command


@click.command(
    cls=Command,
    examples="""
      source <(func completion bash)                             # in ~/.bashrc
      source <(func completion zsh)                              # in ~/.zshrc
      func completion fish > ~/.config/fish/completions/func.fish
    """,
)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def command(context: click.Context, shell: str) -> None:
    """Print a script that completes func's commands in your shell."""
    root = context.find_root()
    program = root.info_name or "func"
    kind = get_completion_class(shell)
    assert kind is not None
    click.echo(kind(root.command, {}, program, f"_{program.upper()}_COMPLETE").source())
