"""What is remembered: bounded in bytes, the least recently used leaves first."""

from __future__ import annotations

import numpy as np
import pytest

from nimify.serving.response_cache.cache import ResponseCache, entry_bytes, kept


def answer(value: int, length: int = 1000) -> tuple[np.ndarray, ...]:
    return kept([np.full(length, value, np.uint8)])


ENTRY = entry_bytes(answer(0))


def test_what_was_kept_is_found_and_nothing_else() -> None:
    """A key that was never put has no answer."""
    cache = ResponseCache(10 * ENTRY)
    cache.put(b"a", answer(1))
    found = cache.get(b"a")
    assert found is not None
    assert found[0][0] == 1
    assert cache.get(b"b") is None


def test_the_one_unused_longest_makes_room() -> None:
    """Reading counts as use."""
    cache = ResponseCache(3 * ENTRY)
    for key in (b"a", b"b", b"c"):
        cache.put(key, answer(1))
    cache.get(b"a")
    cache.put(b"d", answer(1))
    assert [key for key in (b"a", b"b", b"c", b"d") if cache.get(key) is None] == [b"b"]
    assert (len(cache), cache.evictions, cache.used_bytes) == (3, 1, 3 * ENTRY)


def test_an_answer_that_is_larger_than_the_cache_pushes_nothing_out() -> None:
    """It is not kept, and what was there stays."""
    cache = ResponseCache(2 * ENTRY)
    cache.put(b"a", answer(1))
    cache.put(b"b", answer(1, length=4 * ENTRY))
    assert cache.get(b"b") is None
    assert cache.get(b"a") is not None
    assert cache.evictions == 0


def test_a_key_that_is_put_again_is_counted_once() -> None:
    """Two equal requests may have run at the same time."""
    cache = ResponseCache(3 * ENTRY)
    for _ in range(5):
        cache.put(b"a", answer(1))
    assert (len(cache), cache.used_bytes, cache.evictions) == (1, ENTRY, 0)


@pytest.mark.parametrize("seed", range(5))
def test_it_never_takes_more_than_it_may(seed: int) -> None:
    """Whatever the sizes and the order."""
    random = np.random.default_rng(seed)
    cache = ResponseCache(20_000)
    for _ in range(300):
        key, length = bytes([random.integers(40)]), int(random.integers(1, 9000))
        cache.put(key, answer(1, length))
        assert 0 <= cache.used_bytes <= 20_000


def test_what_is_kept_is_a_copy_that_nobody_can_write_to() -> None:
    """An answer may be a part of a batch's, and whoever got it may change it."""
    batch = np.arange(10)
    (copy,) = kept([batch[2:4]])
    batch[:] = 0
    assert copy.tolist() == [2, 3]
    assert copy.base is None
    with pytest.raises(ValueError, match="read-only"):
        copy[0] = 1


def test_strings_count_with_their_content() -> None:
    """An array of them is pointers only."""
    short, long = (np.array([text], dtype=object) for text in (b"", b"x" * 10_000))
    assert entry_bytes([long]) - entry_bytes([short]) == 10_000
