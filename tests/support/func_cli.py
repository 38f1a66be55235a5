"""Projects on disk and the command line called as a user calls it."""

from pathlib import Path

from click.testing import CliRunner, Result

from headrace.func_cli.group import func


def make_project(folder: Path, text: str = "", name: str = "func.yaml") -> Path:
    """A folder with one file of settings.

    Returns:
        `folder`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(text)
    return folder


def call(*arguments: str | Path, stdin: str | bytes = "") -> Result:
    """Run `func` with `arguments`, in this process."""
    return CliRunner().invoke(func, [str(argument) for argument in arguments], input=stdin, prog_name="func")
