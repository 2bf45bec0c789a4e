"""What the float operators of a graph do: ONNX's name, and the function of autograd behind it.

Each entry takes the tensors and the attributes and gives a tensor, so that a graph runs with
gradients or without.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

from numq import autograd as ag
from numq.autograd import Tensor
from numq.autograd.indexing import gather_nd, slice_axes

Attributes: TypeAlias = Mapping[str, Any]
Operator: TypeAlias = Callable[[Sequence[Tensor], Attributes], Tensor]


def _plain(function: Callable[..., Tensor]) -> Operator:
    """An operator without attributes."""
    return lambda inputs, _: function(*inputs)


def _reduce(function: Callable[..., Tensor]) -> Operator:
    return lambda i, a: function(i[0], axis=tuple(a["axes"]), keepdims=bool(a["keepdims"]))


def _padding(a: Attributes) -> tuple[tuple[int, int], tuple[int, int]]:
    top, left, bottom, right = a["pads"]
    return (top, bottom), (left, right)


def _conv(inputs: Sequence[Tensor], a: Attributes) -> Tensor:
    return ag.conv2d(
        *inputs,
        stride=a["strides"],
        padding=_padding(a),
        dilation=a["dilations"],
        groups=a["group"],
    )


def _max_pool(inputs: Sequence[Tensor], a: Attributes) -> Tensor:
    return ag.max_pool2d(inputs[0], a["kernel_shape"], stride=a["strides"], padding=_padding(a))


def _average_pool(inputs: Sequence[Tensor], a: Attributes) -> Tensor:
    return ag.avg_pool2d(
        inputs[0], a["kernel_shape"], stride=a["strides"], padding=_padding(a),
        count_include_pad=bool(a["count_include_pad"]),
    )  # fmt: skip


def _pad(inputs: Sequence[Tensor], a: Attributes) -> Tensor:
    n = len(a["pads"]) // 2
    pairs = [(a["pads"][i], a["pads"][n + i]) for i in range(n)]
    return ag.pad(inputs[0], pairs, a["value"])


def _slice(inputs: Sequence[Tensor], a: Attributes) -> Tensor:
    """The axes named; the others whole. Lengths are those of the tensor that came."""
    ranges = [(0, n, 1) for n in inputs[0].shape]
    for axis, start, end, step in zip(a["axes"], a["starts"], a["ends"], a["steps"], strict=True):
        ranges[axis] = (start, -1 if end < 0 else end, step)
    return slice_axes(inputs[0], ranges)


def _batch_norm(inputs: Sequence[Tensor], a: Attributes) -> Tensor:
    return ag.batch_norm(*inputs, epsilon=a["epsilon"])


def _gather_nd(inputs: Sequence[Tensor], _: Attributes) -> Tensor:
    places = inputs[1].data
    return gather_nd(inputs[0], [Tensor(places[..., i]) for i in range(places.shape[-1])])


_PLAIN: dict[str, Callable[..., Tensor]] = {
    "Add": ag.add, "Sub": ag.sub, "Mul": ag.mul, "Div": ag.div, "Neg": ag.neg,
    "MatMul": ag.matmul, "Gemm": ag.linear, "Exp": ag.exp, "Log": ag.log, "Sqrt": ag.sqrt,
    "Tanh": ag.tanh, "Sigmoid": ag.sigmoid, "Erf": ag.erf, "Relu": ag.relu, "Abs": ag.absolute,
    "Max": ag.maximum, "Min": ag.minimum, "Where": ag.where, "Greater": ag.greater,
    "Less": ag.less, "GlobalAveragePool": ag.global_avg_pool2d,
    "SoftmaxCrossEntropyLoss": ag.cross_entropy,
}  # fmt: skip

OPERATORS: dict[str, Operator] = {
    **{name: _plain(function) for name, function in _PLAIN.items()},
    "Pow": lambda i, _: ag.power(i[0], float(i[1])),
    "LeakyRelu": lambda i, a: ag.leaky_relu(i[0], a["alpha"]),
    "Gelu": lambda i, a: ag.gelu(i[0], ag.GeluForm(a["approximate"])),
    "Clip": lambda i, a: ag.clip(i[0], a["min"], a["max"]),
    "ReduceSum": _reduce(ag.sum),
    "ReduceMean": _reduce(ag.mean),
    "ReduceMax": _reduce(ag.max),
    "ReduceMin": _reduce(ag.min),
    "ArgMax": lambda i, a: ag.argmax(i[0], a["axis"]),
    "Reshape": lambda i, a: ag.reshape(i[0], a["shape"]),
    "Flatten": lambda i, a: ag.flatten(i[0], a["axis"]),
    "Transpose": lambda i, a: ag.transpose(i[0], a["perm"]),
    "Unsqueeze": lambda i, a: ag.unsqueeze(i[0], a["axes"]),
    "Squeeze": lambda i, a: ag.squeeze(i[0], a["axes"]),
    "Expand": lambda i, a: ag.broadcast_to(i[0], a["shape"]),
    "Concat": lambda i, a: ag.concat(i, a["axis"]),
    "Pad": _pad,
    "Slice": _slice,
    "Gather": lambda i, a: ag.gather(i[0], i[1], a["axis"]),
    "GatherND": _gather_nd,
    "Softmax": lambda i, a: ag.softmax(i[0], a["axis"]),
    "LogSoftmax": lambda i, a: ag.log_softmax(i[0], a["axis"]),
    "Conv": _conv,
    "MaxPool": _max_pool,
    "AveragePool": _average_pool,
    "BatchNormalization": _batch_norm,
    "LayerNormalization": lambda i, a: ag.layer_norm(*i, epsilon=a["epsilon"], axis=a["axis"]),
}


def apply(op: str, inputs: Sequence[Tensor], attributes: Attributes) -> Tensor:
    """The operator on tensors, then the activation fused behind it, if any.

    Raises:
        ValueError: an operator that is not in the table.
    """
    if op not in OPERATORS:
        raise ValueError(f"op is {op}; float operators are {', '.join(sorted(OPERATORS))}")
    y = OPERATORS[op](inputs, attributes)
    return ag.relu(y) if attributes.get("activation") == "Relu" else y
