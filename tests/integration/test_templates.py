"""Each template as its users meet it: created, checked, its own tests run."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from support.func_cli import call

from headrace.func_cli.environment import interpreter
from headrace.func_cli.project import Project
from headrace.func_cli.templates import all_templates

pytestmark = pytest.mark.integration


@pytest.mark.parametrize("template", all_templates())
def test_its_own_tests_pass(template: str, tmp_path: Path) -> None:
    folder = tmp_path / "made"
    assert call("create", folder, "-t", template).exit_code == 0
    environ = {name: value for name, value in os.environ.items() if not name.startswith(("COV", "PYTEST"))}
    quiet = ["-q", "-p", "no:cacheprovider", "-W", "ignore::pytest.PytestDeprecationWarning"]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *quiet],
        cwd=folder, env=environ, capture_output=True, text=True, timeout=100, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert " passed" in done.stdout


@pytest.mark.parametrize("template", all_templates())
def test_it_needs_no_environment_of_its_own_here(template: str, tmp_path: Path) -> None:
    assert call("create", tmp_path / "made", "-t", template).exit_code == 0
    project = Project(tmp_path / "made")
    assert interpreter(project, project.load()) == Path(sys.executable)
