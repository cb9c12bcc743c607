"""Operations and bytes of a graph, counted node by node from its shapes."""

from nimify.analysis.compute.cost import Compute, NodeCost, OperatorCost
from nimify.analysis.compute.counting import estimate_compute

__all__ = ["Compute", "NodeCost", "OperatorCost", "estimate_compute"]
