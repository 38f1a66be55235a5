import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from headrace.func_cli.errors import CommandError, MisuseError
from headrace.func_cli.runs import Claim, Registry, RunState
from headrace.func_cli.selection import select


@pytest.fixture
def project(tmp_path: Path) -> Path:
    folder = tmp_path / "detect"
    folder.mkdir()
    (folder / "func.yaml").write_text("name: detect\n")
    return folder


class Runs:
    """Runs that this process holds."""

    def __init__(self, registry: Registry) -> None:
        self.registry = registry
        self._claims: list[Claim] = []

    def add(self, name: str, project: Path) -> RunState:
        claim = self.registry.claim(name)
        state = RunState(name=name, project=str(project.resolve()), pid=os.getpid(), started_s=0.0)
        claim.write(state)
        self._claims.append(claim)
        return state

    def end(self) -> None:
        for claim in self._claims:
            claim.release()


@pytest.fixture
def runs(tmp_path: Path) -> Iterator[Runs]:
    held = Runs(Registry(tmp_path / "run"))
    yield held
    held.end()


def test_by_name(runs: Runs, project: Path) -> None:
    state = runs.add("detect", project)
    assert select("detect", runs.registry) == state


def test_by_folder(runs: Runs, project: Path, tmp_path: Path) -> None:
    state = runs.add("under-another-name", project)
    runs.add("other", tmp_path)
    assert select(None, runs.registry, project) == state


def test_a_name_that_is_not_there_is_guessed_at(runs: Runs, project: Path) -> None:
    runs.add("detect", project)
    with pytest.raises(CommandError, match=r"`detekt` runs here \(did you mean `detect`\?\)"):
        select("detekt", runs.registry)
    with pytest.raises(CommandError, match=r"`zzz` runs here \(there are: `detect`\)"):
        select("zzz", runs.registry)


def test_nothing_runs(runs: Runs) -> None:
    with pytest.raises(CommandError, match=r"`detect` runs here \(none does\)"):
        select("detect", runs.registry)


def test_the_project_does_not_run(runs: Runs, project: Path) -> None:
    with pytest.raises(CommandError, match=r"no function runs from `.*detect`") as caught:
        select(None, runs.registry, project)
    assert caught.value.hint == "func run"


def test_several_runs_of_one_project(runs: Runs, project: Path) -> None:
    runs.add("a", project)
    runs.add("b", project)
    with pytest.raises(MisuseError, match="expected a NAME, got none, and `a`, `b` run from this folder"):
        select(None, runs.registry, project)


def test_no_project_and_no_name(runs: Runs, tmp_path: Path) -> None:
    with pytest.raises(MisuseError, match=r"expected a NAME \(none does\), or a function project - at"):
        select(None, runs.registry, tmp_path)
