"""The order in which ONNX Runtime runs the nodes of a graph, which decides what is live at the same time.

It walks back from the nodes whose results nobody reads, and of the nodes that one waits for, the last one in the file
comes first (source: `Graph::ReverseDFSFrom`, as `GraphViewer` calls it). So a side branch, such as the sum of all skip
connections, may run when everything else is done, and keep its inputs until then.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from nimify.analysis.graph import Node


def execution_order(nodes: Sequence[Node], names_used: Callable[[Node], Iterable[str]]) -> list[Node]:
    """The nodes as they run.

    Args:
        nodes: Of one graph, in the file's order.
        names_used: Every value that a node reads, those of its bodies included.
    """
    producers = {name: index for index, node in enumerate(nodes) for name in node.outputs if name}
    waits_for = [
        sorted({producers[name] for name in names_used(node) if name in producers} - {index})
        for index, node in enumerate(nodes)
    ]
    read = {producer for waited in waits_for for producer in waited}
    order: list[Node] = []
    seen = [False] * len(nodes)
    stack = [(index, False) for index in range(len(nodes)) if index not in read]
    while stack:
        index, done = stack.pop()
        if done:
            order.append(nodes[index])
        elif not seen[index]:
            seen[index] = True
            stack.append((index, True))
            stack.extend((waited, False) for waited in waits_for[index] if not seen[waited])
    return order
