"""A run's log: JSON lines in a file of bounded size, and reading it back.

The file is begun anew when it is full, and one before it is kept, so a run for months takes no more than twice
the bound. What does not belong here: what the lines say (log_lines).
"""

import contextlib
import os
import time
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path

NAME = "log.jsonl"
_BEFORE = "log.jsonl.1"
MAX_BYTES = 8 * 2**20
_POLL_S = 0.1


class RunLog:
    """Appends lines to the log in `folder`.

    Args:
        folder: The run's.
        max_bytes: At which the file is begun anew.
    """

    def __init__(self, folder: Path, max_bytes: int = MAX_BYTES) -> None:
        self._folder = folder
        self._max_bytes = max_bytes
        self._file = (folder / NAME).open("ab", buffering=0)
        self._size = self._file.tell()

    def write(self, line: bytes) -> None:
        """Append one line, given without its end."""
        if self._size + len(line) + 1 > self._max_bytes and self._size:
            self._begin_anew()
        self._file.write(line + b"\n")
        self._size += len(line) + 1

    def close(self) -> None:
        self._file.close()

    def _begin_anew(self) -> None:
        self._file.close()
        (self._folder / NAME).replace(self._folder / _BEFORE)
        self._file = (self._folder / NAME).open("ab", buffering=0)
        self._size = 0


def tail(folder: Path, count: int | None = None) -> list[bytes]:
    """The last `count` lines (all: None) of the log in `folder`, oldest first, without their ends."""
    lines: deque[bytes] = deque(maxlen=count)
    for name in (_BEFORE, NAME):
        with contextlib.suppress(FileNotFoundError), (folder / name).open("rb") as file:
            lines.extend(line.rstrip(b"\n") for line in file)
    return list(lines)


def follow(folder: Path, count: int | None, lives: Callable[[], bool]) -> Iterator[bytes]:
    """The last `count` lines, then each new one, until the run ends.

    Args:
        folder: The run's.
        count: As for `tail`.
        lives: Whether the run does; asked between looks at the file.
    """
    try:
        file = (folder / NAME).open("rb")
    except FileNotFoundError:
        return
    try:
        # The place is fixed before the tail is read: what comes meanwhile is read as new.
        file.seek(0, os.SEEK_END)
        yield from _upto(folder, file.tell(), count)
        rest, last = b"", False
        while True:
            alive = lives()
            *whole, rest = (rest + file.read()).split(b"\n")
            yield from whole
            if last:  # what was written to it before it was replaced has been read too
                file.close()
                file, last = (folder / NAME).open("rb"), False
            elif _replaced(folder, file.fileno()):
                last = True
            elif not whole and not alive:
                return
            elif not whole:
                time.sleep(_POLL_S)
    finally:
        file.close()


def _upto(folder: Path, end: int, count: int | None) -> list[bytes]:
    """`tail`, leaving out what lies beyond `end` bytes of the present file."""
    lines: deque[bytes] = deque(maxlen=count)
    with contextlib.suppress(FileNotFoundError), (folder / _BEFORE).open("rb") as before:
        lines.extend(line.rstrip(b"\n") for line in before)
    with contextlib.suppress(FileNotFoundError), (folder / NAME).open("rb") as file:
        lines.extend(file.read(end).splitlines())
    return list(lines)


def _replaced(folder: Path, descriptor: int) -> bool:
    """Whether the log has been begun anew since `descriptor` was opened."""
    try:
        return not os.path.samestat(os.fstat(descriptor), os.stat(folder / NAME))  # noqa: PTH116
    except FileNotFoundError:
        return False
