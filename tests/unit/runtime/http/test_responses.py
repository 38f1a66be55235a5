"""Response heads."""

import pytest

from headrace.runtime.http.responses import ResponseStarts, header_lines, http_date


def test_dates() -> None:
    assert http_date(0) == "Thu, 01 Jan 1970 00:00:00 GMT"
    assert http_date(784111777) == "Sun, 06 Nov 1994 08:49:37 GMT"  # RFC 9110 §5.6.7


def test_starts_are_kept_until_cleared() -> None:
    counts: dict[int, int] = {}
    starts = ResponseStarts(counts)
    assert starts[404].startswith(b"HTTP/1.1 404 Not Found\r\ndate: ")
    assert starts[599].startswith(b"HTTP/1.1 599 \r\n")
    assert starts[404] is starts[404]
    assert counts == {404: 0, 599: 0}


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [(b"a b", b"c", "a token"), (b"", b"c", "a token"), (b"a", b"b\r\nc", "control"), (b"a", b"b\0", "control")],
)
def test_bad_fields(name: bytes, value: bytes, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        header_lines([(name, value)])


def test_own_fields_are_left_out() -> None:
    assert header_lines([(b"Date", b"x"), (b"X", b"y"), (b"Transfer-Encoding", b"chunked")]) == b"X: y\r\n"
