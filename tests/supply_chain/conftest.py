"""Tools of others that judge what nimify signs and scans.

They live in an environment of their own, because the official signing tool brings a whole Sigstore client. Without
it these tests are skipped, and say so; they fail when NIMIFY_REQUIRE names `supply_chain` (make test-supply-chain).
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
_PLACES = (ROOT / ".tools/supply-chain/bin", ROOT / ".tools/bin")


def program(name: str) -> str:
    """The path of a program that the tests drive."""
    found = shutil.which(name, path=os.pathsep.join((*map(str, _PLACES), os.environ.get("PATH", ""))))
    if found is None:
        message = f"{name} is not installed; make test-supply-chain"
        if "supply_chain" in os.environ.get("NIMIFY_REQUIRE", "").split(","):
            pytest.fail(message)
        pytest.skip(message)
    return found
