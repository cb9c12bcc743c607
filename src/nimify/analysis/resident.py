"""Resident memory of this very process.

`getrusage` would not do: what it calls the peak starts, in a new process, at the size of the one that started it.
"""

from __future__ import annotations

import resource
from pathlib import Path
from typing import Final

_STATUS: Final = Path("/proc/self/status")


def resident_bytes() -> int:
    """What is resident now; the peak where the system does not tell."""
    return _status_bytes("VmRSS") or _usage_bytes()


def peak_resident_bytes() -> int:
    """The most that was resident so far."""
    return _status_bytes("VmHWM") or _usage_bytes()


def _status_bytes(field: str) -> int:
    try:
        lines = _STATUS.read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{field}:")), 0)


def _usage_bytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
