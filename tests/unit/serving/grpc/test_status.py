"""How calls end, as bytes."""

from __future__ import annotations

import hpack
import pytest

from nimify.serving.faults import Kind, RequestFault
from nimify.serving.grpc.status import CODE_BY_KIND, StatusCode, fault_trailers, header_field


@pytest.mark.parametrize("kind", Kind)
def test_every_kind_of_fault_has_a_code(kind: Kind) -> None:
    """And only a fault of ours is INTERNAL."""
    assert (CODE_BY_KIND[kind] is StatusCode.INTERNAL) == (kind is Kind.INTERNAL)
    assert CODE_BY_KIND[kind] not in {StatusCode.OK, StatusCode.CANCELLED}


@pytest.mark.parametrize("length", [0, 1, 126, 127, 128, 254, 255, 300, 20_000])
def test_a_header_field_is_what_a_decoder_reads(length: int) -> None:
    """At every length of a length, and without entering its table."""
    decoder = hpack.Decoder()
    value = b"v" * length
    assert [tuple(field) for field in decoder.decode(header_field(b"name", value), raw=True)] == [(b"name", value)]
    assert not decoder.header_table.dynamic_entries


def test_a_message_keeps_to_what_headers_may_hold() -> None:
    """The rest is written in per cent."""
    fault = RequestFault(Kind.UNAVAILABLE, "100 % für 'x'\n", retry_after_s=2)
    fields = {str(name): str(value) for name, value in hpack.Decoder().decode(fault_trailers(fault))}
    assert fields == {
        "grpc-status": "14",
        "grpc-message": "100 %25 f%C3%BCr 'x'%0A",
        "grpc-retry-pushback-ms": "2000",
    }
