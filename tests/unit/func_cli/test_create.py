import json
from pathlib import Path

import pytest
from support.func_cli import call, make_project

from headrace.func_cli.project import Project
from headrace.func_cli.templates import all_templates

TEMPLATES = ("http", "stream", "stream-inference")


@pytest.mark.parametrize("template", TEMPLATES)
def test_a_new_project_is_complete(template: str, tmp_path: Path) -> None:
    folder = tmp_path / "my detector"
    result = call("create", folder, "-t", template, "-o", "json")
    assert result.exit_code == 0, result.stderr
    made = json.loads(result.stdout)
    assert made["name"] == "my-detector"
    written = sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())
    assert made["files"] == written
    assert {".gitignore", ".funcignore", "func.yaml", "function/__init__.py", "tests/test_function.py"} <= set(written)
    assert Project(folder).load().name == "my-detector"
    assert (folder / "README.md").read_text().startswith("# my-detector\n")
    assert 'name = "my-detector"' in (folder / "pyproject.toml").read_text()
    for ignored in (".func/", "func.local.yaml"):
        assert ignored in (folder / ".gitignore").read_text()
        assert ignored in (folder / ".funcignore").read_text()


def test_it_says_what_comes_next(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    result = call("create", tmp_path / "a b", "--name", "detect")
    assert result.stdout == f"created `detect` in {tmp_path / 'a b'}\n"
    assert f"cd '{tmp_path / 'a b'}' && func run --reload" in result.stderr
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    assert "\n  func run --reload" in call("create").stderr


def test_a_fresh_repository_is_empty_enough(tmp_path: Path) -> None:
    (tmp_path / ".git").mkdir()
    assert call("create", tmp_path).exit_code == 0


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    for number in range(10):
        (tmp_path / f"file-{number}").touch()
    result = call("create", tmp_path)
    assert result.exit_code == 2
    shown = ", ".join(f"`file-{number}`" for number in range(8))
    assert f"expected a new or empty folder, got one with {shown} and 2 more - at `{tmp_path}`" in result.stderr
    assert not (tmp_path / "func.yaml").exists()
    assert "got a file" in call("create", tmp_path / "file-1").stderr


@pytest.mark.parametrize("name", ["Detect", "-a", "a_b", "", "a" * 64])
def test_names_that_no_function_can_have(name: str, tmp_path: Path) -> None:
    result = call("create", tmp_path / "x", "--name", name)
    assert result.exit_code == 2
    assert "expected a name of lower-case letters, digits and `-` (63 at most)" in result.stderr
    assert not (tmp_path / "x").exists()


def test_an_unknown_template_is_guessed(tmp_path: Path) -> None:
    result = call("create", tmp_path / "x", "-t", "stream-inferense")
    assert result.exit_code == 2
    assert "(did you mean `stream-inference`?)\nTry: func templates\n" in result.stderr


def test_templates_are_listed() -> None:
    assert tuple(all_templates()) == TEMPLATES
    listed = json.loads(call("templates", "-o", "json").stdout)
    assert [entry["name"] for entry in listed] == list(TEMPLATES)
    assert all(entry["description"].startswith("A function that ") for entry in listed)
    assert call("templates").stdout.startswith("NAME")


def test_what_a_run_left_in_a_template_is_not_copied(tmp_path: Path) -> None:
    from headrace.func_cli.templates import Template, copy

    source = make_project(tmp_path / "t", "name: t\n")
    for left in ("README.md", "pyproject.toml", "func.local.yaml", "__pycache__/a.pyc", ".func/secrets/a/b"):
        (source / left).parent.mkdir(parents=True, exist_ok=True)
        (source / left).write_text("")
    files = copy(Template("t", source, ""), tmp_path / "new", "new")
    assert [str(file) for file in files] == ["README.md", "func.yaml", "pyproject.toml"]
    assert not (tmp_path / "new" / ".func").exists()
