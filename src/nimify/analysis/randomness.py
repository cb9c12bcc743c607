"""Whether equal requests get equal answers: which operators of a model draw random numbers.

A seed in the model does not help: engines draw on from run to run.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from nimify.analysis.graph import InferredGraph, Node

RANDOM: Final = frozenset(
    {"RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike", "Bernoulli", "Multinomial"}
)
"""Standard operators that draw whenever they run."""
_RANDOM_ELSEWHERE: Final = frozenset(
    {
        "com.microsoft::BiasDropout",
        "com.microsoft::BitmaskBiasDropout",
        "com.microsoft::BitmaskDropout",
        "com.microsoft::RandomNormal",
        "com.microsoft::Sampling",
    }
)
_DROPOUT: Final = "Dropout"
_TRAINING_MODE: Final = 2
"""The input of `Dropout` that says whether it drops."""


def random_operators(operators: Iterable[str], graph: InferredGraph | None) -> tuple[str, ...]:
    """The operators of a model that make its answers random, sorted; when in doubt, they do.

    Args:
        operators: As `ModelInfo.operators` names them: those of subgraphs and functions are among them.
        graph: The graph, which tells whether a `Dropout` drops; `None` when it could not be inferred.
    """
    known = frozenset(operators)
    found = known & (RANDOM | _RANDOM_ELSEWHERE)
    if _DROPOUT in known and (graph is None or any(_may_drop(node) for node in _all_nodes(graph))):
        found |= {_DROPOUT}
    return tuple(sorted(found))


def _all_nodes(graph: InferredGraph) -> Iterator[Node]:
    for node in graph.nodes:
        yield node
        for body in node.subgraphs.values():
            yield from _all_nodes(body)


def _may_drop(node: Node) -> bool:
    if node.qualified != _DROPOUT or len(node.inputs) <= _TRAINING_MODE or not node.inputs[_TRAINING_MODE]:
        return False
    return node.constants.get(_TRAINING_MODE) not in (False, 0)
