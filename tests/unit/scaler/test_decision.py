"""The sizing law by example: the number, and the sentence that goes with it."""

import pytest

from headrace.scaler.decision import Arrivals, Caps, Decision, Memory, Service, Signals, decide
from headrace.scaler.spec import Scale
from headrace.triggers.protocols import Reading
from headrace.triggers.units import Seconds

SCALE = Scale(cooldown_period=Seconds(60))
STREAM = Caps(http=False)
KNOWN = Memory(replicas=1, service=Service(rate=95.0))


def reading(pending: int = 0, unsettled: int = 0, arrived: int = 0, partitions: int | None = None) -> Reading:
    return Reading(pending=pending, unsettled=unsettled, arrived_total=arrived, partitions=partitions)


def backlog(count: int, present: int = 1) -> Signals:
    return Signals(readings={"ticks": reading(count)}, ready=present)


def asked(
    signals: Signals, caps: Caps = STREAM, memory: Memory = KNOWN, scale: Scale = SCALE, now: float = 0.0
) -> Decision:
    return decide(signals, scale, caps, now, memory)


@pytest.mark.parametrize(
    ("count", "replicas"), [(0, 0), (1, 1), (950, 1), (951, 2), (1200, 2), (9500, 10), (10**9, 20)]
)
def test_backlog_is_drained_in_time(count: int, replicas: int) -> None:
    assert asked(backlog(count)).replicas == replicas


def test_the_reason_says_what_it_was_worked_out_from() -> None:
    assert asked(backlog(1200)).reason == "2 replicas: backlog 1200, 95 events/s a replica, drain 10 s"


def test_a_request_to_a_stream_function_is_answered_by_one_replica() -> None:
    decision = asked(Signals(readings={"ticks": reading()}, waiting=7), memory=Memory())
    assert (decision.replicas, decision.reason) == (1, "1 replica: 7 requests waiting")


def test_arrivals_add_to_it() -> None:
    memory = Memory(replicas=1, service=Service(rate=95.0), arrivals={"ticks": Arrivals(0, 0.0, 142.5)})
    decision = asked(backlog(950), memory=memory)
    assert decision.replicas == 3  # 142.5 / (0.75 · 95) = 2, and 1 for the backlog
    assert decision.reason.endswith("142 events/s arriving")


def test_without_a_service_rate_it_begins_sensibly() -> None:
    decision = asked(backlog(2500, present=0), memory=Memory())
    assert decision.reason == "3 replicas: backlog 2500, 100 events/s a replica to begin with, drain 10 s"


def test_no_scale_out_that_would_come_too_late() -> None:
    signals = Signals(readings={"ticks": reading(1500)}, ready=1, cold_start_s=20.0)
    decision = asked(signals)
    assert decision.reason == "1 replica: backlog 1500 is gone before another could start"
    assert asked(Signals(readings={"ticks": reading(1500)}, ready=1, cold_start_s=10.0)).replicas == 2


def test_starting_replicas_are_capacity() -> None:
    signals = Signals(readings={"ticks": reading(2500)}, ready=1, starting=1, cold_start_s=14.0)
    assert asked(signals).replicas == 2
    assert asked(Signals(readings={"ticks": reading(2500)}, ready=1, cold_start_s=14.0)).replicas == 3


@pytest.mark.parametrize(
    ("caps", "partitions", "replicas", "by"),
    [
        (STREAM, None, 20, "maxReplicaCount 20"),
        (Caps(http=False, platform=2), None, 2, "2 CPU cores"),
        (Caps(http=False, platform=1), None, 1, "1 CPU core"),
        (STREAM, 4, 4, "4 partitions"),
        (STREAM, 0, 1, "0 partitions"),
        (Caps(http=True), 4, 20, "maxReplicaCount 20"),
    ],
)
def test_caps(caps: Caps, partitions: int | None, replicas: int, by: str) -> None:
    decision = asked(Signals(readings={"ticks": reading(10**6, partitions=partitions)}, ready=1), caps)
    assert decision.replicas == replicas
    assert decision.reason.endswith(f", capped by {by}")


def test_the_least_is_kept() -> None:
    decision = asked(Signals(), scale=Scale(min_replica_count=2))
    assert decision.reason == "2 replicas: minReplicaCount 2"


@pytest.mark.parametrize(
    ("waiting", "in_flight", "replicas"), [(0, 0, 0), (1, 0, 1), (0, 1, 1), (0, 70, 1), (0, 71, 2), (71, 70, 3)]
)
def test_requests(waiting: int, in_flight: int, replicas: int) -> None:
    caps = Caps(in_flight=100)
    assert asked(Signals(waiting=waiting, in_flight=in_flight, ready=1), caps).replicas == replicas


def test_the_reason_for_requests() -> None:
    decision = asked(Signals(waiting=1), Caps(in_flight=100), Memory())
    assert decision.reason == "1 replica: 1 request waiting, 0 in progress, target 70 a replica"


def test_events_of_streams_in_flight_are_no_requests() -> None:
    signals = Signals(readings={"ticks": reading(unsettled=256)}, in_flight=256, ready=1)
    assert asked(signals, Caps(in_flight=256)).replicas == 1


def test_a_request_that_came_and_went_counts_as_activity() -> None:
    decision = asked(Signals(requests=5, ready=1), Caps(), Memory(replicas=1, settled=4))
    assert decision.reason == "1 replica: events since the last look"
    assert asked(Signals(requests=5, ready=1), Caps(), decision.memory, now=61).replicas == 0


def test_in_flight_keeps_one_even_without_http() -> None:
    assert asked(Signals(in_flight=3, ready=1)).reason == "1 replica: 3 in flight"


def test_what_is_delivered_and_not_settled_keeps_one() -> None:
    assert asked(Signals(readings={"ticks": reading(unsettled=1)}, ready=1)).replicas == 1


def test_a_missing_signal_holds_the_last_decision() -> None:
    memory = Memory(replicas=3, service=Service(rate=95.0))
    decision = asked(Signals(readings={"ticks": None}, ready=3), memory=memory, now=1000)
    assert decision.reason == "3 replicas: held, the backlog of `ticks` can't be read"
    assert asked(Signals(readings={"ticks": None}), memory=decision.memory, now=2000).replicas == 3


def test_a_missing_signal_does_not_keep_others_from_asking_for_more() -> None:
    signals = Signals(readings={"ticks": None, "tocks": reading(9500)}, ready=2)
    assert asked(signals, memory=Memory(replicas=2, service=Service(rate=95.0))).replicas == 10


def test_fewer_only_after_the_cooldown() -> None:
    memory, seen = KNOWN, []
    for now, count in [(0, 3000), (1, 1000), (30, 0), (60, 0), (61, 0), (90, 0)]:
        decision = asked(backlog(count, present=4), memory=memory, now=now)
        memory = decision.memory
        seen.append((decision.replicas, decision.reason))
    assert [replicas for replicas, _ in seen] == [4, 4, 4, 2, 0, 0]
    assert seen[2][1] == "4 replicas: kept until fewer are wanted for 60 s"
    assert seen[4][1] == "0 replicas: idle for 60 s"
    assert seen[5][1] == "0 replicas: idle"


def test_replicas_that_are_found_are_kept_for_a_cooldown() -> None:
    first = asked(Signals(ready=3), memory=Memory())
    assert first.replicas == 3
    assert asked(Signals(ready=3), memory=first.memory, now=59).replicas == 3
    assert asked(Signals(ready=3), memory=first.memory, now=60).replicas == 0


def test_steady_arrivals_that_leave_no_backlog_keep_their_replicas() -> None:
    memory = Memory(replicas=3, service=Service(rate=95.0), arrivals={"ticks": Arrivals(1000, 0.0, 190.0)})
    decision = asked(Signals(readings={"ticks": reading(arrived=1190)}, ready=3), memory=memory, now=1)
    assert decision.replicas == 3


class Run:
    """One replica over time, one look a second."""

    def __init__(self, memory: Memory | None = None, ready: int = 1) -> None:
        self.memory = memory or Memory()
        self.now = 100.0
        self.ready = ready

    def look(self, pending: int, completed: int, arrived: int = 0, ready: int | None = None) -> Memory:
        self.now += 1
        signals = Signals(
            readings={"ticks": reading(pending, arrived=arrived)},
            completed=completed,
            ready=self.ready if ready is None else ready,
        )
        self.memory = asked(signals, memory=self.memory, now=self.now).memory
        return self.memory


def test_the_service_rate_is_learned_under_load() -> None:
    run = Run(ready=2)
    run.look(5000, 0)
    assert run.look(4900, 100).service.rate == 50.0
    assert run.look(4700, 300).service.rate == pytest.approx(54.76, abs=0.01)


def test_the_service_rate_is_not_learned_from_idleness() -> None:
    run = Run(Memory(replicas=1, service=Service(rate=50.0)))
    run.look(0, 0)
    assert run.look(0, 3).service.rate == 50.0
    assert run.look(0, 93).service.rate == 90.0  # unless it shows more than was known


def test_a_slow_handlers_sample_ends_with_its_next_completion() -> None:
    run = Run()
    run.look(10, 0)
    for _ in range(9):
        assert run.look(10, 0).service.rate is None
    assert run.look(9, 1).service.rate == pytest.approx(0.1)


def test_a_sample_counts_replicas_that_came_meanwhile_by_half() -> None:
    run = Run()
    run.look(1000, 0)
    assert run.look(1000, 150, ready=2).service.rate == 100.0


def test_without_replicas_there_is_no_sample() -> None:
    run = Run(ready=0)
    run.look(1000, 0)
    assert run.look(1000, 100, ready=2).service.rate is None


def test_arrival_rate_follows_and_survives_a_purge() -> None:
    run = Run(Memory(replicas=1, service=Service(rate=1000.0)))
    for second in range(60):
        run.look(1, 0, arrived=100 * second)
    assert run.memory.arrival_rate == pytest.approx(100, rel=0.03)
    assert run.look(1, 0, arrived=0).arrival_rate == 0.0


def test_looks_in_quick_succession_take_no_sample() -> None:
    memory = Memory(
        replicas=1, arrivals={"ticks": Arrivals(0, 10.0, 5.0)}, service=Service(None, 0, 10.0, 1, saturated=True)
    )
    signals = Signals(readings={"ticks": reading(5, arrived=50)}, completed=9, ready=1)
    after = asked(signals, memory=memory, now=10.05).memory
    assert (after.arrivals, after.service) == (memory.arrivals, memory.service)
