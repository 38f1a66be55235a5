"""A real replica that computes on the simulated GPU: batches copied ahead, results brought back, over HTTP."""

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import httpx
import numpy as np
import pytest
from support.projects import write

from headrace.triggers import wire

pytestmark = pytest.mark.integration

SYNC = """
    def handle(batch, context):
        x = batch.tensor("float32", (4,))
        assert type(x) is context.xp.ndarray, type(x)
        if float(x.max()) > 1000:
            raise ValueError("too large")
        return (x * 2).sum(axis=1)
"""
ASYNC = """
    async def handle(batch, context):
        return list(batch.tensor("float32", (4,)) * 2)
"""
EVENT = """
    def handle(event, context):
        return event.tensor("float32", (4,)).sum().astype("float32")
"""


@contextmanager
def replica(folder: Path, source: str) -> Generator[httpx.Client]:
    """A client of it; afterwards it drains and exits 0."""
    write(folder, source)
    (folder / "spec.json").write_text(json.dumps({"name": "test", "batching": {"maxBatchSize": 8}}))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        environ = {
            **os.environ,
            wire.SPEC: str(folder / "spec.json"),
            wire.PROJECT: str(folder),
            wire.LISTEN_FD: str(listener.fileno()),
            wire.DEVICE: "simulated",
        }
        command = [sys.executable, "-m", "headrace.runtime.main"]
        process = subprocess.Popen(command, env=environ, pass_fds=[listener.fileno()])
        try:
            host, port = listener.getsockname()
            with httpx.Client(base_url=f"http://{host}:{port}", timeout=30) as client:
                yield client
            process.send_signal(signal.SIGTERM)
            assert process.wait(30) == 0
        finally:
            process.kill()
            process.wait()


def body(number: float) -> bytes:
    return np.full(4, number, "<f4").tobytes()


def numbers(response: httpx.Response) -> list[float]:
    found: list[float] = np.frombuffer(response.content, "<f4").tolist()
    return found


def test_batches(tmp_path: Path) -> None:
    with replica(tmp_path, SYNC) as client, ThreadPoolExecutor(16) as pool:
        results = list(pool.map(lambda n: numbers(client.post("/", content=body(n))), range(200)))
        assert results == [[8.0 * n] for n in range(200)]
        text = client.get("/metrics").text
        assert "headrace_gpu_memory_total_bytes" in text
        assert "headrace_batch_gathered_bytes_total" in text


def test_only_what_raises_fails(tmp_path: Path) -> None:
    with replica(tmp_path, SYNC) as client, ThreadPoolExecutor(16) as pool:
        statuses = list(pool.map(lambda n: client.post("/", content=body(n)).status_code, range(980, 1010)))
        assert statuses == [200 if n <= 1000 else 500 for n in range(980, 1010)]


@pytest.mark.parametrize(("source", "expected"), [(ASYNC, [14.0] * 4), (EVENT, [28.0])])
def test_other_handlers(tmp_path: Path, source: str, expected: list[float]) -> None:
    with replica(tmp_path, source) as client, ThreadPoolExecutor(8) as pool:
        results = list(pool.map(lambda _: numbers(client.post("/", content=body(7))), range(40)))
        assert results == [expected] * 40
