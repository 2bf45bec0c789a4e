"""Where a quantized network departs from the float one, layer by layer."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from numq.arrays import Array, check_type
from numq.flows.convert import as_graph
from numq.flows.fuse import fuse
from numq.flows.network import Network
from numq.graph import Graph, Node, Program, run
from numq.metrics import error_report, sqnr_db
from numq.nn import Module
from numq.qparams import QParams
from numq.qtensor import QTensor

_DOOR = "DequantizeLinear"  # says again what the codes before it said


@dataclass(frozen=True)
class LayerError:
    """One edge of a network beside the same edge of the float network, for the same inputs.

    Errors accumulate: an edge carries its own rounding and that of all edges before it.

    Attributes:
        layer: the node that makes the edge.
        operator: what the node does, by its ONNX name.
        sqnr_db: signal-to-quantization-noise ratio, dB; inf where nothing differs.
        worst_steps: the largest error in steps of the edge's scale (LSB); 0.0 for float edges.
        saturated: share of the float values beyond the last code by more than half a step; 0.0 for
            float edges.
    """

    layer: str
    operator: str
    sqnr_db: float
    worst_steps: float
    saturated: float

    def __repr__(self) -> str:
        """One line with units."""
        return (
            f"{self.layer:<18}{self.operator:<18}{self.sqnr_db:6.1f} dB   "
            f"worst {self.worst_steps:5.1f} steps   saturated {self.saturated:6.2%}"
        )


def compare(model: Module | Graph, network: Network, *inputs: ArrayLike) -> list[LayerError]:
    """Run both on the same inputs; a row for each node whose result both networks have.

    Args:
        model: the float model that `network` was made from, unchanged since.
        network: weight-only, dynamic or static.
        inputs: one array for each input.

    Raises:
        TypeError: `network` is not a Network.
        ValueError: no edge of the two has the same name: they are not the same model.
    """
    check_type(network, Network, "network")
    wanted: dict[str, Array] = {}
    run(Program(fuse(as_graph(model, *inputs))), inputs, wanted.__setitem__)
    got = network.edges(*inputs)
    rows = [
        _row(node, wanted[edge], got[node.output], network.graph.qparams.get(node.output))
        for node in network.graph
        if (edge := node.output.removesuffix(":codes")) in wanted and node.op != _DOOR
    ]
    if not rows:
        raise ValueError("network and model have no edge in common; pass the model it came from")
    return rows


def _row(node: Node, wanted: Array, got: Array, qparams: QParams | None) -> LayerError:
    if qparams is None:
        return LayerError(node.name, node.op, sqnr_db(wanted, got), 0.0, 0.0)
    found = error_report(wanted, QTensor(got, qparams))
    steps = found.max_abs / float(np.abs(qparams.scale))
    return LayerError(node.name, node.op, found.sqnr_db, steps, found.saturated)
