"""Whatever is allocated, grown, kept and dropped: no two live owners share memory, and every slot comes back."""

from itertools import pairwise

import numpy as np
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, invariant, rule

from headrace.runtime.buffers import Slab, SlabFull
from headrace.runtime.device.cpu import CpuDevice

SLAB_BYTES = 40 * 16 * 1024
SIZES = st.one_of(st.integers(0, SLAB_BYTES + 1), st.integers(0, 70_000), st.just(49_216))


class SlabMachine(RuleBasedStateMachine):
    views: Bundle[int] = Bundle("views")

    @initialize(row_bytes=st.sampled_from([0, 49_152, 49_160]))
    def make(self, row_bytes: int) -> None:
        self.slab = Slab(SLAB_BYTES, CpuDevice().allocate_host, row_bytes=row_bytes)
        self.owned: dict[int, tuple[memoryview, bytes]] = {}
        self.parts: set[int] = set()
        self.count = 0

    def own(self, view: memoryview) -> int:
        self.count += 1
        mark = b"%08d" % self.count
        view[:8], view[-8:] = mark[: len(view)], mark[: len(view[-8:])]
        self.owned[self.count] = (view, mark)
        return self.count

    @rule(target=views, size=SIZES)
    def allocate(self, size: int) -> int:
        try:
            return self.own(self.slab.allocate(size))
        except SlabFull:
            assert size > self.slab.largest_bytes or self.slab.slots
            return 0

    @rule(target=views, owner=consumes(views), size=SIZES, filled=st.floats(0, 1))
    def grow(self, owner: int, size: int, filled: float) -> int:
        if owner not in self.owned or owner in self.parts or size < len(self.owned[owner][0]):
            return owner
        view, _ = self.owned[owner]
        part = int(filled * len(view))
        begin = bytes(view[:part])
        try:
            grown = self.slab.grow(view, part, size)
        except SlabFull:
            return owner
        del self.owned[owner]
        assert len(grown) == size
        assert bytes(grown[:part]) == begin
        return self.own(grown)

    @rule(owner=consumes(views))
    def drop(self, owner: int) -> None:
        self.owned.pop(owner, None)

    @rule(target=views, owner=consumes(views))
    def keep_a_part_only(self, owner: int) -> int:
        if owner in self.owned and len(self.owned[owner][0]) > 100:
            view, mark = self.owned.pop(owner)
            self.count += 1
            self.owned[self.count] = (view[-50:], mark)
            self.parts.add(self.count)
            return self.count
        return owner

    @invariant()
    def nothing_overlaps(self) -> None:
        if not hasattr(self, "owned"):
            return
        extents = []
        for view, mark in self.owned.values():
            if len(view):
                assert bytes(view[-8:]) == mark[: len(view[-8:])]
                start = np.frombuffer(view, np.uint8).__array_interface__["data"][0]
                extents.append((start, start + len(view)))
        extents.sort()
        assert all(end <= start for (_, end), (start, _) in pairwise(extents))

    def teardown(self) -> None:
        if hasattr(self, "owned"):
            self.owned.clear()
            assert (self.slab.used_bytes, self.slab.slots, self.slab.held) == (0, 0, 0)


SlabMachine.TestCase.settings = settings(deadline=None, max_examples=60, stateful_step_count=40)
test_slab = SlabMachine.TestCase
