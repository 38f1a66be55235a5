"""The native kernels give what their twin gives, and refuse places outside their buffers."""

import shutil
import subprocess
import sys
from array import array

import pytest

from headrace.triggers.kafka.kernels import Kernels, native_kernels, pure_kernels


@pytest.fixture(name="native")
def native_or_skip() -> Kernels:
    found = native_kernels()
    if found is None:
        pytest.skip("the native kernels were not built")
    return found


@pytest.mark.skipif(shutil.which("cc") is None, reason="no compiler")
def test_the_kernels_are_built_where_there_is_a_compiler() -> None:
    assert native_kernels() is not None


# RFC 3720 appendix B.4, and the check value of the CRC catalogue
CRCS = [(b"123456789", 0xE3069283), (b"", 0), (bytes(32), 0x8A9136AA), (b"\xff" * 32, 0x62A8AB43)]


@pytest.mark.parametrize(("data", "crc"), CRCS)
def test_known_checksums(data: bytes, crc: int) -> None:
    assert pure_kernels.crc32c(b"before" + data + b"after", 6, 6 + len(data)) == crc


@pytest.mark.parametrize("hardware", [True, False])
def test_checksums_by_instruction_and_by_table(hardware: bool, native: Kernels) -> None:
    from headrace.triggers.kafka import _columnar

    data = bytes(n * n % 251 for n in range(10_000))
    assert _columnar.choose_crc(hardware) == (hardware and _columnar.HARDWARE_CRC)
    try:
        for data_again, crc in CRCS:
            assert native.crc32c(data_again, 0, len(data_again)) == crc
        for start, stop in [(0, 10_000), (1, 3_073), (3, 3_074), (7, 6_200), (5, 12), (9_999, 10_000)]:
            assert native.crc32c(data, start, stop) == pure_kernels.crc32c(data, start, stop)
    finally:
        _columnar.choose_crc(True)


def test_extents_outside_the_data_are_refused(native: Kernels) -> None:
    starts, sizes = array("i", [0, 8]), array("i", [4, 4])
    with pytest.raises(ValueError, match="expected an extent inside 10 bytes, got 4 bytes at 8"):
        native.blobs(bytes(10), starts, sizes)
    with pytest.raises(ValueError, match="expected an extent inside 10 bytes, got 4 bytes at 8"):
        native.gather(bytes(10), starts, 4, bytearray(8))
    with pytest.raises(ValueError, match="got 4 bytes at -1"):
        native.blobs(bytes(10), array("i", [-1]), array("i", [4]))
    with pytest.raises(ValueError, match="expected as many starts as sizes, got 2 and 1"):
        native.blobs(bytes(10), starts, array("i", [1]))
    with pytest.raises(ValueError, match="expected 2 x 4 bytes of room, got 7"):
        native.gather(bytes(10), starts, 4, bytearray(7))
    with pytest.raises(ValueError, match="expected 0 <= start <= stop <= 10, got 3 and 11"):
        native.crc32c(bytes(10), 3, 11)


@pytest.mark.parametrize(("stop", "count"), [(11, 1), (10, 2), (-1, 0)])
def test_segments_outside_the_data_are_refused(stop: int, count: int, native: Kernels) -> None:
    with pytest.raises(ValueError, match="expected segments inside the data, and no more records than the capacity"):
        native.fill(bytes(10), [(0, stop, count, 0, 9, 0, None, 0)], 1, 0)


def test_without_the_extension_the_twin_is_used() -> None:
    code = (
        "import sys; sys.modules['headrace.triggers.kafka._columnar'] = None\n"
        "from headrace.triggers.kafka import columnar, kernels\n"
        "assert kernels.kernels is kernels.pure_kernels and not columnar.NATIVE\n"
        "assert 'aiokafka' not in sys.modules and 'numpy' not in sys.modules\n"
        "print(columnar.decode(b'', topic='t', partition=0).next_offset)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "0\n"
