"""A replica of several workers as a container runs it: the real process, and its log lines."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import TracebackType
from typing import Any

import httpx
from support.projects import write

DEADLINE_S = 20.0


class Supervised:
    """`python -m headrace.runtime.main` with `concurrency.workers`, from `with` to the end of the block.

    Args:
        folder: For the project and its spec.
        source: The function.
        spec: Sections of func.yaml.
    """

    def __init__(self, folder: Path, source: str, **spec: Any) -> None:
        write(folder, source)
        (folder / "spec.json").write_text(json.dumps({"name": "f", "concurrency": {"workers": 2}} | spec))
        own = {
            "HEADRACE_SPEC": str(folder / "spec.json"),
            "HEADRACE_PROJECT": str(folder),
            "HEADRACE_ADDRESS": "127.0.0.1:0",
        }
        environ = {name: value for name, value in os.environ.items() if not name.startswith("HEADRACE_")}
        self.lines: list[dict[str, Any]] = []
        self._news = threading.Condition()
        self.process = subprocess.Popen(
            [sys.executable, "-P", "-m", "headrace.runtime.main"],
            env=environ | own, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def __enter__(self) -> "Supervised":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        self.end()

    @property
    def url(self) -> str:
        """Of the function."""
        return f"http://{self.wait_for('listening address=').partition('=')[2]}"

    @property
    def metrics_url(self) -> str:
        """Of its workers' health and metrics."""
        return f"http://{self.wait_for('metrics address=').partition('=')[2]}"

    def wait_for(self, start: str, count: int = 1) -> str:
        """The `count`-th message that begins with `start`."""
        deadline = time.monotonic() + DEADLINE_S
        with self._news:
            while True:
                found = [line["message"] for line in self.lines if line["message"].startswith(start)]
                if len(found) >= count:
                    return str(found[count - 1])
                left_s = deadline - time.monotonic()
                assert left_s > 0, f"expected {count} x {start!r}, got {[line['message'] for line in self.lines]}"
                self._news.wait(left_s)

    def sample(self, name: str) -> float:
        """One number of the metrics, all labels added up; 0 without any."""
        text = httpx.get(f"{self.metrics_url}/metrics").text
        lines = [line for line in text.splitlines() if line.split("{")[0].split(" ")[0] == name]
        return sum(float(line.rpartition(" ")[2]) for line in lines)

    def end(self) -> int:
        """Wait for its end; its exit code."""
        code = self.process.wait(DEADLINE_S)
        self._reader.join(DEADLINE_S)
        return code

    def _read(self) -> None:
        assert self.process.stdout is not None
        with self.process.stdout as out:
            for line in out:
                with self._news:
                    self.lines.append(json.loads(line))
                    self._news.notify_all()
