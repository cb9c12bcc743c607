"""Our messages are the protocol's: names, numbers and types as the clients' own modules have them."""

from __future__ import annotations

from typing import Any

import pytest
from grpc_health.v1 import health_pb2 as their_health
from grpc_reflection.v1alpha import reflection_pb2 as their_reflection
from tritonclient.grpc import model_config_pb2 as their_config
from tritonclient.grpc import service_pb2 as their_service

from nimify.serving.grpc.protos import health_pb2, inference_pb2, model_config_pb2, reflection_v1_pb2
from nimify.serving.grpc.protos import reflection_v1alpha_pb2 as reflection_alpha_pb2


def _fields(message: Any) -> dict[str, Any]:
    return {
        field.name: (
            field.number,
            field.type,
            field.is_repeated,
            field.containing_oneof and field.containing_oneof.name,
        )
        for field in message.fields
    }


def _assert_same(ours: Any, theirs: Any) -> None:
    assert _fields(ours) == _fields(theirs), ours.full_name
    for name, enum in ours.enum_types_by_name.items():
        assert enum.values_by_name.keys() == theirs.enum_types_by_name[name].values_by_name.keys()
        for value in enum.values:
            assert value.number == theirs.enum_types_by_name[name].values_by_name[value.name].number
    for name, nested in ours.nested_types_by_name.items():
        _assert_same(nested, theirs.nested_types_by_name[name])


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (inference_pb2, their_service),
        (model_config_pb2, their_config),
        (health_pb2, their_health),
        (reflection_alpha_pb2, their_reflection),
        (reflection_v1_pb2, their_reflection),
    ],
    ids=["inference", "model configuration", "health", "reflection v1alpha", "reflection v1"],
)
def test_messages_are_those_of_the_protocol(ours: Any, theirs: Any) -> None:
    """Field by field."""
    for name, message in ours.DESCRIPTOR.message_types_by_name.items():
        _assert_same(message, theirs.DESCRIPTOR.message_types_by_name[name])
