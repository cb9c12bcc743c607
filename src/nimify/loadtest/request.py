"""What is sent: requests made from a bundle, from a file, or from what the service says of itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np

from nimify.analysis.analysis import Array
from nimify.analysis.sampling import load_sample
from nimify.artifacts.golden import Golden, needs_binary
from nimify.errors import ConfigError, one_line, shortened
from nimify.serving.spec import ServiceSpec
from nimify.tensors import Signature, TensorSpec, fp32_to_bf16

if TYPE_CHECKING:
    from nimify.loadtest.protocol import WireProtocol

_SEED: Final = 0


@dataclass(frozen=True, slots=True)
class LoadRequest:
    """One request, whatever protocol carries it.

    Attributes:
        name: What it is called in messages.
        model: Which model it asks.
        inputs: Its arrays by name.
        specs: Their datatypes; tensors are sent in this order.
    """

    name: str
    model: str
    inputs: Mapping[str, Array]
    specs: tuple[TensorSpec, ...]


def golden_requests(spec: ServiceSpec, golden: Golden, *, as_json: bool) -> list[LoadRequest]:
    """The bundle's recorded requests; those that JSON cannot carry are left out `as_json`.

    Raises:
        ConfigError: None is left.
    """
    specs = spec.signature.inputs
    cases = [recorded.case for recorded in golden.cases if not (as_json and needs_binary(specs, recorded.case.inputs))]
    if not cases:
        raise ConfigError(
            "JSON cannot carry the golden requests of this bundle.", field="--protocol", remedy="Use: --protocol binary"
        )
    return [LoadRequest(case.name, spec.name, case.inputs, specs) for case in cases]


def described_requests(
    protocol: WireProtocol, model: str | None, *, sample: Path | None, lengths: Mapping[str, int]
) -> list[LoadRequest]:
    """One request, made from what the service says of its model.

    Args:
        protocol: Asks the service.
        model: Name of the model; may be left out when there is only one.
        sample: The inputs to send, an .npz or .json file; values are drawn when left out.
        lengths: Length of all free axes of an input, by its name; 1 for those that are not named.

    Raises:
        EnvironmentProblem: The service does not answer, or not as the protocol says.
        ConfigError: The model or an input is not there.
    """
    name = model or _only_model(protocol)
    specs = protocol.inputs(name)
    unknown = sorted(set(lengths) - {spec.name for spec in specs})
    if unknown:
        known = ", ".join(shortened(one_line(spec.name)) for spec in specs)
        raise ConfigError(f"the model has no input '{unknown[0]}'.", field="--axis", remedy=f"It has: {known}.")
    if sample is not None:
        return [LoadRequest(sample.name, name, load_sample(sample, Signature(specs, ())), specs)]
    generator = np.random.default_rng(_SEED)
    inputs = {spec.name: _drawn(spec, lengths.get(spec.name, 1), generator) for spec in specs}
    return [LoadRequest("drawn values", name, inputs, specs)]


def _only_model(protocol: WireProtocol) -> str:
    names = protocol.models()
    if len(names) != 1:
        raise ConfigError("the service does not serve exactly one model.", field="--model", remedy="Name the model.")
    return names[0]


def _drawn(spec: TensorSpec, length: int, generator: np.random.Generator) -> Array:
    shape = [size if size >= 0 else length for size in spec.protocol_shape]
    if shape and spec.protocol_shape[0] < 0:
        shape[0] = 1  # one item a request
    if spec.datatype.name == "BYTES":
        return np.full(shape, b"text", dtype=object)
    if spec.datatype.name == "BF16":
        return fp32_to_bf16(generator.standard_normal(shape))
    if spec.datatype.is_float:
        return generator.standard_normal(shape).astype(spec.datatype.storage)
    # 0 and 1 are in range for every index.
    return generator.integers(0, 2, shape).astype(spec.datatype.storage)
