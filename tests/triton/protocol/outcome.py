"""What came back for a request, as facts that two servers can be compared by.

Imports nothing but numpy, so that it runs in every client's environment.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

Outcome = dict[str, str]
"""Facts by name. `status` is always there; when it differs between two servers, nothing else is compared."""
Outcomes = dict[str, Outcome]
"""By the name of the case."""

_MOST = 160
"""Characters of a fact: what is longer is told by its ends and its length."""


def text(value: Any) -> str:
    """A value in one spelling."""
    written = value if isinstance(value, str) else json.dumps(value, ensure_ascii=True, sort_keys=True)
    return written if len(written) <= _MOST else f"{written[:60]}...{written[-60:]} ({len(written)})"


def tensor(datatype: str, shape: Sequence[int], array: Any) -> str:
    """A tensor in one spelling: datatype, shape and elements."""
    flat = np.asarray(array).reshape(-1).tolist()
    elements = [item.decode("utf-8", "backslashreplace") if isinstance(item, bytes) else item for item in flat]
    return text(f"{datatype}{[int(dim) for dim in shape]} {elements}")


def flattened(value: Any, path: str = "") -> Outcome:
    """The leaves of JSON by their path, as `a.b[0].c`; what is empty is a leaf, and words in a list have no order."""
    if isinstance(value, Mapping) and value:
        steps = [(f"{path}.{key}" if path else str(key), part) for key, part in value.items()]
    elif isinstance(value, list) and value and all(isinstance(part, str) and part[:1].isalpha() for part in value):
        return {f"{path}: {part}": "there" for part in value}
    elif isinstance(value, list) and value:
        steps = [(f"{path}[{index}]", part) for index, part in enumerate(value)]
    else:
        return {path or "value": text(value)}
    return {key: leaf for step, part in steps for key, leaf in flattened(part, step).items()}


def counted(statistics: Mapping[str, Any]) -> Outcome:
    """The statistics of models as facts: of counts whether there is anything to tell, and nothing of times."""
    facts: Outcome = {}
    for row in statistics.get("model_stats", []):
        batches = {str(batch.pop("batch_size")): batch for batch in row.pop("batch_stats", [])}
        facts["batch sizes"] = text(sorted(map(int, batches)))
        for batch in batches.values():
            facts |= {f"batch.{key}": _any(value) for key, value in flattened(batch).items()}
        facts |= {key: _any(value) for key, value in flattened(row).items()}
    return {key: value for key, value in facts.items() if not key.endswith(".ns")}


def _any(value: str) -> str:
    return ("some" if int(value) else "none") if value.isdigit() else value
