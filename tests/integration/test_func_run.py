"""`func run` as people use it: the real command, real replicas, a real broker."""

import json
import signal
import socket
import threading
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from support.func_process import DEADLINE_S, FuncRun, Machine, eventually, gone

pytestmark = pytest.mark.integration

ANSWER = """
import os
def handle(event, context):
    return {{"version": {version!r}, "body": event.text(), "pid": os.getpid(), "lang": os.environ.get("LANGUAGE_")}}
"""
STREAM = """
triggers:
- {name: frames, kind: nats, stream: FRAMES, subjects: [frames.in]}
scale: {cooldownPeriod: 1s}
"""


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


@pytest.fixture
def project(machine: Machine) -> Path:
    return machine.project("hello", ANSWER.format(version=1))


def post(run: FuncRun, body: str = "x") -> dict[str, object]:
    response = httpx.post(run.url, content=body, timeout=DEADLINE_S)
    assert response.status_code == 200, response.text
    answer: dict[str, object] = response.json()
    return answer


def describe(machine: Machine, name: str) -> dict[str, Any]:
    told: dict[str, Any] = json.loads(machine.func("describe", name, "-o", "json").stdout)
    return told


def edit(project: Path, version: object) -> None:
    (project / "function" / "__init__.py").write_text(ANSWER.format(version=version))


# -- serving -----------------------------------------------------------------------------------------------


def test_it_serves_and_ends_with_ctrl_c_leaving_nothing(machine: Machine, project: Path) -> None:
    with machine.run(project) as run:
        assert post(run.ready(), "hi")["body"] == "hi"
        pids = run.processes()
        assert len(pids) == 2
        run.signal()
        assert run.end() == 0
        assert gone(pids)
        assert list(machine.runs.iterdir()) == []
        assert run.errors == ""


def test_environment_and_overrides(machine: Machine, project: Path) -> None:
    (project / "func.yaml").write_text("name: hello\nrun: {envs: [{name: LANGUAGE_, value: cobol}]}\n")
    with machine.run(project, "-e", "LANGUAGE_=python", "--set", "limits.maxBody=10") as run:
        assert post(run.ready())["lang"] == "python"
        assert httpx.post(run.url, content="x" * 11).status_code == 413


def test_a_number_of_replicas_is_kept(machine: Machine, project: Path) -> None:
    with machine.run(project, "--replicas", "3") as run:
        run.ready().wait_for("replica ready", 3)
        assert len(run.processes()) == 4


def test_a_port_in_use_is_an_error(machine: Machine, project: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        place = f"127.0.0.1:{other.getsockname()[1]}"
        result = machine.func("run", str(project), "--address", place)
    assert result.returncode == 1
    assert f"in use - at `{place}`" in result.stderr
    assert "Try: func run --address" in result.stderr
    assert list(machine.runs.iterdir()) == []


def test_a_second_run_is_refused_unless_it_has_another_name(machine: Machine, project: Path) -> None:
    with machine.run(project) as first:
        first.ready()
        refused = machine.func("run", str(project))
        assert refused.returncode == 1
        assert f"`hello` runs, process {first.process.pid}, project `{project}`" in refused.stderr
        with machine.run(project, "--name", "second") as second:
            assert post(second.ready())["version"] == 1


def test_a_handler_that_does_not_import_says_so(machine: Machine) -> None:
    project = machine.project("broken", "import no_such_module\n")
    result = machine.func("run", str(project), "--address", "127.0.0.1:0")
    assert result.returncode == 1
    assert "No module named 'no_such_module'" in result.stderr
    assert "function/__init__.py:1" in result.stderr
    assert "headrace/runtime" not in result.stdout
    assert list(machine.runs.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--set", "triggrs=1"], "triggers"),
        (["--replicas", "none"], "--replicas: expected `auto` or a number >= 1, got `none`"),
        (["--name", "No!"], "--name: expected lower-case letters"),
        (["--address", "nonsense"], "--address: expected `host:port`, got `nonsense`"),
    ],
)
def test_misuse_is_explained(machine: Machine, project: Path, arguments: list[str], message: str) -> None:
    result = machine.func("run", str(project), *arguments)
    assert result.returncode == 2
    assert message in result.stderr


def test_no_project(machine: Machine) -> None:
    result = machine.func("run", "nowhere")
    assert result.returncode == 2
    assert "Try: func create" in result.stderr


# -- ending ------------------------------------------------------------------------------------------------

SLOW = """
import asyncio
async def handle(event, context):
    print("begun")
    await asyncio.sleep(float(event.text()))
    return "done"
"""


@contextmanager
def request_in_flight(run: FuncRun, body: str) -> Generator[list[str]]:
    """A request that is being handled; its outcome is there after the block."""
    outcome: list[str] = []

    def ask() -> None:
        try:
            outcome.append(httpx.post(run.url, content=body, timeout=DEADLINE_S).text)
        except httpx.TransportError as exc:
            outcome.append(type(exc).__name__)

    thread = threading.Thread(target=ask)
    thread.start()
    run.wait_for("begun")
    yield outcome
    thread.join(DEADLINE_S)


def test_what_is_in_flight_is_finished(machine: Machine) -> None:
    with machine.run(machine.project("slow", SLOW)) as run:
        with request_in_flight(run.ready(), "0.5") as outcome:
            run.signal(signal.SIGTERM)
        assert outcome == ["done"]
        assert run.end() == 0


def test_a_second_ctrl_c_ends_at_once(machine: Machine) -> None:
    with machine.run(machine.project("slow", SLOW)) as run:
        with request_in_flight(run.ready(), "30") as outcome:
            pids = run.processes()
            run.signal()
            run.wait_for("draining")
            run.signal()
        assert outcome != ["done"]
        run.end()
        assert gone(pids)
        assert list(machine.runs.iterdir()) == []


def test_replicas_of_a_killed_run_end_by_themselves(machine: Machine, project: Path) -> None:
    with machine.run(project) as run:
        pids = run.ready().processes()
        run.signal(signal.SIGKILL)
        run.end()
    eventually(lambda: gone(pids), "replicas end")
    assert machine.func("list").stdout == "Nothing runs here.\n"
    assert list(machine.runs.iterdir()) == []


# -- reloading ---------------------------------------------------------------------------------------------


class Load:
    """Constant requests on one keep-alive connection and on fresh ones; `with` ends them."""

    def __init__(self, url: str) -> None:
        self.answers: list[tuple[float, object]] = []
        self.failures: list[str] = []
        self._url = url
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._ask, args=(keep,)) for keep in (True, False)]

    def __enter__(self) -> "Load":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(DEADLINE_S)

    def _ask(self, keep: bool) -> None:
        with httpx.Client(timeout=DEADLINE_S, headers={} if keep else {"connection": "close"}) as client:
            while not self._stop.is_set():
                try:
                    response = client.post(self._url, content="x")
                    assert response.status_code == 200, response.text
                    self.answers.append((time.monotonic(), response.json()["version"]))
                except (httpx.TransportError, AssertionError) as exc:
                    self.failures.append(repr(exc))


def test_an_edit_shows_within_a_second_under_load(machine: Machine, project: Path) -> None:
    with machine.run(project, "--reload") as run, Load(run.ready().url) as load:
        for version in (2, 3, 4):
            saved = time.monotonic()
            edit(project, version)
            run.wait_for("reloaded", version - 1)
            eventually(lambda: load.answers[-1][1] == version, f"version {version}")  # noqa: B023
            first = next(at for at, seen in load.answers if seen == version)
            assert first - saved < 1.0
    assert load.failures == []
    assert len(load.answers) > 20


def test_a_broken_edit_keeps_the_old_version(machine: Machine, project: Path) -> None:
    with machine.run(project, "--reload") as run:
        run.ready()
        (project / "function" / "__init__.py").write_text("def handle(:\n")
        assert "SyntaxError" in str(run.wait_for("not reloaded")["message"])
        assert post(run)["version"] == 1
        (project / "func.yaml").write_text("name: hello\nscale: {maxReplicaCount: none}\n")
        edit(project, 2)
        assert "maxReplicaCount" in str(run.wait_for("not reloaded", 2)["message"])
        assert post(run)["version"] == 1
        (project / "func.yaml").write_text("name: hello\n")
        run.wait_for("reloaded")
        assert post(run)["version"] == 2


def test_a_function_that_never_started_is_waited_for(machine: Machine, project: Path) -> None:
    (project / "function" / "__init__.py").write_text("import no_such_module\n")
    with machine.run(project, "--reload") as run:
        run.url = str(run.wait_for("listening")["url"])
        run.wait_for("waiting for a change")
        edit(project, 2)
        assert post(run)["version"] == 2


def test_a_changed_scale_is_followed(machine: Machine, project: Path) -> None:
    with machine.run(project, "--reload") as run:
        run.ready()
        (project / "func.yaml").write_text("name: hello\nscale: {minReplicaCount: 2}\n")
        assert "minReplicaCount 2" in str(run.wait_for("scaled 0 → 2")["message"])
        run.wait_for("replica ready", 3)


# -- to zero and back --------------------------------------------------------------------------------------


def test_two_keep_alive_clients_pass_through_zero(machine: Machine) -> None:
    project = machine.project("hello", ANSWER.format(version=1), "scale: {cooldownPeriod: 300ms}\n")
    with machine.run(project) as run, httpx.Client() as one, httpx.Client() as two:
        run.ready()
        pids = set()
        for _ in range(3):
            for client in (one, two):
                answer = client.post(run.url, content="x", timeout=DEADLINE_S)
                assert answer.status_code == 200
                pids.add(answer.json()["pid"])
            eventually(lambda: len(run.processes()) == 1, "zero replicas")
        assert len(pids) == 3


def test_a_stream_wakes_it_and_lets_it_go(machine: Machine) -> None:
    project = machine.project("detect", "def handle(event, context):\n    print('got', event.text())\n", STREAM)
    with machine.run(project) as run:
        run.ready()
        broker = run.wait_for("broker")
        assert "***@127.0.0.1" in str(broker["url"])
        eventually(lambda: len(run.processes()) == 2, "zero replicas beside the broker")
        result = machine.func("invoke", "--trigger", "frames", "--data", "one", "detect")
        assert result.stdout == "published to frames.in: FRAMES/1\n", result.stderr
        run.wait_for("got one")
        described = describe(machine, "detect")
        assert "***" in described["broker"]
        assert described["triggers"][0]["name"] == "frames"
        pids = run.processes()
        run.signal()
        assert run.end() == 0
        assert gone(pids)


# -- in the background -------------------------------------------------------------------------------------


def test_a_detached_run_is_found_asked_and_deleted(machine: Machine, project: Path) -> None:
    started = machine.func("run", "--detach", "--address", "127.0.0.1:0", cwd=project)
    assert started.returncode == 0, started.stderr
    try:
        listed = json.loads(machine.func("list", "-o", "json").stdout)
        assert [(run["name"], run["state"], run["project"]) for run in listed] == [("hello", "ready", str(project))]
        assert f"hello runs at {listed[0]['url']}" in started.stdout
        invoked = machine.func("invoke", "--data", "hi", cwd=project)
        assert json.loads(invoked.stdout)["body"] == "hi"
        described = describe(machine, "hello")
        eventually(lambda: describe(machine, "hello")["triggers"][0]["completed"] == 1, "it is counted")
        assert "listening" in machine.func("logs", "--tail", "20", cwd=project).stdout
    finally:
        deleted = machine.func("delete", cwd=project)
    assert deleted.stdout == "deleted hello\n"
    pids = [described["pid"], *(replica["pid"] for replica in described["replicas"])]
    eventually(lambda: gone(pids), "the processes end")
    assert list(machine.runs.iterdir()) == []


def test_a_detached_run_as_data(machine: Machine, project: Path) -> None:
    started = machine.func("run", "--detach", "--address", "127.0.0.1:0", "--output", "json", cwd=project)
    try:
        *lines, state = map(json.loads, started.stdout.splitlines())
        assert [line["message"] for line in lines][:1] == ["listening"]
        assert httpx.post(state["url"], content="x").status_code == 200
        followed = machine.func("run", "--detach", cwd=project)
        assert (followed.returncode, "`hello` runs, process" in followed.stderr) == (1, True)
    finally:
        assert machine.func("delete", "hello").returncode == 0


def test_a_detached_run_that_fails_says_why(machine: Machine) -> None:
    project = machine.project("broken", "import no_such_module\n")
    result = machine.func("run", "--detach", "--address", "127.0.0.1:0", cwd=project)
    assert result.returncode == 1
    assert "No module named 'no_such_module'" in result.stderr
    assert list(machine.runs.iterdir()) == []


ECHO = """
from headrace import Response
def handle(event, context):
    return Response(event.copy(), status=int(event.headers.get("x-status", "200")),
                    headers={"x-type": event.type, "x-id": event.id, "x-content": event.datacontenttype or ""})
"""


def test_invoke_forms(machine: Machine, tmp_path: Path) -> None:
    project = machine.project("echo", ECHO)
    (tmp_path / "image.png").write_bytes(b"\x89PNG\x00")
    with machine.run(project) as run:
        run.ready()
        plain = machine.func("invoke", "-v", "echo")
        assert plain.stdout == '{"message":"Hello World"}'
        assert "200 OK" in plain.stderr
        assert "x-content: application/json" in plain.stderr
        event = machine.func("invoke", "-v", "--type", "order", "--id", "7", "--data", "x", run.url)
        assert "x-type: order" in event.stderr
        assert "x-id: 7" in event.stderr
        file = machine.func("invoke", "-v", "-t", "local", "--file", str(tmp_path / "image.png"), cwd=project)
        assert "x-content: image/png" in file.stderr
        failed = machine.func("invoke", "-H", "x-status: 422", "--data", "why", "echo")
        assert (failed.returncode, failed.stdout) == (1, "why")
        assert "answered 422" in failed.stderr


def test_invoke_what_does_not_run(machine: Machine, project: Path) -> None:
    result = machine.func("invoke", cwd=project)
    assert result.returncode == 1
    assert "Try: func run" in result.stderr
