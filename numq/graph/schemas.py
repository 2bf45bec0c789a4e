"""The operators of a graph, a row each: domain, opset, inputs, attributes.

Attributes left out have ONNX's defaults. What newer ONNX versions pass as a constant input (shape,
axes, pads, starts) is an attribute here; `place` says which input it is there. What the arithmetic
does not know (dilated pools, reflected padding) has its attribute, and one allowed value.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from difflib import get_close_matches
from typing import Any

from numq.arguments import shown
from numq.graph.schema import REQUIRED, Attribute, Carries, Domain, Kind, Schema, Size
from numq.quantizers import Quantizer
from numq.requantization import Requantization
from numq.rules import ONNX, QuantizeRule

REAL, CODES, EITHER = Carries.REAL, Carries.CODES, Carries.EITHER
WEIGHT, BIAS = Carries.WEIGHT, Carries.BIAS

Attributes = Mapping[str, Attribute]

# What is fused behind an operator; ONNX writes a Relu there.
_ACTIVATION = {"activation": Attribute(Kind.TEXT, None, ("Relu",), own=True)}

_AXIS = Attribute(Kind.INT, -1)
_ANY_AXES = Attribute(Kind.INTS, None, distinct=True, place=1)
_FLAG = Attribute(Kind.INT, 0, (0, 1))
_SHAPE = Attribute(Kind.INTS, sizes=True, place=1)
_EPSILON = Attribute(Kind.FLOAT, 1e-5, low=0)


def _only(value: Any) -> Attribute:
    """An attribute of which one value is understood."""
    kind = Kind.TEXT if isinstance(value, str) else Kind.INT
    return Attribute(kind, value, (value,))


_KERNEL = Attribute(Kind.INTS, REQUIRED, low=1, length=2)
_PADS = Attribute(Kind.INTS, (0, 0, 0, 0), low=0, length=4)
_STEPS = Attribute(Kind.INTS, (1, 1), low=1, length=2)
_AUTO_PAD = Attribute(Kind.TEXT, "NOTSET", ("NOTSET", "SAME_UPPER", "SAME_LOWER", "VALID"))

_CONV: Attributes = {
    "auto_pad": _AUTO_PAD,
    "dilations": _STEPS,
    "group": Attribute(Kind.INT, 1, low=1),
    "kernel_shape": replace(_KERNEL, default=None),
    "pads": _PADS,
    "strides": _STEPS,
}
_POOL: Attributes = {
    "auto_pad": _AUTO_PAD,
    "ceil_mode": _only(0),
    "dilations": replace(_STEPS, choices=(1,)),
    "kernel_shape": _KERNEL,
    "pads": _PADS,
    "strides": _STEPS,
}
_AVERAGE: Attributes = {**_POOL, "count_include_pad": _FLAG}
_REDUCE: Attributes = {
    "axes": _ANY_AXES,
    "keepdims": Attribute(Kind.INT, 1, (0, 1)),
    "noop_with_empty_axes": _FLAG,
}
_GEMM: Attributes = {
    "alpha": Attribute(Kind.FLOAT, 1.0),
    "beta": Attribute(Kind.FLOAT, 1.0),
    "transA": _FLAG,
    "transB": _FLAG,
}
# An integer product takes the weight as (out, in), and its scales as they are.
_INTEGER_GEMM: Attributes = {
    "alpha": Attribute(Kind.FLOAT, 1.0, (1.0,)),
    "beta": Attribute(Kind.FLOAT, 1.0, (1.0,)),
    "transA": _only(0),
    "transB": _only(1),
}
_HOW: Attributes = {"requantization": Attribute(Kind.VALUE, type=Requantization)}
# How real numbers become codes; what is not ONNX's own is numq's.
_RULE: Attributes = {"rule": Attribute(Kind.VALUE, ONNX, type=QuantizeRule, own=True)}
_NORM: Attributes = {
    "epsilon": _EPSILON, "momentum": Attribute(Kind.FLOAT, 0.9), "training_mode": _only(0),
    "frozen": replace(_FLAG, own=True),  # in training, too, the statistics stay what they are
}  # fmt: skip
_HOW_OR_ORT: Attributes = {
    "requantization": Attribute(Kind.VALUE, Requantization.F32_EVEN, type=Requantization)
}
_QUANTIZER: Attributes = {"quantizer": Attribute(Kind.VALUE, type=Quantizer)}
_SLICE: Attributes = {
    "starts": replace(_SHAPE, place=1),
    "ends": replace(_SHAPE, place=2),
    "axes": replace(_ANY_AXES, place=3),
    "steps": Attribute(Kind.INTS, None, place=4),
}
_SPLIT: Attributes = {
    "axis": Attribute(Kind.INT, 0),
    "split": Attribute(Kind.INTS, None, low=0, place=1),
    "num_outputs": Attribute(Kind.INT, None, low=1),
}
_PAD: Attributes = {
    "mode": _only("constant"),
    "pads": Attribute(Kind.INTS, low=0, place=1),
    "value": Attribute(Kind.FLOAT, 0.0, place=2),
}
_CLIP: Attributes = {
    "min": Attribute(Kind.FLOAT, None, place=1),
    "max": Attribute(Kind.FLOAT, None, place=2),
}
_ARGMAX: Attributes = {
    "axis": Attribute(Kind.INT, 0),
    "keepdims": Attribute(Kind.INT, 1, (0, 1)),
    "select_last_index": _FLAG,
}
_DTYPES = ("float16", "float32", "float64", "int8", "uint8", "int16", "int32", "int64", "bool")


def _padding(a: Mapping[str, Any]) -> str | None:
    """ONNX: auto_pad and pads are not to be used together."""
    if a["auto_pad"] != "NOTSET" and any(a["pads"]):
        return f"pads is {a['pads']} beside auto_pad {a['auto_pad']!r}; allowed is one of them"
    return None


def _slice(a: Mapping[str, Any]) -> str | None:
    lengths = {name: len(a[name]) for name in _SLICE if a[name] is not None}
    if len(set(lengths.values())) > 1:
        shown = ", ".join(f"{name} has {n}" for name, n in lengths.items())
        return f"{shown} entries; allowed is one number for all"
    if a["steps"] is not None and 0 in a["steps"]:
        return f"steps is {a['steps']}; allowed are integers other than 0"
    return None


def _split(a: Mapping[str, Any]) -> str | None:
    if (a["split"] is None) == (a["num_outputs"] is None):
        return f"split is {a['split']}, num_outputs {a['num_outputs']}; allowed is one of them"
    return None


def _pad(a: Mapping[str, Any]) -> str | None:
    return f"pads is {a['pads']}; allowed are two for each axis" if len(a["pads"]) % 2 else None


def _clip(a: Mapping[str, Any]) -> str | None:
    if a["min"] is not None and a["max"] is not None and a["min"] > a["max"]:
        return f"min is {a['min']}, max {a['max']}; allowed is min <= max"
    return None


def _reshape(a: Mapping[str, Any]) -> str | None:
    shape = [n for n in a["shape"] if not isinstance(n, Size)]
    if (
        min(shape, default=0) < -1
        or shape.count(-1) > 1
        or (a["allowzero"] and {0, -1} <= {*shape})
    ):
        alone = ", and none of them 0 beside it with allowzero" if a["allowzero"] else ""
        return f"shape is {a['shape']}; allowed are lengths, one of them -1 for what is left{alone}"
    return None


def _transpose(a: Mapping[str, Any]) -> str | None:
    perm = a["perm"]
    if perm is not None and sorted(perm) != list(range(len(perm))):
        return f"perm is {perm}; allowed are the axes from 0 to {len(perm) - 1}, each once"
    return None


def _onnx(op: str, opset: int, inputs: tuple[Carries, ...], **rest: Any) -> Schema:
    return Schema(op, Domain.ONNX, opset, inputs, **rest)


def _ort(op: str, inputs: tuple[Carries, ...], **rest: Any) -> Schema:
    return Schema(op, Domain.ORT, 1, inputs, outputs=(CODES,), **rest)


def _numq(op: str, inputs: tuple[Carries, ...], **rest: Any) -> Schema:
    return Schema(op, Domain.NUMQ, 1, inputs, **rest)


_MOVES = {"outputs": (EITHER,)}

_ROWS: tuple[Schema, ...] = (
    # Elementwise, on real numbers.
    _onnx("Add", 7, (REAL, REAL), attributes=_ACTIVATION),
    *(_onnx(op, 7, (REAL, REAL)) for op in ("Sub", "Mul", "Div")),
    _onnx("Pow", 7, (REAL, REAL)),
    *(_onnx(op, 8, (EITHER,), variadic=True, **_MOVES) for op in ("Max", "Min")),
    *(_onnx(op, 6, (REAL,)) for op in ("Neg", "Abs", "Exp", "Log", "Sqrt", "Tanh", "Sigmoid")),
    _onnx("Relu", 6, (REAL,)),
    _onnx("Round", 11, (REAL,)),
    _onnx("Erf", 9, (REAL,)),
    _onnx("LeakyRelu", 6, (REAL,), attributes={"alpha": Attribute(Kind.FLOAT, 0.01)}),
    _onnx("Gelu", 20, (REAL,), attributes={
        "approximate": Attribute(Kind.TEXT, "none", ("none", "tanh")),
    }),
    _onnx("Clip", 6, (REAL,), attributes=_CLIP, agree=_clip),
    *(_onnx(op, 9, (REAL, REAL)) for op in ("Greater", "Less")),
    _onnx("Where", 9, (REAL, REAL, REAL)),
    _onnx("Cast", 6, (EITHER,), attributes={
        "to": Attribute(Kind.TEXT, choices=_DTYPES, hint="NumPy's names for ONNX's numbers"),
    }),
    # Sums and products.
    _onnx("MatMul", 1, (REAL, REAL)),
    _onnx("Gemm", 11, (REAL, REAL, REAL), optional=1, attributes={**_GEMM, **_ACTIVATION}),
    _onnx("Conv", 11, (REAL, REAL, REAL), optional=1, attributes={**_CONV, **_ACTIVATION},
          agree=_padding),
    *(_onnx(op, 18, (REAL,), attributes=_REDUCE)
      for op in ("ReduceSum", "ReduceMean", "ReduceMax", "ReduceMin")),
    _onnx("ArgMax", 12, (REAL,), attributes=_ARGMAX),
    _onnx("MaxPool", 10, (EITHER,), attributes={**_POOL, "storage_order": _only(0)},
          agree=_padding, **_MOVES),
    _onnx("AveragePool", 19, (REAL,), attributes=_AVERAGE, agree=_padding),
    _onnx("GlobalAveragePool", 1, (REAL,)),
    # Normalization and losses.
    *(_onnx(op, 13, (REAL,), attributes={"axis": _AXIS}) for op in ("Softmax", "LogSoftmax")),
    _onnx("BatchNormalization", 14, (REAL,) * 5, attributes=_NORM),
    _onnx("LayerNormalization", 17, (REAL, REAL, REAL), optional=1, attributes={
        "axis": _AXIS, "epsilon": _EPSILON, "stash_type": _only(1),
    }),
    _onnx("SoftmaxCrossEntropyLoss", 12, (REAL, REAL), attributes={
        "ignore_index": Attribute(Kind.INT, None, (None,)), "reduction": _only("mean"),
    }),
    # The same elements in other places: on real numbers, or on codes, which keep their meaning.
    _onnx("Reshape", 5, (EITHER,), attributes={"shape": _SHAPE, "allowzero": _FLAG},
          agree=_reshape, **_MOVES),
    _onnx("Flatten", 11, (EITHER,), attributes={"axis": Attribute(Kind.INT, 1)}, **_MOVES),
    _onnx("Transpose", 1, (EITHER,), attributes={
        "perm": Attribute(Kind.INTS, None, low=0, distinct=True),
    }, agree=_transpose, **_MOVES),
    _onnx("Unsqueeze", 11, (EITHER,), attributes={"axes": replace(_ANY_AXES, default=REQUIRED)},
          **_MOVES),
    _onnx("Squeeze", 11, (EITHER,), attributes={"axes": _ANY_AXES}, **_MOVES),
    _onnx("Expand", 8, (EITHER,), attributes={"shape": replace(_SHAPE, low=0)}, **_MOVES),
    _onnx("Slice", 10, (EITHER,), attributes=_SLICE, agree=_slice, **_MOVES),
    _onnx("Gather", 11, (EITHER, REAL), attributes={"axis": Attribute(Kind.INT, 0)}, **_MOVES),
    _onnx("GatherND", 11, (EITHER, REAL), attributes={"batch_dims": _only(0)}, **_MOVES),
    _onnx("Dropout", 12, (EITHER,), attributes={
        "ratio": Attribute(Kind.FLOAT, 0.5, low=0, below=1, place=1),
        "seed": Attribute(Kind.INT, None),
    }, **_MOVES),
    _onnx("Concat", 11, (REAL,), variadic=True, attributes={"axis": Attribute(Kind.INT)}),
    _onnx("Split", 18, (EITHER,), attributes=_SPLIT, agree=_split, spread=True, **_MOVES),
    _onnx("Pad", 11, (REAL,), attributes=_PAD, agree=_pad),
    # Codes and products of codes. The parameters of codes stand in the graph's qparams, where ONNX
    # has inputs for scales and zero points.
    _onnx("QuantizeLinear", 10, (REAL,), outputs=(CODES,), attributes=_RULE),
    _onnx("DequantizeLinear", 10, (Carries.STORED,)),
    _onnx("QLinearConv", 10, (CODES, WEIGHT, BIAS), optional=1, outputs=(CODES,),
          attributes={**_CONV, **_HOW, **_ACTIVATION}, agree=_padding),
    _onnx("MatMulInteger", 10, (REAL,) * 4, optional=2),
    _onnx("ConvInteger", 10, (REAL,) * 4, optional=2, attributes=_CONV, agree=_padding),
    _ort("QGemm", (CODES, WEIGHT, BIAS), optional=1,
         attributes={**_INTEGER_GEMM, **_HOW, **_ACTIVATION}),
    _ort("QLinearAdd", (CODES, CODES), attributes={**_HOW_OR_ORT, **_ACTIVATION}),
    _ort("QLinearConcat", (CODES,), variadic=True,
         attributes={"axis": Attribute(Kind.INT), **_HOW_OR_ORT}),
    _ort("QLinearAveragePool", (CODES,), attributes={**_AVERAGE, **_HOW}, agree=_padding),
    _ort("QLinearGlobalAveragePool", (CODES,), attributes=_HOW),
    # numq's own.
    _numq("DynamicQuantizeMatMul", (REAL, WEIGHT, BIAS), optional=1,
          attributes={**_INTEGER_GEMM, **_QUANTIZER, **_ACTIVATION}),
    _numq("DynamicQuantizeConv", (REAL, WEIGHT, BIAS), optional=1,
          attributes={**_CONV, **_QUANTIZER, **_ACTIVATION}, agree=_padding),
    _numq("NormalizedConv", (REAL,) * 7, attributes={**_CONV, **_NORM, **_ACTIVATION},
          agree=_padding),
    _numq("NormalizedGemm", (REAL,) * 7, attributes={**_GEMM, **_NORM, **_ACTIVATION}),
    _numq("Table", (CODES,), outputs=(CODES,), attributes=_RULE),
)  # fmt: skip

SCHEMAS: Mapping[str, Schema] = {row.op: row for row in _ROWS}

TABLE_FUNCTIONS = (
    "Sigmoid", "Tanh", "Relu", "LeakyRelu", "Gelu", "Erf", "Abs", "Neg", "Clip", "Exp", "Log",
    "Sqrt",
)  # fmt: skip
_FUNCTION = Attribute(Kind.TEXT, choices=TABLE_FUNCTIONS, own=True)


def schema_of(op: str, attributes: Mapping[str, Any]) -> Schema:
    """The row of an operator; that of a Table has the attributes of its function as well.

    Raises:
        ValueError: an operator without a row.
    """
    if not isinstance(op, str):
        raise TypeError(f"op is {shown(op)}; allowed is the name of an operator")
    if op not in SCHEMAS:
        near = get_close_matches(op, SCHEMAS, 1)
        hint = f"; near it is {near[0]}" if near else ""
        raise ValueError(
            f"op is {shown(op)}, which has no row in numq.graph.SCHEMAS; allowed are its "
            f"operators{hint}"
        )
    row = SCHEMAS[op]
    if op != "Table":
        return row
    function = attributes.get("function")
    inner = SCHEMAS[function] if function in TABLE_FUNCTIONS else None
    more = inner.attributes if inner else {}
    return replace(
        row,
        attributes={"function": _FUNCTION, **row.attributes, **more},
        agree=inner.agree if inner else row.agree,
    )
