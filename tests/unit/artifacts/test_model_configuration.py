"""The configuration that clients are told says the same as the bundle's config.pbtxt."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from google.protobuf import json_format

from nimify.artifacts.triton import model_config
from nimify.serving.grpc.protos import model_config_pb2 as pb
from nimify.serving.model_configuration import model_configuration
from nimify.testing import models

Prepare = Callable[..., Any]


def told(service: Any) -> pb.ModelConfig:
    return json_format.ParseDict(model_configuration(service), pb.ModelConfig())


def completed(config: pb.ModelConfig) -> pb.ModelConfig:
    """With what Triton derives by itself: the platform from the backend, and the batch that it prefers."""
    config.platform = "onnxruntime_onnx"
    if config.HasField("dynamic_batching"):
        config.dynamic_batching.preferred_batch_size.append(config.max_batch_size)
    return config


@pytest.mark.parametrize("kind", models.ALL)
@pytest.mark.parametrize("max_batch_size", [0, 1, None])
def test_both_engines_describe_one_model(kind: str, max_batch_size: int | None, prepare: Prepare) -> None:
    """Everything but what each engine decides for itself: how many copies run, on what, and how they warm up."""
    service = prepare(kind).plan.service
    if max_batch_size is not None:
        service = replace(service, max_batch_size=max_batch_size)
    ours, bundle = told(service), model_config(service)
    completed(bundle)
    for config in (ours, bundle):
        for field in ("instance_group", "model_warmup", "optimization"):
            config.ClearField(field)
    assert ours == bundle


def test_delay_and_threads_are_told(prepare: Prepare) -> None:
    """What the plan decided about them is in both."""
    service = replace(prepare("tiny").plan.service, max_batch_size=4, max_queue_delay_us=700, threads=3)
    assert told(service).dynamic_batching == completed(model_config(service)).dynamic_batching
    assert told(service).dynamic_batching.max_queue_delay_microseconds == 700
    assert told(service).parameters == model_config(service).parameters
    assert told(service).parameters["intra_op_thread_count"].string_value == "3"


def test_the_configuration_has_the_fields_of_tritons_own(prepare: Prepare) -> None:
    """In Triton's order: what a real one (2.51) answers for a model that batches."""
    assert list(model_configuration(replace(prepare("tiny").plan.service, max_batch_size=8))) == [
        "name", "platform", "backend", "runtime", "version_policy", "max_batch_size", "input", "output", "batch_input",
        "batch_output", "optimization", "dynamic_batching", "instance_group", "default_model_filename",
        "cc_model_filenames", "metric_tags", "parameters", "model_warmup",
    ]  # fmt: skip
