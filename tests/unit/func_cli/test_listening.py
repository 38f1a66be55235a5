import socket

import pytest

from headrace.func_cli.errors import CommandError, MisuseError
from headrace.func_cli.listening import DEFAULT, bind, parse, url_of


@pytest.mark.parametrize(
    ("address", "place"),
    [
        ("127.0.0.1:80", ("127.0.0.1", 80)),
        ("localhost:0", ("localhost", 0)),
        ("8080", ("127.0.0.1", 8080)),
        (":8080", ("0.0.0.0", 8080)),
        ("[::1]:8080", ("::1", 8080)),
        ("[::]:8080", ("::", 8080)),
    ],
)
def test_parse(address: str, place: tuple[str, int]) -> None:
    assert parse(address) == place


@pytest.mark.parametrize("address", ["", "localhost", "x:", "localhost:http", "x:65536", "::1:80", "x:-1", "x:²"])
def test_what_is_no_address_is_refused(address: str) -> None:
    with pytest.raises(MisuseError, match="expected `host:port`, got"):
        parse(address)


def test_a_given_address_that_is_taken_is_an_error() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(CommandError, match=f"in use - at `127.0.0.1:{port}`") as caught:
            bind(f"127.0.0.1:{port}")
    assert caught.value.hint is not None


def test_the_default_gives_way_to_a_free_port() -> None:
    with bind(None) as first, bind(None) as second:
        assert first.getsockname() != second.getsockname()
        assert second.getsockname()[0] == DEFAULT[0]


def test_a_foreign_address_is_an_error() -> None:
    with pytest.raises(CommandError, match=r"but cannot assign requested address - at `192\.0\.2\.1:80`"):  # TEST-NET-1
        bind("192.0.2.1:80")


def test_an_unknown_host_is_an_error() -> None:
    with pytest.raises(MisuseError, match=r"expected a host of this machine, got `nowhere\.invalid`"):
        bind("nowhere.invalid:80")


def test_url_names_an_address_that_works_from_here() -> None:
    with bind(":0") as every, bind("127.0.0.1:0") as one:
        assert url_of(every) == f"http://127.0.0.1:{every.getsockname()[1]}"
        assert url_of(one) == f"http://127.0.0.1:{one.getsockname()[1]}"
