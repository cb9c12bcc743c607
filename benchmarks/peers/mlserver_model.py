"""The model behind MLServer, as a runtime of one's own is written: its codecs, and one call of the session.

MLServer imports it from the folder that holds the model's settings; `parameters` there name the file and the threads.
"""

from __future__ import annotations

from benchmarks.peers.session import open_session
from mlserver import MLModel  # type: ignore[import-not-found]  # not in the environment that checks types
from mlserver.codecs import NumpyCodec  # type: ignore[import-not-found]  # the same
from mlserver.types import InferenceRequest, InferenceResponse  # type: ignore[import-not-found]  # the same


class OnnxModel(MLModel):  # type: ignore[misc]  # the same
    """One ONNX file in ONNX Runtime."""

    async def load(self) -> bool:
        """Load it."""
        parameters = self.settings.parameters
        self.session = open_session(parameters.uri, parameters.extra["threads"])
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        """Run it on what was asked, or on what MLServer merged."""
        feeds = {tensor.name: NumpyCodec.decode_input(tensor) for tensor in payload.inputs}
        results = self.session.run(None, feeds)
        outputs = [
            NumpyCodec.encode_output(node.name, result)
            for node, result in zip(self.session.get_outputs(), results, strict=True)
        ]
        return InferenceResponse(model_name=self.name, outputs=outputs)
