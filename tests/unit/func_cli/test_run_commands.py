import json
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner, Result
from support.local_runs import LocalRun

from headrace.func_cli.group import func
from headrace.func_cli.runs import Claim, Registry, RunState


@pytest.fixture(autouse=True)
def state_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "detect"
    folder.mkdir()
    (folder / "func.yaml").write_text("name: detect\n")
    monkeypatch.chdir(folder)
    return folder


def call(*arguments: str) -> Result:
    return CliRunner().invoke(func, arguments)


@pytest.fixture
def silent(project: Path) -> Iterator[Claim]:
    """A run that has no control socket: one that is just beginning, or is stuck."""
    claim = Registry.of().claim("detect")
    claim.write(RunState(name="detect", project=str(project), pid=4242, started_s=0.0))
    yield claim
    claim.release()


def test_a_run_that_does_not_answer_is_listed_as_starting(silent: Claim) -> None:
    assert json.loads(call("list", "-o", "json").stdout)[0]["state"] == "starting"


def test_a_run_that_does_not_answer_cannot_be_described(silent: Claim) -> None:
    result = call("describe")
    assert (result.exit_code, "`detect` is still starting (process 4242)" in result.stderr) == (1, True)


def test_a_run_that_does_not_answer_is_not_deleted(silent: Claim) -> None:
    result = call("delete")
    assert (result.exit_code, "Try: kill 4242" in result.stderr) == (1, True)


READY = {
    "state": "ready",
    "backlog": 12,
    "replicas": [
        {"pid": 7, "state": "ready", "in_flight": 1, "completed": 5, "connections": 2, "cold_start_ms": 110}
        | {"started": "2026-01-02T03:04:05+00:00", "generation": 1}
    ],
}


def test_list_has_a_line_for_each_run(project: Path) -> None:
    with LocalRun.of("detect", project, description=READY), LocalRun.of("other", project, url=None):
        lines = call("list").stdout.splitlines()
    assert [line.split() for line in lines] == [
        ["NAME", "ADDRESS", "REPLICAS", "STATE", "BACKLOG"],
        ["detect", "http://127.0.0.1:9", "1", "ready", "12"],
        ["other", "-", "0", "starting", "-"],
    ]


def test_list_as_data(project: Path) -> None:
    with LocalRun.of("detect", project, description=READY):
        as_json = json.loads(call("list", "-o", "json").stdout)
        as_yaml = yaml.safe_load(call("list", "-o", "yaml").stdout)
    assert as_json == as_yaml
    assert as_json[0] == {
        "name": "detect", "url": "http://127.0.0.1:9", "replicas": 1, "state": "ready", "backlog": 12,
        "project": str(project),
    }  # fmt: skip


def test_list_of_nothing() -> None:
    assert call("list").stdout == "Nothing runs here.\n"
    assert json.loads(call("list", "-o", "json").stdout) == []


def test_describe_the_project_in_the_folder(project: Path) -> None:
    with LocalRun.of("detect", project, description=READY):
        shown = call("describe").stdout
        data = json.loads(call("describe", "-o", "json").stdout)
    assert "State:       ready" in shown
    assert "110 ms" in shown
    assert data["replicas"][0]["pid"] == 7


def test_describe_what_does_not_run(project: Path) -> None:
    with LocalRun.of("detect", project):
        result = call("describe", "detekt")
    assert result.exit_code == 1
    assert "no function called `detekt` runs here (did you mean `detect`?)" in result.stderr


def test_logs_are_shown_readable_or_as_they_are(project: Path) -> None:
    line = b'{"time":"2026-01-02T03:04:05Z","level":"info","message":"hello","pid":7,"n":1}'
    with LocalRun.of("detect", project) as run:
        run.log.write(b'{"message":"before"}')
        run.log.write(line)
        shown, data = call("logs", "--tail", "1"), call("logs", "--tail", "1", "-o", "json")
        documents = list(yaml.safe_load_all(call("logs", "-o", "yaml").stdout))
    assert shown.stdout.endswith("04:05 INFO  [7] hello n=1\n")
    assert data.stdout.encode() == line + b"\n"
    assert documents == [{"message": "before"}, json.loads(line)]


def test_following_ends_with_the_run(project: Path) -> None:
    with LocalRun.of("detect", project) as run:
        run.log.write(b'{"message":"last words"}')
        deleting = threading.Timer(0.05, call, ["delete"])
        deleting.start()
        result = call("logs", "-f")
        deleting.join()
    assert result.exit_code == 0
    assert "last words" in result.stdout


def test_delete_drains(project: Path) -> None:
    with LocalRun.of("detect", project) as run:
        result = call("delete")
        assert run.stops == [False]
    assert result.stdout == "deleted detect\n"


def test_delete_waits_no_longer_than_it_may(project: Path) -> None:
    with LocalRun.of("detect", project, deaf=True) as run:
        result = call("delete", "detect", "--timeout", "10ms")
        assert run.stops == [False, True]
    assert result.exit_code == 0
    assert "has not drained in 0.01s: it ends now" in result.stderr


def test_delete_wants_a_duration(project: Path) -> None:
    result = call("delete", "--timeout", "soon")
    assert result.exit_code == 2
    assert "expected a duration such as `30s`" in result.stderr


def test_delete_of_nothing(project: Path) -> None:
    result = call("delete")
    assert result.exit_code == 1
    assert "no function runs from" in result.stderr
    assert "Try: func run" in result.stderr
