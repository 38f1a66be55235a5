"""The HTTP edge answers or closes; it never hangs, crashes, leaks a slot or another request's bytes.

The corpus, mutations of it (the same in each run), and what Hypothesis makes of it; `scripts/fuzz http` searches on,
guided by coverage.
"""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.http_fuzz import CORPUS, OPTIONS, attempt, mutated

PARTS = st.one_of(st.sampled_from(list(CORPUS.values())), st.binary(max_size=40))


@pytest.mark.parametrize("name", CORPUS)
def test_corpus(name: str) -> None:
    for options in range(OPTIONS):
        attempt(bytes([options]) + CORPUS[name])


@pytest.mark.parametrize("seed", range(4))
def test_mutated_corpus(seed: int) -> None:
    rng = random.Random(seed)
    for _ in range(2000):
        attempt(mutated(rng))


@settings(deadline=None, max_examples=200)
@given(st.integers(0, OPTIONS - 1), st.lists(PARTS, max_size=4), st.data())
def test_parts_in_any_order(options: int, parts: list[bytes], data: st.DataObject) -> None:
    attack = b"".join(parts)
    attempt(bytes([options]) + attack[: data.draw(st.integers(0, len(attack)))])
