import msgspec
import pytest

from headrace.func_cli import description
from headrace.func_cli.runs import RunState
from headrace.scaler.coldstarts import ColdStart
from headrace.scaler.control import Snapshot
from headrace.scaler.platform import Replica, ReplicaState
from headrace.triggers.http.spec import HttpTrigger
from headrace.triggers.nats.spec import NatsTrigger
from headrace.triggers.protocols import Reading

RUN = RunState(
    name="detect", project="/p", pid=1, started_s=0.0, url="http://127.0.0.1:8080", broker="nats://me:secret@host:4222"
)
TRIGGERS = (HttpTrigger(name="http"), NatsTrigger(name="frames", stream="FRAMES"), NatsTrigger(name="far", stream="F"))
SNAPSHOT = Snapshot(
    name="detect",
    mode="auto",
    desired=1,
    reason="1 replica: backlog 7",
    replicas=(Replica(pid=7, state=ReplicaState.READY, completed={"http": 2, "frames": 3}, cold_start_s=0.1105),),
    backlog={"frames": Reading(pending=4, unsettled=3, arrived_total=10), "far": None},
    waiting=2,
    in_flight=3,
    completed={"http": 2, "frames": 3},
    arrival_rate=1.23456,
    service_rate=200.0,
    cold_starts=(ColdStart(woken_s=0.0, ready_s=0.3, first_event_s=0.35),),
    scaled_out=1,
    scaled_in=0,
    replaced=0,
    failed_starts=0,
    failure=None,
)


def plain(snapshot: Snapshot = SNAPSHOT, *, stopping: bool = False) -> dict[str, object]:
    return description.describe(RUN, snapshot, TRIGGERS, errors=["12:00:00 ERROR broken"], stopping=stopping)


def test_it_is_plain_data_without_secrets() -> None:
    assert b"secret" not in msgspec.json.encode(plain())
    assert plain()["broker"] == "nats://***@host:4222"


def test_numbers() -> None:
    whole = plain()
    assert whole["backlog"] == 7
    assert whole["triggers"] == [
        {"name": "http", "kind": "http", "backlog": None, "pending": None, "unsettled": None, "completed": 2},
        {"name": "frames", "kind": "nats", "backlog": 7, "pending": 4, "unsettled": 3, "completed": 3},
        {"name": "far", "kind": "nats", "backlog": None, "pending": None, "unsettled": None, "completed": 0},
    ]
    assert whole["cold_starts"] == [{"woken": description._moment(0.0), "ready_ms": 300, "first_event_ms": 350}]


@pytest.mark.parametrize(
    ("states", "failed_starts", "word"),
    [
        ([ReplicaState.READY, ReplicaState.DRAINING], 0, "ready"),
        ([ReplicaState.STARTING], 0, "starting"),
        ([ReplicaState.STARTING], 2, "failing"),
        ([], 1, "failing"),
        ([ReplicaState.DRAINING], 0, "draining"),
        ([], 0, "zero"),
    ],
)
def test_one_word(states: list[ReplicaState], failed_starts: int, word: str) -> None:
    replicas = tuple(Replica(pid=index, state=state) for index, state in enumerate(states))
    snapshot = msgspec.structs.replace(SNAPSHOT, replicas=replicas, failed_starts=failed_starts)
    assert plain(snapshot)["state"] == word
    assert plain(snapshot, stopping=True)["state"] == "stopping"


def test_text_shows_it_all() -> None:
    text = description.text(plain())
    for part in (
        "Decision:    1 replica: backlog 7",
        "Rates:       1.235 events/s arriving, 200 handled by a replica",
        "Cold starts: 1, the last 300 ms to ready, 350 ms to the first event",
        "frames    nats   7",
        "110 ms",
        "Last errors:\n12:00:00 ERROR broken",
    ):
        assert part in text


def test_text_of_what_is_unknown() -> None:
    unknown = msgspec.structs.replace(
        SNAPSHOT, backlog={}, service_rate=None, mode="fixed", cold_starts=(ColdStart(woken_s=0.0),), replicas=()
    )
    text = description.text(plain(unknown))
    assert "Rates" not in text
    assert "REPLICA" not in text
    assert "backlog 7 (fixed)" in text
    assert "Cold starts: 1, the last in progress" in text


def test_a_run_that_starts_has_the_same_keys() -> None:
    starting = description.starting(RUN)
    assert starting.keys() == plain().keys()
    assert starting["state"] == "starting"
    assert "State:       starting" in description.text(starting)
