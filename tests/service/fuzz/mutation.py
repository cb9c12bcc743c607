"""Sound bytes that are damaged a little, which gets deeper into a reader than noise does."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from random import Random

from hypothesis import strategies as st
from tests.service.fuzz.campaign import Case

_DAMAGES = ("put in", "take out", "change", "double", "cut off", "flip")
_SEEDS = st.integers(0, 2**32 - 1)
"""Where and how is left to a generator of our own: drawing each of it from Hypothesis takes ten times as long."""
_COUNTS = [st.integers(0, most) for most in range(4)]


@st.composite
def damaged(draw: st.DrawFn, whole: bytes, words: Sequence[bytes], *, most: int = 3) -> bytes:
    """The bytes with up to `most` damages: something put in, taken out, changed, doubled or cut off.

    `words` are what a reader of this form may stumble over.
    """
    count = draw(_COUNTS[most])
    if not count:
        return whole
    random, data = Random(draw(_SEEDS)), bytearray(whole)
    for _ in range(count):
        _damage(data, words, random)
    return bytes(data)


def _damage(data: bytearray, words: Sequence[bytes], random: Random) -> None:
    at, length = random.randint(0, len(data)), random.randint(1, 12)
    word = random.choice(words) if random.random() < 0.7 else random.randbytes(length % 6)
    match random.choice(_DAMAGES):
        case "put in":
            data[at:at] = word
        case "take out":
            del data[at : at + length]
        case "change":
            data[at : at + length] = word
        case "double":
            data[at:at] = data[at : at + length] * random.choice((1, 2, 100))
        case "cut off":
            del data[at:]
        case "flip" if at < len(data):
            data[at] ^= 1 << random.randint(0, 7)


@st.composite
def in_pieces(draw: st.DrawFn, surface: str, whole: bytes) -> Case:
    """The bytes as a case, sent at once or cut at up to three places."""
    count = draw(_COUNTS[3])
    random = Random(draw(_SEEDS) if count else 0)
    edges = [0, *sorted(random.randint(0, len(whole)) for _ in range(count)), len(whole)]
    return Case(surface, tuple(whole[start:end] for start, end in itertools.pairwise(edges)))
