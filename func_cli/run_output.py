"""Where the lines of a run go: its log file, and the terminal of who started it.

Replicas' output, the platform's own log records and what `func run` says all come through here. What does not
belong here: how a line is made and looks (log_lines) and the file (run_log).
"""

import logging
import sys
from collections import deque
from typing import IO, Any

import click

from .log_lines import platform_line, readable, replica_line
from .run_log import RunLog

_ERRORS_KEPT = 5
_PACKAGES = ("headrace.func_cli", "headrace.scaler", "headrace.triggers")


class RunOutput:
    """Takes lines from all sides, in order.

    Args:
        log: The run's file.
        form: `human`, `json`, or None: nothing is shown.
        stream: Where it is shown.
    """

    def __init__(self, log: RunLog, form: str | None, stream: IO[Any] | None = None) -> None:
        self._log = log
        self._form = form
        self._stream = stream or sys.stdout
        self._errors: deque[bytes] = deque(maxlen=_ERRORS_KEPT)

    @property
    def errors(self) -> list[str]:
        """The last lines that say of an error, as people read them."""
        return [click.unstyle(readable(line)) for line in self._errors]

    def from_replica(self, pid: int, text: str) -> None:
        """A line that a replica wrote."""
        self.write(replica_line(text.encode("utf-8", "replace"), pid))

    def say(self, message: str, level: str = "info", **fields: object) -> None:
        """A line of `func run` itself."""
        self.write(platform_line(message, level, **fields))

    def hush(self) -> None:
        """Show no more: from now on the file has it all."""
        self._form = None

    def write(self, line: bytes) -> None:
        """One JSON line."""
        self._log.write(line)
        if b'"level":"error"' in line:
            self._errors.append(line)
        if self._form is None:
            return
        try:
            click.echo(line.decode() if self._form == "json" else readable(line), file=self._stream)
        except OSError:  # who read them is gone (`func run | head`): the function is not
            self.hush()


class RecordHandler(logging.Handler):
    """Log records of this process, as lines of the run.

    Args:
        output: Takes them.
    """

    def __init__(self, output: RunOutput) -> None:
        super().__init__()
        self._output = output
        self._formatter = logging.Formatter()

    def emit(self, record: logging.LogRecord) -> None:
        """Pass one on; called by logging."""
        fields: dict[str, object] = {"logger": record.name}
        if record.exc_info:
            fields["exception"] = self._formatter.formatException(record.exc_info)
        self._output.say(record.getMessage(), record.levelname.lower(), **fields)

    def attach(self, verbose: bool) -> None:
        """Take what Headrace logs from `info` (`verbose`: `debug`) on, and others' warnings."""
        root = logging.getLogger()
        root.handlers[:] = [self]
        root.setLevel(logging.WARNING)
        for name in _PACKAGES:
            logging.getLogger(name).setLevel(logging.DEBUG if verbose else logging.INFO)

    def detach(self) -> None:
        """Take nothing any more."""
        logging.getLogger().removeHandler(self)
        for name in _PACKAGES:
            logging.getLogger(name).setLevel(logging.NOTSET)
