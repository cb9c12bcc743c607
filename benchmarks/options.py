"""What the commands that load servers have in common: the values of their options, and how they are ended."""

from __future__ import annotations

import argparse
from types import FrameType
from typing import NoReturn

from benchmarks.models import MODELS


def model_names(text: str) -> tuple[str, ...]:
    """Names of models, separated by commas."""
    names = tuple(dict.fromkeys(text.split(",")))
    if unknown := [name for name in names if name not in MODELS]:
        raise argparse.ArgumentTypeError(f"there is no model '{unknown[0]}'; there are: {', '.join(MODELS)}")
    return names


def numbers(text: str) -> tuple[int, ...]:
    """Positive whole numbers, separated by commas."""
    return tuple(dict.fromkeys(positive(part) for part in text.split(",")))


def positive(text: str) -> int:
    """A whole number from 1 to 10000."""
    if not (text.isascii() and text.isdigit() and 0 < int(text) <= 10_000):
        raise argparse.ArgumentTypeError(f"'{text}' is not a whole number from 1 to 10000")
    return int(text)


def end_in_order(signum: int, _frame: FrameType | None) -> NoReturn:
    """What SIGTERM does: unwind the stack as Ctrl-C does, so that the servers are ended too."""
    raise SystemExit(128 + signum)
