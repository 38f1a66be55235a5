"""The chunked transfer coding (RFC 9112 §7.1), decoded piece by piece; strict, since lenience here smuggles.

Bytes in, pieces of the body out. What does not belong here: where the body is kept.
"""

import re
from collections.abc import Callable

from .errors import RequestError

_SIZE = re.compile(rb"([0-9A-Fa-f]{1,15})(?:[ \t]*;[\t\x20-\x7e\x80-\xff]*)?")
_TRAILER = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+:[\t\x20-\x7e\x80-\xff]*")
# Room for extensions that nobody sends; unbounded ones are an attack (CVE-2023-39326)
_MAX_LINE = 1024

_SIZE_LINE, _DATA, _DATA_END, _TRAILERS = range(4)


class ChunkDecoder:
    """Decodes one body.

    Args:
        max_body: Bytes of the body, chunk framing not counted; beyond: 413.
        max_trailer: Bytes of the trailer section, which is checked and dropped; beyond: 431.

    Attributes:
        done: The body and its trailers have ended.
    """

    __slots__ = ("_left", "_line", "_max_body", "_state", "_total", "_trailer_left", "done")

    def __init__(self, max_body: int, max_trailer: int) -> None:
        self.done = False
        self._max_body = max_body
        self._trailer_left = max_trailer
        self._state = _SIZE_LINE
        self._line = b""
        self._left = 0
        self._total = 0

    def feed(self, data: memoryview, take: Callable[[memoryview], None]) -> int:
        """Decode `data`, giving each piece of the body to `take`.

        Returns:
            How many bytes belong to this body; less than all only when `done`.

        Raises:
            RequestError: It is malformed, or too large.
        """
        at, end = 0, len(data)
        while at < end and not self.done:
            if self._state == _DATA:
                piece = data[at : at + self._left]
                take(piece)
                at += len(piece)
                self._left -= len(piece)
                if not self._left:
                    self._state = _DATA_END
                continue
            # Lines are short: they are looked for in a copy of at most as many bytes
            window = self._line + bytes(data[at : at + _MAX_LINE])
            stop = window.find(b"\r\n")
            if stop < 0:
                self._keep(window)
                return end if at + _MAX_LINE >= end else self._too_long()
            at += stop + 2 - len(self._line)
            self._line = b""
            self._on_line(window[:stop])
        return at

    def _keep(self, window: bytes) -> None:
        if b"\n" in window or b"\r" in window[:-1]:
            raise RequestError(400, "expected chunk lines to end in CRLF")
        if len(window) > (2 if self._state == _DATA_END else _MAX_LINE):
            self._too_long()
        self._line = window

    def _too_long(self) -> int:
        raise RequestError(400, "expected a shorter line in the chunked body")

    def _on_line(self, line: bytes) -> None:
        if self._state == _SIZE_LINE:
            match = _SIZE.fullmatch(line)
            if match is None:
                raise RequestError(400, "expected a chunk size")
            self._left = int(match[1], 16)
            self._total += self._left
            if self._total > self._max_body:
                raise RequestError(413, f"expected at most {self._max_body} bytes of body", "too_large")
            self._state = _DATA if self._left else _TRAILERS
        elif self._state == _DATA_END:
            if line:
                raise RequestError(400, "expected CRLF after a chunk")
            self._state = _SIZE_LINE
        elif not line:
            self.done = True
        else:
            self._trailer_left -= len(line) + 2
            if self._trailer_left < 0:
                raise RequestError(431, "expected shorter trailers", "too_large")
            if _TRAILER.fullmatch(line) is None:
                raise RequestError(400, "expected a trailer field")
