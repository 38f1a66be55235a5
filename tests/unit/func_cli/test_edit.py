import pytest
import yaml

from headrace.func_cli.edit import remove_env, set_env
from headrace.func_cli.errors import CommandError

FORMS = {
    "nothing": "",
    "no line end": "name: a  # mine",
    "no run": "# top\nname: a # mine\n",
    "empty run": "run:  # later\nname: a\n",
    "run as null": "run: null\nname: a\n",
    "run without envs": "run:\n  # timeouts\n  startTimeout: 30s # long\nname: a\n",
    "empty envs": "run:\n  envs: []  # none\nname: a\n",
    "envs without value": "run:\n  envs:\n  startTimeout: 30s\n",
    "flow run": "run: {startTimeout: 30s}\n",
    "flow list": "run:\n  envs: [{name: B, value: b}] # one\n",
    "all flow": "run: {envs: [{name: B, value: b}, {name: C, value: c}]}",
    "block": "run:\n  envs:\n  # first\n  - name: B # b\n    value: b\n  # last\n\n# end\nname: a\n",
    "indented block": "run:\n    envs:\n        - name: B\n          value: b\n        - value: '{{ secret:s }}'",
    "items in flow": "run:\n  envs:\n  - {name: B, value: b}\n  - {name: C, value: c}\n",
    "block scalar": "run:\n  envs:\n  - name: B\n    value: |\n      b\n      c\n# end\n",
    "crlf": "run:\r\n  envs:\r\n  - name: B\r\n    value: b\r\nname: a\r\n",
}
VALUES = ["1", "", "x: y # z", "{{ secret:a:b }}", "ä\n'\"", "yes", "null"]


def comments(text: str) -> list[str]:
    return [line.partition("#")[2] for line in text.splitlines() if "#" in line]


def envs(text: str) -> list[tuple[str | None, str | None]]:
    plain = yaml.safe_load(text)
    return [(env.get("name"), env.get("value")) for env in plain["run"]["envs"] or ()]


@pytest.mark.parametrize("text", FORMS.values(), ids=FORMS)
def test_a_variable_comes_and_goes_and_all_else_stays(text: str) -> None:
    added = set_env(text, "A", "one")
    assert comments(added) == comments(text)
    assert envs(added)[-1] == ("A", "one")
    changed = set_env(added, "A", "two")
    assert comments(changed) == comments(text)
    assert envs(changed) == [*envs(added)[:-1], ("A", "two")]
    removed = remove_env(changed, "A")
    assert comments(removed) == comments(text)
    assert envs(removed) == envs(added)[:-1]


@pytest.mark.parametrize("value", VALUES)
def test_any_value_is_text(value: str) -> None:
    assert envs(set_env("name: a\n", "A", value)) == [("A", value)]


@pytest.mark.parametrize("name", ["NO", "ON", "y", "_1", "a.b-c", "Null"])
def test_any_name_is_text(name: str) -> None:
    assert envs(set_env("name: a\n", name, "x")) == [(name, "x")]


@pytest.mark.parametrize("name", ["B", "C", "D"])
@pytest.mark.parametrize(
    "form",
    [
        "[{name: B, value: b}, {name: C}, {name: D, value: d}]",
        "\n  - name: B\n  - name: C\n    value: c\n  - name: D # d",
    ],
)
def test_one_of_several_goes(name: str, form: str) -> None:
    left = [found for found, _ in envs(remove_env(f"run:\n  envs: {form}\n", name))]
    assert left == [one for one in ("B", "C", "D") if one != name]


@pytest.mark.parametrize(
    "form",
    [
        "[{name: A}]",
        "[{name: A, value: }]",
        "\n  - name: A # a",
        "\n  - name: A\n    value: # a",
        "\n  - {value: null, name: A}",
    ],
)
def test_a_variable_without_a_value_gets_one(form: str) -> None:
    assert envs(set_env(f"run:\n  envs: {form}\n", "A", "x")) == [("A", "x")]


def test_what_cannot_be_changed_safely_is_refused() -> None:
    shared = "x: &shared\n  - {name: B, value: b}\nrun:\n  envs: *shared\n"
    with pytest.raises(CommandError, match=r"expected `run\.envs` in a form that can be changed, got another"):
        set_env(shared, "A", "a")
