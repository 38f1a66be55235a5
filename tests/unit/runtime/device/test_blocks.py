"""Host memory that is used again."""

from headrace.runtime.device.blocks import KEPT_BLOCKS, HostBlocks, rounded


class Counting:
    """Allocates, and counts."""

    def __init__(self) -> None:
        self.sizes: list[int] = []

    def __call__(self, size_bytes: int) -> memoryview:
        self.sizes.append(size_bytes)
        return memoryview(bytearray(size_bytes))


def test_a_block_serves_smaller_batches_too() -> None:
    allocate = Counting()
    blocks = HostBlocks(allocate)
    for size in (100_000, 1, 99_999, 70_000):
        array = blocks.lease(size).array()
        assert array.nbytes == size
        del array
    assert allocate.sizes == [131_072]


def test_larger_batches_get_blocks_of_their_own() -> None:
    allocate = Counting()
    blocks = HostBlocks(allocate)
    for _ in range(3):
        leases = [blocks.lease(1 << size) for size in (17, 20)]
        assert len({lease.address for lease in leases}) == 2
        del leases
    assert len(allocate.sizes) <= 3  # a small one may have taken the large block


def test_few_free_blocks_are_kept() -> None:
    allocate = Counting()
    blocks = HostBlocks(allocate)
    for _ in range(2):
        leases = [blocks.lease(10) for _ in range(KEPT_BLOCKS + 2)]
        del leases
    assert len(allocate.sizes) == KEPT_BLOCKS + 4


def test_blocks_are_scrubbed_when_they_come_back() -> None:
    blocks = HostBlocks(Counting(), lambda memory: memory.__setitem__(slice(None), bytes([7]) * memory.nbytes))
    lease = blocks.lease(4)
    lease.array()[:] = 1
    del lease
    assert blocks.lease(4).array().tolist() == [7, 7, 7, 7]


def test_rounding_wastes_at_most_an_eighth() -> None:
    for size in (1, 65_536, 65_537, 1_000_000, 38_535_168, (1 << 30) + 1):
        block = rounded(size)
        assert size <= block <= max(65_536 * 2, size * 9 // 8 + 1)
