"""Where a replica listens."""

import socket

import pytest

from headrace.runtime.listening import address_of, bind, listening_socket, parse_address
from headrace.triggers.errors import UsageError


@pytest.mark.parametrize(
    ("environ", "address"),
    [
        ({}, ("127.0.0.1", 8080)),
        ({"PORT": "9000"}, ("127.0.0.1", 9000)),
        ({"PORT": "9000", "K_SERVICE": "f"}, ("0.0.0.0", 9000)),
        ({"KUBERNETES_SERVICE_HOST": "10.0.0.1"}, ("0.0.0.0", 8080)),
        ({"HEADRACE_ADDRESS": "[::1]:81", "PORT": "9000"}, ("::1", 81)),
    ],
)
def test_address(environ: dict[str, str], address: tuple[str, int]) -> None:
    assert address_of(environ) == address


@pytest.mark.parametrize("text", ["8080", "host:", ":80", "host:http", "host:70000", ""])
def test_malformed(text: str) -> None:
    with pytest.raises(UsageError, match=f"address: expected `host:port`, got `{text}`"):
        parse_address(text)


def test_binds_and_refuses_a_taken_port() -> None:
    first, inherited = listening_socket({"HEADRACE_ADDRESS": "127.0.0.1:0"})
    port = first.getsockname()[1]
    assert not inherited
    assert not first.getblocking()
    with pytest.raises(UsageError, match=f"address: cannot listen at 127.0.0.1:{port}: Address already in use"):
        bind("127.0.0.1", port)
    first.close()


def test_inherits() -> None:
    parents = bind("127.0.0.1", 0)
    copy = socket.socket.dup(parents)
    sock, inherited = listening_socket({"HEADRACE_LISTEN_FD": str(copy.detach())})
    assert inherited
    assert sock.getsockname() == parents.getsockname()
    sock.close()
    parents.close()
