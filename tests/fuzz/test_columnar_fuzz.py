"""On any bytes the codec neither raises nor loses a good record, and native and pure kernels agree.

Seeded mutations of sound fetches; each run is the same. `scripts/fuzz columnar` searches on, guided by coverage.
"""

import random

import pytest
from support.columnar_fuzz import SEEDS, attempt, mutated


@pytest.mark.parametrize("seed", range(4))
def test_mutated_fetches(seed: int) -> None:
    rng = random.Random(seed)
    for _ in range(700):
        attempt(mutated(rng))


def test_sound_fetches_and_none() -> None:
    attempt(b"")
    for options in range(256):
        for data in SEEDS:
            attempt(bytes([options]) + data)
