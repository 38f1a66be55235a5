"""`func` as people run it: the real command, its lines as they come, and what it leaves behind."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any

DEADLINE_S = 20.0
FUNC = [sys.executable, "-P", "-m", "headrace.func_cli.main"]


class Machine:
    """A place to run functions in: a state folder and projects of its own.

    Args:
        folder: Holds both.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.runs = folder / "state" / "headrace" / "run"
        self.environ = {name: value for name, value in os.environ.items() if not name.startswith("FUNC_")}
        self.environ["XDG_STATE_HOME"] = str(folder / "state")

    def project(self, name: str, code: str, spec: str = "") -> Path:
        """A project whose function is `code`."""
        folder = self.folder / name
        (folder / "function").mkdir(parents=True)
        (folder / "func.yaml").write_text(f"name: {name}\n{spec}")
        (folder / "function" / "__init__.py").write_text(code)
        return folder

    def func(self, *arguments: str, cwd: Path | None = None) -> "subprocess.CompletedProcess[str]":
        """Run a command to its end."""
        return subprocess.run(
            [*FUNC, *arguments], cwd=cwd or self.folder, env=self.environ, capture_output=True, text=True,
            errors="replace",
            timeout=DEADLINE_S, check=False,
        )  # fmt: skip

    def run(self, project: Path, *arguments: str) -> "FuncRun":
        """`func run` in the foreground, on a free port."""
        return FuncRun(self, project, ["--address", "127.0.0.1:0", *arguments])


class FuncRun:
    """`func run`, from `with` to the end of the block at the latest.

    Attributes:
        lines: All that it said, as JSON objects.
        url: Where it listens; known once it does.
    """

    def __init__(self, machine: Machine, project: Path, arguments: list[str]) -> None:
        self.lines: list[dict[str, Any]] = []
        self.url = ""
        self.errors = ""
        self._news = threading.Condition()
        self._over = False
        self.process = subprocess.Popen(
            [*FUNC, "run", str(project), "--output", "json", *arguments],
            env=machine.environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True,
        )  # fmt: skip
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def __enter__(self) -> "FuncRun":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
        self.end()

    def ready(self) -> "FuncRun":
        """Wait until it serves."""
        self.url = str(self.wait_for("listening")["url"])
        self.wait_for("scaled ")
        return self

    def wait_for(self, start: str, count: int = 1) -> dict[str, Any]:
        """The `count`-th line whose message begins with `start`."""
        return self.wait_until(lambda line: str(line["message"]).startswith(start), start, count)

    def wait_until(self, fits: Callable[[dict[str, Any]], bool], what: str, count: int = 1) -> dict[str, Any]:
        """The `count`-th line that fits."""
        deadline = time.monotonic() + DEADLINE_S
        with self._news:
            while True:
                found = [line for line in self.lines if fits(line)]
                if len(found) >= count:
                    return found[count - 1]
                left = deadline - time.monotonic()
                assert not self._over, f"ended before `{what}`: {self.lines} {self.errors}"
                assert left > 0, f"no `{what}` in {self.lines}"
                self._news.wait(left)

    def processes(self) -> list[int]:
        """It and its children: replicas and broker."""
        listed = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text()
        return [self.process.pid, *map(int, listed.split())]

    def signal(self, number: signal.Signals = signal.SIGINT) -> None:
        """As Ctrl-C does."""
        self.process.send_signal(number)

    def end(self) -> int:
        """Wait for its end; its exit code."""
        try:
            code = self.process.wait(DEADLINE_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise
        finally:
            self._reader.join(DEADLINE_S)
        return code

    def _read(self) -> None:
        assert self.process.stdout is not None
        assert self.process.stderr is not None
        with self.process.stdout as out, self.process.stderr as err:
            for line in out:
                with self._news:
                    self.lines.append(json.loads(line))
                    self._news.notify_all()
            self.errors = err.read().decode()
        with self._news:
            self._over = True
            self._news.notify_all()


def gone(pids: list[int]) -> bool:
    """Whether none of these processes is there any more (a zombie of someone else's counts as gone)."""
    return all(
        not Path(f"/proc/{pid}/cmdline").exists() or not Path(f"/proc/{pid}/cmdline").read_bytes() for pid in pids
    )


def eventually(fits: Callable[[], bool], what: str) -> None:
    """Wait until `fits`, looking often."""
    deadline = time.monotonic() + DEADLINE_S
    pause = threading.Event()
    while not fits():
        assert time.monotonic() < deadline, f"not within {DEADLINE_S:g} s: {what}"
        pause.wait(0.02)
