"""What `func describe` shows of a run: plain data, and the same as text.

What does not belong here: gathering it (supervision) and carrying it (control_socket).
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from headrace.triggers.spec import kind_of

from .output import table
from .runs import RunState

if TYPE_CHECKING:
    from headrace.scaler.coldstarts import ColdStart
    from headrace.scaler.control import Snapshot
    from headrace.scaler.platform import Replica
    from headrace.triggers.spec import TriggerSpec


def describe(
    run: RunState, snapshot: "Snapshot", triggers: Sequence["TriggerSpec"], *, errors: Sequence[str], stopping: bool
) -> dict[str, Any]:
    """A run as plain data.

    Args:
        run: Who it is; credentials of its broker are left out.
        snapshot: What its control loop knows.
        triggers: Of the version that it serves.
        errors: Its last log lines that say of one, readable.
        stopping: It drains, and will end.
    """
    readings = [reading for reading in snapshot.backlog.values() if reading is not None]
    return {
        "name": run.name,
        "url": run.url,
        "project": run.project,
        "broker": None if run.broker is None else _masked(run.broker),
        "pid": run.pid,
        "started": _moment(run.started_s),
        "state": "stopping" if stopping else state(snapshot),
        "mode": snapshot.mode,
        "desired": snapshot.desired,
        "reason": snapshot.reason,
        "backlog": sum(reading.backlog for reading in readings) if readings else None,
        "in_flight": snapshot.in_flight,
        "waiting": snapshot.waiting,
        "arrival_rate": round(snapshot.arrival_rate, 3),
        "service_rate": None if snapshot.service_rate is None else round(snapshot.service_rate, 3),
        "triggers": [_trigger(trigger, snapshot) for trigger in triggers],
        "replicas": [_replica(replica) for replica in snapshot.replicas],
        "cold_starts": [_cold_start(start) for start in snapshot.cold_starts],
        "scaled_out": snapshot.scaled_out,
        "scaled_in": snapshot.scaled_in,
        "replaced": snapshot.replaced,
        "failed_starts": snapshot.failed_starts,
        "failure": snapshot.failure,
        "errors": list(errors),
    }


def starting(run: RunState) -> dict[str, Any]:
    """A run that has not come to decide anything, as plain data of the same keys."""
    from headrace.scaler.control import Snapshot

    nothing = Snapshot(
        name=run.name, mode="auto", desired=0, reason="it is starting", replicas=(), backlog={}, waiting=0, in_flight=0,
        completed={}, arrival_rate=0.0, service_rate=None, cold_starts=(), scaled_out=0, scaled_in=0, replaced=0,
        failed_starts=0, failure=None,
    )  # fmt: skip
    return describe(run, nothing, (), errors=(), stopping=False) | {"state": "starting"}


def state(snapshot: "Snapshot") -> str:
    """One word for how a run is: `ready`, `starting`, `failing`, `draining` or `zero`."""
    states = {replica.state.value for replica in snapshot.replicas}
    if "ready" in states:
        return "ready"
    if snapshot.failed_starts:
        return "failing"
    return "starting" if "starting" in states else "draining" if states else "zero"


def text(whole: Mapping[str, Any]) -> str:
    """A description for people."""
    starts = whole["cold_starts"]
    lines = {
        "Name": whole["name"],
        "Address": whole["url"],
        "Project": whole["project"],
        "Process": f"{whole['pid']}, since {whole['started']}",
        "Broker": whole["broker"],
        "State": whole["state"],
        "Decision": whole["reason"] + ("" if whole["mode"] == "auto" else f" ({whole['mode']})"),
        "In flight": f"{whole['in_flight']}, {whole['waiting']} requests waiting",
        "Rates": _rates(whole),
        "Cold starts": f"{len(starts)}, the last {_cold_start_text(starts[-1])}" if starts else None,
        "Failure": whole["failure"],
    }
    parts = ["\n".join(f"{key + ':':13}{value}" for key, value in lines.items() if value is not None)]
    parts.append(
        table(
            ("trigger", "kind", "backlog", "pending", "unsettled", "completed"),
            [[_cell(value) for value in trigger.values()] for trigger in whole["triggers"]],
        )
    )
    if whole["replicas"]:
        parts.append(
            table(
                ("replica", "state", "in flight", "completed", "connections", "cold start", "started"),
                [_replica_row(replica) for replica in whole["replicas"]],
            )
        )
    if whole["errors"]:
        parts.append("Last errors:\n" + "\n".join(whole["errors"]))
    return "\n\n".join(parts)


# -- plain data --------------------------------------------------------------------------------------------


def _trigger(trigger: "TriggerSpec", snapshot: "Snapshot") -> dict[str, Any]:
    reading = snapshot.backlog.get(trigger.name)
    return {
        "name": trigger.name,
        "kind": kind_of(trigger),
        "backlog": None if reading is None else reading.backlog,
        "pending": None if reading is None else reading.pending,
        "unsettled": None if reading is None else reading.unsettled,
        "completed": snapshot.completed.get(trigger.name, 0),
    }


def _replica(replica: "Replica") -> dict[str, Any]:
    return {
        "pid": replica.pid,
        "state": replica.state.value,
        "in_flight": replica.in_flight,
        "completed": sum(replica.completed.values()),
        "connections": replica.connections,
        "cold_start_ms": _ms(replica.cold_start_s),
        "started": _moment(replica.started_s),
        "generation": replica.generation,
    }


def _cold_start(start: "ColdStart") -> dict[str, Any]:
    return {
        "woken": _moment(start.woken_s),
        "ready_ms": _ms(start.ready_s),
        "first_event_ms": _ms(start.first_event_s),
    }


def _masked(url: str) -> str:
    from headrace.triggers.nats.client import masked

    return masked(url)


def _moment(unix_s: float) -> str:
    return datetime.fromtimestamp(unix_s).astimezone().isoformat(timespec="seconds")


def _ms(seconds: float | None) -> int | None:
    return None if seconds is None else round(seconds * 1000)


# -- text --------------------------------------------------------------------------------------------------


def _rates(whole: Mapping[str, Any]) -> str | None:
    if whole["backlog"] is None:
        return None
    served = "" if whole["service_rate"] is None else f", {whole['service_rate']:g} handled by a replica"
    return f"{whole['arrival_rate']:g} events/s arriving{served}"


def _cold_start_text(start: Mapping[str, Any]) -> str:
    ready, first = start["ready_ms"], start["first_event_ms"]
    text = "in progress" if ready is None else f"{ready} ms to ready"
    return text if first is None else f"{text}, {first} ms to the first event"


def _replica_row(replica: Mapping[str, Any]) -> list[str]:
    cold = replica["cold_start_ms"]
    cells = [replica[key] for key in ("pid", "state", "in_flight", "completed", "connections")]
    return [*map(str, cells), "-" if cold is None else f"{cold} ms", replica["started"]]


def _cell(value: object) -> str:
    return "-" if value is None else str(value)
