"""The user's own inputs, from an .npz or .json file."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np

from nimify.errors import ConfigError, shortened
from nimify.tensors import Datatype, Signature, TensorSpec, fp32_to_bf16

Array = np.ndarray[Any, Any]

_MAX_JSON_BYTES: Final = 64 << 20
_FIELD: Final = "golden.sample"


def load_sample(path: Path, signature: Signature) -> dict[str, Array]:
    """One array per input of the signature, of the datatype's storage.

    An .npz file holds one array per input, by name; a .json file holds `{"input": nested lists}`, or the body of a
    `/v1/infer` request, `{"inputs": {"input": nested lists}}`.

    Raises:
        ConfigError: The file cannot be read, or does not hold what the model takes; names the input and the fix.
    """
    values = _values(path, signature)
    wanted = [spec.name for spec in signature.inputs]
    for name in values:
        if name not in wanted:
            raise _error(path, f"has '{shortened(name)}', which is not an input; the model takes {_listed(wanted)}.")
    arrays = {}
    for spec in signature.inputs:
        if spec.name not in values:
            raise _error(path, f"lacks the input '{shortened(spec.name)}'; the model takes {_listed(wanted)}.")
        arrays[spec.name] = _converted(values[spec.name], spec, path)
    return arrays


def _values(path: Path, signature: Signature) -> Mapping[str, Any]:
    try:
        if path.suffix == ".npz":
            return _npz(path)
        if path.suffix == ".json":
            return _json(path, signature)
    except OSError as error:
        raise _error(path, f"cannot be read ({error.strerror or error}).") from None
    raise _error(path, "is neither an .npz nor a .json file.")


def _npz(path: Path) -> Mapping[str, Any]:
    try:
        with path.open("rb") as stream:
            archive = np.load(stream, allow_pickle=False)
            if not isinstance(archive, np.lib.npyio.NpzFile):
                raise _error(path, "is a single array; write it with numpy.savez(path, name=array).")
            return {name: archive[name] for name in archive.files}
    except (ValueError, EOFError, KeyError, zipfile.BadZipFile):
        raise _error(
            path, "is not an .npz file of plain arrays; write it with numpy.savez(path, name=array), without objects."
        ) from None


def _json(path: Path, signature: Signature) -> Mapping[str, Any]:
    with path.open("rb") as stream:
        text = stream.read(_MAX_JSON_BYTES + 1)
    if len(text) > _MAX_JSON_BYTES:
        raise _error(path, f"is larger than {_MAX_JSON_BYTES} bytes; use an .npz file.")
    try:
        data = json.loads(text)
    except (ValueError, RecursionError):
        raise _error(path, "is not JSON.") from None
    is_request = isinstance(data, dict) and isinstance(data.get("inputs"), dict)
    if is_request and all(spec.name != "inputs" for spec in signature.inputs):
        data = data["inputs"]
    if not isinstance(data, dict):
        raise _error(path, 'is not an object of inputs, as in {"input": [[1, 2]]}.')
    return data


def _converted(value: Any, spec: TensorSpec, path: Path) -> Array:
    what = f"input '{shortened(spec.name)}'"
    try:
        array = np.asarray(value)
    except ValueError:
        raise _error(path, f"{what} has lists of different lengths.") from None
    converted = _as_datatype(array, spec.datatype)
    if converted is None:
        raise _error(path, f"{what} does not hold {spec.datatype.name} values.")
    fits = len(converted.shape) == len(spec.shape) and all(
        not isinstance(dim, int) or dim == length for dim, length in zip(spec.shape, converted.shape, strict=True)
    )
    if not fits:
        raise _error(path, f"{what} has the shape {list(converted.shape)}; the model takes {spec.protocol_shape}.")
    return converted


def _as_datatype(array: Array, datatype: Datatype) -> Array | None:
    """The array as the datatype's storage, or `None` when a value would not survive."""
    if datatype.name == "BYTES":
        return _as_bytes(array)
    if datatype.name == "BF16" and array.dtype.kind in "fiu":
        return fp32_to_bf16(array.astype("<f4"))
    if datatype.is_float and array.dtype.kind in "fiu":
        with np.errstate(over="ignore"):
            return array.astype(datatype.storage)
    if datatype.name == "BOOL" and array.dtype.kind == "b":
        return array.astype(datatype.storage)
    if datatype.is_integer and array.dtype.kind in "iu":
        converted = array.astype(datatype.storage)
        # The sign is compared as well: -1 turned into the largest unsigned number would survive the way back.
        survives = np.array_equal(converted, array) and np.array_equal(converted < 0, array < 0)
        return converted if survives else None
    return None


def _as_bytes(array: Array) -> Array | None:
    if array.dtype.kind not in "SU":
        return None
    items = np.empty(array.size, dtype=object)
    items[:] = [item if isinstance(item, bytes) else item.encode("utf-8") for item in array.ravel().tolist()]
    return items.reshape(array.shape)


def _listed(names: list[str]) -> str:
    return ", ".join(f"'{shortened(name)}'" for name in names[:10]) or "no inputs"


def _error(path: Path, problem: str) -> ConfigError:
    return ConfigError(f"'{path}' {problem}", field=_FIELD)
