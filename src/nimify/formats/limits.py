"""How much a model file may ask for before it is refused. Generous for real models, small enough for a laptop."""

from __future__ import annotations

from typing import Final

MAX_PROTOBUF_BYTES: Final = (1 << 31) - 1
"""What protobuf, and with it every ONNX reader, takes in one file; larger models keep their weights beside it."""
MAX_SKELETON_BYTES: Final = 256 << 20
"""The graph without its weights."""
MAX_FIELDS: Final = 5_000_000
"""Protobuf fields that are looked at one by one; small messages count as one."""
MAX_NODES: Final = 1_000_000
"""Nodes, subgraphs and functions included."""
MAX_TENSORS: Final = 1_000_000
"""Stored tensors, attributes of nodes included."""
MAX_SUBGRAPH_DEPTH: Final = 16
"""Bodies of `If`, `Loop` and `Scan` inside each other."""
MAX_RANK: Final = 32
"""Axes of one tensor."""
MAX_NAME_LENGTH: Final = 1024
"""Characters in the name of an input or output, an axis, an operator or a file."""
MAX_METADATA_BYTES: Final = 1 << 20
"""All keys and values of the metadata together."""
MAX_IO_TENSORS: Final = 1024
"""Inputs, and as many outputs."""
MAX_IO_BYTES: Final = 16 << 30
"""One input or output, counting its fixed axes only."""
MAX_EXTERNAL_FILES: Final = 100_000
"""Files of external data."""
