"""A member of a consumer group: joined and kept alive by aiokafka, its fetches handed on undecoded.

aiokafka's client, group coordinator and fetcher are put together here without its consumer, which would decode
record by record and commit what it handed out. What does not belong here: events, and which offset may be
committed.
"""

import asyncio
import logging
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any, Protocol

import msgspec
from aiokafka import ConsumerRebalanceListener, errors
from aiokafka.client import AIOKafkaClient
from aiokafka.consumer.fetcher import Fetcher
from aiokafka.consumer.group_coordinator import GroupCoordinator
from aiokafka.consumer.subscription_state import SubscriptionState
from aiokafka.coordinator.assignors.range import RangePartitionAssignor
from aiokafka.coordinator.assignors.roundrobin import RoundRobinPartitionAssignor
from aiokafka.coordinator.assignors.sticky.sticky_assignor import StickyPartitionAssignor
from aiokafka.protocol.commit import OffsetCommitRequest
from aiokafka.structs import OffsetAndMetadata, TopicPartition

from ..errors import StreamMissing
from .client import REQUEST_TIMEOUT_MS, as_trigger_error, connect, mapped
from .spec import KafkaTrigger

logger = logging.getLogger(__name__)

FETCH_BYTES, FETCH_PARTITION_BYTES = 16 * 2**20, 2**20
"""At most this much in an answer, and of one partition in it; what bounds memory per broker."""
FETCH_WAIT_MS = 500
HEARTBEAT_MAX_S = 1.0
"""A rebalance is heard of with a heartbeat's answer: Kafka's own 3 s would be waited for by each new replica."""
_LEAVE_S = 3.0
_NEVER_MS = 2**31 - 1
_ASSIGNORS: Mapping[str, Any] = {
    "range": RangePartitionAssignor,
    "roundrobin": RoundRobinPartitionAssignor,
    "sticky": StickyPartitionAssignor,
}

Offsets = Mapping[TopicPartition, tuple[int, str]]
"""(offset, metadata) by partition."""


class Fetched(msgspec.Struct, frozen=True):
    """What a broker answered for one partition.

    Attributes:
        offset: What was asked for.
        data: Batches of records.
        aborted: (producer id, first offset) of each aborted transaction in it.
    """

    offset: int
    data: bytes
    aborted: Sequence[tuple[int, int]] | None
    assignment: Any

    def calculate_backoff(self) -> float:
        """As aiokafka's fetcher asks of what it keeps: nothing waits because this was not taken yet."""
        return 0.0


class Owner(Protocol):
    """Whom a member tells of what it owns."""

    async def assigned(self, partitions: Offsets) -> None:
        """`partitions` are ours from now on; offset -1 where the group has none."""
        ...

    async def revoked(self, *, lost: bool) -> None:
        """None of them is any more once this returns; `lost`: they are not already."""
        ...

    def arrived(self) -> None:
        """Something was fetched."""
        ...


class Member:
    """One membership, from joining to leaving; another is made to join again.

    Args:
        spec: References resolved.
        owner: Told of assignments, revocations and arrivals.
    """

    def __init__(self, spec: KafkaTrigger, owner: Owner) -> None:
        self._spec = spec
        self._owner = owner
        self._place = ",".join(spec.brokers)
        self._client: AIOKafkaClient | None = None
        self._subscription: Any = None
        self._coordinator: Any = None
        self._fetcher: Any = None

    # -- joining and leaving -------------------------------------------------------------------------------

    async def start(self) -> None:
        """Connect and begin to join the group.

        Raises:
            BrokerUnavailable: No broker can be reached.
            StreamMissing: A topic is not there.
        """
        spec = self._spec
        self._client = client = await connect(spec.brokers, spec.security, f"headrace-{spec.name}")
        try:
            await self._check_topics(client)
        except BaseException:
            await client.close()
            raise
        self._subscription = SubscriptionState()
        listener = _Listener(self, self._owner)
        if spec.topic_pattern is not None:
            self._subscription.subscribe_pattern(re.compile(rf"(?:{spec.topic_pattern})\Z"), listener)
            client.set_topics([])
        else:
            self._subscription.subscribe(set(spec.topics), listener)
            client.set_topics(spec.topics)
        self._fetcher = _Fetcher(self, client, self._subscription)
        self._coordinator = _Coordinator(client, self._subscription, spec)

    async def aclose(self) -> None:
        """Leave the group (a static member stays, for its next life), and disconnect."""
        if self._coordinator is not None:
            for part in (self._coordinator, self._fetcher):
                with suppress(errors.KafkaError, TimeoutError):
                    async with asyncio.timeout(_LEAVE_S):
                        await part.close()
            coordinator = self._coordinator
            tasks = (coordinator._coordination_task, coordinator._heartbeat_task, coordinator._commit_refresh_task)
            left = [task for task in tasks if task is not None]
            for task in left:
                task.cancel()
            await asyncio.gather(*left, return_exceptions=True)
        if self._client is not None:
            await self._client.close()

    def failure(self) -> BaseException | None:
        """What the group told this member since the last look; it goes on after that where it can."""
        coordinator = self._coordinator
        if coordinator is None:
            return None
        try:
            coordinator.check_errors()
        except errors.KafkaError as exc:
            return as_trigger_error(exc, "group", self._spec.group)
        return None

    @property
    def ended(self) -> bool:
        """Whether it does not work any more, and another must be made."""
        return self._coordinator is None or self._coordinator._coordination_task.done()

    @property
    def generation_lost(self) -> bool:
        """Whether the group has gone on without this member."""
        return bool(self._coordinator.generation == OffsetCommitRequest.DEFAULT_GENERATION_ID)

    async def _check_topics(self, client: AIOKafkaClient) -> None:
        if not self._spec.topics:
            return
        with mapped("topics", self._place):
            async with asyncio.timeout(REQUEST_TIMEOUT_MS / 1000):
                cluster = await client.fetch_all_metadata()
        for topic in self._spec.topics:
            if topic not in cluster.topics(exclude_internal_topics=False):
                raise StreamMissing(f"no topic `{topic}` - at `{self._place}`")

    # -- fetching ------------------------------------------------------------------------------------------

    def take(self, partition: TopicPartition) -> Fetched | None:
        """What was fetched of `partition`; the next fetch goes out after `advance`."""
        found = self._fetcher._records.get(partition)
        if not isinstance(found, Fetched):
            if found is not None:  # an error that the fetcher met
                del self._fetcher._records[partition]
                logger.warning("fetch failed topic=%s partition=%s error=%r", *partition, found._error)
            return None
        state = self._state(partition)
        if state is None or found.assignment is not self._subscription.subscription.assignment:
            return None
        del self._fetcher._records[partition]
        return found if state.has_valid_position and state.position == found.offset else None

    def advance(self, partition: TopicPartition, offset: int) -> None:
        """Fetch from `offset` on."""
        state = self._state(partition)
        if state is not None and state.has_valid_position:
            state.consumed_to(offset)
        self._fetcher._notify(self._fetcher._wait_consume_future)

    def pause(self, partition: TopicPartition, pause_s: float) -> None:
        """Fetch nothing of `partition` for a while."""
        state = self._state(partition)
        if state is not None:
            state.pause()
            asyncio.get_running_loop().call_later(pause_s, state.resume)

    async def positioned(self, partition: TopicPartition) -> int:
        """Where the first fetch begins, once that is known."""
        state = self._state(partition)
        await state.wait_for_position()
        return int(state.position)

    def _state(self, partition: TopicPartition) -> Any:
        subscription = self._subscription.subscription
        assignment = subscription.assignment if subscription is not None else None
        return assignment.state_value(partition) if assignment is not None else None

    # -- positions -----------------------------------------------------------------------------------------

    async def commit(self, offsets: Callable[[], Offsets]) -> Offsets:
        """Tell the group what `offsets` gives when the request is written, which it is without a pause if it can be.

        Returns:
            What was committed.

        Raises:
            BrokerUnavailable: It may not be; later it may.
            ConsumerConflict: The group has gone on without us: what was ours belongs to others.
        """
        try:
            await self._coordinator.ensure_coordinator_known()
            payload = offsets()
            whole = {partition: OffsetAndMetadata(*pair) for partition, pair in payload.items()}
            if whole:
                await self._coordinator._do_commit_offsets(None, whole)
        except (errors.UnknownMemberIdError, errors.IllegalGenerationError, errors.RebalanceInProgressError) as exc:
            raise as_trigger_error(errors.InconsistentGroupProtocolError(str(exc)), "commit", self._spec.group) from exc
        except (errors.KafkaError, OSError, TimeoutError) as exc:
            raise as_trigger_error(exc, "commit", self._spec.group) from exc
        return payload

    async def committed(self, partitions: Iterable[TopicPartition]) -> Offsets:
        """Where the group is; offset -1 where it has no position. Outages are ridden out."""
        wanted = list(partitions)
        found = await self._coordinator.fetch_committed_offsets(wanted)
        return {
            partition: (found[partition].offset, found[partition].metadata) if partition in found else (-1, "")
            for partition in wanted
        }


class _Coordinator(GroupCoordinator):  # type: ignore[misc]
    def __init__(self, client: AIOKafkaClient, subscription: Any, spec: KafkaTrigger) -> None:
        session_ms = round(spec.session_timeout * 1000)
        super().__init__(
            client,
            subscription,
            group_id=spec.group,
            group_instance_id=spec.group_instance_id,
            session_timeout_ms=session_ms,
            heartbeat_interval_ms=round(min(HEARTBEAT_MAX_S * 1000, session_ms / 6)),
            retry_backoff_ms=100,
            enable_auto_commit=False,
            assignors=(_ASSIGNORS[spec.assignor],),
            # a handler may take as long as it likes: it has a time limit of its own
            max_poll_interval_ms=_NEVER_MS,
            rebalance_timeout_ms=round(rebalance_timeout_s(spec) * 1000),
        )


class _Fetcher(Fetcher):  # type: ignore[misc]
    """aiokafka's, but what is fetched is kept as it came."""

    def __init__(self, member: Member, client: AIOKafkaClient, subscription: Any) -> None:
        spec = member._spec
        self._owner = member._owner
        super().__init__(
            client,
            subscription,
            fetch_max_bytes=FETCH_BYTES,
            fetch_max_wait_ms=FETCH_WAIT_MS,
            max_partition_fetch_bytes=FETCH_PARTITION_BYTES,
            retry_backoff_ms=100,
            auto_offset_reset=spec.offset_reset,
            isolation_level="read_committed" if spec.isolation == "readCommitted" else "read_uncommitted",
        )

    async def _proc_fetch_request(self, assignment: Any, node_id: int, request: Any) -> bool:
        try:
            response = await self._client.send(node_id, request)
        except errors.KafkaError:
            await asyncio.sleep(self._retry_backoff)
            return False
        except asyncio.CancelledError:  # as in aiokafka: the assignment went, and with it the interest
            return False
        if not assignment.active:
            return False
        asked = {
            TopicPartition(topic, number): offset for topic, parts in request.topics for number, offset, _ in parts
        }
        for topic, parts in response.topics:
            for number, code, highwater, *rest in parts:
                partition = TopicPartition(topic, number)
                state = assignment.state_value(partition)
                if not state.has_valid_position or state.position != asked[partition]:
                    continue
                if code:
                    self._refused(partition, state, errors.for_code(code))
                    continue
                state.highwater = highwater
                if data := rest[-1]:
                    aborted = (rest[2] if response.API_VERSION >= 11 else rest[-2]) if len(rest) > 1 else None
                    self._records[partition] = Fetched(asked[partition], data, aborted, assignment)
        if self._records:
            self._owner.arrived()
        return False  # nobody waits in the fetcher itself

    def _refused(self, partition: TopicPartition, state: Any, error: type[errors.KafkaError]) -> None:
        if error in (errors.NotLeaderForPartitionError, errors.UnknownTopicOrPartitionError):
            self._client.force_metadata_update()
        elif error is errors.OffsetOutOfRangeError:
            logger.warning("position is gone topic=%s partition=%s offset=%s", *partition, state.position)
            state.await_reset(self._default_reset_strategy)
        else:
            self._set_error(partition, error())
            self._owner.arrived()


class _Listener(ConsumerRebalanceListener):  # type: ignore[misc]
    def __init__(self, member: Member, owner: Owner) -> None:
        self._member = member
        self._owner = owner

    async def on_partitions_revoked(self, revoked: Iterable[TopicPartition]) -> None:  # pyright: ignore
        await self._owner.revoked(lost=self._member.generation_lost)

    async def on_partitions_assigned(self, assigned: Iterable[TopicPartition]) -> None:  # pyright: ignore
        try:
            committed = await self._member.committed(assigned)
        except errors.KafkaError as exc:  # aiokafka would go on as if nothing were
            logger.warning("positions unknown error=%s", exc)
            self._member._coordinator.request_rejoin()
        else:
            await self._owner.assigned(committed)


def rebalance_timeout_s(spec: KafkaTrigger) -> float:
    """How long the group waits for a member to finish what it works on before it hands over."""
    return max(30.0, 2 * spec.session_timeout)
