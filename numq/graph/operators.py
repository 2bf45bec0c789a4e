"""What the float operators of a graph do: ONNX's name, and the function of autograd behind it.

Each entry takes the tensors and the attributes, complete as `schemas` has them, and gives a tensor,
so that a graph runs with gradients or without.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import reduce
from typing import Any

import numpy as np

from numq import autograd as ag
from numq.arrays import Array
from numq.autograd import Tensor, record
from numq.autograd.indexing import gather_nd, slice_axes
from numq.graph.graph import Node
from numq.graph.integers import counted
from numq.graph.products import (
    Attributes,
    Operator,
    batch_norm,
    border,
    conv,
    conv_integer,
    gemm,
    matmul,
    matmul_integer,
    normalized,
)


def _plain(function: Callable[..., Tensor]) -> Operator:
    """An operator without attributes."""
    return lambda inputs, _: function(*inputs)


def _fold(function: Callable[[Tensor, Tensor], Tensor]) -> Operator:
    """A function of two for any number of inputs."""
    return lambda inputs, _: reduce(function, inputs)


def _reduce(function: Callable[..., Tensor]) -> Operator:
    """Over `axes`; over all where there are none, unless that is to change nothing."""

    def operator(i: Sequence[Tensor], a: Attributes) -> Tensor:
        axes = a["axes"]
        if not axes:
            axes = () if a["noop_with_empty_axes"] else None
        return function(i[0], axis=axes, keepdims=bool(a["keepdims"]))

    return operator


def _argmax(i: Sequence[Tensor], a: Attributes) -> Tensor:
    """The first of equal ones, or the last: that is the first from behind."""
    x, axis = i[0], a["axis"]
    if not -x.ndim <= axis < x.ndim:
        raise ValueError(
            f"axis is {axis}; allowed are {-x.ndim} to {x.ndim - 1} for a tensor of shape {x.shape}"
        )
    if a["select_last_index"]:
        backwards = slice_axes(x, (axis,), (-1,), (-(2**63),), (-1,))
        y = ag.sub(x.shape[axis] - 1, ag.argmax(backwards, axis))
    else:
        y = ag.argmax(x, axis)
    return ag.unsqueeze(y, (axis % x.ndim,)) if a["keepdims"] else y


def _max_pool(i: Sequence[Tensor], a: Attributes) -> Tensor:
    size = a["kernel_shape"]
    return ag.max_pool2d(i[0], size, stride=a["strides"], padding=border(i[0], size, a))


def _average_pool(i: Sequence[Tensor], a: Attributes) -> Tensor:
    size = a["kernel_shape"]
    return ag.avg_pool2d(
        i[0], size, stride=a["strides"], padding=border(i[0], size, a),
        count_include_pad=bool(a["count_include_pad"]),
    )  # fmt: skip


def _pad(inputs: Sequence[Tensor], a: Attributes) -> Tensor:
    n = len(a["pads"]) // 2
    pairs = [(a["pads"][i], a["pads"][n + i]) for i in range(n)]
    return ag.pad(inputs[0], pairs, a["value"])


def _slice(i: Sequence[Tensor], a: Attributes) -> Tensor:
    n = len(a["starts"])
    axes = tuple(range(n)) if a["axes"] is None else a["axes"]
    steps = (1,) * n if a["steps"] is None else a["steps"]
    return slice_axes(i[0], axes, a["starts"], a["ends"], steps)


def _reshape(i: Sequence[Tensor], a: Attributes) -> Tensor:
    """A length of 0 is that of the input, unless `allowzero`."""
    x, shape = i[0], a["shape"]
    if a["allowzero"]:
        return ag.reshape(x, shape)
    if any(n == 0 and axis >= x.ndim for axis, n in enumerate(shape)):
        raise ValueError(
            f"shape is {shape}; allowed is 0 where a tensor of shape {x.shape} has an axis to keep"
        )
    return ag.reshape(x, tuple(n or x.shape[axis] for axis, n in enumerate(shape)))


def _expand(i: Sequence[Tensor], a: Attributes) -> Tensor:
    """Both broadcast: a length of 1 leaves that of the input."""
    try:
        shape = np.broadcast_shapes(i[0].shape, a["shape"])
    except ValueError:
        raise ValueError(
            f"shape is {a['shape']}; allowed are those that {i[0].shape} fits"
        ) from None
    return ag.broadcast_to(i[0], shape)


def _squeeze(i: Sequence[Tensor], a: Attributes) -> Tensor:
    single = tuple(axis for axis, n in enumerate(i[0].shape) if n == 1)
    return ag.squeeze(i[0], single if a["axes"] is None else a["axes"])


def _flatten(i: Sequence[Tensor], a: Attributes) -> Tensor:
    return ag.flatten(i[0], a["axis"] + (i[0].ndim if a["axis"] < 0 else 0))


def _transpose(i: Sequence[Tensor], a: Attributes) -> Tensor:
    return ag.transpose(i[0], range(i[0].ndim)[::-1] if a["perm"] is None else a["perm"])


def _clip(i: Sequence[Tensor], a: Attributes) -> Tensor:
    return i[0] if a["min"] is a["max"] is None else ag.clip(i[0], a["min"], a["max"])


def _power(i: Sequence[Tensor], _: Attributes) -> Tensor:
    if i[1].ndim:
        raise ValueError(f"the exponent has shape {i[1].shape}; allowed is one number, of shape ()")
    k = i[1].data.item()
    whole = i[0].dtype.kind != "f" and float(k).is_integer()
    return ag.power(i[0], int(k) if whole else float(k))


def _cast(i: Sequence[Tensor], a: Attributes) -> Tensor:
    """Straight through for gradients; to integers, fractions are cut off, as C does.

    Floats become infinite beyond another float's range; integers hold all that comes, or it is
    refused, as backends differ there.
    """
    to = np.dtype(a["to"])
    if to.kind in "iu":
        _check_holds(i[0].data, to)
    with np.errstate(over="ignore", under="ignore"):
        data = i[0].data.astype(to)
    floats = data.dtype.kind == "f"
    return record("Cast", i, data, (lambda g: (g,)) if floats else None, to=a["to"])


def _check_holds(x: Array, to: np.dtype[Any]) -> None:
    """Raise ValueError unless the integers of a dtype hold all numbers, without their fractions."""
    if not x.size or x.dtype.kind == "b":
        return
    whole = x if x.dtype.kind in "iu" else np.trunc(x)
    low, high = whole.min(), whole.max()  # NaN, if there is one
    ends = np.iinfo(to)
    if not (np.isfinite(low) and np.isfinite(high)):
        raise ValueError(
            f"it has the value {(low if not np.isfinite(low) else high)}; allowed are numbers "
            f"that {to} holds"
        )
    if not int(ends.min) <= int(low) <= int(high) <= int(ends.max):
        raise ValueError(
            f"it has values from {low} to {high}; allowed in {to} are {ends.min} to {ends.max}"
        )


def _round(i: Sequence[Tensor], _: Attributes) -> Tensor:
    """To the nearest integer, ties to even; no gradient."""
    return record("Round", i, np.rint(i[0].data), None)


def _allowing(function: Callable[[Tensor, int], Tensor]) -> Operator:
    """Refuses a row of −∞ alone, which a mask with nothing to look at leaves, where 0/0 is NaN."""

    def operator(i: Sequence[Tensor], a: Attributes) -> Tensor:
        y = function(i[0], a["axis"])
        if np.isnan(y.data).any() and np.isneginf(i[0].data).all(axis=a["axis"]).any():
            raise ValueError(
                "x has a row of -inf alone, as of a mask with a row of False alone; allowed are "
                "rows that allow something"
            )
        return y

    return operator


def _layer_norm(i: Sequence[Tensor], a: Attributes) -> Tensor:
    beta = i[2] if len(i) > 2 else Tensor.of(np.zeros_like(i[1].data))
    return ag.layer_norm(i[0], i[1], beta, epsilon=a["epsilon"], axis=a["axis"])


def _gather_nd(inputs: Sequence[Tensor], _: Attributes) -> Tensor:
    places = inputs[1].data
    if places.ndim < 1 or not 1 <= places.shape[-1] <= inputs[0].ndim:
        raise ValueError(
            f"indices has shape {places.shape}; allowed are 1 to {inputs[0].ndim} entries in the "
            f"last axis, for a tensor of shape {inputs[0].shape}"
        )
    return gather_nd(inputs[0], [Tensor(places[..., i]) for i in range(places.shape[-1])])


_PLAIN: dict[str, Callable[..., Tensor]] = {
    "Add": ag.add, "Sub": ag.sub, "Mul": ag.mul, "Div": ag.div, "Neg": ag.neg, "Exp": ag.exp,
    "Log": ag.log, "Sqrt": ag.sqrt, "Tanh": ag.tanh, "Sigmoid": ag.sigmoid, "Erf": ag.erf,
    "Relu": ag.relu, "Abs": ag.absolute, "Where": ag.where, "Greater": ag.greater, "Less": ag.less,
    "GlobalAveragePool": ag.global_avg_pool2d, "SoftmaxCrossEntropyLoss": ag.cross_entropy,
}  # fmt: skip

OPERATORS: dict[str, Operator] = {
    **{name: _plain(function) for name, function in _PLAIN.items()},
    "Dropout": lambda i, _: i[0],  # as in evaluation
    "Max": _fold(ag.maximum),
    "Min": _fold(ag.minimum),
    "Pow": _power,
    "LeakyRelu": lambda i, a: ag.leaky_relu(i[0], a["alpha"]),
    "Gelu": lambda i, a: ag.gelu(i[0], form=ag.GeluForm(a["approximate"])),
    "Clip": _clip,
    "Cast": _cast,
    "Round": _round,
    "MatMulInteger": matmul_integer,
    "ConvInteger": conv_integer,
    "MatMul": matmul,
    "Gemm": gemm,
    "ReduceSum": _reduce(ag.sum),
    "ReduceMean": _reduce(ag.mean),
    "ReduceMax": _reduce(ag.max),
    "ReduceMin": _reduce(ag.min),
    "ArgMax": _argmax,
    "Reshape": _reshape,
    "Flatten": _flatten,
    "Transpose": _transpose,
    "Unsqueeze": lambda i, a: ag.unsqueeze(i[0], a["axes"]),
    "Squeeze": _squeeze,
    "Expand": _expand,
    "Concat": lambda i, a: ag.concat(i, a["axis"]),
    "Pad": _pad,
    "Slice": _slice,
    "Gather": lambda i, a: ag.gather(i[0], i[1], a["axis"]),
    "GatherND": _gather_nd,
    "Softmax": _allowing(ag.softmax),
    "LogSoftmax": _allowing(ag.log_softmax),
    "Conv": conv,
    "MaxPool": _max_pool,
    "AveragePool": _average_pool,
    "BatchNormalization": batch_norm,
    "LayerNormalization": _layer_norm,
    "NormalizedConv": normalized(conv),
    "NormalizedGemm": normalized(gemm),
}


def _split(i: Sequence[Tensor], a: Attributes, count: int) -> tuple[Tensor, ...]:
    """Parts along an axis: of the lengths given, or equal ones, of which the last is shorter."""
    x, axis, lengths = i[0], a["axis"], a["split"]
    if not -x.ndim <= axis < x.ndim:
        raise ValueError(
            f"axis is {axis}; allowed are {-x.ndim} to {x.ndim - 1} for a tensor of shape {x.shape}"
        )
    n = x.shape[axis]
    if lengths is None:
        each = -(-n // count)
        lengths = (each,) * (count - 1) + (n - each * (count - 1),)
    wanted = len(lengths) if a["num_outputs"] is None else a["num_outputs"]
    if wanted != count or sum(lengths) != n or min(lengths) < 0:
        raise ValueError(
            f"split is {a['split']}, num_outputs {a['num_outputs']}; allowed is what gives "
            f"{count} parts of {n} elements"
        )
    ends = np.cumsum(lengths).tolist()
    starts = [0, *ends[:-1]]
    return tuple(
        slice_axes(x, (axis,), (s,), (e,), (1,)) for s, e in zip(starts, ends, strict=True)
    )


SEVERAL: dict[str, Callable[[Sequence[Tensor], Attributes, int], tuple[Tensor, ...]]] = {
    "Split": _split,
}


def applied(node: Node, inputs: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """What a float node makes, a tensor for each of its outputs.

    Raises:
        ValueError, TypeError, IndexError: an operator on codes, or what the operator refuses.
    """
    if node.op in SEVERAL:
        return SEVERAL[node.op](inputs, node.attributes, len(node.outputs))
    return (counted(node.op, inputs, lambda i: apply(node.op, i, node.attributes)),)


def apply(op: str, inputs: Sequence[Tensor], attributes: Attributes) -> Tensor:
    """An operator with one output on tensors, then the activation fused behind it, if any.

    Args:
        op: its name.
        inputs: what it reads.
        attributes: complete, as a Node has them.

    Raises:
        ValueError: an operator on codes.
    """
    if op not in OPERATORS:
        raise ValueError(
            f"op is {op}; allowed are the float operators {', '.join(sorted(OPERATORS))}"
        )
    y = OPERATORS[op](inputs, attributes)
    return ag.relu(y) if attributes.get("activation") == "Relu" else y
