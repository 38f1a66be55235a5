"""`Command`: what all of func's commands have in common: examples, `-v`, and `FUNC_<FLAG>` variables.

What does not belong here: any one command.
"""

from collections.abc import Mapping
from typing import Any

import click

_CONTEXT = {"help_option_names": ["-h", "--help"], "max_content_width": 110}


class Settings:
    """What options of any level say about the whole run: `context.find_object(Settings)`.

    Attributes:
        verbose: Show tracebacks and what is done.
    """

    def __init__(self) -> None:
        self.verbose = False


def verbose_option() -> click.Option:
    """`-v/--verbose`, which every command takes and which is kept in `Settings`."""
    return click.Option(
        ["-v", "--verbose"], is_flag=True, expose_value=False, callback=_set_verbose, help="Say more; show tracebacks."
    )


def read_environment(params: list[click.Parameter]) -> None:
    """Let each flag be given as `FUNC_<FLAG>` too, as Knative's func does (`--start-timeout`: FUNC_START_TIMEOUT)."""
    for param in params:
        if isinstance(param, click.Option) and param.envvar is None:
            flag = max(param.opts, key=len).lstrip("-")
            param.envvar = f"FUNC_{flag.replace('-', '_').upper()}"


class Command(click.Command):
    """A command of func.

    Args:
        examples: Lines to type, shown as they are at the end of its help.
    """

    def __init__(self, *args: Any, examples: str = "", **kwargs: Any) -> None:
        kwargs["context_settings"] = _CONTEXT | (kwargs.get("context_settings") or {})
        super().__init__(*args, **kwargs)
        self.examples = examples
        self.params.append(verbose_option())
        read_environment(self.params)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Print the examples unwrapped."""
        super().format_epilog(ctx, formatter)
        write_examples(self.examples, formatter)


class Group(click.Group):
    """A command with subcommands, such as `func config`."""

    command_class = Command
    group_class = type  # groups below are of this class too

    def __init__(self, *args: Any, examples: str = "", **kwargs: Any) -> None:
        kwargs["context_settings"] = _CONTEXT | (kwargs.get("context_settings") or {})
        super().__init__(*args, **kwargs)
        self.examples = examples

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command, or say which one was probably meant."""
        name = args[0]
        if not name.startswith("-") and name not in self.list_commands(ctx) and not ctx.resilient_parsing:
            from .errors import did_you_mean

            ctx.fail(f"no such command `{name}`{did_you_mean(name, self.list_commands(ctx))}")
        return super().resolve_command(ctx, args)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Print the examples unwrapped."""
        super().format_epilog(ctx, formatter)
        write_examples(self.examples, formatter)


def write_examples(examples: str, formatter: click.HelpFormatter) -> None:
    """Write an `Examples:` section."""
    if examples:
        with formatter.section("Examples"):
            for line in examples.strip().splitlines():
                formatter.write(f"{' ' * formatter.current_indent}{line.strip()}\n")


def environment_names(command: click.Command) -> Mapping[str, str]:
    """Flag → environment variable, of all options that have one."""
    return {
        max(param.opts, key=len): str(param.envvar)
        for param in command.params
        if isinstance(param, click.Option) and param.envvar
    }


def _set_verbose(context: click.Context, _: click.Parameter, value: bool) -> None:
    if value and (settings := context.find_object(Settings)) is not None:
        settings.verbose = True
