"""Durations and sizes."""

import msgspec
import pytest

from headrace.triggers.errors import SpecError
from headrace.triggers.units import Bytes, Seconds, convert, duration, size


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("30s", 30),
        ("100ms", 0.1),
        ("1m30s", 90),
        ("1.5h", 5400),
        ("0", 0),
        ("7us", 7e-6),
        ("7µs", 7e-6),
        ("1h0m1s", 3601),
    ],
)
def test_durations(text: str, seconds: float) -> None:
    assert duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["", "30", "s", "-1s", "1s ", "1d", 30, None, "1e3s"])
def test_bad_durations(text: object) -> None:
    with pytest.raises(ValueError, match="expected a duration such as `30s` or `100ms`, got"):
        duration(text)


@pytest.mark.parametrize(
    ("text", "size_bytes"),
    [("64Mi", 64 * 2**20), ("1G", 10**9), ("512", 512), (512, 512), ("1.5Ki", 1536), ("2k", 2000)],
)
def test_sizes(text: object, size_bytes: int) -> None:
    assert size(text) == size_bytes


@pytest.mark.parametrize("text", ["", "64MB", "Mi", -1, True, 1.5, None])
def test_bad_sizes(text: object) -> None:
    with pytest.raises(ValueError, match="expected a size such as `64Mi` or `1G`, got"):
        size(text)


class Section(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    wait: Seconds = Seconds(1)
    most: Bytes = Bytes(1)


def test_convert() -> None:
    assert convert({"wait": "2s", "most": "1Ki"}, Section) == Section(Seconds(2), Bytes(1024))


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ({"wait": 3}, r"expected a duration such as `30s` or `100ms`, got 3 - at `\$\.a\.wait`"),
        ({"most": "x"}, r"expected a size such as `64Mi` or `1G`, got `x` - at `\$\.a\.most`"),
        ({"no": 1}, r"object contains unknown field `no` - at `\$\.a`"),
        (7, r"expected `object`, got `int` - at `\$\.a`"),
    ],
)
def test_convert_says_where(value: object, said: str) -> None:
    with pytest.raises(SpecError, match=said):
        convert(value, Section, "$.a")
