"""`func config keys`."""

import json
import stat
from pathlib import Path

import pytest
from support.func_cli import call, make_project

from headrace.runtime.http.api_keys import ApiKeys, parse

ASKS = "name: f\ntriggers: [{name: http, kind: http, apiKeys: '{{ secret:%s }}'}]\n"


def test_keys_are_made_listed_and_removed(tmp_path: Path) -> None:
    make_project(tmp_path, ASKS % "api:clients")
    made = [call("config", "keys", "create", name, "-p", tmp_path) for name in ("shop", "app.2")]
    file = tmp_path / ".func/secrets/api/clients"
    keys = ApiKeys(parse(file.read_text(), "x"))
    assert [keys.owner(result.stdout.strip().encode()) for result in made] == ["shop", "app.2"]
    assert made[0].stderr == "stored the hash of `shop` in `{{ secret:api:clients }}`\n"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    listed = json.loads(call("config", "keys", "list", "-o", "json", "-p", tmp_path).stdout)
    assert listed == [{"name": "shop"}, {"name": "app.2"}]
    assert call("config", "keys", "remove", "shop", "-p", tmp_path).exit_code == 0
    assert call("config", "keys", "list", "-p", tmp_path).stdout == "NAME\napp.2\n"


def test_where_nobody_asks_for_them_func_says_how(tmp_path: Path) -> None:
    make_project(tmp_path, "name: f\n")
    result = call("config", "keys", "create", "shop", "-p", tmp_path)
    assert 'apiKeys: "{{ secret:http:keys }}"' in result.stderr
    assert (tmp_path / ".func/secrets/http/keys").is_file()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["create", "shop"], "expected a new name, got `shop`"),
        (["create", "A b"], "got `A b`"),
        (["remove", "shp"], "expected one of `shop`, got `shp` (did you mean `shop`?)"),
    ],
)
def test_names_that_cannot_be(tmp_path: Path, arguments: list[str], message: str) -> None:
    make_project(tmp_path, ASKS % "http:keys")
    call("config", "keys", "create", "shop", "-p", tmp_path)
    result = call("config", "keys", *arguments, "-p", tmp_path)
    assert (result.exit_code, message in result.stderr) == (2, True)


def test_a_place_that_is_no_secret(tmp_path: Path) -> None:
    make_project(tmp_path, (ASKS % "http:keys").replace("secret:http:keys", "env:KEYS"))
    result = call("config", "keys", "list", "-p", tmp_path)
    assert "expected `apiKeys` to be one secret" in result.stderr
