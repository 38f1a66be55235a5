"""When a group is told of positions: before events are delivered, soon after they are settled, and at the end.

One timer for all partitions; what could not be told in an outage is told again. What does not belong here:
which position it is (`partition`).
"""

import asyncio
import logging
from collections.abc import Mapping

from aiokafka.structs import TopicPartition

from ..errors import ConsumerConflict, TriggerError
from .member import Member, Offsets
from .partition import Partition

logger = logging.getLogger(__name__)

INTERVAL_S = 0.1
"""Between commits of what is settled: at most this much is delivered again after a crash."""
_AGAIN_S = 0.5
_FLUSH_S = 5.0


class Commits:
    """Commits the positions of `partitions`, which others add to and take from.

    Args:
        name: The trigger's name.
        member: Carries them out.
        partitions: Those that are ours.

    Attributes:
        member: Replaced when the group is joined anew.
    """

    def __init__(self, name: str, member: Member, partitions: Mapping[TopicPartition, Partition]) -> None:
        self.member = member
        self._name = name
        self._partitions = partitions
        self._dirty: set[TopicPartition] = set()
        self._under_way: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._lost = ""

    def soon(self, partition: Partition) -> None:
        """Its position may have changed."""
        partition.dirty = True
        self._dirty.add(partition.key)
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(INTERVAL_S, self._fire)

    async def claim(self) -> None:
        """Have a request that says what is being worked on written before this returns; its answer comes later.

        It need not be waited for: what the kernel has been given reaches the broker though the process dies, and is
        read if nothing lies before it. As brokers answer a commit in 5 ms (group.coordinator.append.linger.ms),
        more is claimed than was taken where one follows another, and again before that is used up.
        """
        unclaimed = [partition for partition in self._partitions.values() if partition.unclaimed]
        if not unclaimed and self._under_way is None:
            unclaimed = [partition for partition in self._partitions.values() if partition.running_out]
            for partition in unclaimed:
                partition.claim(ahead=True)
                self._dirty.add(partition.key)
            if unclaimed:
                self._start()
        elif unclaimed:
            busy = self._under_way is not None
            while self._under_way is not None:
                await asyncio.wait({self._under_way})
            for partition in unclaimed:
                partition.claim(ahead=busy)
                self._dirty.add(partition.key)
            self._start()
            await asyncio.sleep(0)  # a task's first step is taken before ours goes on

    async def flush(self) -> None:
        """Commit what is settled now, as far as the group takes it."""
        self._stop_timer()
        if not self._partitions:
            return
        if self._under_way is not None:
            await asyncio.wait({self._under_way}, timeout=_FLUSH_S)
        self._dirty.update(self._partitions)
        try:
            async with asyncio.timeout(_FLUSH_S):
                await self._commit()
        except TimeoutError:
            logger.warning("commit not answered trigger=%s", self._name)

    def forget(self) -> None:
        """The partitions are not ours any more."""
        self._dirty.clear()
        self._stop_timer()

    def _fire(self) -> None:
        self._timer = None
        for partition in self._partitions.values():
            partition.unclaim()
        if self._under_way is None:
            self._start()
        else:
            self._again(INTERVAL_S)

    def _start(self) -> None:
        self._under_way = asyncio.create_task(self._commit())
        self._under_way.add_done_callback(self._ended)

    def _ended(self, task: "asyncio.Task[None]") -> None:
        if self._under_way is task:
            self._under_way = None

    async def _commit(self) -> None:
        try:
            committed = await self.member.commit(self._changed)
        except TriggerError as exc:
            self._failed(exc)
        else:
            if committed:
                self._lost = ""

    def _failed(self, exc: TriggerError) -> None:
        for key, partition in self._partitions.items():
            partition.committed = None
            self._dirty.add(key)
        # in a rebalance they are told once more before they are released, if they still are ours
        if not isinstance(exc, ConsumerConflict):
            if str(exc) != self._lost:  # an outage is told once
                self._lost = str(exc)
                logger.warning("not committed trigger=%s error=%s", self._name, exc)
            self._again(_AGAIN_S)

    def _changed(self) -> Offsets:
        """What there is to tell, when it is about to be told."""
        payload: dict[TopicPartition, tuple[int, str]] = {}
        for key in self._dirty:
            partition = self._partitions.get(key)
            if partition is None:
                continue
            if (now := partition.commitment) != partition.committed:
                payload[key] = partition.committed = now
        self._dirty = {key for key, partition in self._partitions.items() if partition.overclaimed}
        if self._dirty:
            self._again(INTERVAL_S)
        return payload

    def _again(self, after_s: float) -> None:
        if self._timer is None and self._partitions:
            self._timer = asyncio.get_running_loop().call_later(after_s, self._fire)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
