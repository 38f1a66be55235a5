"""`func config`: environment variables in func.yaml, secrets of this machine, and API keys of a function."""

import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ..command import Group
from ..errors import MisuseError, did_you_mean
from ..output import note, output_option, show, table

if TYPE_CHECKING:
    from ..api_keys import StoredKeys

_path = click.option("-p", "--path", default=".", show_default=True, help="The function's folder.")


@click.group(
    cls=Group,
    examples="""
      func config envs add --name LOG_LEVEL --value debug
      func config secrets set broker password < password.txt
      func config envs add --name PASSWORD --value '{{ secret:broker:password }}'
      func config keys create shop
    """,
)
def command() -> None:
    """Change environment variables, local secrets and API keys."""


@command.group()
def envs() -> None:
    """Environment variables: `run.envs` in func.yaml."""


@envs.command("list", examples="func config envs list -o json")
@_path
@output_option
def list_envs(path: str, output: str) -> None:
    """List the variables; references are shown as they are written."""
    from ..project import Project

    found = [{"name": env.name or "*", "value": env.value or ""} for env in Project(path).load().envs]
    show(found, output, lambda: table(("name", "value"), [tuple(env.values()) for env in found]))


@envs.command(
    "add",
    examples="""
      func config envs add --name LOG_LEVEL --value debug
      func config envs add --name TOKEN --value '{{ secret:api:token }}'
    """,
)
@click.option("--name", required=True, help="Letters, digits and `_`.")
@click.option(
    "--value", required=True, help="Text, or `{{ env:X }}`, `{{ secret:name:key }}`, `{{ configMap:name:key }}`."
)
@_path
def add_env(name: str, value: str, path: str) -> None:
    """Set a variable; comments in func.yaml stay."""
    from .. import edit
    from ..envs import check
    from ..knative import Env

    check([Env(name=name, value=value)], "--name, --value")
    file = _own_file(path)
    _write(file, edit.set_env(file.read_text(), name, value))
    note(f"set `{name}` in {file}")


@envs.command("remove", examples="func config envs remove --name LOG_LEVEL")
@click.option("--name", required=True, help="The variable.")
@_path
def remove_env(name: str, path: str) -> None:
    """Remove a variable; comments in func.yaml stay."""
    from .. import documents, edit

    file = _own_file(path)
    listed = documents.load(file).get("run", "envs")
    items = listed.value if listed is not None and isinstance(listed.value, list) else []
    known = [str(found.value) for item in items if (found := item.get("name")) is not None]
    if name not in known:
        have = ", ".join(f"`{one}`" for one in known) or "none"
        raise MisuseError(f"variable: expected one of {have}, got `{name}`{did_you_mean(name, known)} - at `{file}`")
    _write(file, edit.remove_env(file.read_text(), name))
    note(f"removed `{name}` from {file}")


@command.group()
def secrets() -> None:
    """Secrets of this machine: files under .func/secrets/, out of git and images."""


@secrets.command("list", examples="func config secrets list")
@_path
@output_option
def list_secrets(path: str, output: str) -> None:
    """List secrets and their keys, never their values."""
    from ..project import Project
    from ..secrets import names

    known = names(Project(path).secrets)
    data = [{"name": name, "keys": keys} for name, keys in known.items()]
    show(data, output, lambda: table(("name", "keys"), [(name, ", ".join(keys)) for name, keys in known.items()]))


@secrets.command(
    "set",
    examples="""
      func config secrets set broker password                         # asks, without showing it
      func config secrets set broker password < password.txt
      func config secrets set broker ca.pem --value-file ca.pem
    """,
)
@click.argument("name")
@click.argument("key")
@click.option("--value-file", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="Take it from a file.")
@_path
def set_secret(name: str, key: str, value_file: Path | None, path: str) -> None:
    """Store a value for `{{ secret:NAME:KEY }}`: from a file, standard input, or a hidden prompt."""
    from .. import secrets as stored
    from ..project import Project

    project = Project(path)
    stored.check(name, key)
    value = _value(name, key, value_file)
    stored.store(project.private / "secrets", name, key, value)
    note(f"stored `{{{{ secret:{name}:{key} }}}}`")


@secrets.command("remove", examples="func config secrets remove broker password")
@click.argument("name")
@click.argument("key", required=False)
@_path
def remove_secret(name: str, key: str | None, path: str) -> None:
    """Remove a key, or without KEY the whole secret."""
    from .. import secrets as stored
    from ..project import Project

    stored.remove(Project(path).secrets, name, key)
    note(f"removed `{name}`" if key is None else f"removed `{key}` of `{name}`")


@command.group()
def keys() -> None:
    """API keys of a function that faces the network: only their hashes are stored."""


@keys.command("list", examples="func config keys list")
@_path
@output_option
def list_keys(path: str, output: str) -> None:
    """List the names of the keys."""
    found = [{"name": name} for name in _stored_keys(path)[0].names()]
    show(found, output, lambda: table(("name",), [(key["name"],) for key in found]))


@keys.command("create", examples="func config keys create shop > shop.key")
@click.argument("name")
@_path
def create_key(name: str, path: str) -> None:
    """Make a key for the client NAME and print it, once; a function that runs has to be started again."""
    stored, used = _stored_keys(path)
    token = stored.create(name)
    note(f"stored the hash of `{name}` in `{stored.reference}`")
    if not used:
        note(f'ask for keys with: triggers: [{{name: http, kind: http, apiKeys: "{stored.reference}"}}]')
    click.echo(token)


@keys.command("remove", examples="func config keys remove shop")
@click.argument("name")
@_path
def remove_key(name: str, path: str) -> None:
    """Refuse the key of NAME, from the function's next start on."""
    stored, _ = _stored_keys(path)
    stored.remove(name)
    note(f"removed `{name}` of `{stored.reference}`")


def _stored_keys(path: str) -> "tuple[StoredKeys, bool]":
    from ..api_keys import of
    from ..project import Project

    project = Project(path)
    return of(project.load(), project.private / "secrets")


def _value(name: str, key: str, file: Path | None) -> bytes:
    if file is not None:
        return file.read_bytes()
    if sys.stdin.isatty():
        return str(click.prompt(f"Value of {name}:{key}", hide_input=True, err=True)).encode()
    value = sys.stdin.buffer.read().removesuffix(b"\n")
    if not value:
        raise MisuseError(
            "secret: expected a value on standard input, got none",
            hint=f"func config secrets set {name} {key} --value-file <file>",
        )
    return value


def _own_file(path: str) -> Path:
    from ..project import FILE, Project

    file = Project(path).file
    if file.name != FILE:
        raise MisuseError(f"config: expected a {FILE}, got Nuclio's {file.name}: change it by hand - at `{file}`")
    return file


def _write(file: Path, text: str) -> None:
    beside = file.with_name(f".{file.name}.new")
    beside.write_text(text)
    shutil.copymode(file, beside)
    beside.replace(file)
