"""The registry of what runs on this machine: one folder a run, which lives as long as its process.

A run's folder holds `lock` (held by its process until that ends, however it ends), `state.json`, the log and
the control socket. An entry whose lock nobody holds is of a process that is gone: it is removed on sight.
What does not belong here: talking to a run (control_socket) and starting one (supervision).
"""

import contextlib
import errno
import fcntl
import os
import re
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import msgspec

NAME = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")  # Kubernetes: RFC 1123 label, as for functions

_LOCK = "lock"
_STATE = "state.json"
# A reader holds the lock for the time of a few system calls; whoever claims a name waits for it.
_CLAIM_TRIES = 50
_CLAIM_PAUSE_S = 0.01


class RunState(msgspec.Struct, frozen=True, kw_only=True):
    """What a run says of itself.

    Attributes:
        name: Unique among the runs of this user.
        project: The function project's folder.
        pid: Of the process that holds the lock.
        started_s: Unix time.
        url: Where it answers HTTP; None while it starts.
        broker: The embedded broker's URL, if it has one.
        invoke: `http` or `cloudevent`, as func.yaml has it.
        spec: Path of the checked func.yaml that it runs, as JSON.
    """

    name: str
    project: str
    pid: int
    started_s: float
    url: str | None = None
    broker: str | None = None
    invoke: str = "http"
    spec: str | None = None


class Taken(Exception):
    """A run of this name lives.

    Attributes:
        state: What it says of itself; None if it has said nothing yet.
    """

    def __init__(self, state: RunState | None) -> None:
        super().__init__("a run of this name lives")
        self.state = state


class Claim:
    """A process's hold on a run's name, until `release` or the process's end.

    Attributes:
        folder: The run's own, 0700.
    """

    def __init__(self, folder: Path, lock: int) -> None:
        self.folder = folder
        self._lock = lock

    def write(self, state: RunState) -> None:
        """Replace the state in one step: whoever reads sees the old one or the new one whole."""
        fresh = self.folder / f"{_STATE}.new"
        fresh.write_bytes(msgspec.json.encode(state))
        fresh.replace(self.folder / _STATE)

    def release(self) -> None:
        """Remove the entry; twice does nothing."""
        if self._lock >= 0:
            _remove(self.folder)
            os.close(self._lock)
            self._lock = -1


class Registry:
    """All runs of this user.

    Args:
        root: Holds one folder a run; made (0700) when first claimed in.
    """

    def __init__(self, root: Path) -> None:
        self.root = root

    @classmethod
    def of(cls, environ: Mapping[str, str] = os.environ) -> "Registry":
        """Where the XDG Base Directory Specification puts state ("must be absolute", else ignored)."""
        state_home = Path(environ.get("XDG_STATE_HOME") or "")
        if not state_home.is_absolute():
            state_home = Path.home() / ".local" / "state"
        return cls(state_home / "headrace" / "run")

    def folder(self, name: str) -> Path:
        """Where a run called `name` has its files."""
        return self.root / name

    def claim(self, name: str) -> Claim:
        """Take `name` for this process.

        Raises:
            Taken: A run of that name lives.
        """
        folder = self.folder(name)
        for _ in range(_CLAIM_TRIES):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self.root.chmod(0o700)
            if (lock := _hold(folder, fcntl.LOCK_EX)) is not None:
                _clear(folder)
                return Claim(folder, lock)
            time.sleep(_CLAIM_PAUSE_S)
        raise Taken(_read(folder))

    def find(self, name: str) -> RunState | None:
        """The run called `name`, if it lives and has said what it is."""
        folder = self.folder(name)
        if not NAME.fullmatch(name) or not _lives(folder):
            return None
        return _read(folder)

    def running(self) -> list[RunState]:
        """All that live, by name."""
        return list(self._running())

    def _running(self) -> Iterator[RunState]:
        try:
            names = sorted(entry.name for entry in os.scandir(self.root) if entry.is_dir(follow_symlinks=False))
        except FileNotFoundError:
            return
        for name in names:
            if (state := self.find(name)) is not None:
                yield state


def _hold(folder: Path, mode: int) -> int | None:
    """A descriptor that holds `folder`'s lock, or None where another process does or the folder just went."""
    try:
        lock = os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(lock, mode | fcntl.LOCK_NB)
        # The one before may have removed the file between our open and our lock: then this one guards nothing.
        if os.path.samestat(os.fstat(lock), os.stat(folder / _LOCK)):  # noqa: PTH116
            return lock
    except OSError as exc:
        if exc.errno not in (errno.EWOULDBLOCK, errno.ENOENT):
            os.close(lock)
            raise
    os.close(lock)
    return None


def _lives(folder: Path) -> bool:
    """Whether a process holds `folder`; what a dead one left is removed."""
    if not (folder / _LOCK).exists():
        return False
    if (lock := _hold(folder, fcntl.LOCK_SH)) is None:
        return folder.exists()
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        _remove(folder)
    except BlockingIOError:
        pass  # another reader has found it too, and one of us will remove it
    finally:
        os.close(lock)
    return False


def _read(folder: Path) -> RunState | None:
    try:
        return msgspec.json.decode((folder / _STATE).read_bytes(), type=RunState)
    except (FileNotFoundError, msgspec.DecodeError):
        return None


def _clear(folder: Path) -> None:
    """Remove what a dead run left in a folder that we hold."""
    for path in folder.iterdir():
        if path.name != _LOCK:
            path.unlink()


def _remove(folder: Path) -> None:
    """Remove a folder that we hold; the lock goes last, so that nobody claims a half-removed one."""
    _clear(folder)
    (folder / _LOCK).unlink(missing_ok=True)
    with contextlib.suppress(OSError):  # not empty: it was claimed anew the moment the lock went
        folder.rmdir()
