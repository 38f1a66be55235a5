"""All streams of a replica: opens its sinks and sources, and a pump for each trigger.

A broker that is away is waited for in the background, beside what works already; a stream that is missing
at startup is an error. What does not belong here: moving events (`streams`).
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from functools import partial

from headrace.triggers.errors import TriggerError
from headrace.triggers.events import Trigger
from headrace.triggers.http.spec import HttpTrigger
from headrace.triggers.kinds import make_source
from headrace.triggers.protocols import Buffers, Device, Intake, Sink
from headrace.triggers.references import References
from headrace.triggers.spec import TriggerSpec

from .inflight import InFlight
from .metrics import Metrics
from .spec import RuntimeSpec
from .streams import StreamPump, Withdraw

logger = logging.getLogger(__name__)

RETRY_S = (0.1, 5.0)
"""First and longest pause between attempts to reach a broker."""


class StreamSet:
    """The stream triggers and sinks of one function.

    Args:
        spec: Names them.
        triggers: What events say they came by, by name.
        sinks: By binding name; not open yet.
        references: Resolves `{{ }}` in the sections.
        environ: Names the embedded broker.
    """

    def __init__(
        self,
        spec: RuntimeSpec,
        triggers: Mapping[str, Trigger],
        sinks: Mapping[str, Sink],
        references: References,
        environ: Mapping[str, str],
    ) -> None:
        self._specs = [trigger for trigger in spec.triggers if not isinstance(trigger, HttpTrigger)]
        self._triggers = triggers
        self._sinks = sinks
        self._references = references
        self._environ = environ
        self._open_sinks: set[str] = set()
        self._pumps: dict[str, StreamPump] = {}
        self._retrying: list[asyncio.Task[None]] = []
        self._started = False

    async def open(
        self, intake: Intake, in_flight: InFlight, metrics: Metrics, buffers: Buffers, device: Device
    ) -> None:
        """Connect everything, or begin to wait for what is away.

        Raises:
            TriggerError: One that waiting does not help (a stream is missing).
        """

        async def attach(spec: TriggerSpec) -> None:
            await self._open_trigger(spec, intake, in_flight, metrics, buffers, device)

        work = [(f"binding={name}", partial(self._open_sink, name)) for name in self._sinks]
        work += [(f"trigger={spec.name}", partial(attach, spec)) for spec in self._specs]
        for what, attempt in work:
            try:
                await attempt()
            except TriggerError as exc:
                if not exc.retriable:
                    raise
                logger.error("%s: %s", what, exc)
                self._retrying.append(asyncio.create_task(_keep_trying(what, attempt)))

    def start(self) -> None:
        """Begin to fetch, now or as soon as a trigger's broker is there."""
        self._started = True
        for pump in self._pumps.values():
            pump.start()

    async def stop_fetching(self, withdraw: Withdraw) -> None:
        """Fetch nothing more; what no handler has begun with goes back to the brokers."""
        self._started = False
        for task in self._retrying:
            task.cancel()
        await asyncio.gather(*self._retrying, return_exceptions=True)
        await asyncio.gather(*(pump.stop_fetching(withdraw) for pump in self._pumps.values()))

    async def settled(self) -> None:
        """Wait until every event that was fetched is settled."""
        await asyncio.gather(*(pump.settled() for pump in self._pumps.values()))

    async def aclose(self) -> None:
        """Close sources, then sinks."""
        for what, close in (
            *((f"trigger={name}", pump.aclose) for name, pump in self._pumps.items()),
            *((f"binding={name}", self._sinks[name].aclose) for name in sorted(self._open_sinks)),
        ):
            try:
                await close()
            except TriggerError as exc:
                logger.warning("%s not closed: %s", what, exc)

    async def _open_sink(self, name: str) -> None:
        if name not in self._open_sinks:
            await self._sinks[name].open()
            self._open_sinks.add(name)

    async def _open_trigger(
        self,
        spec: TriggerSpec,
        intake: Intake,
        in_flight: InFlight,
        metrics: Metrics,
        buffers: Buffers,
        device: Device,
    ) -> None:
        sink = None if isinstance(spec, HttpTrigger) else spec.sink
        if sink is not None:
            await self._open_sink(sink)
        source = make_source(spec, self._triggers[spec.name], self._references, self._environ)
        await source.open(buffers, device)
        pump = self._pumps[spec.name] = StreamPump(
            spec.name,
            source,
            self._sinks[sink] if sink is not None else None,
            intake,
            in_flight=in_flight,
            metrics=metrics.triggers[spec.name],
            share=len(self._specs),
        )
        if self._started:
            pump.start()


async def _keep_trying(what: str, attempt: Callable[[], Awaitable[None]]) -> None:
    pause_s, longest_s = RETRY_S
    said = ""
    while True:
        await asyncio.sleep(pause_s)
        try:
            await attempt()
        except TriggerError as exc:
            if str(exc) != said:  # an outage is told once, not at each attempt
                said = str(exc)
                logger.error("%s: %s", what, exc)
            pause_s = min(pause_s * 2, longest_s)
        else:
            logger.info("%s connected", what)
            return
