"""What a head says beyond what `test_protocol` sees over a connection."""

import pytest

from headrace.runtime.http.heads import CHUNKED, Head
from headrace.runtime.http.recent_heads import RecentHeads


def head(target: bytes = b"/", *fields: bytes, version: bytes = b"HTTP/1.1") -> Head:
    return Head(b"POST %b %b\r\n" % (target, version) + b"".join(f + b"\r\n" for f in (b"Host: x", *fields)) + b"\r\n")


@pytest.mark.parametrize(
    ("target", "path", "query"),
    [
        (b"/a/b?c=d?e", "/a/b", b"c=d?e"),
        (b"/%E2%82%AC%zz", "/€%zz", b""),
        (b"/a#b?c", "/a", b""),
        (b"/a?b#c", "/a", b"b"),
        (b"*", "*", b""),
        (b"http://x/a?b", "/a", b"b"),
        (b"http://x", "/", b""),
        (b"http://x?a/b", "/", b"a/b"),
    ],
)
def test_targets(target: bytes, path: str, query: bytes) -> None:
    assert (head(target).path, head(target).query) == (path, query)


def test_fields() -> None:
    found = head(b"/", b"X-A:  b \t", b"x-a:c", b"Empty:")
    assert found.headers == [(b"host", b"x"), (b"x-a", b"b"), (b"x-a", b"c"), (b"empty", b"")]
    assert (found.header(b"x-a"), found.header(b"none")) == (b"b", None)


def test_framing() -> None:
    assert (head().length, head(b"/", b"Content-Length: 07").length) == (0, 7)
    assert head(b"/", b"transfer-encoding:chunked").length == CHUNKED
    assert head(b"/", b"Expect: 100-Continue").expects_continue
    assert not head(b"/", b"Expect: 100-continue", version=b"HTTP/1.0").expects_continue
    # a field's value can look like a field's name, and a longer name end like a shorter one
    assert head(b"/", b"x-content-length: 5", b"a: content-length: 6").length == 0


def test_equal_heads_are_read_once() -> None:
    heads = RecentHeads()
    raw = b"GET /%d HTTP/1.1\r\nHost: x\r\n\r\n"
    assert heads[raw % 1] is heads[raw % 1]
    for number in range(1000):
        assert heads[raw % number].target == b"/%d" % number
    assert len(heads) <= 256
    long = b"GET /%b HTTP/1.1\r\nHost: x\r\n\r\n" % (b"a" * 2000)
    assert heads[long].target == b"/" + b"a" * 2000
    assert long not in heads
