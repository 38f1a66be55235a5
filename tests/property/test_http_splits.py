"""However the bytes of valid requests are cut into reads, the same responses come back."""

import asyncio

from hypothesis import given, settings
from hypothesis import strategies as st
from support.http import echo, echo_later, on_uvloop, serving, without_date

TOKENS = st.text("abcXYZ019-_", min_size=1, max_size=8)
BODIES = st.binary(max_size=300)


@st.composite
def requests(draw: st.DrawFn) -> tuple[bytes, bytes]:
    """(a request, the body that it means)."""
    method = draw(st.sampled_from(["GET", "POST", "PUT", "HEAD", "DELETE"]))
    lines = [f"{method} /{draw(TOKENS)} HTTP/1.1", "Host: x"]
    lines += [f"x-{name}: {name}" for name in draw(st.lists(TOKENS, max_size=3))]
    body = draw(BODIES)
    kind = draw(st.sampled_from(["none", "length", "chunked"]))
    if kind == "none":
        return ("\r\n".join(lines) + "\r\n\r\n").encode(), b""
    if kind == "length":
        lines.append(f"content-length: {len(body)}")
        return ("\r\n".join(lines) + "\r\n\r\n").encode() + body, body
    lines.append("transfer-encoding: chunked")
    at = draw(st.integers(0, len(body)))
    chunks = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in (body[:at], body[at:]) if piece)
    return ("\r\n".join(lines) + "\r\n\r\n").encode() + chunks + b"0\r\n\r\n", body


def expected(pipeline: list[tuple[bytes, bytes]]) -> bytes:
    out = b""
    for data, body in pipeline:
        method, path, _ = data.split(b" ", 2)
        answer = b"%b %b %b" % (method, path, body)
        head = b"HTTP/1.1 200 OK\r\ncontent-type: application/octet-stream\r\ncontent-length: %d\r\n\r\n" % len(answer)
        out += head + (b"" if method == b"HEAD" else answer)
    return out


@settings(deadline=None, max_examples=60)
@given(st.lists(requests(), min_size=1, max_size=6), st.data(), st.booleans())
def test_any_split_gives_the_same_responses(
    pipeline: list[tuple[bytes, bytes]], data: st.DataObject, later: bool
) -> None:
    sent = b"".join(request for request, _ in pipeline)
    cuts = sorted(data.draw(st.sets(st.integers(1, len(sent) - 1), max_size=12)))

    async def run() -> bytes:
        async with serving(echo_later if later else echo) as served:
            client = await served.connect()
            for start, end in zip([0, *cuts], [*cuts, len(sent)], strict=True):
                client.send(sent[start:end])
                await client.writer.drain()
                await asyncio.sleep(0)
            client.writer.write_eof()
            return await client.rest()

    assert without_date(on_uvloop(run)) == expected(pipeline)
