"""How many replicas there should be: signals, memory and the time in; a number, the reason and new memory out.

    desired = ceil(arrivals / (0.75 · service rate) + backlog / (service rate · targetDrain))

bounded by `scale` and by what the platform and the partitions allow; up at once, down after
`cooldownPeriod`. Pure. What does not belong here: reading signals, clocks, acting.

Source: the lag-based law of KEDA and its known faults (keda#7092, #1983, #4098), corrected for arrivals,
for replicas that are still starting, and for a missing signal.
"""

import math
from collections.abc import Iterable, Mapping

import msgspec

from headrace.triggers.protocols import Reading

from .spec import Scale

UTILIZATION = 0.75
"""Share of the service rate that arrivals may take: the rest absorbs their variance (0.7 to 0.85 is usual)."""
HTTP_UTILIZATION = 0.7
"""Share of `inFlight` that requests may take, as Knative's container-concurrency-target-percentage."""
INITIAL_RATE = 100.0
"""Events/s that a replica is taken to handle until one was seen under load."""
ARRIVALS_WINDOW_S = 15.0
SERVICE_WINDOW_S = 10.0
_LEAST_SAMPLE_S = 0.2

SCALE_IN_TOLERANCE = 0.02
"""Of hundreds of replicas one more or fewer is noise in the rates; below fifty each one counts."""


class Signals(msgspec.Struct, frozen=True, kw_only=True):
    """What was seen at one moment.

    Attributes:
        readings: Each queue by trigger name; None: it could not be read.
        completed: Events of those triggers settled by all replicas there ever were.
        requests: Events of all other triggers (HTTP requests) settled, counted alike.
        ready: Replicas that serve.
        starting: Replicas that will.
        in_flight: Events received and not settled, over all triggers and replicas.
        waiting: HTTP connections that no replica has taken.
        cold_start_s: How long a replica takes from start to ready.
    """

    readings: Mapping[str, Reading | None] = {}
    completed: int = 0
    requests: int = 0
    ready: int = 0
    starting: int = 0
    in_flight: int = 0
    waiting: int = 0
    cold_start_s: float = 0.5

    @property
    def known(self) -> tuple[Reading, ...]:
        """The queues that could be read."""
        return tuple(reading for reading in self.readings.values() if reading is not None)

    @property
    def missing(self) -> tuple[str, ...]:
        """Names of those that could not."""
        return tuple(name for name, reading in self.readings.items() if reading is None)

    @property
    def backlog(self) -> int:
        """Events not settled, over all queues that could be read."""
        return sum(reading.backlog for reading in self.known)

    @property
    def present(self) -> int:
        """Replicas that count as capacity."""
        return self.ready + self.starting


class Caps(msgspec.Struct, frozen=True, kw_only=True):
    """Bounds beside those of `scale`.

    Attributes:
        platform: The most replicas that the platform has room for; None: any number.
        in_flight: `concurrency.inFlight`.
        http: The function takes HTTP requests.
    """

    platform: int | None = None
    in_flight: int = 256
    http: bool = True


class Arrivals(msgspec.Struct, frozen=True):
    """One queue's arrival rate (events/s, EWMA), and the count it was last told by."""

    total: int
    at: float
    rate: float = 0.0


class Service(msgspec.Struct, frozen=True):
    """Events/s that one replica settles under load (EWMA; None before any was seen), and the sample being taken.

    Attributes:
        rate: The estimate.
        completed: Count at the start of the sample.
        at: Time of the last look.
        ready: Replicas then.
        saturated: More waited than was being handled, then.
        elapsed_s: Length of the sample so far.
        replica_s: The same, times replicas.
    """

    rate: float | None = None
    completed: int = 0
    at: float = 0.0
    ready: int = 0
    saturated: bool = False
    elapsed_s: float = 0.0
    replica_s: float = 0.0


class Memory(msgspec.Struct, frozen=True, kw_only=True):
    """What one decision leaves to the next.

    Attributes:
        replicas: The last decision; None before the first.
        wanted: (time, replicas) that may still hold a later decision up, fewest last.
        settled: Events settled, over all triggers, when last decided.
        arrivals: By trigger name.
        service: How fast one replica is.
    """

    replicas: int | None = None
    wanted: tuple[tuple[float, int], ...] = ()
    settled: int = 0
    arrivals: Mapping[str, Arrivals] = {}
    service: Service = Service()

    @property
    def arrival_rate(self) -> float:
        """Events/s over all queues."""
        return sum(arrivals.rate for arrivals in self.arrivals.values())


class Decision(msgspec.Struct, frozen=True, kw_only=True):
    """How many replicas there should be, why, and what to remember."""

    replicas: int
    reason: str
    memory: Memory


def decide(signals: Signals, scale: Scale, caps: Caps, now: float, memory: Memory) -> Decision:
    """How many replicas there should be at `now`.

    Args:
        signals: What was seen just now.
        scale: The function's own bounds.
        caps: Bounds by its surroundings.
        now: Monotonic seconds.
        memory: As the last decision left it.
    """
    arrived = _arrived(signals, memory)
    arrivals = {**memory.arrivals, **_arrivals(signals, memory, now)}
    memory = msgspec.structs.replace(memory, arrivals=arrivals, service=_service(signals, memory.service, now))
    active = arrived or signals.completed + signals.requests > memory.settled
    wanted, why = _wanted(signals, scale, caps, memory, active)
    cap, capped_by = _cap(signals, scale, caps)
    bounded = min(cap, max(scale.min_replica_count, wanted))
    window = _window(signals, memory, min(cap, signals.present), bounded, now - scale.cooldown_period, now)
    replicas = min(cap, max(count for _, count in window))
    before = memory.replicas or 0
    if before * (1 - SCALE_IN_TOLERANCE) < replicas < before <= cap:
        replicas, why = before, "about as many as there are"
    elif replicas > bounded:
        why = f"kept until fewer are wanted for {scale.cooldown_period:g} s"
    elif wanted > cap:
        why = f"{why}, capped by {capped_by}"
    elif wanted < bounded:
        why = f"minReplicaCount {scale.min_replica_count}"
    return Decision(
        replicas=replicas,
        reason=f"{_count(replicas, 'replica')}: {why}",
        memory=msgspec.structs.replace(
            memory, replicas=replicas, wanted=window, settled=signals.completed + signals.requests
        ),
    )


# -- what is wanted ----------------------------------------------------------------------------------------


def _wanted(signals: Signals, scale: Scale, caps: Caps, memory: Memory, active: bool) -> tuple[int, str]:
    """Replicas before bounds and cooldown, and why."""
    options = [_for_requests(signals, caps), _for_backlog(signals, scale, memory, active)]
    if signals.missing and memory.replicas:
        names = ", ".join(f"`{name}`" for name in signals.missing)
        options.append((memory.replicas, f"held, the backlog of {names} can't be read"))
    wanted, why = max(options, key=lambda option: option[0])
    if wanted == 0 and (active or signals.in_flight):
        return 1, f"{signals.in_flight} in flight" if signals.in_flight else "events since the last look"
    if wanted == 0:
        why = f"idle for {scale.cooldown_period:g} s" if memory.replicas else "idle"
    return wanted, why


def _for_requests(signals: Signals, caps: Caps) -> tuple[int, str]:
    """Enough for the requests in progress and waiting, each replica at `HTTP_UTILIZATION` of its limit.

    Streams count in `in_flight` too; what their brokers say is delivered is taken off, since their backlog
    already stands for it.
    """
    if not caps.http:  # a health check, or a client that is wrong here: one replica says so
        return min(1, signals.waiting), _count(signals.waiting, "request") + " waiting"
    in_progress = max(0, signals.in_flight - sum(reading.unsettled for reading in signals.known))
    if signals.missing:
        in_progress = 0  # can't be told from a stream's events; the held decision covers it
    target = max(1.0, caps.in_flight * HTTP_UTILIZATION)
    why = f"{_count(signals.waiting, 'request')} waiting, {in_progress} in progress, target {target:g} a replica"
    return math.ceil((in_progress + signals.waiting) / target), why


def _for_backlog(signals: Signals, scale: Scale, memory: Memory, active: bool) -> tuple[int, str]:
    """The sizing law, less a scale-out that would come too late to help.

    A function that is quick enough to leave no backlog behind is sized by its arrivals alone.
    """
    backlog, rate, arrivals = signals.backlog, memory.service.rate, memory.arrival_rate
    if not signals.known or (backlog == 0 and (rate is None or not active)):
        return 0, ""
    if rate is None:
        why = f"backlog {backlog}, {INITIAL_RATE:g} events/s a replica to begin with, drain {scale.target_drain:g} s"
        return _up(backlog / (INITIAL_RATE * scale.target_drain)), why
    steady = arrivals / (UTILIZATION * rate)
    wanted = _up(steady + backlog / (rate * scale.target_drain))
    why = f"backlog {backlog}, {rate:.3g} events/s a replica, drain {scale.target_drain:g} s"
    if arrivals >= 0.05:
        why += f", {arrivals:.3g} events/s arriving"
    if 0 < signals.present < wanted:
        spare = signals.present * rate - arrivals
        if spare > 0 and backlog / spare <= signals.cold_start_s:
            gated = max(signals.present, min(wanted, _up(steady)))
            if gated < wanted:
                return gated, f"backlog {backlog} is gone before another could start"
    return wanted, why


def _up(value: float) -> int:
    """`value` rounded up, at least 1; a hair above a whole number (floating point) is that number."""
    return max(1, math.ceil(value - 1e-9))


# -- bounds ------------------------------------------------------------------------------------------------


def _cap(signals: Signals, scale: Scale, caps: Caps) -> tuple[int, str]:
    """The most replicas allowed, and what allows no more."""
    options = [(scale.max_replica_count, f"maxReplicaCount {scale.max_replica_count}")]
    if caps.platform is not None:
        options.append((max(1, caps.platform), _count(caps.platform, "CPU core")))
    partitions = [reading.partitions for reading in signals.known]
    if partitions and not caps.http and not signals.missing:
        # each replica takes part in every trigger, so the widest of them sets the bound
        widths = [width for width in partitions if width is not None]
        if len(widths) == len(partitions):
            options.append((max(1, *widths), _count(max(widths), "partition")))
    return min(options, key=lambda option: option[0])


def _window(
    signals: Signals, memory: Memory, present: int, wanted: int, since: float, now: float
) -> tuple[tuple[float, int], ...]:
    """What was wanted since `since`, where nothing later outdoes it: at most one entry for each count.

    A scaler that finds replicas takes them as wanted until it has seen a whole cooldown.
    """
    before: Iterable[tuple[float, int]] = memory.wanted
    if memory.replicas is None and signals.present:
        before = ((now, present),)
    kept = [(at, count) for at, count in before if at > since and count > wanted]
    return (*kept, (now, wanted))


# -- rates -------------------------------------------------------------------------------------------------


def _arrived(signals: Signals, memory: Memory) -> bool:
    """Whether any queue has taken an event since it was last read."""
    return any(
        reading is not None and name in memory.arrivals and reading.arrived_total > memory.arrivals[name].total
        for name, reading in signals.readings.items()
    )


def _arrivals(signals: Signals, memory: Memory, now: float) -> dict[str, Arrivals]:
    return {
        name: _next_arrivals(memory.arrivals.get(name), reading.arrived_total, now)
        for name, reading in signals.readings.items()
        if reading is not None
    }


def _next_arrivals(last: Arrivals | None, total: int, now: float) -> Arrivals:
    if last is None or total < last.total:  # a stream that was purged or made anew counts from the start
        return Arrivals(total, now)
    elapsed = now - last.at
    if elapsed < _LEAST_SAMPLE_S:
        return last
    return Arrivals(total, now, _blend(last.rate, (total - last.total) / elapsed, elapsed, ARRIVALS_WINDOW_S))


def _service(signals: Signals, last: Service, now: float) -> Service:
    """The next estimate: full samples come only from between two looks at which more waited than was handled.

    Otherwise replicas were perhaps idle, and the rate says what arrived, not what they can do: then it
    counts only where it is higher than what was thought possible. A slow handler's sample ends with its
    next completion.
    """
    saturated = any(reading.pending > 0 for reading in signals.known) and signals.ready > 0
    fresh = Service(last.rate, signals.completed, now, signals.ready, saturated)
    if signals.ready == 0 or last.ready == 0:
        return fresh
    if now - last.at < _LEAST_SAMPLE_S:
        return last
    elapsed_s = last.elapsed_s + now - last.at
    replica_s = last.replica_s + (now - last.at) * (signals.ready + last.ready) / 2
    done = signals.completed - last.completed
    if saturated and last.saturated:
        if done <= 0:
            return Service(last.rate, last.completed, now, signals.ready, True, elapsed_s, replica_s)
        sample = done / replica_s
        rate = sample if last.rate is None else _blend(last.rate, sample, elapsed_s, SERVICE_WINDOW_S)
        return msgspec.structs.replace(fresh, rate=rate)
    if last.rate is not None and done > last.rate * replica_s:
        return msgspec.structs.replace(fresh, rate=done / replica_s)
    return fresh


def _blend(old: float, sample: float, elapsed_s: float, window_s: float) -> float:
    """An exponentially weighted mean whose weight is right for any spacing of samples."""
    weight = 1.0 - math.exp(-elapsed_s / window_s)
    return old + weight * (sample - old)


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
