"""Which edges have a length that is not linear in the lengths of the inputs.

Most operators keep lengths, or add to them. A Slice ends where its input ends, `min(n, 5)`, and a
stride divides, `(n − k) // s + 1`: recorded at a few lengths, both may look like another line. The
axes that come of such a one are *bent*; what follows from them by unknown ways is bent as a whole.
"""

from __future__ import annotations

from collections.abc import Sequence

from numq.graph.graph import Graph, Node

_STRIDED = ("Conv", "ConvInteger", "MaxPool", "AveragePool")
_MOVING = (
    "Reshape", "Flatten", "Transpose", "Unsqueeze", "Expand", "Gather", "GatherND", "MatMul",
    "MatMulInteger", "Concat", "Split",
)  # fmt: skip


def bent_edges(recordings: Sequence[Graph]) -> frozenset[str]:
    """The edges with a bent axis.

    Args:
        recordings: of one model, with the same nodes, at several lengths of some axes.
    """
    found: dict[str, frozenset[int]] = {}
    first = recordings[0]
    for node in first:
        own = _own(node, _varied(recordings, node.inputs[0]))
        for edge in node.outputs:
            bent = own.union(
                *(_followed(node, found[e], first, e, edge) for e in node.inputs if e in found)
            )
            if bent:
                found[edge] = bent
    return frozenset(found)


def _varied(recordings: Sequence[Graph], edge: str) -> frozenset[int]:
    """The axes along which an edge has several lengths."""
    if edge in recordings[0].constants:
        return frozenset()
    lengths = zip(*(graph.shapes[edge] for graph in recordings), strict=True)
    return frozenset(axis for axis, column in enumerate(lengths) if len(set(column)) > 1)


def _own(node: Node, varied: frozenset[int]) -> frozenset[int]:
    """The axes that the node itself bends."""
    if node.op == "Slice":
        return varied & frozenset(node.attributes["axes"])
    if node.op == "Split":
        return varied
    if node.op in _STRIDED:
        return varied & {2 + i for i, step in enumerate(node.attributes["strides"]) if step != 1}
    return frozenset()


def _followed(
    node: Node, bent: frozenset[int], graph: Graph, edge: str, output: str
) -> frozenset[int]:
    """Where the bent axes of one input are in the output."""
    ndim, before = len(graph.shapes[output]), len(graph.shapes[edge])
    if node.op in _MOVING:
        return frozenset(range(ndim))
    if node.op == "GlobalAveragePool":
        return bent - {2, 3}
    if node.op == "Squeeze" or node.op.startswith(("Reduce", "ArgMax")):
        return _without(node, bent, before)
    moved = frozenset(axis + ndim - before for axis in bent)  # shapes are aligned from behind
    return moved if min(moved) >= 0 else frozenset(range(ndim))


def _without(node: Node, bent: frozenset[int], ndim: int) -> frozenset[int]:
    """The axes that are left, and their places."""
    axes = node.attributes["axis" if node.op == "ArgMax" else "axes"]
    axes = (axes,) if isinstance(axes, int) else range(ndim) if axes is None else axes
    gone = {axis % ndim for axis in axes}
    if node.attributes.get("keepdims", 0):
        return bent - gone
    return frozenset(a - sum(g < a for g in gone) for a in bent - gone)
