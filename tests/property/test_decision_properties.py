"""What holds of the decision whatever is seen."""

import math

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.scaler.decision import Arrivals, Caps, Memory, Service, Signals, decide
from headrace.scaler.spec import Scale
from headrace.triggers.protocols import Reading
from headrace.triggers.units import Seconds

counts = st.integers(0, 10**7)
readings = st.builds(
    Reading,
    pending=counts,
    unsettled=counts,
    arrived_total=counts,
    partitions=st.none() | st.integers(0, 64),
)
signals = st.builds(
    Signals,
    readings=st.dictionaries(st.sampled_from(["a", "b", "c"]), st.none() | readings),
    completed=counts,
    requests=counts,
    ready=st.integers(0, 30),
    starting=st.integers(0, 30),
    in_flight=counts,
    waiting=st.integers(0, 10_000),
    cold_start_s=st.floats(0, 600),
)
scales = st.builds(
    lambda least, more, drain, cooldown: Scale(
        min_replica_count=least,
        max_replica_count=max(1, least) + more,
        target_drain=Seconds(drain),
        cooldown_period=Seconds(cooldown),
    ),
    st.integers(0, 5),
    st.integers(0, 50),
    st.floats(0.1, 1000),
    st.floats(0, 1000),
)
capses = st.builds(Caps, platform=st.none() | st.integers(1, 64), in_flight=st.integers(1, 4096), http=st.booleans())
rates = st.none() | st.floats(1e-3, 1e6)
memories = st.builds(
    lambda replicas, rate, arriving: Memory(
        replicas=replicas, service=Service(rate=rate), arrivals={"a": Arrivals(0, 0.0, arriving)}
    ),
    st.none() | st.integers(0, 20),
    rates,
    st.floats(0, 1e5),
)


@settings(deadline=None)
@given(st.lists(st.tuples(signals, st.floats(0, 100)), min_size=1, max_size=10), scales, capses, memories)
def test_bounded_whatever_is_seen(looks: list[tuple[Signals, float]], scale: Scale, caps: Caps, memory: Memory) -> None:
    now = 0.0
    for seen, later in looks:
        now += later
        decision = decide(seen, scale, caps, now, memory)
        memory = decision.memory
        most = min(scale.max_replica_count, math.inf if caps.platform is None else caps.platform)
        assert min(scale.min_replica_count, most) <= decision.replicas or any(seen.readings.values())
        assert 0 <= decision.replicas <= most
        assert decision.reason.startswith(f"{decision.replicas} replica")
        assert "\n" not in decision.reason
        assert len(memory.wanted) <= scale.max_replica_count + 1


@settings(deadline=None)
@given(signals, st.integers(0, 10**6), scales, capses, memories)
def test_monotone_in_backlog(seen: Signals, more: int, scale: Scale, caps: Caps, memory: Memory) -> None:
    deeper = msgspec.structs.replace(
        seen,
        readings={
            name: reading and msgspec.structs.replace(reading, pending=reading.pending + more)
            for name, reading in seen.readings.items()
        },
    )
    assert decide(seen, scale, caps, 0.0, memory).replicas <= decide(deeper, scale, caps, 0.0, memory).replicas


@settings(deadline=None)
@given(st.integers(1, 20), st.lists(st.floats(0.1, 1000), min_size=1, max_size=10), signals)
def test_missing_signals_never_lower_it(replicas: int, spans: list[float], seen: Signals) -> None:
    memory, now = Memory(replicas=replicas), 0.0
    silent = msgspec.structs.replace(seen, readings={"a": None})
    for span in spans:
        now += span
        decision = decide(silent, Scale(), Caps(), now, memory)
        assert decision.replicas >= replicas
        memory = decision.memory


@settings(deadline=None, max_examples=40)
@given(st.floats(1, 5000), st.floats(5, 500), st.floats(5, 30), st.integers(0, 5000), st.booleans())
def test_no_oscillation_under_constant_load(
    arriving: float, rate: float, cooldown: float, first: int, known: bool
) -> None:
    """A queue with constant arrivals and replicas of constant speed: it settles, and the backlog is bounded."""
    scale = Scale(max_replica_count=2000, cooldown_period=Seconds(cooldown))
    memory = Memory(service=Service(rate=rate if known else None))
    queue, arrived, completed, ready, history = float(first), float(first), 0.0, 0, []
    for second in range(240):
        seen = Reading(pending=int(queue), unsettled=0, arrived_total=int(arrived))
        decision = decide(
            Signals(readings={"a": seen}, ready=ready, completed=int(completed), cold_start_s=0.5),
            scale,
            Caps(http=False),
            float(second),
            memory,
        )
        memory, ready = decision.memory, decision.replicas
        done = min(queue + arriving, ready * rate)
        queue, arrived, completed = queue + arriving - done, arrived + arriving, completed + done
        history.append(ready)
    settled = history[150:]
    turns = sum(1 for a, b, c in zip(settled, settled[1:], settled[2:], strict=False) if (b - a) * (c - b) < 0)
    assert turns == 0
    assert max(history[-30:]) - min(history[-30:]) <= max(1, 0.1 * max(history[-30:]))
    assert min(settled) * rate >= arriving * 0.95
    assert queue <= arriving * 12 + 1


@settings(deadline=None)
@given(st.lists(st.tuples(st.booleans(), st.floats(0.2, 40)), min_size=2, max_size=30), st.floats(0, 120), memories)
def test_zero_only_after_an_idle_cooldown(looks: list[tuple[bool, float]], cooldown: float, memory: Memory) -> None:
    scale = Scale(cooldown_period=Seconds(cooldown))
    now, busy_at, replicas, requests = 0.0, None, 0, 0
    for busy, later in looks:
        now += later
        requests += busy
        decision = decide(Signals(requests=requests, ready=replicas), scale, Caps(), now, memory)
        memory = decision.memory
        busy_at = now if busy else busy_at
        if decision.replicas == 0 and replicas:
            assert busy_at is None or now - busy_at >= cooldown - 1e-9
        assert decision.replicas >= 1 or not busy
        replicas = decision.replicas
