"""The count that bounds a replica."""

from headrace.runtime.inflight import InFlight


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_room_and_waiting_in_order() -> None:
    in_flight, resumed = InFlight(2), list[str]()

    def resume(name: str) -> None:
        resumed.append(name)
        in_flight.enter()

    in_flight.enter(2)
    in_flight.when_room(lambda: resume("a"))
    in_flight.when_room(lambda: resume("b"))
    assert in_flight.room == 0
    in_flight.leave()
    assert resumed == ["a"]
    in_flight.leave()
    assert resumed == ["a", "b"]


def test_forget() -> None:
    in_flight, resumed = InFlight(1), list[int]()
    in_flight.enter()

    def resume() -> None:
        resumed.append(1)

    in_flight.when_room(resume)
    in_flight.forget(resume)
    in_flight.forget(resume)
    in_flight.leave()
    assert resumed == []


def test_busy_seconds() -> None:
    clock = Clock()
    in_flight = InFlight(5, clock)
    assert in_flight.busy_s == 0
    in_flight.enter(2)
    clock.now += 3
    in_flight.leave()
    assert in_flight.busy_s == 3
    clock.now += 1
    in_flight.leave()
    clock.now += 10
    assert in_flight.busy_s == 4


def test_change_hook_and_first_event() -> None:
    in_flight, seen = InFlight(5), list[int]()
    in_flight.on_change = lambda: seen.append(in_flight.count)
    assert in_flight.first_s == 0
    in_flight.enter()
    first = in_flight.first_s
    in_flight.leave()
    in_flight.enter()
    assert seen == [1, 0, 1]
    assert in_flight.first_s == first > 0
