"""The script in the words of KServe's clients; run by the interpreter of their own environment.

    .tools/kserve/bin/python -m tests.triton.protocol.kserve_clients

reads lines of `MODEL [HTTP_ADDRESS GRPC_ADDRESS]...` and answers each with the outcomes of each server as a line of
JSON: these clients take seconds to load. Imports nothing of ours but the script.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Mapping
from typing import Any

import grpc
import httpx
import numpy as np
from kserve import InferenceGRPCClient, InferenceRESTClient, InferInput, InferRequest
from kserve.inference_client import RESTConfig
from kserve.protocol.infer_type import RequestedOutput
from tests.triton.protocol.outcome import Outcome, Outcomes, flattened, tensor, text
from tests.triton.protocol.script import SCRIPT, Step

_ABOUT = ("live", "ready", "model_ready")
_NUMPY = {"BOOL": "bool", "FP16": "float16", "FP32": "float32", "FP64": "float64", "BYTES": "object"}


def _request(step: Step, *, binary: bool) -> InferRequest:
    model, version = step.names
    inputs = []
    for part in step.inputs:
        made = InferInput(part.name, list(part.shape), part.datatype)
        array = np.array(part.elements, dtype=_NUMPY.get(part.datatype, part.datatype.lower())).reshape(part.shape)
        made.set_data_from_numpy(array, binary_data=binary)
        inputs.append(made)
    parameters = {**step.options.get("parameters", {})}
    parameters |= {key: step.options[key] for key in ("priority", "timeout", "sequence_id") if key in step.options}
    return InferRequest(
        model,
        inputs,
        request_id=step.options.get("request_id", "drawn-otherwise"),
        parameters=parameters or None,
        request_outputs=[_wanted(part.name, part.classes) for part in step.outputs] or None,
        model_version=version or None,
    )


def _wanted(name: str, classes: int) -> RequestedOutput:
    return RequestedOutput(name, {"classification": classes} if classes else None)


def _facts(response: Any, status: str) -> Outcome:
    facts = {"status": status, "names": text([output.name for output in response.outputs])}
    for output in response.outputs:
        facts[f"output {output.name}"] = tensor(output.datatype, list(output.shape), output.as_numpy())
    named = {"model_name": response.model_name, "model_version": response.model_version, "id": response.id}
    return facts | flattened({key: value for key, value in named.items() if value})


class _Rest:
    """`InferenceRESTClient`, with binary tensors or JSON."""

    def __init__(self, client: InferenceRESTClient, url: str, *, binary: bool) -> None:
        self._client = client
        self._url = url
        self._binary = binary

    async def ask(self, step: Step) -> Outcome:
        """What comes of a step; `model_ready` has no version."""
        if step.method == "infer":
            request = _request(step, binary=self._binary)
            return _facts(await self._client.infer(self._url, request, model_name=step.names[0]), "200")
        ask = {"live": self._client.is_server_live, "ready": self._client.is_server_ready}.get(step.method)
        is_ = await (ask(self._url) if ask else self._client.is_model_ready(self._url, step.names[0]))
        return {"status": "200", "value": text(is_)}


class _Grpc:
    """`InferenceGRPCClient`."""

    def __init__(self, client: InferenceGRPCClient, *, binary: bool) -> None:
        self._client = client
        self._binary = binary

    async def ask(self, step: Step) -> Outcome:
        """What comes of a step."""
        if step.method == "infer":
            return _facts(await self._client.infer(_request(step, binary=self._binary)), "OK")
        ask = {"live": self._client.is_server_live, "ready": self._client.is_server_ready}.get(step.method)
        is_ = await (ask() if ask else self._client.is_model_ready(step.names[0]))
        return {"status": "OK", "value": text(is_)}


async def _run(client: Any, steps: Mapping[str, Step]) -> Outcomes:
    outcomes = {}
    for name, step in steps.items():
        try:
            outcomes[name] = await client.ask(step)
        except httpx.HTTPStatusError as error:
            outcomes[name] = {"status": str(error.response.status_code)}
        except grpc.RpcError as error:
            outcomes[name] = {"status": error.code().name}
        except Exception as error:  # noqa: BLE001 - what the client itself cannot do is the same with both servers
            outcomes[name] = {"status": f"the client: {type(error).__name__}: {error}"}
    return outcomes


def _possible(steps: Mapping[str, Step]) -> dict[str, Step]:
    """What these clients can ask: no version beside an inference over gRPC, no classes of a sequence."""
    return {
        name: step
        for name, step in steps.items()
        if (step.method == "infer" and "sequence_start" not in step.options and "sequence_end" not in step.options)
        or (step.method in _ABOUT and step.names[1:] in ((), ("",)))
    }


async def _main(model: str, http_address: str, grpc_address: str) -> dict[str, Outcomes]:
    steps = _possible(SCRIPT[model])
    inferences = {name: step for name, step in steps.items() if step.method == "infer"}
    unversioned = {name: step for name, step in steps.items() if step.method != "infer" or not step.names[1]}
    rest = InferenceRESTClient(RESTConfig(protocol="v2", retries=0))
    rpc = InferenceGRPCClient(grpc_address, channel_args=[("grpc.enable_retries", 0)])
    outcomes = {
        "kserve REST": await _run(_Rest(rest, f"http://{http_address}", binary=True), unversioned),
        "kserve REST JSON": await _run(
            _Rest(rest, f"http://{http_address}", binary=False),
            {name: step for name, step in unversioned.items() if step.method == "infer"},
        ),
        "kserve gRPC": await _run(_Grpc(rpc, binary=True), steps),
        "kserve gRPC typed": await _run(_Grpc(rpc, binary=False), inferences),
    }
    await rest.close()
    await rpc.close()
    return outcomes


def main() -> None:
    """Answer each line of questions with a line of outcomes."""
    for line in sys.stdin:
        model, *addresses = line.split()
        pairs = zip(addresses[::2], addresses[1::2], strict=True)
        print(json.dumps([asyncio.run(_main(model, *pair)) for pair in pairs]), flush=True)  # noqa: T201 - the answer


if __name__ == "__main__":
    main()
