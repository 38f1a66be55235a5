"""A replica's standard output and error as lines, read as it writes them, in bounded memory.

What does not belong here: what becomes of the lines.
"""

import asyncio
import os
from collections.abc import Callable

MAX_LINE = 16 * 1024
"""Longer lines are cut: a log line that says more is no log line."""
_READ_BYTES = 64 * 1024


class Output:
    """Reads one pipe on the running loop.

    Args:
        descriptor: The reading end; owned from now on.
        on_line: Called with each line, without its end.
    """

    def __init__(self, descriptor: int, on_line: Callable[[str], None]) -> None:
        os.set_blocking(descriptor, False)
        self._descriptor = descriptor
        self._on_line = on_line
        self._rest = b""
        self._cutting = False
        self._closed = False
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(descriptor, self._read)

    def finish(self) -> None:
        """The process is gone: take what it left in the pipe and close.

        Its own children may hold the pipe open; they are not waited for.
        """
        while not self._closed and self._read():
            pass
        self._close()

    def _read(self) -> bool:
        """Take one piece; False if there is none."""
        try:
            data = os.read(self._descriptor, _READ_BYTES)
        except BlockingIOError:
            return False
        if data:
            self._take(data)
        else:
            self._close()
        return bool(data)

    def _take(self, data: bytes) -> None:
        *lines, rest = (self._rest + data).split(b"\n")
        for line in lines:
            if not self._cutting:
                self._emit(line)
            self._cutting = False
        if len(rest) > MAX_LINE:
            if not self._cutting:
                self._emit(rest)
            self._cutting, rest = True, b""
        self._rest = b"" if self._cutting else rest

    def _emit(self, line: bytes) -> None:
        text = line[:MAX_LINE].decode("utf-8", "replace").rstrip("\r")
        self._on_line(text + "…" if len(line) > MAX_LINE else text)

    def _close(self) -> None:
        if self._closed:
            return
        self._closed = True
        self._loop.remove_reader(self._descriptor)
        os.close(self._descriptor)
        if self._rest:
            self._emit(self._rest)
