"""The socket that requests come by: inherited from the platform, or bound here.

What does not belong here: accepting.
"""

import socket
from collections.abc import Mapping

from headrace.triggers import wire
from headrace.triggers.errors import UsageError

BACKLOG = 4096
"""Connections that may wait to be accepted; the kernel caps it at net.core.somaxconn."""


def listening_socket(environ: Mapping[str, str]) -> tuple[socket.socket, bool]:
    """A non-blocking listening socket, and whether the parent opened it.

    Without one from the parent: `HEADRACE_ADDRESS`, else `PORT` (8080) on loopback, in a container on all
    addresses.

    Raises:
        UsageError: The address is malformed or cannot be bound.
    """
    if (descriptor := environ.get(wire.LISTEN_FD)) is not None:
        sock = socket.socket(fileno=int(descriptor))
        sock.setblocking(False)
        return sock, True
    host, port = address_of(environ)
    return bind(host, port), False


def address_of(environ: Mapping[str, str]) -> tuple[str, int]:
    """(host, port) to listen at; raises `UsageError` where it is malformed."""
    if (text := environ.get(wire.ADDRESS)) is not None:
        return parse_address(text)
    port = environ.get("PORT", "8080")
    host = "0.0.0.0" if in_container(environ) else "127.0.0.1"
    return parse_address(f"{host}:{port}")


def in_container(environ: Mapping[str, str]) -> bool:
    """Whether strangers may connect: Kubernetes sets the first in every pod, Knative the second."""
    return "KUBERNETES_SERVICE_HOST" in environ or "K_SERVICE" in environ


def parse_address(text: str) -> tuple[str, int]:
    """`host:port` or `[v6]:port`; raises `UsageError`."""
    host, colon, port = text.rpartition(":")
    if not colon or not host or not port.isdecimal() or int(port) > 65535:
        raise UsageError(f"address: expected `host:port`, got `{text}`")
    return host.removeprefix("[").removesuffix("]"), int(port)


def bind(host: str, port: int) -> socket.socket:
    """A listening socket at `host:port`.

    Raises:
        UsageError: It is taken, or no address of this machine.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((host, port))
        sock.listen(BACKLOG)
    except OSError as exc:
        sock.close()
        raise UsageError(f"address: cannot listen at {host}:{port}: {exc.strerror or exc}") from exc
    sock.setblocking(False)
    return sock
