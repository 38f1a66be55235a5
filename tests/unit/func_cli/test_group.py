import os
import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner
from support.func_cli import call

from headrace.func_cli.command import Settings, environment_names
from headrace.func_cli.errors import CommandError, MisuseError
from headrace.func_cli.group import COMMANDS, Func, func, report
from headrace.triggers.errors import BrokerUnavailable, SpecError

NAMES = [name for section in COMMANDS.values() for name in section]


def python(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)


def walk(name: str) -> list[tuple[list[str], click.Command]]:
    """The command called `name` and those below it, with what is typed for each."""
    command = func.get_command(click.Context(func), name)
    assert command is not None
    found = [([name], command)]
    if isinstance(command, click.Group):
        context = click.Context(command)
        below = [(name, command.get_command(context, name)) for name in command.list_commands(context)]
        for group_name, group in below:
            assert isinstance(group, click.Group)
            found += [([name, group_name, one], command) for one, command in group.commands.items()]
    return found


def test_help_lists_all_commands_with_their_own_first_line() -> None:
    result = call("--help")
    assert result.exit_code == 0
    context = click.Context(func)
    for section in COMMANDS.values():
        for name, summary in section.items():
            assert f"  {name} " in result.stdout
            command = func.get_command(context, name)
            assert command is not None
            assert command.help is not None
            assert command.help.splitlines()[0] == summary


@pytest.mark.parametrize("name", NAMES)
def test_every_command_teaches(name: str) -> None:
    for words, command in walk(name):
        result = call(*words, "--help")
        assert result.exit_code == 0
        assert "Examples:" in result.stdout
        assert f"func {' '.join(words)}" in result.stdout.partition("Examples:")[2] or isinstance(command, click.Group)
        assert all(param.help for param in command.params if isinstance(param, click.Option) and not param.hidden)


@pytest.mark.parametrize("name", NAMES)
def test_every_flag_reads_its_variable(name: str) -> None:
    for words, command in walk(name):
        for flag, variable in environment_names(command).items():
            assert variable == f"FUNC_{flag.lstrip('-').replace('-', '_').upper()}", words


def test_a_flag_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FUNC_OUTPUT", "json")
    assert call("version").stdout.startswith("{")


@pytest.mark.parametrize(
    ("arguments", "message", "hint"),
    [
        (["lst"], "no such command `lst` (did you mean `list`?)", "func --help"),
        (["config", "envs", "ad"], "no such command `ad` (did you mean `add`?)", "func config envs --help"),
        (["frobnicate"], "no such command `frobnicate`", "func --help"),
        (["version", "--outptu", "json"], "--output", "func version --help"),
        (["version", "-o", "xml"], "'xml' is not one of 'human', 'json', 'yaml'", "func version --help"),
        (["completion"], "missing argument", "func completion --help"),
    ],
)
def test_misuse(arguments: list[str], message: str, hint: str) -> None:
    result = call(*arguments)
    assert result.exit_code == 2
    assert result.stderr.startswith("Error: ")
    assert message in result.stderr
    assert result.stderr.endswith(f"Try: {hint}\n")
    assert result.stdout == ""


def test_without_a_command_it_shows_the_help() -> None:
    result = call()
    assert result.exit_code == 2
    assert "Examples:" in result.stderr


@pytest.mark.parametrize(
    ("error", "code", "shown"),
    [
        (CommandError("it failed", "func list"), 1, "Error: it failed\nTry: func list\n"),
        (MisuseError("no", None), 2, "Error: no\n"),
        (SpecError("expected 1, got 2 - at `$.x`"), 2, "Error: expected 1, got 2 - at `$.x`\n"),
        (BrokerUnavailable("no broker"), 1, "Error: no broker\n"),
        (click.FileError("a", "gone"), 1, "Error: could not open file 'a': gone\n"),
        (FileNotFoundError(2, "No such file or directory", "x"), 1, "Error: no such file or directory - at `x`\n"),
        (ZeroDivisionError("x"), 1, "Error: ZeroDivisionError: x\n"),
        (click.Abort(), 1, "Aborted.\n"),
        (click.exceptions.Exit(7), 7, ""),
    ],
)
def test_every_error_has_a_line_and_a_code(
    error: Exception, code: int, shown: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert report(error, Settings()) == code
    assert capsys.readouterr().err.startswith(shown)


def test_a_traceback_with_v_alone(tmp_path: Path) -> None:
    assert "Traceback" not in call("config", "envs", "list", "-p", tmp_path).stderr
    for arguments in (["-v", "config", "envs", "list"], ["config", "envs", "list", "-v"]):
        result = call(*arguments, "-p", tmp_path)
        assert result.exit_code == 2
        assert "Traceback" in result.stderr
        assert "Error: function project: expected a func.yaml" in result.stderr


def test_interrupted_commands_exit_130() -> None:
    def interrupted() -> None:
        raise KeyboardInterrupt

    group = Func(name="func", callback=interrupted, invoke_without_command=True)
    result = CliRunner().invoke(group, [])
    assert (result.exit_code, result.stderr) == (130, "\nAborted.\n")


def test_help_imports_no_more_than_it_needs() -> None:
    code = (
        "import sys; from headrace.func_cli.group import func\n"
        "try: func(['--help'])\n"
        "except SystemExit: pass\n"
        "print([name for name in ('rich', 'yaml', 'nats', 'numpy', 'msgspec.json', 'asyncio', 'importlib.metadata')"
        " if name in sys.modules])"
    )
    assert python(code).stdout.endswith("[]\n")


@pytest.mark.parametrize("missing", ["click", "rich.console"])
def test_without_the_extras_it_says_what_to_install(missing: str) -> None:
    code = (
        "import sys\n"
        f"sys.modules[{missing!r}] = None\n"
        "sys.argv = ['func', '--help']\n"
        "from headrace.func_cli.main import main\n"
        "main()"
    )
    done = python(code)
    if missing == "click":
        assert done.returncode == 2
        assert done.stderr.endswith("which is not installed\nTry: pip install 'headrace[cli]'\n")
    else:
        assert done.returncode == 0, done.stderr


def test_version_names_what_it_runs_on() -> None:
    result = call("version", "-o", "yaml")
    assert result.exit_code == 0
    assert "headrace: " in result.stdout
    assert f"python: {'.'.join(map(str, sys.version_info[:3]))}" in result.stdout
    assert "headrace " in call("version").stdout


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion(shell: str) -> None:
    assert "_FUNC_COMPLETE" in call("completion", shell).stdout


def test_completion_knows_the_commands() -> None:
    environ = {
        "_FUNC_COMPLETE": "bash_complete",
        "COMP_WORDS": "func ver",
        "COMP_CWORD": "1",
        "PATH": os.environ["PATH"],
    }
    program = Path(sys.executable).with_name("func")
    done = subprocess.run([program], env=environ, capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout == "plain,version\n"
