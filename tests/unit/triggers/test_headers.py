"""Headers as a case-insensitive mapping."""

import pytest

from headrace.triggers.headers import Headers

HEADERS = Headers([(b"Content-Type", b"text/plain"), (b"X-A", b"1"), (b"x-a", b"2")])


def test_lookup_ignores_case() -> None:
    assert HEADERS["content-TYPE"] == "text/plain"
    assert HEADERS.get("x-a") == "1"
    assert HEADERS.getlist("X-a") == ["1", "2"]
    assert HEADERS.get("none") is None
    assert "X-A" in HEADERS
    with pytest.raises(KeyError, match="none"):
        HEADERS["none"]


def test_names_are_counted_once() -> None:
    assert list(HEADERS) == ["content-type", "x-a"]
    assert len(HEADERS) == 2


def test_values_are_not_shown() -> None:
    assert repr(Headers.of({"Authorization": "secret"})) == "Headers(['authorization'])"


def test_text_is_utf8_where_it_is() -> None:
    assert Headers([(b"a", "é".encode())])["a"] == "é"
    assert Headers([(b"a", b"\xe9")])["a"] == "é"


def test_of() -> None:
    assert dict(Headers.of(None)) == {}
    assert dict(Headers.of([("A", "1"), ("B", "2")])) == {"a": "1", "b": "2"}
    raw = [(b"a", b"1")]
    assert Headers(raw).raw is raw
    assert Headers(iter(raw)).raw == raw
