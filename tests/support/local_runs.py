"""A run as commands find it, without a function: its entry, its log and its control socket, in a thread."""

import asyncio
import os
import threading
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from headrace.func_cli.control_socket import ControlServer
from headrace.func_cli.description import starting
from headrace.func_cli.run_log import RunLog
from headrace.func_cli.runs import Registry, RunState


class LocalRun:
    """Lives from `with` until `func delete` or the end of the block.

    Args:
        state: What it says of itself.
        description: Over what a starting run says.
        deaf: It drains for ever, until it is told to end at once.
    """

    def __init__(self, state: RunState, description: Mapping[str, Any] | None = None, *, deaf: bool = False) -> None:
        self.state = state
        self.stops: list[bool] = []
        self._description = starting(state) | dict(description or {})
        self._deaf = deaf
        self._claim = Registry.of().claim(state.name)
        self._claim.write(state)
        self.log = RunLog(self._claim.folder)
        self._up = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._live()))

    @classmethod
    def of(cls, name: str, project: Path, url: str | None = "http://127.0.0.1:9", **fields: Any) -> "LocalRun":
        """A run of `project`."""
        state = RunState(name=name, project=str(project.resolve()), pid=os.getpid(), started_s=0.0, url=url)
        return cls(state, **fields)

    def __enter__(self) -> "LocalRun":
        self._thread.start()
        assert self._up.wait(10)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._stop, True)
        self._thread.join(10)
        self.log.close()
        self._claim.release()

    async def _live(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._ended = asyncio.Event()
        server = ControlServer(self._claim.folder, lambda: self._description, self._stop)
        server.start()
        self._up.set()
        await self._ended.wait()
        self._claim.release()
        await server.aclose()

    def _stop(self, at_once: bool) -> None:
        self.stops.append(at_once)
        if at_once or not self._deaf:
            self._ended.set()
