"""What the nodes of a quantized graph do: each is prepared once, offline, then run on arrays.

A function here takes a node and its graph, and gives a function of the arrays that are no
constants; None where the float operator will do (its weight is then an array, or dequantized).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache
from typing import Any, TypeAlias

import numpy as np

from numq import integer
from numq.arrays import Array, as_float32
from numq.autograd import Tensor
from numq.formats import small_integers
from numq.granularity import PerTensor
from numq.graph.geometry import Padding, padding_of
from numq.graph.graph import Graph, Node
from numq.graph.operators import apply
from numq.graph.products import is_plain
from numq.integer.accumulate import check_depth, ends
from numq.integer.doors import prepare_dequantize, prepare_quantize
from numq.integer.pool import Window, largest
from numq.kernels import pack_conv_weight
from numq.kernels.convolution.prepared import PreparedConv, prepare_conv2d
from numq.kernels.product.ways import integers
from numq.qparams import QParams
from numq.qtensor import QTensor
from numq.quantizers import Quantizer, check_beside
from numq.requantization import Requantization
from numq.rules import QuantizeRule

Step: TypeAlias = Callable[..., Array]
Prepare: TypeAlias = Callable[[Node, Graph], Step | None]


def _relu(node: Node) -> bool:
    return node.attributes.get("activation") == "Relu"


def _activated(node: Node, step: Step) -> Step:
    """The step, whose result is its own, then a fused ReLU."""
    if not _relu(node):
        return step

    def rectified(x: Array) -> Array:
        y = step(x)
        return np.maximum(y, 0, out=y)

    return rectified


def _weight(node: Node, graph: Graph) -> QTensor:
    """The second input, a quantized constant by the operator's schema."""
    constant = graph.constants[node.inputs[1]]
    assert isinstance(constant, QTensor)
    return constant


def _bias(node: Node, graph: Graph) -> Any:
    return graph.constants[node.inputs[2]] if len(node.inputs) > 2 else None


def _requantization(node: Node) -> Requantization:
    requantization = node.attributes["requantization"]
    assert isinstance(requantization, Requantization)
    return requantization


def _rule(node: Node) -> QuantizeRule:
    """How real numbers become codes."""
    rule = node.attributes["rule"]
    assert isinstance(rule, QuantizeRule)
    return rule


def _params(node: Node, graph: Graph) -> tuple[QParams, QParams]:
    """What the codes of the first input and of the output mean."""
    return graph.qparams[node.inputs[0]], graph.qparams[node.output]


def gemm(node: Node, graph: Graph) -> Step | None:
    """Gemm with an integer weight as (out, in): weight-only."""
    w = graph.constants.get(node.inputs[1])
    plain = is_plain(node.attributes)
    if not isinstance(w, QTensor) or not plain or len(graph.activations(node)) > 1:
        return None
    if node.inputs[0] in graph.constants or len(w.shape) != 2:
        return None
    bias = _bias(node, graph)
    if bias is not None and bias.shape != w.shape[:1]:
        return None
    return _activated(node, integer.WeightOnlyLinear(w, bias).run)


def dynamic_gemm(node: Node, graph: Graph) -> Step:
    """com.microsoft DynamicQuantizeMatMul: an integer product, the range taken at run time."""
    w, bias, quantizer = _weight(node, graph), _bias(node, graph), node.attributes["quantizer"]
    assert isinstance(quantizer, Quantizer)
    return _activated(node, integer.DynamicLinear(w, bias, quantizer).run)


def dynamic_conv(node: Node, graph: Graph) -> Step:
    """ConvInteger behind DynamicQuantizeLinear: one range for the whole batch.

    The kernel is prepared when a zero point of the batch, or a border, first comes.
    """
    w, bias, quantizer = _weight(node, graph), _bias(node, graph), node.attributes["quantizer"]
    assert isinstance(quantizer, Quantizer)
    integer.check_conv_weight(w)
    check_beside(quantizer, "quantizer")
    if not isinstance(quantizer.granularity, PerTensor) or not small_integers(quantizer.format):
        raise ValueError(
            f"quantizer is {quantizer!r}; allowed in an integer convolution are PerTensor() and "
            "integers of 8 bits or fewer"
        )
    channels = w.shape[0]
    s_w, w_zero_point = (np.broadcast_to(part, channels) for part in (w.scale, w.zero_point))
    w_zero_point = w_zero_point.astype(np.int32)
    packed = pack_conv_weight(w.codes, groups=node.attributes["group"])
    shift = np.float32(0) if bias is None else np.asarray(bias)[:, None, None]

    @cache
    def product(zero_point: int, padding: Padding) -> PreparedConv:
        x_ends = ends(quantizer.format.dtype, np.asarray(zero_point))
        check_depth(math.prod(w.shape[1:]), x_ends, ends(w.codes.dtype, w_zero_point))
        return prepare_conv2d(
            packed, integers(), x_dtype=quantizer.format.dtype, x_zero_point=zero_point,
            w_zero_point=w_zero_point, padding=padding, **_moves(node),
        )  # fmt: skip

    def step(x: Array) -> Array:
        q = quantizer(as_float32(x, node.inputs[0]))
        acc = product(int(q.zero_point), _padding(node, x, w.shape[2:]))(q.codes)
        return acc.astype(np.float32) * (q.scale * s_w.reshape(-1, 1, 1)) + shift

    return _activated(node, step)


def _moves(node: Node) -> dict[str, Any]:
    a = node.attributes
    return {"stride": a["strides"], "dilation": a["dilations"], "groups": a["group"]}


def _padding(node: Node, x: Array, kernel: tuple[int, ...]) -> Padding:
    """The border of the pictures that came."""
    if x.ndim != 4:
        raise ValueError(f"x has shape {x.shape}; allowed is (N, C, H, W)")
    return padding_of(node.attributes, (x.shape[2], x.shape[3]), (kernel[0], kernel[1]))


def quantize_linear(node: Node, graph: Graph) -> Step:
    """QuantizeLinear: the door in."""
    return prepare_quantize(graph.qparams[node.output], _rule(node), node.inputs[0])


def dequantize_linear(node: Node, graph: Graph) -> Step:
    """DequantizeLinear: the door out, or what a quantized constant stands for."""
    constant = graph.constants.get(node.inputs[0])
    if isinstance(constant, QTensor):
        reals = constant.dequantize()
        return lambda: reals
    return prepare_dequantize(graph.qparams[node.inputs[0]])


def static_gemm(node: Node, graph: Graph) -> Step:
    """com.microsoft QGemm, codes to codes."""
    w, (x, y) = _weight(node, graph), _params(node, graph)
    return integer.prepare_linear(
        x, w, _bias(node, graph), y, requantization=_requantization(node), relu=_relu(node)
    ).run


def static_conv(node: Node, graph: Graph) -> Step:
    """QLinearConv, codes to codes."""
    w, (x, y) = _weight(node, graph), _params(node, graph)

    @cache
    def layer(padding: Padding) -> integer.Conv2d:
        return integer.prepare_conv2d(
            x, w, _bias(node, graph), y, requantization=_requantization(node), relu=_relu(node),
            padding=padding, **_moves(node),
        )  # fmt: skip

    fixed = _fixed_border(node)
    if fixed is not None:
        return layer(fixed).run
    return lambda codes: layer(_padding(node, codes, w.shape[2:])).run(codes)


def static_add(node: Node, graph: Graph) -> Step:
    """com.microsoft QLinearAdd."""
    a, b = (graph.qparams[name] for name in node.inputs)
    return integer.prepare_add(
        a, b, graph.qparams[node.output], requantization=_requantization(node), relu=_relu(node)
    ).run


def static_concat(node: Node, graph: Graph) -> Step:
    """com.microsoft QLinearConcat."""
    params = [graph.qparams[name] for name in node.inputs]
    layer = integer.prepare_concat(
        params, graph.qparams[node.output], requantization=_requantization(node)
    )
    axis = node.attributes["axis"]
    return lambda *codes: layer.run(codes, axis)


def max_pool(node: Node, graph: Graph) -> Step | None:
    """MaxPool, which on codes gives codes of the same meaning."""
    if node.inputs[0] not in graph.qparams:
        return None
    window = _window(node)
    return lambda codes: largest(codes, window(codes))


def average_pool(node: Node, graph: Graph) -> Step:
    """com.microsoft QLinearAveragePool."""
    window, fixed = _window(node), _fixed_border(node)
    known = Window(node.attributes["kernel_shape"], (1, 1), fixed) if fixed else None
    layer = integer.prepare_average(
        *_params(node, graph), requantization=_requantization(node), window=known
    )
    include = bool(node.attributes["count_include_pad"])
    return lambda codes: layer.of(codes, window(codes), include_border=include)


def _window(node: Node) -> Callable[[Array], Window]:
    """How the window moves over pictures of each size."""
    size, stride = node.attributes["kernel_shape"], node.attributes["strides"]

    @cache
    def found(padding: Padding) -> Window:
        return Window(size, stride, padding)

    fixed = _fixed_border(node)
    if fixed is not None:
        window = found(fixed)
        return lambda codes: window
    return lambda codes: found(_padding(node, codes, size))


def _fixed_border(node: Node) -> Padding | None:
    """The border, where it is the same for all pictures."""
    if node.attributes["auto_pad"] not in ("NOTSET", "VALID"):
        return None
    return padding_of(node.attributes, (0, 0), (0, 0))


def global_average_pool(node: Node, graph: Graph) -> Step:
    """com.microsoft QLinearGlobalAveragePool."""
    return integer.prepare_average(
        *_params(node, graph), requantization=_requantization(node)
    ).of_all


def lookup(node: Node, graph: Graph) -> Step:
    """A function of one element as a table of all codes; `function` names the float operator."""
    x, y = _params(node, graph)
    attributes = {k: v for k, v in node.attributes.items() if k not in ("function", "rule")}
    op = node.attributes["function"]
    table = integer.prepare_table(
        lambda v: apply(op, [Tensor(v)], attributes).data, x, y, rule=_rule(node)
    )
    return table.run


QUANTIZED: dict[str, Prepare] = {
    "Gemm": gemm,
    "DynamicQuantizeMatMul": dynamic_gemm,
    "DynamicQuantizeConv": dynamic_conv,
    "QuantizeLinear": quantize_linear,
    "DequantizeLinear": dequantize_linear,
    "QGemm": static_gemm,
    "QLinearConv": static_conv,
    "QLinearAdd": static_add,
    "QLinearConcat": static_concat,
    "MaxPool": max_pool,
    "QLinearAveragePool": average_pool,
    "QLinearGlobalAveragePool": global_average_pool,
    "Table": lookup,
}
