"""A graph in the operators of ONNX and ONNX Runtime alone, for whoever writes it down for others.

numq has operators of its own where one node is what one kernel computes. `lower` writes them out:

    activation = "Relu"           a Relu behind the node; on codes Max with the zero point, or
                                  nothing where that is the lowest code
    Table                         Gather of 256 answers by the code
    NormalizedConv, …Gemm         Conv or Gemm, BatchNormalization
    frozen = 1                    nothing: it matters in training alone
    DynamicQuantizeConv, …MatMul  the range, scale and codes step by step; ConvInteger or
                                  MatMulInteger; the scales and the bias
    Gemm, QGemm on (..., in)      MatMul and Add; a convolution with 1 × 1 windows
    a QTensor read as numbers     DequantizeLinear of it

Integers come out the same, bit for bit; so do the dynamic ones, as their scales are computed with
the same roundings. What is left to an exporter is form: attributes with a `place` become constant
inputs, `qparams` the scales and zero points beside codes, `requantization` the backend's business.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TypeAlias

import numpy as np

from numq import integer
from numq.arrays import check_type
from numq.autograd import Tensor
from numq.granularity import PerChannel, PerTensor
from numq.graph.graph import Graph, Node
from numq.graph.lower_dynamic import dynamic_conv, dynamic_matmul
from numq.graph.operators import apply
from numq.graph.schema import Carries, Domain
from numq.graph.writing import Writing
from numq.qparams import QParams
from numq.qtensor import QTensor

Write: TypeAlias = Callable[[Writing, Node], None]


def lower(graph: Graph) -> Graph:
    """The same function in operators of ONNX and ONNX Runtime.

    Raises:
        TypeError: no graph.
        ValueError: a node that they have no operators for, such as codes by a rule that is not
            ONNX's; names it.
    """
    check_type(graph, Graph, "graph")
    made = Writing(graph)
    for node in graph:
        _write(made, node)
    constants = {**graph.constants, **made.constants}
    qparams = {**graph.qparams, **made.qparams}
    lowered = graph.with_nodes(made.nodes, constants=constants, qparams=qparams)
    for node in lowered:
        if not is_lowered(node):
            raise ValueError(
                f"{node.label} has a rule that is not ONNX's; allowed is QuantizeRule(), which "
                "knows no other"
            )
    return lowered.without_unused()


def is_lowered(node: Node) -> bool:
    """Whether a node is an operator of ONNX or ONNX Runtime, with nothing of numq's own."""
    check_type(node, Node, "node")
    rows = node.schema.attributes
    own = [k for k, row in rows.items() if row.own and node.attributes[k] != row.default]
    return node.schema.domain is not Domain.NUMQ and not own


def _write(made: Writing, node: Node) -> None:
    """The node, or what it is written as, then its activation."""
    node, edge = _with_reals(made, node), node.outputs[0]
    params = made.meaning(edge)
    if node.attributes.get("activation") is None:
        _WRITTEN.get(node.op, Writing.keep)(made, node)
        return
    if params is not None and int(params.zero_point) == params.format.qmin:  # no code is below 0
        _WRITTEN.get(node.op, Writing.keep)(made, node.having(activation=None))
        return
    before = f"{edge}:linear"
    if params is not None:
        made.qparams[before] = params
    core = replace(node.having(activation=None), outputs=(before,))
    _WRITTEN.get(node.op, Writing.keep)(made, core)
    if params is None:
        made.emit(node, "relu", "Relu", before, edge=edge)
    else:
        zero = made.constant(node, "zero", _zero(params))
        made.emit(node, "relu", "Max", before, zero, edge=edge)


def _zero(params: QParams) -> QTensor:
    """The code of real 0."""
    return QTensor(np.asarray(params.zero_point).astype(params.format.dtype), params)


def _with_reals(made: Writing, node: Node) -> Node:
    """Quantized constants as numbers, where numbers are read."""
    inputs, coded = list(node.inputs), made.meaning(node.outputs[0]) is not None
    for i, name in enumerate(inputs):
        role = node.schema.role(i)
        reals = role is Carries.REAL or (role is Carries.EITHER and not coded)
        if reals and isinstance(made.graph.constants.get(name), QTensor):
            inputs[i] = made.real(name)
    return replace(node, inputs=tuple(inputs))


def _table(made: Writing, node: Node) -> None:
    """`answers[q]`; a negative code counts from the end, in the table as in Gather."""
    x, y = made.graph.qparams[node.inputs[0]], made.graph.qparams[node.output]
    op, rule = node.attributes["function"], node.attributes["rule"]
    plain = {k: v for k, v in node.attributes.items() if k not in ("function", "rule")}
    table = integer.prepare_table(lambda v: apply(op, [Tensor(v)], plain).data, x, y, rule=rule)
    answers = made.constant(node, "answers", QTensor(table.answers, y))
    index = made.cast(node, "index", node.inputs[0], "int32")
    made.emit(node, "lookup", "Gather", answers, index, edge=node.output)


def _normalized(made: Writing, node: Node) -> None:
    """The product, then BatchNormalization."""
    norm = ("epsilon", "momentum", "training_mode", "frozen")
    op, between = node.op.removeprefix("Normalized"), f"{node.output}:product"
    product = node.turned(op, inputs=node.inputs[:3], outputs=(between,), without=norm)
    _WRITTEN.get(op, Writing.keep)(made, product)
    attributes = {name: node.attributes[name] for name in norm[:3]}
    made.emit(
        node, "norm", "BatchNormalization", between, *node.inputs[3:], edge=node.output,
        **attributes,
    )  # fmt: skip


def _unfrozen(made: Writing, node: Node) -> None:
    """Frozen or not, it computes the same; that is for training."""
    made.keep(node.having(frozen=0))


def _gemm(made: Writing, node: Node) -> None:
    """Gemm of a matrix as it is; of (..., in) as MatMul and Add."""
    if made.ndim(node.inputs[0]) in (None, 2):
        made.keep(node)
        return
    x, w, *bias = node.inputs
    a = node.attributes
    if a["transB"]:
        w = made.emit(node, "transposed", "Transpose", w, perm=(1, 0))
    y = made.emit(node, "product", "MatMul", x, w)
    y = made.scaled(node, "alpha", y, a["alpha"])
    if bias:
        shift = made.scaled(node, "beta", bias[0], a["beta"])
        y = made.emit(node, "sum", "Add", y, shift)
    made.rename(y, node.output)


def _qgemm(made: Writing, node: Node) -> None:
    """QGemm of a matrix as it is; of (..., in) as a convolution with windows of one element."""
    ndim = made.ndim(node.inputs[0])
    if ndim in (None, 2):
        made.keep(node)
        return
    if ndim not in (3, 4):
        raise ValueError(
            f"{node.label} has an input of {ndim} axes; allowed are 2 to 4, of which ONNX has "
            "integer products"
        )
    x, y = (made.graph.qparams[name] for name in (node.inputs[0], node.output))
    to, back = {3: ((0, 2, 1), (0, 2, 1)), 4: ((0, 3, 1, 2), (0, 2, 3, 1))}[ndim]
    picture = made.emit(node, "channels", "Transpose", node.inputs[0], meaning=x, perm=to)
    if ndim == 3:
        picture = made.emit(node, "picture", "Unsqueeze", picture, meaning=x, axes=(3,))
    filters = made.constant(node, "filters", _as_filters(made.graph.constants[node.inputs[1]]))
    out = made.emit(
        node, "product", "QLinearConv", picture, filters, *node.inputs[2:], meaning=y,
        requantization=node.attributes["requantization"],
    )  # fmt: skip
    if ndim == 3:
        out = made.emit(node, "row", "Squeeze", out, meaning=y, axes=(3,))
    made.emit(node, "back", "Transpose", out, edge=node.output, perm=back)


def _as_filters(w: object) -> QTensor:
    """(O, in) codes as (O, in, 1, 1)."""
    assert isinstance(w, QTensor)
    kind = w.granularity if isinstance(w.granularity, PerTensor) else PerChannel(0)
    return QTensor(w.codes.reshape(*w.shape, 1, 1), w.qparams.over(kind))


_WRITTEN: Mapping[str, Write] = {
    "Table": _table,
    "BatchNormalization": _unfrozen,
    "NormalizedConv": _normalized,
    "NormalizedGemm": _normalized,
    "Gemm": _gemm,
    "QGemm": _qgemm,
    "DynamicQuantizeConv": dynamic_conv,
    "DynamicQuantizeMatMul": dynamic_matmul,
}
