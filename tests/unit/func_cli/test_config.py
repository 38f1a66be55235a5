import json
import stat
from pathlib import Path

import pytest
from support.func_cli import call, make_project

from headrace.func_cli.project import Project

SECRET = "s3cret"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return make_project(tmp_path / "f", "# mine\nname: f\n")


def test_variables(folder: Path) -> None:
    assert call("config", "envs", "add", "--name", "A", "--value", "1", "-p", folder).exit_code == 0
    assert call("config", "envs", "add", "--name", "A", "--value", "2", "-p", folder).exit_code == 0
    result = call("config", "envs", "add", "--name", "B", "--value", "{{ secret:a:b }}", "-p", folder)
    assert result.stderr == f"set `B` in {folder / 'func.yaml'}\n"
    listed = json.loads(call("config", "envs", "list", "-o", "json", "-p", folder).stdout)
    assert listed == [{"name": "A", "value": "2"}, {"name": "B", "value": "{{ secret:a:b }}"}]
    assert call("config", "envs", "remove", "--name", "A", "-p", folder).exit_code == 0
    assert call("config", "envs", "list", "-p", folder).stdout == "NAME   VALUE\nB      {{ secret:a:b }}\n"
    assert (folder / "func.yaml").read_text().startswith("# mine\nname: f\n")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["add", "--name", "1", "--value", "x"], "expected a name of letters, digits and `_`, got `1`"),
        (["add", "--name", "A", "--value", "{{ nope }}"], "expected `{{ env:NAME }}`"),
        (["add", "--name", "A"], "missing option '--value'"),
        (["remove", "--name", "A"], "variable: expected one of none, got `A`"),
    ],
)
def test_variables_that_cannot_be(folder: Path, arguments: list[str], message: str) -> None:
    before = (folder / "func.yaml").read_text()
    result = call("config", "envs", *arguments, "-p", folder)
    assert result.exit_code == 2
    assert message in result.stderr
    assert (folder / "func.yaml").read_text() == before


def test_a_variable_is_guessed(folder: Path) -> None:
    call("config", "envs", "add", "--name", "LOG_LEVEL", "--value", "1", "-p", folder)
    result = call("config", "envs", "remove", "--name", "LOGLEVEL", "-p", folder)
    assert "(did you mean `LOG_LEVEL`?)" in result.stderr


def test_nuclios_file_is_not_changed(tmp_path: Path) -> None:
    make_project(tmp_path, "spec: {handler: 'a:b'}", "function.yaml")
    result = call("config", "envs", "add", "--name", "A", "--value", "1", "-p", tmp_path)
    assert (result.exit_code, "change it by hand" in result.stderr) == (2, True)


def test_secrets_are_private_and_never_shown(folder: Path, tmp_path: Path) -> None:
    stored = call("config", "secrets", "set", "broker", "password", "-p", folder, stdin=f"{SECRET}\n")
    (tmp_path / "ca.pem").write_bytes(b"\x00\xff\n")
    call("config", "secrets", "set", "broker", "ca.pem", "--value-file", tmp_path / "ca.pem", "-p", folder)
    listed = call("config", "secrets", "list", "-p", folder)
    assert listed.stdout == "NAME     KEYS\nbroker   ca.pem, password\n"
    assert SECRET not in stored.output + listed.output
    secret = folder / ".func" / "secrets" / "broker" / "password"
    assert secret.read_text() == SECRET
    assert secret.with_name("ca.pem").read_bytes() == b"\x00\xff\n"
    assert stat.S_IMODE(secret.stat().st_mode) == 0o600
    for private in (secret.parent, secret.parent.parent, folder / ".func"):
        assert stat.S_IMODE(private.stat().st_mode) == 0o700
    assert Project(folder).references({}).resolve("{{ secret:broker:password }}", "$") == SECRET


def test_secrets_are_replaced_and_removed(folder: Path) -> None:
    for value in ("one", "two"):
        call("config", "secrets", "set", "a", "k", "-p", folder, stdin=value)
    call("config", "secrets", "set", "a", "l", "-p", folder, stdin="x")
    root = folder / ".func" / "secrets"
    assert (root / "a" / "k").read_text() == "two"
    assert call("config", "secrets", "remove", "a", "l", "-p", folder).stderr == "removed `l` of `a`\n"
    assert call("config", "secrets", "remove", "a", "k", "-p", folder).exit_code == 0
    assert list(root.iterdir()) == []
    call("config", "secrets", "set", "b", "k", "-p", folder, stdin="x")
    assert call("config", "secrets", "remove", "b", "-p", folder).stderr == "removed `b`\n"
    assert json.loads(call("config", "secrets", "list", "-o", "json", "-p", folder).stdout) == []


@pytest.mark.parametrize(
    ("arguments", "stdin", "message"),
    [
        (["set", "..", "k"], "x", "expected a name of lower-case letters, digits, `-` and `.`, got `..`"),
        (["set", "a..b", "k"], "x", "expected a name of lower-case letters"),
        (["set", "A", "k"], "x", "expected a name of lower-case letters"),
        (["set", "a", "../k"], "x", "secret `a`: expected a key of letters, digits, `-`, `_` and `.`, got `../k`"),
        (["set", "a", ".."], "x", "expected a key of letters"),
        (["set", "a", "k"], "", "expected a value on standard input, got none"),
        (["remove", "b"], "", "secret: expected one of `a`, got `b`"),
        (["remove", "a", "kk"], "", "secret `a`: expected a key of `k`, got `kk` (did you mean `k`?)"),
    ],
)
def test_secrets_that_cannot_be(folder: Path, arguments: list[str], stdin: str, message: str) -> None:
    call("config", "secrets", "set", "a", "k", "-p", folder, stdin="x")
    result = call("config", "secrets", *arguments, "-p", folder, stdin=stdin)
    assert result.exit_code == 2
    assert message in result.stderr
