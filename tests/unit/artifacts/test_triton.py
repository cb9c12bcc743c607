"""config.pbtxt: read back with Triton's schema, it says what the plan says."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from nimify.artifacts.triton import model_config, parse_config, triton_artifact
from nimify.serving.grpc.protos import model_config_pb2 as pb
from nimify.tensors import DATATYPES, Signature, TensorSpec
from nimify.testing import models

Prepare = Callable[..., Any]


def config_of(prepared: Any) -> pb.ModelConfig:
    return parse_config(triton_artifact(prepared.plan, prepared.analysis.golden).content)


@pytest.mark.parametrize("kind", models.ALL)
def test_every_kind_of_model_gets_a_complete_configuration(kind: str, prepare: Prepare) -> None:
    """Every input and output is named with its type and dims, so Triton completes nothing by itself."""
    prepared = prepare(kind)
    config, signature = config_of(prepared), prepared.plan.service.signature
    assert [tensor.name for tensor in config.input] == [spec.name for spec in signature.inputs]
    assert [tensor.name for tensor in config.output] == [spec.name for spec in signature.outputs]
    assert all(tensor.data_type != pb.TYPE_INVALID and tensor.dims for tensor in config.input)
    assert all(tensor.data_type != pb.TYPE_INVALID and tensor.dims for tensor in config.output)
    assert (config.backend, config.default_model_filename) == ("onnxruntime", "model.onnx")
    assert config.HasField("dynamic_batching") == (config.max_batch_size > 1)


def test_the_batch_axis_is_left_out_when_batching(prepare: Prepare) -> None:
    """With max_batch_size above 0 Triton adds the batch axis itself."""
    config = config_of(prepare("digits"))
    assert (config.max_batch_size, list(config.input[0].dims), list(config.output[0].dims)) == (32, [64], [10])


def test_dims_are_literal_without_batching(prepare: Prepare) -> None:
    """With max_batch_size 0 the dims are the whole shape."""
    prepared = prepare("fixed-batch")
    config = config_of(prepared)
    assert config.max_batch_size == 0
    assert list(config.input[0].dims) == prepared.plan.service.signature.inputs[0].protocol_shape


def test_a_tensor_of_nothing_but_the_batch_axis_is_reshaped(prepare: Prepare) -> None:
    """Dims must not be empty, so one element per row is reshaped away for the model."""
    service = prepare("tiny").plan.service
    spec = TensorSpec("score", DATATYPES["FP32"], ("batch",))
    config = model_config(replace(service, signature=Signature(service.signature.inputs, (spec,))))
    assert list(config.output[0].dims) == [1]
    assert config.output[0].HasField("reshape")
    assert list(config.output[0].reshape.shape) == []


def test_a_scalar_without_batching_has_no_reshape(prepare: Prepare) -> None:
    """Triton takes an empty reshape only when batching; planning reports what is lost."""
    prepared = prepare("scalar-output", batching={"max_batch_size": 0})
    scalars = [tensor for tensor in config_of(prepared).output if list(tensor.dims) == [1]]
    assert scalars
    assert not any(tensor.HasField("reshape") for tensor in scalars)
    assert [finding.code for finding in prepared.plan.findings].count("triton.scalar") == 1


@pytest.mark.parametrize("kind", models.ALL)
def test_warm_up_is_legal_or_left_out(kind: str, prepare: Prepare) -> None:
    """Warm-up inputs have positive dims, and bring random bits to floats only."""
    for warmup in config_of(prepare(kind)).model_warmup:
        for tensor in warmup.inputs.values():
            assert min(tensor.dims) >= 1
            assert tensor.random_data == (tensor.data_type in {pb.TYPE_FP16, pb.TYPE_BF16, pb.TYPE_FP32, pb.TYPE_FP64})


def test_free_axes_are_warmed_up_with_a_length_that_worked(prepare: Prepare) -> None:
    """The golden request says which length the model takes; without one there is no warm-up."""
    prepared = prepare("text")
    length = prepared.analysis.golden[0].inputs[prepared.plan.service.signature.inputs[0].name].shape[1]
    (warmup,) = config_of(prepared).model_warmup
    assert {tuple(tensor.dims) for tensor in warmup.inputs.values()} == {(length,)}
    assert not model_config(prepared.plan.service).model_warmup


def test_settings_reach_the_configuration(prepare: Prepare) -> None:
    """Threads and the queue delay are carried out where Triton has a place for them."""
    config = config_of(prepare("tiny", threads=3, batching={"max_batch_size": 8, "max_queue_delay_us": 250}))
    assert config.max_batch_size == 8
    assert config.dynamic_batching.max_queue_delay_microseconds == 250
    assert config.parameters["intra_op_thread_count"].string_value == "3"


def test_text_that_is_no_configuration_is_refused() -> None:
    """A typing error is reported with its line."""
    with pytest.raises(ValueError, match="2:"):
        parse_config(b'name: "x"\nmax_batch_sise: 3\n')
