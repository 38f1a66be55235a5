"""What goes wrong in functions and around them: one clear error at the right place, the rest lives on."""

import asyncio
import json
import os
import signal
import socket
from pathlib import Path

import httpx
import nats
import pytest
from support.func_process import DEADLINE_S, FuncRun, Machine, eventually, gone

pytestmark = pytest.mark.integration

FAULTY = """
import os, time
def handle(event):
    match event.text():
        case "raise":
            raise ValueError("the customer's secret")
        case "nonsense":
            return {1, object()}
        case "hang":
            time.sleep(600)
        case "exit":
            os._exit(3)
    return {"pid": os.getpid()}
"""
BLOCKS_LOOP = """
import os, time
async def handle(event):
    if event.text() == "hang":
        time.sleep(600)
    return {"pid": os.getpid()}
"""
LIMITS = "limits: {handlerTimeout: 200ms, maxBody: 1Ki}\n"
STREAM = """
triggers: [{name: numbers, kind: nats, stream: NUMBERS, subjects: [numbers.in], ackWait: 1s}]
"""


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def post(run: FuncRun, body: str) -> httpx.Response:
    return httpx.post(run.url, content=body, timeout=DEADLINE_S)


def raw(run: FuncRun, request: bytes) -> bytes:
    """The answer to bytes that no HTTP client would send."""
    host, port = run.url.removeprefix("http://").rstrip("/").split(":")
    with socket.create_connection((host, int(port)), timeout=DEADLINE_S) as client:
        client.sendall(request)
        return client.recv(65536)


def test_raise_and_nonsense_are_told_without_their_text(machine: Machine) -> None:
    with machine.run(machine.project("faulty", FAULTY, LIMITS)) as run:
        run.ready()
        for body in ("raise", "nonsense"):
            response = post(run, body)
            assert (response.status_code, response.json()) == (500, {"error": "the function failed"})
        assert "secret" in str(run.wait_for("handler raised ValueError")["exception"])
        run.wait_for("result cannot be sent")
        assert post(run, "fine").status_code == 200


def test_a_hung_thread_is_a_504_and_the_fourth_replaces_the_replica(machine: Machine) -> None:
    with machine.run(machine.project("faulty", FAULTY, LIMITS)) as run:
        run.ready()
        first = post(run, "fine").json()["pid"]
        for _ in range(3):
            assert post(run, "hang").status_code == 504
        assert post(run, "fine").json()["pid"] == first
        assert post(run, "hang").status_code == 504
        eventually(lambda: post(run, "fine").json()["pid"] != first, "another replica")
        run.wait_for("draining reason='4 handler threads hang'")


def test_a_handler_that_blocks_the_loop_is_replaced(machine: Machine) -> None:
    with machine.run(machine.project("blocks", BLOCKS_LOOP, LIMITS)) as run:
        run.ready()
        first = post(run, "fine").json()["pid"]
        with pytest.raises(httpx.HTTPError):
            httpx.post(run.url, content="hang", timeout=15)
        assert post(run, "fine").json()["pid"] != first


def test_a_blocked_replica_does_not_outlive_a_killed_platform(machine: Machine) -> None:
    with machine.run(machine.project("blocks", BLOCKS_LOOP, "limits: {drainTimeout: 0s}\n")) as run:
        run.ready()
        pid = post(run, "fine").json()["pid"]
        with pytest.raises(httpx.HTTPError):
            httpx.post(run.url, content="hang", timeout=0.5)
        run.signal(signal.SIGKILL)
        assert run.end() == -signal.SIGKILL
        eventually(lambda: gone([pid]), "the end of the replica")


def test_a_handler_that_ends_the_process_is_replaced(machine: Machine) -> None:
    with machine.run(machine.project("faulty", FAULTY, LIMITS)) as run:
        run.ready()
        first = post(run, "fine").json()["pid"]
        with pytest.raises(httpx.HTTPError):
            post(run, "exit")
        assert post(run, "fine").json()["pid"] != first


def test_a_body_over_the_limit_and_malformed_requests(machine: Machine) -> None:
    with machine.run(machine.project("faulty", FAULTY, LIMITS)) as run:
        run.ready()
        response = post(run, "x" * 2000)
        assert response.status_code == 413
        assert response.json() == {"error": "expected at most 1024 bytes of body"}
        assert raw(run, b"POST / HTTP/1.1\r\nhost: h\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n")[9:12] == b"400"
        assert raw(run, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\r\n\r\n")[9:12] == b"400"
        assert raw(run, b"GET / HTTP/1.1\r\nhost: h\r\nx: " + b"y" * 40_000 + b"\r\n\r\n")[9:12] == b"431"
        assert post(run, "fine").status_code == 200


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("def handle(a, b, c, d): ...", "got `(a, b, c, d)`"),
        ("import no_such_module", "No module named 'no_such_module'"),
        ("def nothing(): ...", "expected"),
        (
            "class Function:\n def start(self): raise RuntimeError('no model')\n def handle(self, event): ...",
            "no model",
        ),
    ],
)
def test_what_cannot_start_says_why(machine: Machine, code: str, message: str) -> None:
    with machine.run(machine.project("broken", code)) as run:
        assert run.end() == 1
        told = "\n".join(str(line["message"]) for line in run.lines) + run.errors
    assert message in told
    assert "function/__init__.py" in told


def test_three_failed_starts_with_requests_held_are_a_503_with_the_reason(machine: Machine) -> None:
    code = "import os\nassert not os.path.exists(os.environ['MARK']), 'out of order'\ndef handle(event): return b'ok'"
    mark = machine.folder / "mark"
    machine.environ["MARK"] = str(mark)
    with machine.run(machine.project("late", code, "scale: {cooldownPeriod: 100ms}\n")) as run:
        run.ready()
        run.wait_for("scaled 1 → 0")
        mark.touch()
        response = post(run, "x")
        assert response.status_code == 503
        assert "out of order" in response.json()["reason"]
        assert "Traceback" not in response.text
        assert int(response.headers["retry-after"]) >= 1
        mark.unlink()
        eventually(lambda: post(run, "x").status_code == 200, "an answer")


def test_without_its_broker_a_function_still_answers_requests(machine: Machine) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # nobody listens there
        url = f"nats://user:hunter2@127.0.0.1:{taken.getsockname()[1]}"
        both = f"triggers: [{{name: n, kind: nats, stream: S, url: '{url}'}}, {{name: http, kind: http}}]\n"
        with machine.run(machine.project("both", FAULTY, both)) as run:
            run.ready()
            assert post(run, "fine").status_code == 200
            assert any("n" in str(line["message"]) and line["level"] == "error" for line in run.lines)
            assert "hunter2" not in str(run.lines) + run.errors


def test_a_stream_function_survives_bad_events(machine: Machine) -> None:
    """Events that raise or end the process come again; the others are handled."""
    code = """
import os
SEEN = os.open(os.environ["SEEN"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
def handle(event):
    text = event.text()
    if event.attempt == 1 and text == "raise":
        raise ValueError("first time")
    if event.attempt == 1 and text == "exit":
        os._exit(3)
    os.write(SEEN, f"{text} {event.attempt}\\n".encode())
"""
    seen = machine.folder / "seen"
    machine.environ["SEEN"] = str(seen)
    with machine.run(machine.project("stream", code, STREAM)) as run:
        run.ready()
        publish(machine, "stream", ["a", "raise", "b", "exit", "c"])
        wanted = {"a", "b", "c", "raise", "exit"}
        eventually(lambda: seen.exists() and wanted <= {line.split()[0] for line in read(seen)}, "all events")
    attempts = {line.split()[0]: int(line.split()[1]) for line in read(seen)}
    assert attempts["raise"] >= 2
    assert attempts["exit"] >= 2


def test_sigkill_in_the_middle_of_a_batch_loses_nothing(machine: Machine) -> None:
    code = """
import os, time
from headrace import Batch
SEEN = os.open(os.environ["SEEN"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
def handle(batch: Batch):
    os.write(SEEN, f"begin {os.getpid()}\\n".encode())
    time.sleep(0.3)
    os.write(SEEN, "".join(f"done {event.text()}\\n" for event in batch).encode())
"""
    seen = machine.folder / "seen"
    machine.environ["SEEN"] = str(seen)
    with machine.run(machine.project("batches", code, STREAM)) as run:
        run.ready()
        events = [str(number) for number in range(200)]
        publish(machine, "batches", events)
        eventually(lambda: seen.exists() and any(line.startswith("begin") for line in read(seen)), "a batch")
        os.kill(int(read(seen)[0].split()[1]), signal.SIGKILL)
        wanted = {f"done {event}" for event in events}
        eventually(lambda: wanted <= set(read(seen)), "all events")


def read(path: Path) -> list[str]:
    return path.read_text().splitlines()


def publish(machine: Machine, name: str, bodies: list[str]) -> None:
    """To the embedded broker, whose address the run's own files hold."""
    state = json.loads((machine.runs / name / "state.json").read_text())

    async def send() -> None:
        client = await nats.connect(state["broker"])
        for body in bodies:
            await client.jetstream().publish("numbers.in", body.encode())
        await client.close()

    asyncio.run(send())
