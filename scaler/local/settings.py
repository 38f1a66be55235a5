"""What the local platform is told: what to start, and how long things may take."""

from collections.abc import Mapping

import msgspec


class Generation(msgspec.Struct, frozen=True, kw_only=True):
    """One version of the function: all its replicas are started alike.

    Attributes:
        command: Program and arguments of a replica.
        environ: Its whole environment; the platform adds the two descriptors (`wire.LISTEN_FD`, `CONTROL_FD`).
        cwd: Its working directory.
    """

    command: tuple[str, ...]
    environ: Mapping[str, str]
    cwd: str


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """Bounds on time and number; the first four are func.yaml's `limits`.

    Attributes:
        handler_timeout_s: One invocation.
        drain_timeout_s: What is in flight when a replica drains is given this long.
        idle_timeout_s: A keep-alive connection without a request.
        max_connections: Idle connections kept while there is no replica.
        start_timeout_s: From a replica's start until it is ready.
        ping_interval_s: Between two looks whether a replica's loop still turns.
        grace_s: Given beyond the other limits before a replica is ended by force: it keeps them itself, as a rule.
    """

    handler_timeout_s: float = 60.0
    drain_timeout_s: float = 30.0
    idle_timeout_s: float = 75.0
    max_connections: int = 16_384
    start_timeout_s: float = 60.0
    ping_interval_s: float = 5.0
    grace_s: float = 5.0
