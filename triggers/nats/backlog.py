"""How much waits on a JetStream consumer, as a `Backlog`.

One `CONSUMER.INFO` a look, which the stream's leader always answers. What does not belong here: deciding
what follows from it, and how a wake-up comes without asking (`watch`).
"""

import logging
from collections.abc import Callable

from ..errors import TriggerError
from ..protocols import Reading
from .client import Connection
from .jetstream import JetStream
from .spec import NatsTrigger
from .watch import Watch

logger = logging.getLogger(__name__)


class JetStreamBacklog:
    """Looks at a trigger's consumer.

    Args:
        spec: References resolved.
        url: The broker.
        create: Make a missing stream (the embedded broker) instead of failing.
    """

    def __init__(self, spec: NatsTrigger, url: str, *, create: bool) -> None:
        self._spec = spec
        self._create = create
        self._connection = Connection(url, f"headrace backlog {spec.name}")
        self._jetstream = JetStream(self._connection)
        self._watch = Watch(spec, self._jetstream, self._has_backlog)

    async def open(self) -> None:
        """Connect; the consumer need not exist yet. Raises `TriggerError`."""
        await self._connection.open()
        try:
            if self._create:
                await self._jetstream.ensure_stream(self._spec.stream, self._spec.subjects)
            else:
                await self._jetstream.stream(self._spec.stream)
        except BaseException:
            await self._connection.aclose()
            raise

    async def read(self) -> Reading:
        """What waits now; raises `TriggerError`.

        Without a consumer all of the stream's messages wait, since the source will begin at the first.
        `arrived_total` falls when the consumer is made anew. With filters it counts deliveries instead of
        sequence numbers, which other subjects' messages take up too; a redelivery then counts as an arrival.
        """
        info = await self._jetstream.consumer(self._spec.stream, self._spec.consumer)
        if info is None:
            return await self._read_stream()
        delivered = info.delivered.consumer_seq if self._spec.subjects else info.delivered.stream_seq
        return Reading(
            pending=info.num_pending,
            unsettled=info.num_ack_pending,
            arrived_total=delivered + info.num_pending,
        )

    def watch(self, wake: Callable[[], None]) -> None:
        """Call `wake` soon after an event arrives, until `unwatch`."""
        self._watch.start(wake)

    def unwatch(self) -> None:
        """End `watch`."""
        self._watch.stop()

    async def aclose(self) -> None:
        """Disconnect."""
        await self._watch.aclose()
        await self._connection.aclose()

    async def _read_stream(self) -> Reading:
        spec = self._spec
        if spec.subjects:
            infos = [await self._jetstream.stream(spec.stream, subject) for subject in spec.subjects]
            pending = sum(sum(info.state.subjects.values()) for info in infos)
        else:
            pending = (await self._jetstream.stream(spec.stream)).state.messages
        return Reading(pending=pending, unsettled=0, arrived_total=pending)

    async def _has_backlog(self) -> bool:
        try:
            return (await self.read()).backlog > 0
        except TriggerError as exc:
            logger.debug("backlog unknown trigger=%s error=%s", self._spec.name, exc)
            return False
