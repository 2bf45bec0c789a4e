"""Where a quantized network departs from the float one, layer by layer."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from numq.arrays import Array, as_data, check_finite, check_type
from numq.flows.batches import as_values
from numq.flows.convert import trained_graph
from numq.flows.network import Network
from numq.flows.qat_network import QATNetwork
from numq.flows.record import as_graph
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
        worst_steps: the largest error in steps of the edge's scale (LSB); NaN for float edges.
        saturated: share of the float values beyond the last code by more than half a step; NaN for
            float edges.
    """

    layer: str
    operator: str
    sqnr_db: float
    worst_steps: float
    saturated: float

    def __repr__(self) -> str:
        """One line with units."""
        line = f"{self.layer:<18}{self.operator:<22}{self.sqnr_db:6.1f} dB"
        if np.isnan(self.worst_steps):
            return line
        return f"{line}   worst {self.worst_steps:5.1f} steps   saturated {self.saturated:6.2%}"


def compare(model: Module | Graph, network: Network, *inputs: ArrayLike) -> list[LayerError]:
    """Run both on the same inputs; a row for each node whose result both networks have.

    Args:
        model: the float model that `network` was made from, unchanged since. Of a QATNetwork, the
            trained values before their quantization.
        network: weight-only, dynamic or static.
        inputs: one array or Tensor for each input.

    Raises:
        TypeError: `network` is not a Network.
        ValueError: NaN or infinity among the inputs; edges of other names or shapes: `network` was
            made from another model; a QATNetwork that has trained on since.
    """
    check_type(network, Network, "network")
    inputs = as_values(inputs)
    for i, x in enumerate(inputs):
        check_finite(as_data(x, f"inputs[{i}]"), f"inputs[{i}]")
    wanted: dict[str, Array] = {}
    graph = model.folded_graph()[0] if isinstance(model, QATNetwork) else as_graph(model, *inputs)
    run(Program(graph), inputs, wanted.__setitem__)
    if not set(network.graph.outputs) <= set(wanted):
        missing = ", ".join(sorted(set(network.graph.outputs) - set(wanted)))
        raise ValueError(
            f"model has no edge {missing}; pass the model that `network` was made from"
        )
    if isinstance(model, QATNetwork):
        _check_current(trained_graph(model), network.graph)
    got = network.edges(*inputs)
    return [
        _row(node, wanted[edge], got[made], network.graph.qparams.get(made))
        for node in network.graph
        for made in node.outputs
        if (edge := made.removesuffix(":codes")) in wanted and node.op != _DOOR
    ]


def _check_current(now: Graph, then: Graph) -> None:
    """Refuse what would compare a network with values that it was not made from."""
    names = {**now.constants, **now.qparams}
    before = {**then.constants, **then.qparams}
    for name, value in names.items():
        if name in before and not _same(value, before[name]):
            raise ValueError(
                f"model has trained on since `network` was made from it: {name} is another now; "
                "convert it again"
            )


def _same(a: object, b: object) -> bool:
    """Whether two constants, or the meanings of two edges, are equal."""
    if isinstance(a, np.ndarray) and isinstance(b, np.ndarray):
        return np.array_equal(a, b)
    return type(a) is type(b) and bool(a == b)


def _row(node: Node, wanted: Array, got: Array, qparams: QParams | None) -> LayerError:
    if wanted.shape != got.shape:
        raise ValueError(
            f"model makes {wanted.shape} at {node.name}, network {got.shape}; pass the model that "
            "`network` was made from"
        )
    if qparams is None:
        return LayerError(node.name, node.op, sqnr_db(wanted, got), np.nan, np.nan)
    found = error_report(wanted, QTensor(got, qparams))
    steps = found.max_abs / float(np.abs(qparams.scale))
    return LayerError(node.name, node.op, found.sqnr_db, steps, found.saturated)
