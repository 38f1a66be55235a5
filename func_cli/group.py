"""`func`: the group of all commands, each imported when it is called, and the one place where errors end.

What does not belong here: what the commands do (`commands/`).
"""

import importlib
import sys
import traceback
from collections.abc import Sequence
from typing import Any, NoReturn

import click

from headrace.triggers.errors import HeadraceError

from .command import Group, Settings, read_environment, verbose_option
from .errors import FAILED, MISUSED, exit_code

# One line each, here rather than in the commands: `func --help` imports none of them.
COMMANDS: dict[str, dict[str, str]] = {
    "On your machine": {
        "create": "Make a new function from a template.",
        "run": "Run a function here, from zero to as many replicas as its events need.",
        "invoke": "Send an event to a function.",
        "list": "List the functions that run here.",
        "describe": "Show a running function: replicas, triggers, backlog, decisions.",
        "logs": "Show a function's logs.",
        "delete": "Drain a running function, then stop it.",
    },
    "Settings": {
        "config": "Change environment variables, local secrets and API keys.",
        "templates": "List the templates.",
        "schema": "Print the JSON Schema of func.yaml.",
        "completion": "Print a script that completes func's commands in your shell.",
        "version": "Print the versions of Headrace and of what it runs on.",
    },
}

_INTERRUPTED = 130  # 128 + SIGINT, as shells have it


class Func(Group):
    """The root command: lazy, and the end of all errors."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.params.append(verbose_option())
        read_environment(self.params)

    def list_commands(self, ctx: click.Context) -> list[str]:
        """All names, in the order in which they are needed."""
        return [name for section in COMMANDS.values() for name in section]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the command's module: `commands/<name>.py` holds a command called `command`."""
        if cmd_name not in self.list_commands(ctx):
            return None
        module = importlib.import_module(f".commands.{cmd_name}", __package__)
        command: click.Command = module.command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the sections of commands without importing any."""
        for title, section in COMMANDS.items():
            with formatter.section(title):
                formatter.write_dl(list(section.items()))

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        **extra: Any,
    ) -> NoReturn:
        """Run one command; every error ends here, as a line on stderr and an exit code."""
        settings = extra.setdefault("obj", Settings())
        try:
            code: object = super().main(args, prog_name, complete_var, False, **extra)
        except Exception as exc:
            sys.exit(report(exc, settings))
        sys.exit(code if isinstance(code, int) else 0)


@click.command(
    cls=Func,
    name="func",
    examples="""
      func create detect -t http && cd detect    # a function that answers requests
      func run --reload                          # serve it; edits show within a second
      func invoke --data '{"name": "Ada"}'       # from a second terminal
    """,
)
def func() -> None:
    """Run Python functions on requests and streams, from zero to many replicas and back.

    Every flag can also be given as FUNC_<FLAG>: FUNC_OUTPUT=json is --output json.
    `func COMMAND --help` explains each command.
    """


def report(error: Exception, settings: Settings) -> int:
    """Show `error` on stderr.

    Returns:
        The exit code: 1 failed, 2 misused, 130 interrupted.
    """
    if isinstance(error, click.exceptions.Exit):
        return error.exit_code
    if isinstance(error, click.Abort):  # click makes one of Ctrl-C, and of a prompt without an answer
        click.echo("Aborted.", err=True)
        return _INTERRUPTED if isinstance(error.__cause__, KeyboardInterrupt) else FAILED
    if settings.verbose:
        traceback.print_exception(error)
    if isinstance(error, click.exceptions.NoArgsIsHelpError):
        click.echo(error.format_message(), err=True)
        return MISUSED
    if isinstance(error, click.ClickException):
        message, hint, code = _of_click(error)
    elif isinstance(error, HeadraceError):
        message, hint, code = str(error), getattr(error, "hint", None), exit_code(error)
    else:
        message, hint, code = _unforeseen(error), None if settings.verbose else "add -v for the traceback", FAILED
    click.echo(f"Error: {message}", err=True)
    if hint:
        click.echo(f"Try: {hint}", err=True)
    return code


def _of_click(error: click.ClickException) -> tuple[str, str | None, int]:
    message = error.format_message().rstrip(".")
    message = message[:1].lower() + message[1:]
    if not isinstance(error, click.UsageError):
        return message, None, FAILED
    hint = f"{error.ctx.command_path} --help" if error.ctx else None
    return message, hint, MISUSED


def _unforeseen(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        place = f" - at `{error.filename}`" if error.filename else ""
        return f"{error.strerror.lower()}{place}"
    return f"{type(error).__name__}: {error}"
