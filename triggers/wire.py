"""What crosses the border between a replica and the platform that runs it.

Environment variables tell a replica what it is; then both talk over one stream socket, inherited by the
replica, in lines of JSON. `Connections` and `Adopt` carry sockets beside the line (SCM_RIGHTS).
What does not belong here: sending, receiving and deciding.
"""

import msgspec

# -- environment of a replica ------------------------------------------------------------------------------

SPEC = "HEADRACE_SPEC"
"""Path of the checked func.yaml as JSON, references unresolved."""
LISTEN_FD = "HEADRACE_LISTEN_FD"
"""Descriptor of the listening socket, opened by the parent. Absent: the replica binds ADDRESS itself."""
CONTROL_FD = "HEADRACE_CONTROL_FD"
"""Descriptor of the stream socket to the platform. Absent: there is none (a container)."""
ADDRESS = "HEADRACE_ADDRESS"
"""`host:port` to listen at without LISTEN_FD; else `PORT` (Knative) on all addresses in a container."""
METRICS_ADDRESS = "HEADRACE_METRICS_ADDRESS"
"""`host:port` of the health and metrics that the workers of one replica share; only with several workers."""
WORKER = "HEADRACE_WORKER"
"""Set for a replica's workers by their supervisor: `local` under a platform, `container` without one."""
PROJECT = "HEADRACE_PROJECT"
"""The function project's folder; else the working directory."""
BROKER = "HEADRACE_NATS_URL"
"""URL of the embedded broker, for NATS triggers and sinks without `url`."""
DEVICE = "HEADRACE_DEVICE"
"""`auto` (default: `cuda` where func.yaml's resources ask for a GPU), `cpu`, `cuda`, or `simulated` for tests."""
LOG_FORMAT = "HEADRACE_LOG_FORMAT"
"""`json` (default) or `text`."""
LOG_LEVEL = "HEADRACE_LOG_LEVEL"
"""`debug`, `info` (default), `warning` or `error`."""


class _Message(msgspec.Struct, frozen=True, tag_field="is", tag=str.lower):
    """A line on the control socket."""


# -- replica to platform -----------------------------------------------------------------------------------


class Hello(_Message, frozen=True):
    """The process runs; `start` of the function follows."""

    pid: int


class Ready(_Message, frozen=True):
    """It serves: its handler is started, its sources are open, its listener is watched."""


class Unready(_Message, frozen=True):
    """It takes nothing new any more, and will exit by itself."""

    reason: str


class Failed(_Message, frozen=True):
    """It could not start; it exits after this."""

    reason: str


class Status(_Message, frozen=True):
    """How busy it is: sent on change (at most ten a second) and in answer to `Ping`.

    Attributes:
        in_flight: Events received and not settled, over all triggers.
        completed: Events settled since the start, by trigger name.
        busy_s: Seconds since the start during which anything was in flight.
        first_event_s: Wall clock (Unix time) at which the first event's handling began; 0 before.
        connections: Open HTTP connections.
    """

    in_flight: int
    completed: dict[str, int] = {}
    busy_s: float = 0.0
    first_event_s: float = 0.0
    connections: int = 0


class Draining(_Message, frozen=True):
    """It accepts no more connections and fetches nothing more; what is in flight is being finished."""


class Connections(_Message, frozen=True):
    """`count` idle keep-alive connections come with this line: the platform watches them from now on."""

    count: int


class Sample(msgspec.Struct, frozen=True, kw_only=True):
    """One number of a metric, as Prometheus has it."""

    name: str
    labels: dict[str, str] = {}
    value: float


class Family(msgspec.Struct, frozen=True, kw_only=True):
    """A metric: its `# HELP` and `# TYPE`, and samples."""

    name: str
    kind: str
    text: str
    samples: list[Sample]


class Samples(_Message, frozen=True):
    """All that a worker counts, in answer to `Scrape`; in several lines, of which the last has no `more`."""

    families: list[Family]
    more: bool = False


# -- platform to replica -----------------------------------------------------------------------------------


class Drain(_Message, frozen=True):
    """Finish what is in flight, pass idle connections back, exit 0. SIGTERM does the same.

    Attributes:
        hand_over: Idle connections are passed back; else they are closed, and responses say so.
    """

    hand_over: bool = True


class Adopt(_Message, frozen=True):
    """`count` connections come with this line, on which a client may have begun to speak."""

    count: int


class Ping(_Message, frozen=True):
    """Answer with a `Status`: shows that the loop turns."""


class Scrape(_Message, frozen=True):
    """Answer with `Samples`. A supervisor asks its workers."""


FromReplica = Hello | Ready | Unready | Failed | Status | Draining | Connections | Samples
FromPlatform = Drain | Adopt | Ping | Scrape

MAX_LINE = 64 * 1024
"""Bytes in a line; longer ones are a fault of the peer."""
MAX_DESCRIPTORS = 64
"""Sockets beside one line (Linux allows 253: SCM_MAX_FD)."""
