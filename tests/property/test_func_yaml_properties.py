"""Any text is a func.yaml or one clear error; any variable comes out of func.yaml as it went in."""

from contextlib import suppress

import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.func_cli.documents import parse
from headrace.func_cli.edit import remove_env, set_env
from headrace.func_cli.overrides import assign
from headrace.func_cli.spec import compose
from headrace.triggers.errors import UsageError

SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
KEYS = st.sampled_from(
    [
        "name",
        "triggers",
        "kind",
        "scale",
        "run",
        "envs",
        "value",
        "resources",
        "limits",
        "deploy",
        "options",
        "bindings",
    ]
)
TREES = st.recursive(
    SCALARS, lambda below: st.lists(below, max_size=2) | st.dictionaries(KEYS, below, max_size=3), max_leaves=6
)

FEW = settings(deadline=None, max_examples=60)  # YAML is slow to read, and machines are busy


@FEW
@given(st.text(alphabet=st.sampled_from("ab:-[]{}&*#'\"|>\n\t ,?!%@<1"), max_size=60))
def test_any_text_parses_or_is_refused(text: str) -> None:
    with suppress(UsageError):
        parse(text, "func.yaml").plain()


@FEW
@given(st.dictionaries(KEYS, TREES, max_size=4))
def test_any_tree_is_checked(tree: dict[str, object]) -> None:
    root = parse(yaml.safe_dump(tree), "func.yaml")
    with suppress(UsageError):
        spec = compose(root)
        assert compose(parse(yaml.safe_dump(spec.whole), "func.yaml")).whole == spec.whole


@FEW
@given(st.text(max_size=30))
def test_any_override_is_carried_out_or_refused(override: str) -> None:
    root = parse("triggers: [{name: a, kind: http}]\nscale: {maxReplicaCount: 1}", "func.yaml")
    with suppress(UsageError):
        assign(root, override)


@FEW
@given(
    st.dictionaries(
        st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,8}", fullmatch=True), st.text(max_size=12), min_size=1, max_size=2
    )
)
def test_variables_come_out_as_they_went_in(variables: dict[str, str]) -> None:
    text = "# mine\nname: a  # too\n"
    for name, value in variables.items():
        text = set_env(text, name, value)
    assert {env["name"]: env["value"] for env in yaml.safe_load(text)["run"]["envs"]} == variables
    for name in variables:
        text = remove_env(text, name)
    assert yaml.safe_load(text) == {"name": "a", "run": {"envs": []}}
    assert "# mine" in text
    assert "# too" in text
