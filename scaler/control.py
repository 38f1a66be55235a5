"""The control loop: looks at queues and replicas, has `decision` decide, and tells the platform.

Pushed wake-ups bring it to life; while there are replicas it looks every second, at zero every five as a
safety net. What does not belong here: the law, and starting or ending anything.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from typing import Literal

import msgspec

from headrace.triggers.errors import TriggerError
from headrace.triggers.http.spec import HttpTrigger
from headrace.triggers.protocols import Backlog, Reading

from .coldstarts import ColdStart, ColdStarts
from .decision import Caps, Decision, Memory, Signals, decide
from .platform import Platform, Replica, ReplicaState, View
from .spec import ScalerSpec

logger = logging.getLogger(__name__)

DEBOUNCE_S = 0.01
"""Wake-ups come in bursts, one for each event; one decision takes them all (reference: 10 to 20 ms)."""
STARTING_S = 0.25
ACTIVE_S = 1.0
ZERO_S = 5.0
READ_TIMEOUT_S = 2.0
OPEN_RETRY_S = (0.5, 10.0)


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """The number of replicas wanted has changed."""

    before: int
    after: int
    reason: str

    def __str__(self) -> str:
        return f"scaled {self.before} → {self.after}: {self.reason}"


class Snapshot(msgspec.Struct, frozen=True, kw_only=True):
    """All that the control loop knows, for `func describe` and live displays.

    Attributes:
        mode: `fixed`: the number was given; `paused`: the last decision stays.
        desired: The last decision.
        backlog: By trigger name; None: it could not be read.
        waiting: HTTP connections that no replica has taken.
        completed: Events settled by all replicas there ever were, by trigger name.
        arrival_rate: Events/s over all queues.
        service_rate: Events/s that one replica settles under load; None before any was seen.
        cold_starts: The last hundred, oldest first.
        scaled_out: Decisions for more.
        scaled_in: Decisions for fewer.
        replaced: Replicas that exited unasked.
        failed_starts: In a row.
        failure: Why the last start failed; None after one that did not.
    """

    name: str
    mode: Literal["auto", "fixed", "paused"]
    desired: int
    reason: str
    replicas: tuple[Replica, ...]
    backlog: Mapping[str, Reading | None]
    waiting: int
    in_flight: int
    completed: Mapping[str, int]
    arrival_rate: float
    service_rate: float | None
    cold_starts: tuple[ColdStart, ...]
    scaled_out: int
    scaled_in: int
    replaced: int
    failed_starts: int
    failure: str | None


class Control:
    """Keeps one function at as many replicas as it needs.

    Args:
        spec: The function's scale and triggers.
        platform: Runs the replicas; closed by the caller, after the loop has ended.
        backlogs: By trigger name; opened and closed by the loop.
        in_flight_limit: `concurrency.inFlight`.
        replicas: Keep exactly this many; None decides by what flows.
        on_change: Told of each change, on the loop.
        clock: Monotonic seconds.
        wall: Unix time.
    """

    def __init__(
        self,
        spec: ScalerSpec,
        platform: Platform,
        backlogs: Mapping[str, Backlog],
        *,
        in_flight_limit: int = 256,
        replicas: int | None = None,
        on_change: Callable[[Change], None] | None = None,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._spec = spec
        self._platform = platform
        self._backlogs = dict(backlogs)
        self._fixed = replicas
        self._on_change = on_change
        self._clock = clock
        self._caps = Caps(
            platform=platform.cap,
            in_flight=in_flight_limit,
            http=any(isinstance(trigger, HttpTrigger) for trigger in spec.triggers),
        )
        self._paused = False
        self._stopped = False
        self._woken = asyncio.Event()
        self._watching = False
        self._opened: set[str] = set()
        self._readings: dict[str, Reading | None] = dict.fromkeys(backlogs)
        self._memory = Memory()
        self._reason = "not decided yet"
        self._desired = 0
        self._scaled_out = 0
        self._scaled_in = 0
        self._cold_starts = ColdStarts(wall)

    async def run(self) -> None:
        """Open the backlogs and keep the function at size until `stop`; a broker that is away is waited for."""
        self._platform.watch(self.wake)
        opening = [asyncio.create_task(self._open(name)) for name in self._backlogs]
        try:
            while not self._stopped:
                await self.tick()
                await self._rest()
        finally:
            for task in opening:
                task.cancel()
            await asyncio.gather(*opening, return_exceptions=True)
            self._watch(False)
            await asyncio.gather(*(backlog.aclose() for backlog in self._backlogs.values()), return_exceptions=True)

    def stop(self) -> None:
        """End `run` soon; replicas stay as they are."""
        self._stopped = True
        self._woken.set()

    def wake(self) -> None:
        """Look soon: something has come, or a replica's state has changed. Cheap; call it as often as you like."""
        if self._desired == 0:
            self._cold_starts.sign()
        self._woken.set()

    def pause(self) -> None:
        """Keep the number of replicas as it is."""
        self._paused = True

    def resume(self) -> None:
        """Decide again."""
        self._paused = False
        self._woken.set()

    def snapshot(self) -> Snapshot:
        """What is known now."""
        view = self._platform.look()
        return Snapshot(
            name=self._spec.name,
            mode="paused" if self._paused else "auto" if self._fixed is None else "fixed",
            desired=self._desired,
            reason=self._reason,
            replicas=view.replicas,
            backlog=dict(self._readings),
            waiting=view.waiting,
            in_flight=sum(replica.in_flight for replica in view.replicas),
            completed=view.completed,
            arrival_rate=self._memory.arrival_rate,
            service_rate=self._memory.service.rate,
            cold_starts=self._cold_starts.all,
            scaled_out=self._scaled_out,
            scaled_in=self._scaled_in,
            replaced=view.replaced,
            failed_starts=view.failed_starts,
            failure=view.failure,
        )

    async def tick(self) -> None:
        """Look once, decide and apply."""
        await self._read()
        if self._stopped:
            return
        view = self._platform.look()
        self._cold_starts.look(view.replicas)
        if not self._paused:
            self._apply(self._decide(view))
        if self._watch(self._desired == 0 and not _present(self._platform.look())):
            self._woken.set()  # what came between the reading and the watch is found by one more look

    # -- looking --------------------------------------------------------------------------------------------

    async def _open(self, name: str) -> None:
        delay_s, longest_s = OPEN_RETRY_S
        while True:
            try:
                await self._backlogs[name].open()
            except TriggerError as exc:
                logger.warning("backlog not readable trigger=%s retry_s=%.1f error=%s", name, delay_s, exc)
                await asyncio.sleep(delay_s)
                delay_s = min(longest_s, delay_s * 2)
            else:
                self._opened.add(name)
                if self._watching:
                    self._backlogs[name].watch(self.wake)
                self._woken.set()
                return

    async def _read(self) -> None:
        names = list(self._backlogs)
        for name, reading in zip(names, await asyncio.gather(*map(self._read_one, names)), strict=True):
            self._readings[name] = reading

    async def _read_one(self, name: str) -> Reading | None:
        if name not in self._opened:
            return None
        try:
            return await asyncio.wait_for(self._backlogs[name].read(), READ_TIMEOUT_S)
        except (TriggerError, TimeoutError) as exc:
            if self._readings[name] is not None:  # once for each outage
                logger.warning("backlog not readable trigger=%s error=%s", name, exc or "no answer in time")
        except Exception:  # a fault in one kind's client must not leave the function without a scaler
            logger.exception("backlog failed trigger=%s", name)
        return None

    def _watch(self, watch: bool) -> bool:
        """Have the brokers tell of new events, or not; whether they were just asked to."""
        if watch == self._watching:
            return False
        self._watching = watch
        for name in self._opened:
            if watch:
                self._backlogs[name].watch(self.wake)
            else:
                self._backlogs[name].unwatch()
        return watch and bool(self._opened)

    # -- deciding -------------------------------------------------------------------------------------------

    def _decide(self, view: View) -> Decision:
        counts = {state: sum(replica.state is state for replica in view.replicas) for state in ReplicaState}
        streams = sum(view.completed.get(name, 0) for name in self._backlogs)
        signals = Signals(
            readings=dict(self._readings),
            completed=streams,
            requests=sum(view.completed.values()) - streams,
            ready=counts[ReplicaState.READY],
            starting=counts[ReplicaState.STARTING],
            in_flight=sum(replica.in_flight for replica in view.replicas),
            waiting=view.waiting,
            cold_start_s=self._cold_starts.typical_s,
        )
        decision = decide(signals, self._spec.scale, self._caps, self._clock(), self._memory)
        self._memory = decision.memory
        if self._fixed is None:
            return decision
        noun = "replica" if self._fixed == 1 else "replicas"
        return msgspec.structs.replace(decision, replicas=self._fixed, reason=f"{self._fixed} {noun}: as given")

    def _apply(self, decision: Decision) -> None:
        before, after = self._desired, decision.replicas
        self._desired, self._reason = after, decision.reason
        if before == 0 and not _present(self._platform.look()):  # one that was there already is no cold start
            self._cold_starts.decided(after)
        self._platform.apply(after)
        if before == after:
            return
        if after > before:
            self._scaled_out += 1
        else:
            self._scaled_in += 1
        change = Change(before=before, after=after, reason=decision.reason)
        logger.info("%s", change)
        if self._on_change is not None:
            self._on_change(change)

    # -- resting --------------------------------------------------------------------------------------------

    async def _rest(self) -> None:
        """Until woken, or it is time to look again."""
        try:
            await asyncio.wait_for(self._woken.wait(), self._period_s())
            await asyncio.sleep(DEBOUNCE_S)
        except TimeoutError:
            pass
        self._woken.clear()

    def _period_s(self) -> float:
        if self._watching:
            return ZERO_S
        states = [replica.state for replica in self._platform.look().replicas]
        return STARTING_S if ReplicaState.STARTING in states else ACTIVE_S


def _present(view: View) -> bool:
    """Whether any replica takes, or will take, what comes."""
    return any(replica.state in (ReplicaState.STARTING, ReplicaState.READY) for replica in view.replicas)
