"""How `list`, `describe` and `delete` talk to a run: a Unix socket in its folder, one request a connection.

A request is a line of JSON, and so is its answer. What does not belong here: what a description holds
(supervision) and which runs there are (runs).
"""

import asyncio
import contextlib
import logging
import os
import socket
from collections.abc import Callable, Coroutine, Generator
from pathlib import Path
from typing import Any

import msgspec

logger = logging.getLogger(__name__)

_NAME = "control.sock"
_MAX_LINE = 1024
_MAX_ANSWER = 16 * 2**20
_ANSWER_TIMEOUT_S = 5.0


class Describe(msgspec.Struct, frozen=True, tag_field="do", tag="describe"):
    """Answered with all that the run knows of itself."""


class Stop(msgspec.Struct, frozen=True, tag_field="do", tag="stop"):
    """Drain, then end; answered at once, and the connection closes when all has ended.

    Attributes:
        at_once: Do not drain.
    """

    at_once: bool = False


Request = Describe | Stop


class Unanswered(Exception):
    """The run is gone, or does not answer."""


class ControlServer:
    """The run's end of the socket.

    Args:
        folder: The run's; the socket lies in it (0600).
        describe: Gives the description, as plain data.
        stop: Called with `at_once`.
    """

    def __init__(self, folder: Path, describe: Callable[[], Any], stop: Callable[[bool], None]) -> None:
        self._folder = folder
        self._describe = describe
        self._stop = stop
        self._decoder = msgspec.json.Decoder(Request)
        self._encoder = msgspec.json.Encoder(enc_hook=str)
        self._sock: socket.socket | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._waiting: list[socket.socket] = []

    def start(self) -> None:
        """Bind, and answer on the running loop from now on."""
        self._sock = sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        sock.setblocking(False)
        with _place(self._folder) as place:
            before = os.umask(0o177)
            try:
                sock.bind(place)
            finally:
                os.umask(before)
        sock.listen()
        self._spawn(self._accept(sock))

    async def aclose(self) -> None:
        """Answer no more, and tell those who asked for the stop, by closing: the last that a run does."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._sock is not None:
            self._sock.close()
            for connection in self._waiting:
                connection.close()
            (self._folder / _NAME).unlink(missing_ok=True)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _accept(self, sock: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while True:
            connection, _ = await loop.sock_accept(sock)
            connection.setblocking(False)
            self._spawn(self._serve(connection))

    async def _serve(self, connection: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        kept = False
        try:
            async with asyncio.timeout(_ANSWER_TIMEOUT_S):
                request = self._decoder.decode(await _line(connection))
                answer = self._describe() if isinstance(request, Describe) else {"stopping": True}
                await loop.sock_sendall(connection, self._encoder.encode(answer) + b"\n")
            if isinstance(request, Stop):
                self._waiting.append(connection)
                kept = True
                self._stop(request.at_once)
        except (OSError, EOFError, msgspec.DecodeError) as exc:
            logger.debug("control request failed error=%s", exc)
        finally:
            if not kept:
                connection.close()


async def _line(connection: socket.socket) -> bytes:
    loop = asyncio.get_running_loop()
    line = b""
    while not line.endswith(b"\n"):
        data = await loop.sock_recv(connection, _MAX_LINE)
        if not data or len(line) > _MAX_LINE:
            raise EOFError(f"expected a line, got {len(line)} bytes")
        line += data
    return line


def describe(folder: Path) -> dict[str, Any]:
    """Ask the run in `folder` for its description.

    Raises:
        Unanswered: It is gone, or does not answer.
    """
    with _ask(folder, Describe()) as sock:
        description: dict[str, Any] = msgspec.json.decode(_read_line(sock))
        return description


def stop(folder: Path, timeout_s: float, *, at_once: bool = False) -> bool:
    """Ask the run in `folder` to end, and wait.

    Returns:
        Whether it has ended within `timeout_s`.

    Raises:
        Unanswered: It is gone, or does not answer.
    """
    with _ask(folder, Stop(at_once)) as sock:
        _read_line(sock)
        sock.settimeout(max(timeout_s, 0.001))
        try:
            return not sock.recv(1)
        except TimeoutError:
            return False
        except ConnectionError:
            return True


@contextlib.contextmanager
def _ask(folder: Path, request: Request) -> Generator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        sock.settimeout(_ANSWER_TIMEOUT_S)
        try:
            with _place(folder) as place:
                sock.connect(place)
            sock.sendall(msgspec.json.encode(request) + b"\n")
            yield sock
        except (OSError, EOFError) as exc:
            raise Unanswered(f"{type(exc).__name__}: {exc}") from exc


def _read_line(sock: socket.socket) -> bytes:
    line = bytearray()
    while not line.endswith(b"\n"):
        data = sock.recv(65536)
        if not data or len(line) > _MAX_ANSWER:
            raise EOFError(f"expected a line, got {len(line)} bytes")
        line += data
    return bytes(line)


@contextlib.contextmanager
def _place(folder: Path) -> Generator[str]:
    """A short path of the socket: unix(7) allows 107 bytes, which a state folder may well exceed."""
    descriptor = os.open(folder, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{descriptor}/{_NAME}"
    finally:
        os.close(descriptor)
