"""Where a quantized network departs from the float one, layer by layer."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

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
_LEAST = (17, 21)  # characters of the columns of names


@dataclass(frozen=True)
class LayerError:
    """One edge of a network beside the same edge of the float network, for the same inputs.

    Errors accumulate: an edge carries its own rounding and that of all edges before it.

    Attributes:
        layer: the node that makes the edge.
        operator: what the node does, by its ONNX name.
        sqnr_db: signal-to-quantization-noise ratio, dB, of the finite values (a mask's −inf is no
            signal); inf where nothing differs.
        worst_steps: the largest error in steps of the edge's scale (LSB); NaN for float edges.
        saturated: share of the float values beyond the last code by more than half a step; NaN for
            float edges.
    """

    layer: str
    operator: str
    sqnr_db: float
    worst_steps: float
    saturated: float
    _widths: tuple[int, int] = field(default=_LEAST, compare=False)

    def __repr__(self) -> str:
        """One line with units, its columns as wide as the rows beside it need."""
        layer, operator = map(max, self._widths, (len(self.layer), len(self.operator)))
        line = f"{self.layer:<{layer}} {self.operator:<{operator}} {self.sqnr_db:6.1f} dB"
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
        ValueError: NaN or infinity among the inputs, or an empty one; edges of other names or
            shapes: `network` was made from another model; a QATNetwork that has trained on since;
            NaN or infinity on an edge of one of the two alone.
    """
    check_type(network, Network, "network")
    inputs = as_values(inputs)
    for i, x in enumerate(inputs):
        data = as_data(x, f"inputs[{i}]")
        check_finite(data, f"inputs[{i}]")
        if not data.size:
            raise ValueError(
                f"inputs[{i}] has shape {data.shape}, nothing to compare; allowed is one value "
                "and more"
            )
    wanted: dict[str, Array] = {}
    graph = model.folded_graph()[0] if isinstance(model, QATNetwork) else as_graph(model, *inputs)
    run(Program(graph), inputs, wanted.__setitem__)
    if not set(network.graph.outputs) <= set(wanted):
        missing = ", ".join(sorted(set(network.graph.outputs) - set(wanted)))
        raise ValueError(
            f"model has no edge {missing}; allowed is the model that `network` was made from"
        )
    if isinstance(model, QATNetwork):
        _check_current(trained_graph(model), network.graph)
    got = network.edges(*inputs)
    rows = [
        _row(node, wanted[edge], got[made], network.graph.qparams.get(made))
        for node in network.graph
        for made in node.outputs
        if (edge := made.removesuffix(":codes")) in wanted and node.op != _DOOR
    ]
    names = [(len(row.layer), len(row.operator)) for row in rows]
    layer, operator = map(max, zip(*names, _LEAST, strict=True))
    return [replace(row, _widths=(layer, operator)) for row in rows]


def _check_current(now: Graph, then: Graph) -> None:
    """Refuse what would compare a network with values that it was not made from."""
    names = {**now.constants, **now.qparams}
    before = {**then.constants, **then.qparams}
    for name, value in names.items():
        if name in before and not _same(value, before[name]):
            raise ValueError(
                f"model has another {name} now, as it has trained on since `network` was made "
                "from it; allowed is the model as it was converted: convert it again"
            )


def _same(a: object, b: object) -> bool:
    """Whether two constants, or the meanings of two edges, are equal."""
    if isinstance(a, np.ndarray) and isinstance(b, np.ndarray):
        return np.array_equal(a, b)
    return type(a) is type(b) and bool(a == b)


def _row(node: Node, wanted: Array, got: Array, qparams: QParams | None) -> LayerError:
    if wanted.shape != got.shape:
        raise ValueError(
            f"model has {wanted.shape} at {node.name}, network {got.shape}; allowed is the model "
            "that `network` was made from"
        )
    if wanted.dtype == np.bool_:
        wanted, got = wanted.astype(np.int8), got.astype(np.int8)
    wanted, got = _finite(node, wanted, got)
    if qparams is None:
        return LayerError(node.name, node.op, sqnr_db(wanted, got), np.nan, np.nan)
    found = error_report(wanted, QTensor(got, qparams))
    steps = found.max_abs / float(np.abs(qparams.scale))
    return LayerError(node.name, node.op, found.sqnr_db, steps, found.saturated)


def _finite(node: Node, wanted: Array, got: Array) -> tuple[Array, Array]:
    """The finite values of both, if what else there is agrees."""
    finite = np.isfinite(wanted)
    if finite.all() and np.isfinite(got).all():
        return wanted, got
    agree = np.where(finite, np.isfinite(got), (wanted == got) | (np.isnan(wanted) & np.isnan(got)))
    if not agree.all():
        at = tuple(int(i) for i in np.unravel_index(int(np.argmin(agree)), agree.shape))
        raise ValueError(
            f"edge {node.output} is {wanted[at]} at [{', '.join(map(str, at))}] in model, "
            f"{got[at]} in network; allowed are two finite numbers, or the same"
        )
    return wanted[finite], got[finite]
