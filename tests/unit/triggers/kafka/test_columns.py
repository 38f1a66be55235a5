"""What can be asked of decoded columns."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from support.record_batches import batch, record, values

from headrace.triggers.errors import ShapeError
from headrace.triggers.kafka.columnar import Columns, decode
from headrace.triggers.kafka.kernels import Kernels, native_kernels, pure_kernels


@pytest.fixture(params=["native", "pure"], name="using")
def kernels_in_turn(request: pytest.FixtureRequest) -> Kernels:
    found = native_kernels() if request.param == "native" else pure_kernels
    if found is None:
        pytest.skip("the native kernels were not built")
    return found


def columns_of(data: bytes, using: Kernels = pure_kernels) -> Columns:
    return decode(data, topic="t", partition=0, using=using).columns


def rows_of(count: int, size: int = 4) -> list[bytes]:
    return [np.arange(n, n + size, dtype="<f4").tobytes() for n in range(count)]


def keyed(count: int) -> bytes:
    return batch(3, [record(n, b"v%d" % n, b"k%d" % n, [("h", b"%d" % n)]) for n in range(count)])


def test_values_are_views_over_what_was_fetched() -> None:
    data = values(0, b"abc", b"de")
    columns = columns_of(data)
    assert columns.values is columns.values
    assert columns.data.obj is data
    assert [value.obj is data for value in columns.values if value is not None] == [True, True]


def test_one_record_at_a_time(using: Kernels) -> None:
    columns = columns_of(batch(0, [record(0, b"v", b"k"), record(1, None)]), using)
    assert (bytes(columns.value(0) or b""), columns.key(0)) == (b"v", b"k")
    assert (columns.value(1), columns.key(1)) == (None, None)


def test_size_bytes_counts_values_alone(using: Kernels) -> None:
    assert columns_of(values(0, b"abc", None, b"", b"de"), using).size_bytes == 5
    assert columns_of(b"", using).size_bytes == 0


@pytest.mark.parametrize("read_before", [False, True])
def test_a_slice_is_over_the_same_memory(read_before: bool, using: Kernels) -> None:
    columns = columns_of(keyed(6), using)
    if read_before:
        assert len(columns.values) == len(columns.keys) == 6
    part = columns[2:4]
    assert part.offsets.obj is columns.offsets.obj
    assert (len(part), part.offsets.tolist(), part.keys) == (2, [5, 6], [b"k2", b"k3"])
    assert [bytes(value or b"") for value in part.values] == [b"v2", b"v3"]
    assert part.headers(1) == (("h", b"3"),)


def test_a_slice_has_step_one() -> None:
    with pytest.raises(ValueError, match="expected a slice of step 1, got 2"):
        columns_of(keyed(6))[::2]


def test_any_records_can_be_taken(using: Kernels) -> None:
    part = columns_of(keyed(6), using).take([5, 0, 5])
    assert part.offsets.tolist() == [8, 3, 8]
    assert part.keys == [b"k5", b"k0", b"k5"]
    assert part[1:].copies() == [b"v0", b"v5"]


def test_it_says_what_it_holds() -> None:
    assert repr(columns_of(keyed(6))) == "Columns(6 records, offsets 3 to 8)"
    assert repr(columns_of(b"")) == "Columns(0 records)"


def expect_rows(found: Any, rows: Sequence[bytes]) -> None:
    assert found.dtype == np.dtype("<f4")
    np.testing.assert_array_equal(found, np.frombuffer(b"".join(rows), "<f4").reshape((-1, 4)))


def test_equal_values_at_a_constant_distance_are_a_view(using: Kernels) -> None:
    data = values(0, *rows_of(60))
    found = columns_of(data, using).tensor("float32", (4,))
    expect_rows(found, rows_of(60))
    assert np.shares_memory(found, np.frombuffer(data, np.uint8))
    assert found.strides == (16 + 7, 4)
    assert not found.flags.writeable


def test_a_view_that_is_not_aligned_can_be_declined(using: Kernels) -> None:
    found = columns_of(values(0, *rows_of(60)), using).tensor("float32", (2, 2), aligned=True)
    assert found.flags.aligned
    expect_rows(found.reshape((-1, 4)), rows_of(60))


def test_values_at_changing_distances_are_gathered_once(using: Kernels) -> None:
    data = values(0, *rows_of(100)) + values(100, *rows_of(30))
    found = columns_of(data, using).tensor("float32", (4,))
    expect_rows(found, rows_of(100) + rows_of(30))
    assert not np.shares_memory(found, np.frombuffer(data, np.uint8))


def test_a_value_may_hold_several_rows(using: Kernels) -> None:
    rows = rows_of(8)
    alike = columns_of(values(0, *(rows[n] + rows[n + 1] for n in range(0, 8, 2))), using)
    expect_rows(alike.tensor("float32", (4,)), rows)
    mixed = columns_of(values(0, rows[0], b"", rows[1] + rows[2], None), using)
    expect_rows(mixed.tensor("float32", (4,)), rows[:3])


def test_one_value_and_reversed_ones(using: Kernels) -> None:
    columns = columns_of(values(0, *rows_of(3)), using)
    expect_rows(columns[1:2].tensor("float32", (4,)), rows_of(3)[1:2])
    expect_rows(columns.take([2, 1, 0]).tensor("float32", (4,)), rows_of(3)[::-1])


def test_numbers_have_no_shape(using: Kernels) -> None:
    columns = columns_of(values(0, b"\1\0", b"\2\0"), using)
    assert columns.tensor("int16", ()).tolist() == [1, 2]
    assert columns.tensor(">i2", ()).tolist() == [256, 512]


@pytest.mark.parametrize("data", [b"", values(0, None, None), values(0, b"")])
def test_no_rows(data: bytes, using: Kernels) -> None:
    assert columns_of(data, using).tensor("float32", (4,)).shape == (0, 4)


@pytest.mark.parametrize("data", [values(0, b"abc"), values(0, b"abcd" * 4, b"abc")])
def test_values_that_are_no_whole_rows(data: bytes, using: Kernels) -> None:
    with pytest.raises(ShapeError, match=r"tensor float32 \(4,\): expected a multiple of 16 bytes, got 3"):
        columns_of(data, using).tensor("float32", (4,))
