"""The socket that a function is reached by on this machine: bound here, inherited by its replicas.

What does not belong here: accepting (replicas do) and watching it (scaler.local).
"""

import errno
import os
import socket

from .errors import CommandError, MisuseError

DEFAULT = ("127.0.0.1", 8080)
# As many as the kernel keeps (net.core.somaxconn, 4096 by default): requests wait there while there is no replica.
_BACKLOG = 4096


def bind(address: str | None) -> socket.socket:
    """A listening socket at `address`, or without one at 127.0.0.1:8080, or on any free port where that is taken.

    Args:
        address: `host:port`, `:port` (all addresses), `[v6]:port` or a port; port 0 is any that is free.

    Raises:
        MisuseError: It is no address.
        CommandError: It is taken, or not this machine's.
    """
    if address is not None:
        return _bind(*parse(address), hint="func run --address 127.0.0.1:0   # any free port")
    try:
        return _bind(*DEFAULT)
    except CommandError:
        return _bind(DEFAULT[0], 0)


def parse(address: str) -> tuple[str, int]:
    """Host and port of `address`.

    Raises:
        MisuseError: It is none.
    """
    host, colon, port = address.rpartition(":")
    bare = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    if (":" in bare and bare == host) or not (port.isascii() and port.isdigit()) or int(port) > 65535:
        raise MisuseError(f"--address: expected `host:port`, got `{address}`")
    if not bare:
        return ("0.0.0.0" if colon else DEFAULT[0]), int(port)
    return bare, int(port)


def url_of(sock: socket.socket, secure: bool = False) -> str:
    """Where the socket answers; what listens on all addresses is named by one that works from here."""
    scheme = "https" if secure else "http"
    bound, port = sock.getsockname()[:2]
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(bound) or str(bound)
    return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"


def _bind(host: str, port: int, hint: str | None = None) -> socket.socket:
    try:
        family, _, _, _, place = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        return socket.create_server(place, family=family, backlog=_BACKLOG)
    except socket.gaierror as exc:
        raise MisuseError(f"--address: expected a host of this machine, got `{host}`") from exc
    except OSError as exc:
        taken = exc.errno == errno.EADDRINUSE
        what = "it is in use" if taken else os.strerror(exc.errno or 0).lower()
        raise CommandError(f"listen: expected a free address, but {what} - at `{host}:{port}`", hint) from exc
