import asyncio
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from headrace.func_cli import control_socket
from headrace.func_cli.control_socket import ControlServer, Unanswered


class Run:
    """What a run does with requests: it remembers them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.stops: asyncio.Queue[bool] = asyncio.Queue()
        self.server = ControlServer(folder, self.describe, self.stops.put_nowait)

    def describe(self) -> dict[str, Any]:
        return {"name": "detect", "project": self.folder}


@pytest_asyncio.fixture
async def run(tmp_path: Path) -> AsyncIterator[Run]:
    # longer than what a Unix socket's path may be
    folder = tmp_path / ("deep" * 30)
    folder.mkdir()
    run = Run(folder)
    run.server.start()
    yield run
    await run.server.aclose()


async def test_describe(run: Run) -> None:
    answer = await asyncio.to_thread(control_socket.describe, run.folder)
    assert answer == {"name": "detect", "project": str(run.folder)}


async def test_the_socket_is_the_users_alone(run: Run) -> None:
    assert (run.folder / "control.sock").stat().st_mode & 0o777 == 0o600


async def test_stop_waits_for_the_end(run: Run) -> None:
    stopping = asyncio.create_task(asyncio.to_thread(control_socket.stop, run.folder, 10))
    assert await run.stops.get() is False
    assert not stopping.done()
    await run.server.aclose()
    assert await stopping
    assert list(run.folder.iterdir()) == []


async def test_stop_gives_up_after_its_time(run: Run) -> None:
    assert not await asyncio.to_thread(control_socket.stop, run.folder, 0.01)


async def test_stop_at_once(run: Run) -> None:
    await asyncio.to_thread(lambda: control_socket.stop(run.folder, 0.01, at_once=True))
    assert run.stops.get_nowait() is True


@pytest.mark.parametrize("data", [b"nonsense\n", b'{"do":"dance"}\n', b"x" * 5000, b"", b'{"do":'])
async def test_nonsense_is_hung_up_on(run: Run, data: bytes) -> None:
    def speak() -> bytes:
        with socket.socket(socket.AF_UNIX) as sock, control_socket._place(run.folder) as place:
            sock.connect(place)
            sock.sendall(data)
            sock.shutdown(socket.SHUT_WR)
            try:
                return sock.recv(100)
            except ConnectionError:
                return b""

    assert await asyncio.to_thread(speak) == b""
    assert await asyncio.to_thread(control_socket.describe, run.folder)


def test_a_run_that_is_gone_is_said_to_be(tmp_path: Path) -> None:
    with pytest.raises(Unanswered, match="FileNotFoundError"):
        control_socket.describe(tmp_path / "none")
    with pytest.raises(Unanswered, match="FileNotFoundError"):
        control_socket.stop(tmp_path, 1)
