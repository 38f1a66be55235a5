"""Replicas of several workers: real processes, without a platform and with one."""

import asyncio
import os
import signal
import socket
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
from support.func_process import Machine, eventually, gone
from support.supervised import Supervised

from headrace.runtime import worker as worker_module
from headrace.runtime.listening import bind
from headrace.runtime.worker import Worker, WorkerState
from headrace.triggers import wire

pytestmark = pytest.mark.integration

PID = """
    import os, signal, time
    def handle(event, context):
        if event.data == b"die":
            os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(float(event.text() or 0))
        return str(os.getpid())
"""


def pids(url: str, count: int) -> set[int]:
    """Who answers, until `count` have."""
    found: set[int] = set()

    def ask(_: int) -> int:
        return int(httpx.post(url, content="0.02", timeout=20).text)

    def enough() -> bool:
        with ThreadPoolExecutor(8) as threads:
            found.update(threads.map(ask, range(8)))
        return len(found) >= count

    eventually(enough, f"{count} workers answer")
    return found


def raw_get(url: str) -> socket.socket:
    """A keep-alive connection on which one request was answered."""
    host, _, port = url.removeprefix("http://").partition(":")
    sock = socket.create_connection((host, int(port)), timeout=20)
    ask_again(sock)
    return sock


def ask_again(sock: socket.socket) -> None:
    sock.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    assert sock.recv(65536).startswith(b"HTTP/1.1 200 ")


def test_workers_share_the_work_and_the_dead_are_replaced(tmp_path: Path) -> None:
    with Supervised(tmp_path, PID) as replica:
        url = replica.url
        first = pids(url, 2)
        assert len(first) == 2
        before = replica.sample("headrace_events_total")
        assert before >= 8
        with pytest.raises(httpx.HTTPError, match=r"disconnected|reset"):
            httpx.post(url, content="die")
        replica.wait_for("worker exited")
        assert httpx.get(f"{replica.metrics_url}/health/readiness").json() == {"ready": True}
        eventually(lambda: replica.sample("headrace_workers") == 2, "the dead one is replaced")
        assert replica.sample("headrace_worker_restarts_total") == 1
        assert replica.sample("headrace_events_total") >= before  # what the dead one counted counts
        assert len(pids(url, 2) - first) == 1
        replica.process.send_signal(signal.SIGTERM)
        assert replica.end() == 0
        assert gone([*first])


def test_the_shared_listener_answers_nothing_else(tmp_path: Path) -> None:
    with Supervised(tmp_path, PID) as replica:
        replica.wait_for("ready ")
        for path, status in {"/health/liveness": 200, "/health/metrics": 200, "/x": 404}.items():
            assert httpx.get(replica.metrics_url + path).status_code == status
        text = httpx.get(f"{replica.metrics_url}/metrics").text
        assert "# TYPE headrace_handler_duration_seconds histogram" in text
        assert httpx.get(f"{replica.url}/health/readiness").status_code == 200
        assert httpx.get(f"{replica.url}/health/metrics").text.isdigit()  # one worker's would be a part of the truth


def test_idle_connections_end_with_the_replica(tmp_path: Path) -> None:
    with Supervised(tmp_path, PID) as replica:
        replica.wait_for("ready ")
        with raw_get(replica.url) as sock:
            replica.process.send_signal(signal.SIGTERM)
            assert sock.recv(1) == b""
        assert replica.end() == 0


def test_what_is_in_flight_is_finished(tmp_path: Path) -> None:
    with Supervised(tmp_path, PID) as replica, ThreadPoolExecutor(1) as threads:
        replica.wait_for("ready ")
        answer = threads.submit(httpx.post, replica.url, content="0.5", timeout=20)
        eventually(lambda: replica.sample("headrace_in_flight") == 1, "the request is handled")
        replica.process.send_signal(signal.SIGTERM)
        assert answer.result().headers["connection"] == "close"
        assert replica.end() == 0


def test_a_second_signal_ends_all_at_once(tmp_path: Path) -> None:
    with Supervised(tmp_path, PID) as replica, ThreadPoolExecutor(1) as threads:
        workers = pids(replica.url, 2)
        answer = threads.submit(httpx.post, replica.url, content="15", timeout=20)
        eventually(lambda: replica.sample("headrace_in_flight") == 1, "the request is handled")
        replica.process.send_signal(signal.SIGTERM)
        replica.wait_for("draining")
        replica.process.send_signal(signal.SIGTERM)
        assert replica.end() == 128 + signal.SIGTERM
        with pytest.raises(httpx.HTTPError, match=r"disconnected|reset"):
            answer.result()
        eventually(lambda: gone([*workers]), "no worker is left")


def test_a_function_that_cannot_start(tmp_path: Path) -> None:
    with Supervised(tmp_path, "raise ValueError('no model')") as replica:
        assert replica.end() == 1
        assert "no model" in replica.wait_for("the replica ends: ")


def test_workers_that_die_again_and_again(tmp_path: Path) -> None:
    source = """
        import os, pathlib, threading
        marker = pathlib.Path(__file__).with_name("again")
        def start(context):
            if marker.exists():
                os._exit(7)
        def handle(event, context):
            marker.touch()
            os._exit(7)
    """
    with Supervised(tmp_path, source) as replica:
        replica.wait_for("ready ")
        for _ in range(2):
            with pytest.raises(httpx.HTTPError, match=r"disconnected|reset"):
                httpx.post(replica.url, content="x", timeout=20)
        assert replica.end() == 1
        assert "none is ready" in replica.wait_for("the replica ends: ")


# -- under a platform --------------------------------------------------------------------------------------


def test_the_platform_sees_one_replica_and_keeps_its_connections(tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    folder = machine.project("many", "import os\ndef handle(event, context): return str(os.getpid())")
    with machine.run(folder, "--set", "concurrency.workers=2", "--reload") as run:
        url = run.ready().url
        with raw_get(url) as sock:
            before = pids(url, 1)
            (folder / "function" / "__init__.py").write_text("def handle(event, context): return '0'")
            run.wait_for("reloaded")
            eventually(lambda: httpx.post(url, content="").text == "0", "the new version answers")
            ask_again(sock)  # it went by the old supervisor and the platform to one of the new workers
        replicas = machine.func("describe", "many", "-o", "json").stdout
        assert replicas.count('"generation"') == 1
        eventually(lambda: gone([*before]), "the old workers are gone")


# -- one worker --------------------------------------------------------------------------------------------


class Owner:
    """Remembers what a worker told."""

    def __init__(self) -> None:
        self.told: list[str] = []
        self.passed: list[socket.socket] = []

    def worker_ready(self, worker: Worker) -> None:
        self.told.append("ready")

    def worker_leaving(self, worker: Worker) -> None:
        self.told.append("leaving")

    def worker_changed(self, worker: Worker) -> None:
        self.told.append("changed")

    def worker_passed(self, worker: Worker, connections: Sequence[socket.socket]) -> None:
        self.passed.extend(connections)

    def worker_exited(self, worker: Worker) -> None:
        self.told.append("exited")


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.01)


async def test_a_worker_that_hangs_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker_module, "PING_INTERVAL_S", 0.05)
    (tmp_path / "func.py").write_text("import time\nasync def handle(event, context): time.sleep(60)\n")
    owner = Owner()
    with bind("127.0.0.1", 0) as listener:
        worker = Worker({**os.environ, wire.PROJECT: str(tmp_path), wire.WORKER: "container"}, listener, 0.3, owner)
        await until(lambda: worker.state is WorkerState.READY)
        await worker.scrape()
        assert "headrace_events" in {family.name for family in worker.families}
        _, writer = await asyncio.open_connection(*listener.getsockname())
        writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        await until(lambda: owner.told[-1] == "exited")
        assert worker.code == -signal.SIGKILL
        await worker.scrape()  # it is gone: nothing to wait for
        writer.close()
