"""Quantities as people read and write them: for screens, reports, reasons and settings."""

from __future__ import annotations

import re
from typing import Final

SIZE_PATTERN: Final = r"([0-9]{1,15}(?:\.[0-9]{1,3})?)\s*((?:[kKMGT]i?)?)B?"
"""A size as Kubernetes writes it (`512Mi`, `2G`), a `B` at its end allowed."""

_FACTORS: Final = {
    "": 1,
    "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12,
    "ki": 1 << 10, "mi": 1 << 20, "gi": 1 << 30, "ti": 1 << 40,
}  # fmt: skip


def parse_size(text: str) -> int:
    """Bytes from a size such as `512Mi`, `1.5GiB`, `2G` or `1048576`.

    Raises:
        ValueError: It is no size.
    """
    match = re.fullmatch(SIZE_PATTERN, text.strip())
    if match is None:
        raise ValueError(f"must be a size such as 512Mi or 2Gi, and '{text}' is none")
    return int(float(match[1]) * _FACTORS[match[2].lower()])


def size_text(size_bytes: int) -> str | int:
    """A size as Kubernetes writes it, exactly; the number itself when no unit fits it."""
    for unit in ("Gi", "Mi", "Ki"):
        if size_bytes and size_bytes % _FACTORS[unit.lower()] == 0:
            return f"{size_bytes // _FACTORS[unit.lower()]}{unit}"
    return size_bytes


def human_bytes(count: int) -> str:
    """Bytes as people read them: `912 B`, `1.2 MB`."""
    size = float(count)
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.0f} {unit}" if unit == "B" or size >= 100 else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} TB"


def human_count(count: int) -> str:
    """A number as people read it: `912`, `1.2 thousand`, `3.4 million`."""
    for factor, word in ((10**9, " billion"), (10**6, " million"), (10**3, " thousand")):
        if count >= factor:
            return f"{count / factor:.1f}{word}"
    return str(count)


def human_seconds(seconds: float) -> str:
    """A duration as people read it: `12 µs`, `0.8 ms`, `1.2 s`; never nothing for what only nearly is."""
    if 0 < seconds < 0.5e-6:
        return "< 1 µs"
    if seconds < 0.0001:
        return f"{seconds * 1e6:.0f} µs"
    return f"{seconds * 1000:.1f} ms" if seconds < 1 else f"{seconds:.1f} s"


def human_rate(per_second: float) -> str:
    """A number of things in a second as people read it: `3.4`, `1,250`."""
    return f"{per_second:,.0f}" if per_second >= 100 else f"{per_second:.3g}"


def human_share(share: float) -> str:
    """A share of one as people read it: `12 %`, `0.4 %`; never 0 or 100 % for what is only nearly so."""
    percent = share * 100
    if 0 < percent < 0.1:
        return "< 0.1 %"
    if percent < 10 and percent != round(percent):
        return f"{percent:.1f} %"
    return "> 99 %" if 99.5 <= percent < 100 else f"{percent:.0f} %"
