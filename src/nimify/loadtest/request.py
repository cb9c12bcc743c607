"""What is sent: requests as the very bytes that go over the wire, made once and sent many times."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import numpy as np

from nimify.analysis.analysis import Array
from nimify.analysis.sampling import load_sample
from nimify.artifacts.golden import Golden, needs_binary
from nimify.conformance.address import Address
from nimify.conformance.client import Client, NoAnswer
from nimify.errors import ConfigError, EnvironmentProblem, one_line, shortened
from nimify.serving.open_inference import HEADER_LENGTH, encode_request
from nimify.serving.spec import ServiceSpec
from nimify.tensors import DATATYPES, Signature, TensorSpec, fp32_to_bf16

_SEED: Final = 0
_SHOWN: Final = 200


@dataclass(frozen=True, slots=True)
class LoadRequest:
    """One request.

    Attributes:
        name: What it is called in messages.
        model: Which model it asks.
        body: Its body.
        headers: Beside those of every request.
    """

    name: str
    model: str
    body: bytes
    headers: Mapping[str, str]

    @property
    def path(self) -> str:
        """The route."""
        return f"/v2/models/{quote(self.model, safe='')}/infer"

    def wire(self, address: Address, headers: Mapping[str, str]) -> bytes:
        """The request as HTTP/1.1 has it."""
        lines = {
            "Host": address.authority,
            "Content-Type": "application/json",
            "Content-Length": str(len(self.body)),
            **self.headers,
            **headers,
        }
        head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
        return f"POST {address.prefix}{self.path} HTTP/1.1\r\n{head}\r\n".encode("latin-1") + self.body


def golden_requests(spec: ServiceSpec, golden: Golden, *, binary: bool) -> list[LoadRequest]:
    """The bundle's recorded requests; those that JSON cannot carry are left out without `binary`.

    Raises:
        ConfigError: None is left.
    """
    cases = [
        recorded.case
        for recorded in golden.cases
        if binary or not needs_binary(spec.signature.inputs, recorded.case.inputs)
    ]
    if not cases:
        raise ConfigError(
            "JSON cannot carry the golden requests of this bundle.", field="--protocol", remedy="Use: --protocol binary"
        )
    return [_request(case.name, spec.name, case.inputs, spec.signature.inputs, binary=binary) for case in cases]


def described_requests(
    client: Client, model: str | None, *, sample: Path | None, lengths: Mapping[str, int], binary: bool
) -> list[LoadRequest]:
    """One request, made from what the service says of its model.

    Args:
        client: Asks the service.
        model: Name of the model; may be left out when there is only one.
        sample: The inputs to send, an .npz or .json file; values are drawn when left out.
        lengths: Length of all free axes of an input, by its name; 1 for those that are not named.
        binary: Whether tensors travel as raw bytes.

    Raises:
        EnvironmentProblem: The service does not answer, or not as the protocol says.
        ConfigError: The model or an input is not there.
    """
    name = model or _only_model(client)
    specs = _inputs(client, name)
    unknown = sorted(set(lengths) - {spec.name for spec in specs})
    if unknown:
        known = ", ".join(shortened(one_line(spec.name)) for spec in specs)
        raise ConfigError(f"the model has no input '{unknown[0]}'.", field="--axis", remedy=f"It has: {known}.")
    if sample is not None:
        return [_request(sample.name, name, load_sample(sample, Signature(specs, ())), specs, binary=binary)]
    generator = np.random.default_rng(_SEED)
    inputs = {spec.name: _drawn(spec, lengths.get(spec.name, 1), generator) for spec in specs}
    return [_request("drawn values", name, inputs, specs, binary=binary)]


def check_requests(client: Client, requests: Iterable[LoadRequest]) -> None:
    """Send each request once: a service that refuses it would only show how fast it refuses.

    Raises:
        EnvironmentProblem: It is not answered with 200.
    """
    for request in requests:
        try:
            answer = client.post(request.path, request.body, request.headers)
        except NoAnswer as error:
            raise EnvironmentProblem(f"The service cannot be used: {error}.") from error
        if answer.status != 200:
            said = shortened(one_line(answer.body[: 2 * _SHOWN].decode("utf-8", "replace")), _SHOWN)
            raise EnvironmentProblem(
                f"The service answers the request '{request.name}' with {answer.status}: {said}",
                remedy="Send what it takes: golden requests with --bundle, or your own inputs with --sample.",
            )


def _request(
    name: str, model: str, inputs: Mapping[str, Array], specs: Iterable[TensorSpec], *, binary: bool
) -> LoadRequest:
    body, length = encode_request(inputs, specs, binary=binary)
    headers = {} if length is None else {HEADER_LENGTH: str(length), "Content-Type": "application/octet-stream"}
    return LoadRequest(name, model, body, headers)


def _only_model(client: Client) -> str:
    rows = _get(client, "/v1/models").get("data")
    names = [str(row["id"]) for row in rows if isinstance(row, dict) and "id" in row] if isinstance(rows, list) else []
    if len(names) != 1:
        raise ConfigError("the service does not serve exactly one model.", field="--model", remedy="Name the model.")
    return names[0]


def _inputs(client: Client, model: str) -> tuple[TensorSpec, ...]:
    path = f"/v2/models/{quote(model, safe='')}"
    try:
        return tuple(
            TensorSpec(
                str(row["name"]),
                DATATYPES[row["datatype"]],
                tuple(length if length >= 0 else None for length in row["shape"]),
            )
            for row in _get(client, path)["inputs"]
        )
    except (KeyError, TypeError):
        raise EnvironmentProblem(f"The service does not describe the model at {path} as the protocol says.") from None


def _get(client: Client, path: str) -> dict[str, Any]:
    try:
        answer = client.get(path)
    except NoAnswer as error:
        raise EnvironmentProblem(f"The service cannot be used: {error}.") from error
    body = answer.json()
    if answer.status != 200 or not isinstance(body, dict):
        raise EnvironmentProblem(f"The service answers {path} with {answer.status}.", remedy="Is it ready?")
    return body


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
