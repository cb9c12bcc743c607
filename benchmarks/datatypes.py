"""The element types of the benchmarks' models, as the Open Inference Protocol calls them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np

DATATYPES: Final[Mapping[np.dtype[Any], str]] = {np.dtype(np.float32): "FP32", np.dtype(np.int64): "INT64"}
DTYPES: Final[Mapping[str, np.dtype[Any]]] = {name: dtype for dtype, name in DATATYPES.items()}
