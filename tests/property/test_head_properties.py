"""A head that is put together from one seen before says what it would have said if it had been parsed."""

from hypothesis import example, given, settings
from hypothesis import strategies as st

from headrace.runtime.http.errors import RequestError
from headrace.runtime.http.heads import Head
from headrace.runtime.http.recent_heads import RecentHeads

LINES = [
    b"POST / HTTP/1.1", b"GET /a?b HTTP/1.1", b"GET / HTTP/1.0", b"Host: x", b"host: y", b"Content-Length: 5",
    b"content-length: 7", b"Transfer-Encoding: chunked", b"Connection: close", b"Connection: keep-alive",
    b"Expect: 100-continue", b"ce-id: 1", b"Content-Type: application/cloudevents+json", b"Content-Type: text/plain",
    b"X-Id: 1", b"X-Id: 2", b"x-id: 3", b"X-Id : 4", b"X-Id: \x01", b"X-Id: a\nb", b"X-Id: a\rb", b" folded",
    b"Accept: */*", b"X-Empty:", b": none", b"",
]  # fmt: skip
VALUES = st.binary(max_size=6).map(lambda value: b"X-Id: " + value)
HEADS = st.lists(st.one_of(st.sampled_from(LINES), VALUES), min_size=1, max_size=6)
VALID = [b"POST / HTTP/1.1", b"Host: x", b"X-Id: 1", b"Content-Length: 5"]
SAID = (
    "raw", "method", "target", "http_1_1", "keep_alive", "length", "expects_continue", "is_probe", "is_cloudevent",
    "headers",
)  # fmt: skip


def said(parse: object, raw: bytes) -> object:
    try:
        head = parse[raw] if isinstance(parse, RecentHeads) else Head(raw)
    except RequestError as exc:
        return exc.status
    return [getattr(head, name) for name in SAID]


@settings(deadline=None, max_examples=300)
@given(st.lists(st.one_of(HEADS, HEADS.map(lambda lines: [*VALID[:2], *lines])), min_size=1, max_size=8))
@example([VALID, [b"X-Id: 1", *VALID[:2]]])
@example([VALID, [VALID[0], b"X-Id: a\nContent-Length: 9", *VALID[1:]]])
@example([VALID, [VALID[0], VALID[0], *VALID[1:]]])
def test_recent_heads_say_what_fresh_ones_say(heads: list[list[bytes]]) -> None:
    recent = RecentHeads()
    for lines in [VALID, *heads, *heads]:
        raw = b"\r\n".join(lines) + b"\r\n\r\n"
        raw = raw[: raw.find(b"\r\n\r\n") + 4]  # as the connection cuts it
        if raw != b"\r\n\r\n":
            assert said(recent, raw) == said(Head, raw)
