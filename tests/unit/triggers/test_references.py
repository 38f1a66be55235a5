"""References to environment, secrets and config maps."""

from pathlib import Path

import pytest

from headrace.triggers.errors import ReferenceMissing
from headrace.triggers.references import References, has_references


@pytest.fixture
def references(tmp_path: Path) -> References:
    (tmp_path / "secrets/redis").mkdir(parents=True)
    (tmp_path / "secrets/redis/url").write_text("redis://:pw@r\n")
    (tmp_path / "config/app").mkdir(parents=True)
    (tmp_path / "config/app/mode").write_text("fast")
    (tmp_path / "private").write_text("no")
    environ = {"HOST": "h", "HEADRACE_SECRET_DB_PASS_WORD": "s3", "HEADRACE_CONFIG_APP_LEVEL": "9"}
    return References(environ, tmp_path / "secrets", tmp_path / "config")


def test_resolves_in_all_strings(references: References) -> None:
    value = {
        "url": "nats://{{ env:HOST }}:4222",
        "n": 3,
        "list": ["{{secret:redis:url}}", ("{{ configMap:app:mode }}",)],
    }
    assert references.resolve(value, "$") == {"url": "nats://h:4222", "n": 3, "list": ["redis://:pw@r", ["fast"]]}


def test_environment_stands_for_files(references: References) -> None:
    assert references.resolve("{{ secret:db:pass-word }}/{{ configMap:app:level }}", "$") == "s3/9"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{{ env:NONE }}", r"environment variable `NONE` is not set - at `\$\.a`"),
        (
            "{{ secret:redis:none }}",
            r"secret `redis` has no key `none`: expected the file `.*` or the environment variable",
        ),
        ("{{ secret:redis }}", r"reference `{{ secret:redis }}`: expected `{{ secret:name:key }}` - at `\$\.a`"),
        ("{{ secret:..:private }}", r"secret `\.\.` has no key `private`"),
    ],
)
def test_missing_ones_say_where(references: References, text: str, said: str) -> None:
    with pytest.raises(ReferenceMissing, match=said):
        references.resolve({"a": text}, "$")


def test_has_references() -> None:
    assert has_references({"a": ["x", ("{{ env:A }}",)]})
    assert not has_references({"a": ["x", 1, None]})
