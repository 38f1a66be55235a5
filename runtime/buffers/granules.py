"""Which parts of a slab are free: `Granules`, a bitmap. No memory and no threads here.

The bitmap is one Python int. Finding a run of n takes log2(n) shifts of it, whatever was allocated before:
5 µs for 4 MiB in 256 MiB, where a list of free extents takes as long as it is fragmented.
"""


class Granules:
    """A row of equal parts, taken in runs from the lowest address at which they fit.

    The lowest address keeps memory warm and resident memory small, lets what is free grow together at the
    end, and puts what arrives in order at consecutive addresses.

    Args:
        count: How many there are.
    """

    __slots__ = ("_free", "count")

    def __init__(self, count: int) -> None:
        self.count = count
        self._free = (1 << count) - 1

    @property
    def free(self) -> int:
        """How many are free."""
        return self._free.bit_count()

    def take(self, count: int) -> int:
        """The first of `count` consecutive granules, which are free no more; -1: there are none."""
        # After each step bit i says that `known` granules from i on are free
        runs, known = self._free, 1
        while known < count and runs:
            step = min(known, count - known)
            runs &= runs >> step
            known += step
        if not runs:
            return -1
        start = (runs & -runs).bit_length() - 1
        self._free ^= ((1 << count) - 1) << start
        return start

    def extend(self, start: int, count: int, wanted: int) -> bool:
        """Take the granules behind a run of `count`, so that it is one of `wanted`; False: they are not free."""
        behind = ((1 << (wanted - count)) - 1) << (start + count)
        if start + wanted > self.count or self._free & behind != behind:
            return False
        self._free ^= behind
        return True

    def give(self, start: int, count: int) -> None:
        """Free a run that was taken."""
        self._free |= ((1 << count) - 1) << start
