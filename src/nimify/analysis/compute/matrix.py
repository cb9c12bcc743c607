"""Matrix products and convolutions: where nearly all work of a neural network is."""

from __future__ import annotations

from collections.abc import Mapping
from math import prod
from typing import Final

from nimify.analysis.compute.view import Rule, Uncountable, View, Work


def _product(right: int = 1) -> Rule:
    """`MatMul` and its kin: every element of the result sums over the last axis of the left side."""

    def rule(view: View) -> Work:
        left, columns = view.shape(0), view.shape(right)
        if not left or not columns:
            raise Uncountable
        depth = left[-2] if view.number("transA", 0) and len(left) > 1 else left[-1]
        return Work(view.results() * depth)

    return rule


def _blocks(view: View) -> Work:
    return Work(view.results() * view.number("K", view.shape(0)[-1]))


def _convolution(weights: int = 1) -> Rule:
    """Each element of the result sums over one filter: channels of its group times taps.

    Dividing the weights by the number of filters gives that for any order of axes, for groups, and for depthwise
    convolution; strides, pads and dilations are in the shape of the result.
    """

    def rule(view: View) -> Work:
        kernel = view.shape(weights)
        if not kernel or kernel[0] == 0:
            raise Uncountable
        activation = view.results() if view.text("activation") else 0
        return Work(view.results() * (prod(kernel) // kernel[0]), activation)

    return rule


def _transposed(view: View) -> Work:
    """Each element of the input is multiplied with every filter of its group."""
    kernel = view.shape(1)
    return Work(view.elements(0) * prod(kernel[1:]))


def _einsum(view: View) -> Work:
    """The product over all axes that the equation names, for two operands; more are multiplied one by one."""
    equation = view.text("equation").replace(" ", "")
    terms = equation.partition("->")[0].split(",")
    if len(terms) != len(view.node.inputs):
        raise Uncountable
    lengths: dict[str, int] = {}
    free = 1
    for position, term in enumerate(terms):
        shape = view.shape(position)
        head, dots, tail = term.partition("...")
        spread = len(shape) - len(head) - len(tail)
        if spread < 0 or (spread > 0 and not dots):
            raise Uncountable
        named = (*shape[: len(head)], *shape[len(head) + spread :])
        free = max(free, prod(shape[len(head) : len(head) + spread]))
        for axis, length in zip(head + tail, named, strict=True):
            lengths[axis] = max(length, lengths.get(axis, 1))
    volume = free * prod(lengths.values())
    return Work(volume * (len(terms) - 1)) if len(terms) > 1 else Work(0, volume)


def _fused_gelu(view: View) -> Work:
    return Work(_product()(view).macs, 6 * view.results())


def _fused_gemm(view: View) -> Work:
    return Work(_product()(view).macs, view.results())


MATRIX: Final[Mapping[str, Rule]] = {
    "Conv": _convolution(),
    "ConvInteger": _convolution(),
    "ConvTranspose": _transposed,
    "DeformConv": _convolution(),
    "DynamicQuantizeMatMul": _product(),
    "Einsum": _einsum,
    "FusedConv": _convolution(),
    "FusedGemm": _fused_gemm,
    "FusedMatMul": _product(),
    "FusedMatMulActivation": _fused_gemm,
    "Gemm": _product(),
    "GemmFastGelu": _fused_gelu,
    "MatMul": _product(),
    "MatMulBnb4": _blocks,
    "MatMulInteger": _product(),
    "MatMulInteger16": _product(),
    "MatMulIntegerToFloat": _product(),
    "MatMulNBits": _blocks,
    "NhwcConv": _convolution(),
    "NhwcFusedConv": _convolution(),
    "QGemm": _product(3),
    "QLinearConv": _convolution(3),
    "QLinearMatMul": _product(3),
    "TransposeMatMul": _product(),
}
"""Rules by operator name."""
