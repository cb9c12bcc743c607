"""How many nodes of a tree ensemble a row visits: the lists that say so are as long as the model is large."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

VISITS: Final = "nimify.visits"
"""Attribute that inference adds to tree ensembles: nodes that a row visits in all trees, if every leaf is as likely
as every other."""


def visits(attributes: Mapping[str, Any]) -> int | None:
    """Nodes that a row visits, leaves included; `None` when the ensemble is not what its operator asks for."""
    if "nodes_treeids" in attributes:
        children = _by_tree(attributes)
    elif "tree_roots" in attributes:
        return _flat(attributes)
    else:
        return None
    return None if children is None else round(sum(_mean_depth(*tree) for tree in children))


def _by_tree(attributes: Mapping[str, Any]) -> list[tuple[int, Mapping[int, tuple[int, int] | None]]] | None:
    fields = [
        attributes.get(name, ())
        for name in ("nodes_treeids", "nodes_nodeids", "nodes_modes", "nodes_truenodeids", "nodes_falsenodeids")
    ]
    if len({len(entries) for entries in fields}) != 1:
        return None
    trees: dict[int, tuple[int, dict[int, tuple[int, int] | None]]] = {}
    for tree, number, mode, yes, no in zip(*fields, strict=True):
        _, nodes = trees.setdefault(tree, (number, {}))
        nodes[number] = None if mode == "LEAF" else (yes, no)
    return list(trees.values())


def _flat(attributes: Mapping[str, Any]) -> int | None:
    """`TreeEnsemble`: children are positions, in lists of inner nodes or of leaves."""
    roots, names = (
        attributes["tree_roots"],
        ("nodes_truenodeids", "nodes_falsenodeids", "nodes_trueleafs", "nodes_falseleafs"),
    )
    columns: list[Sequence[int]] = [attributes.get(name, ()) for name in names]
    if len({len(column) for column in columns}) != 1:
        return None
    nodes: dict[int, tuple[int, int] | None] = {}
    for number, (yes, no, yes_leaf, no_leaf) in enumerate(zip(*columns, strict=True)):
        # Leaves get negative numbers, so that they do not meet the inner nodes.
        nodes[number] = (-1 - yes if yes_leaf else yes, -1 - no if no_leaf else no)
    return round(sum(_mean_depth(root, nodes) for root in roots))


def _mean_depth(root: int, nodes: Mapping[int, tuple[int, int] | None]) -> float:
    """Mean number of nodes on the way to a leaf; walks each node once, whatever a hostile file makes of the tree."""
    total = leaves = 0
    seen = set()
    pending = [(root, 1)]
    while pending:
        number, depth = pending.pop()
        children = nodes.get(number)
        if children is None:
            total, leaves = total + depth, leaves + 1
        elif number not in seen:
            seen.add(number)
            pending += [(child, depth + 1) for child in children]
    return total / leaves if leaves else 0.0
