"""Headers as they came off the wire, read as a case-insensitive mapping.

The pairs are kept as the parser or client gave them; they are decoded when looked up.
"""

from collections.abc import Iterable, Iterator, Mapping


class Headers(Mapping[str, str]):
    """Case-insensitive view of header pairs; a repeated name gives its first value, `getlist` all.

    Args:
        raw: (name, value) pairs. Bytes are read as Latin-1 (RFC 9110 §5.5).
    """

    __slots__ = ("raw",)

    def __init__(self, raw: Iterable[tuple[bytes, bytes]] = ()) -> None:
        self.raw: list[tuple[bytes, bytes]] = raw if isinstance(raw, list) else list(raw)

    @classmethod
    def of(cls, pairs: Mapping[str, str] | Iterable[tuple[str, str]] | None) -> "Headers":
        """Headers from text, as tests and brokers' clients have it."""
        items: Iterable[tuple[str, str]] = pairs.items() if isinstance(pairs, Mapping) else (pairs or ())  # pyright: ignore
        return cls([(name.encode("latin-1"), value.encode("utf-8")) for name, value in items])

    def getlist(self, name: str) -> list[str]:
        """All values of `name`, in order."""
        wanted = name.lower().encode("latin-1")
        return [_text(value) for key, value in self.raw if key.lower() == wanted]

    def __getitem__(self, name: str) -> str:
        wanted = name.lower().encode("latin-1")
        for key, value in self.raw:
            if key.lower() == wanted:
                return _text(value)
        raise KeyError(name)

    def __iter__(self) -> Iterator[str]:
        return iter(dict.fromkeys(key.decode("latin-1").lower() for key, _ in self.raw))

    def __len__(self) -> int:
        return len({key.lower() for key, _ in self.raw})

    def __repr__(self) -> str:
        return f"Headers({list(self)})"  # names only: values may be credentials


def _text(value: bytes) -> str:
    """`value` as UTF-8 where it is, else Latin-1, which always succeeds."""
    try:
        return value.decode("utf-8")
    except UnicodeDecodeError:
        return value.decode("latin-1")
