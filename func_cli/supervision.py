"""The life of `func run`, in methods read in order: prepare → start → serve → stop.

It puts the embedded broker, the local platform and the control loop together, and goes over to a new version of
the function when the project changes. What does not belong here: what the command line says (commands/run),
deciding and starting replicas (scaler).
"""

import asyncio
import contextlib
import logging
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from headrace.scaler.control import Control
from headrace.scaler.errors import StartFailed
from headrace.scaler.local.platform import LocalPlatform, cores
from headrace.scaler.local.settings import Generation, Limits
from headrace.scaler.platform import ReplicaState
from headrace.triggers import wire
from headrace.triggers.errors import HeadraceError
from headrace.triggers.kinds import make_backlog

from . import description
from .control_socket import ControlServer
from .environment import interpreter
from .errors import CommandError
from .listening import url_of
from .project import Project
from .reported import ReportedPlatform
from .run_options import RunOptions
from .run_output import RunOutput
from .runs import Claim, RunState
from .spec import Spec, write_checked

if TYPE_CHECKING:
    from headrace.triggers.nats.server import EmbeddedBroker

    from .reload import ProjectWatch

logger = logging.getLogger(__name__)

_DIE_AFTER_S = 3.0
"""After the second signal: for the broker to write its files; then the process ends whatever happens."""


class Supervisor:
    """Runs one function on this machine.

    Args:
        options: What was asked for.
        project: The function's folder.
        spec: Its func.yaml, checked.
        python: Runs its replicas.
        claim: The run's folder.
        listener: Bound; owned from now on.
        output: Takes all lines.
        on_ready: Called when it serves.
    """

    def __init__(
        self,
        options: RunOptions,
        project: Project,
        spec: Spec,
        python: Path,
        claim: Claim,
        listener: socket.socket,
        output: RunOutput,
        on_ready: Callable[[RunState], None] = lambda state: None,
    ) -> None:
        self._options = options
        self._project = project
        self._spec = spec
        self._python = python
        self._claim = claim
        self._listener = listener
        self._output = output
        self._on_ready = on_ready
        self._state = RunState(
            name=options.name, project=str(project.path.resolve()), pid=os.getpid(), started_s=time.time(),
            invoke=spec.runtime.invoke,
        )  # fmt: skip
        self._url = url_of(listener, spec.secure)
        self._spec_files: list[Path] = []
        self._specs = 0
        self._stopping = asyncio.Event()
        self._watch: ProjectWatch | None = None
        self._broker: EmbeddedBroker | None = None
        self._broker_url: str | None = None
        self._platform: LocalPlatform | None = None
        self._reported: ReportedPlatform
        self._control: Control | None = None
        self._controlling: asyncio.Task[None] | None = None
        self._changing_control = asyncio.Lock()
        self._failure: BaseException | None = None
        self._server = ControlServer(claim.folder, self.describe, self._asked_to_stop)

    async def run(self) -> None:
        """Live from start to end.

        Raises:
            HeadraceError: It could not start.
        """
        self._catch_signals()
        self._claim.write(self._state)
        try:
            self._server.start()
            await self._prepare()
            await self._start()
            await self._serve()
        finally:
            await self._stop()
        if self._failure is not None:
            raise CommandError(f"the control loop failed: {self._failure!r}") from self._failure

    def describe(self) -> dict[str, Any]:
        """All that is known, as plain data."""
        if self._control is None:
            return description.starting(self._state)
        return description.describe(
            self._state,
            self._control.snapshot(),
            self._spec.runtime.triggers,
            errors=self._output.errors,
            stopping=self._stopping.is_set(),
        )

    # -- its life, in order --------------------------------------------------------------------------------

    async def _prepare(self) -> None:
        """Everything that replicas and the control loop need."""
        if self._options.reload:
            from .reload import ProjectWatch

            self._watch = ProjectWatch(self._project.path)  # before the first start: an edit meanwhile counts
        generation = await self._generation(self._spec, self._python)
        self._spec_files.append(Path(generation.environ[wire.SPEC]))
        limits = self._spec.runtime.limits
        self._platform = LocalPlatform(
            self._listener,
            generation,
            Limits(
                handler_timeout_s=float(limits.handler_timeout),
                drain_timeout_s=float(limits.drain_timeout),
                idle_timeout_s=float(limits.idle_timeout),
                max_connections=limits.max_connections,
                start_timeout_s=self._spec.start_timeout_s,
            ),
            cap=None if self._options.replicas else cores(),
            on_output=self._output.from_replica,
        )
        self._reported = ReportedPlatform(self._platform)
        self._control = self._make_control(self._spec)

    async def _start(self) -> None:
        """Start one replica, to know that the function can; then let the control loop decide."""
        assert self._platform is not None
        assert self._control is not None
        await self._platform.start()
        self._output.say("listening", url=self._url, name=self._options.name)
        if self._spec.secure:  # nobody but a replica could begin a TLS connection
            self._output.say("one replica stays, since the listener speaks TLS")
        try:
            await self._first_replica(self._platform)
            if not self._stopping.is_set():
                self._begin_control(self._control)
        except StartFailed as exc:
            self._platform.apply(0)
            if not self._options.reload:
                raise CommandError(f"the function does not start: {exc}", "func run --reload   # and edit it") from exc
            # Requests that come meanwhile are held, and answered by the version that starts.
            self._output.say(f"waiting for a change: it does not start: {exc}", "error")
        if not self._stopping.is_set():
            self._state = msgspec.structs.replace(self._state, url=self._url)
            self._publish_state()
            self._on_ready(self._state)

    async def _serve(self) -> None:
        """Until something asks for the end."""
        if self._watch is not None:
            await self._reload_on_change(self._watch)
        await self._stopping.wait()

    async def _stop(self) -> None:
        """Drain the replicas, then end all else, the control socket last."""
        self._stopping.set()
        if self._watch is not None:
            self._watch.close()
        async with self._changing_control:
            await self._end_control()
        if self._platform is None:
            self._listener.close()
        else:
            serving = [one for one in self._platform.look().replicas if one.state is ReplicaState.READY]
            if serving:
                self._output.say("draining", replicas=len(serving))
            await self._platform.aclose()
        if self._broker is not None:
            await self._broker.stop()
        self._output.say("stopped")
        self._claim.release()
        await self._server.aclose()

    # -- starting ------------------------------------------------------------------------------------------

    async def _generation(self, spec: Spec, python: Path) -> Generation:
        """What replicas of this version are started from."""
        if (spec.needs_broker or self._options.embedded) and self._broker_url is None:
            await self._start_broker()
        variables = self._project.environment(spec)
        self._specs += 1
        file = write_checked(spec.whole, self._claim.folder / f"spec-{self._specs}.json")
        return Generation(
            # -P: the project's folder in front of the standard library would let a file of its own stand for it
            command=(str(python), "-P", "-m", "headrace.runtime.main"),
            environ={
                **os.environ,
                **variables,
                **self._broker_variable(),
                wire.SPEC: str(file),
                wire.PROJECT: str(self._project.path),
                wire.LOG_FORMAT: "json",
                wire.LOG_LEVEL: "debug" if self._options.verbose else "info",
                "PYTHONUNBUFFERED": "1",  # what a handler prints is seen when it prints it
            },
            cwd=str(self._project.path),
        )

    def _broker_variable(self) -> Mapping[str, str]:
        return {} if self._broker_url is None else {wire.BROKER: self._broker_url}

    def _publish_state(self) -> None:
        """Let other commands know which version is served, and where."""
        self._state = msgspec.structs.replace(
            self._state,
            url=url_of(self._listener, self._spec.secure),
            broker=self._broker_url,
            spec=str(self._spec_files[-1]),
            invoke=self._spec.runtime.invoke,
        )
        self._claim.write(self._state)

    async def _start_broker(self) -> None:
        from headrace.triggers.nats.client import masked
        from headrace.triggers.nats.server import EmbeddedBroker

        # A second run of the project, under a name of its own, has a broker of its own.
        own = self._options.name == self._spec.name
        folder = self._project.private / ("nats" if own else f"nats-{self._options.name}")
        self._broker = EmbeddedBroker(folder)
        self._broker_url = await self._broker.start()
        self._output.say("broker", url=masked(self._broker_url), files=folder.relative_to(self._project.path))

    def _make_control(self, spec: Spec) -> Control:
        references = self._project.references({**os.environ, **self._project.environment(spec)})
        environ = self._broker_variable()
        backlogs = {
            trigger.name: backlog
            for trigger in spec.scaler.triggers
            if (backlog := make_backlog(trigger, references, environ)) is not None
        }
        return Control(
            spec.scaler,
            self._reported,
            backlogs,
            in_flight_limit=spec.runtime.concurrency.in_flight * spec.runtime.concurrency.workers,
            replicas=self._options.replicas,
        )

    async def _first_replica(self, platform: LocalPlatform) -> None:
        """Return when one is ready, or the end is asked for; raises `StartFailed`."""
        changed = asyncio.Event()
        self._reported.watch(changed.set)
        stopping = asyncio.create_task(self._stopping.wait())
        quiet = logging.getLogger(LocalPlatform.__module__)
        quiet.disabled = True  # what it would say of a failure is raised here
        platform.apply(1)
        try:
            while not self._stopping.is_set():
                view = platform.look()
                if any(replica.state is ReplicaState.READY for replica in view.replicas):
                    return
                if view.failed_starts:
                    raise StartFailed(view.failure or "no reason given")
                change = asyncio.create_task(changed.wait())
                await asyncio.wait({change, stopping}, return_when=asyncio.FIRST_COMPLETED)
                change.cancel()
                changed.clear()
        finally:
            quiet.disabled = False
            stopping.cancel()

    # -- reloading -----------------------------------------------------------------------------------------

    async def _reload_on_change(self, watch: "ProjectWatch") -> None:
        """Go over to each new version; a change during that begins anew with what is there then."""
        from .reload import forget_bytecode

        going: asyncio.Task[None] | None = None
        async for paths in watch.changes(self._stopping):
            if going is not None:
                going.cancel()
                await asyncio.gather(going, return_exceptions=True)
            forget_bytecode(paths)
            going = asyncio.create_task(self._reload(sorted(path.name for path in paths)))
        if going is not None:
            going.cancel()
            await asyncio.gather(going, return_exceptions=True)

    async def _reload(self, names: list[str]) -> None:
        began = time.monotonic()
        self._output.say("changed", files=",".join(names))
        assert self._platform is not None
        try:
            spec = self._options.load(self._project)
            python = await asyncio.to_thread(interpreter, self._project, spec, lambda line: logger.info("%s", line))
            generation = await self._generation(spec, python)
            control = self._make_control(spec)
            await self._platform.replace(generation)
        except (HeadraceError, OSError, ImportError) as exc:
            what = "it still does not start" if self._controlling is None else "not reloaded, the version before stays"
            self._output.say(f"{what}: {exc}", "error")
            return
        await asyncio.shield(self._adopt(spec, control))  # a further change must not leave it half done
        self._spec_files.append(Path(generation.environ[wire.SPEC]))
        if len(self._spec_files) > 2:  # replicas of the version before may still be reading theirs
            self._spec_files.pop(0).unlink(missing_ok=True)
        self._publish_state()
        self._output.say("reloaded", took_ms=round(1000 * (time.monotonic() - began)))

    async def _adopt(self, spec: Spec, control: Control) -> None:
        """Have the new version's own control loop decide, where it may decide otherwise."""
        async with self._changing_control:
            same = spec.scaler == self._spec.scaler and spec.runtime.concurrency == self._spec.runtime.concurrency
            self._spec = spec
            if (not same or self._controlling is None) and not self._stopping.is_set():
                await self._end_control()
                self._begin_control(control)

    # -- stopping ------------------------------------------------------------------------------------------

    async def _end_control(self) -> None:
        if self._control is not None and self._controlling is not None:
            self._control.stop()
            await asyncio.gather(self._controlling, return_exceptions=True)
            self._controlling = None

    def _begin_control(self, control: Control) -> None:
        self._control = control
        self._controlling = asyncio.create_task(control.run())
        self._controlling.add_done_callback(self._control_ended)

    def _control_ended(self, task: asyncio.Task[None]) -> None:
        """Without a control loop nothing would ever be started again: better an end that is seen."""
        if not task.cancelled() and (failure := task.exception()) is not None:
            self._failure = failure
            self._stopping.set()

    def _asked_to_stop(self, at_once: bool) -> None:
        if at_once:
            self._end_now()
        self._stopping.set()

    def _catch_signals(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            loop.add_signal_handler(number, self._signalled)

    def _signalled(self) -> None:
        if self._stopping.is_set():
            self._end_now()
        self._stopping.set()

    def _end_now(self) -> None:
        """Wait for nothing that is in flight: events come again, requests are cut off."""
        self._output.say("ending at once", "warning")
        if self._platform is not None:
            for replica in self._platform.look().replicas:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(replica.pid, signal.SIGKILL)
        asyncio.get_running_loop().call_later(_DIE_AFTER_S, self._die)

    def _die(self) -> None:
        self._claim.release()
        sys.stdout.flush()
        os._exit(128 + signal.SIGINT)
