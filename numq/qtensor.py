"""Quantize, dequantize, fake-quantize, and the tensor of codes that they pass around.

    q = encode(x / scale)                                       (1)
    x' = scale · decode(q)                                      (2)

which for integers, whose zero point stands beside the scale, are

    q = clip(round(x / scale) + zero_point, qmin, qmax)         (1)
    x' = scale · (q − zero_point)                               (2)

With a real offset beside the scale, (1) takes x − offset, and (2) adds it again.
(1) has rivals, which `QuantizeRule` names; (2) has none.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

from numq import fast
from numq.arrays import (
    Array,
    FloatArray,
    IntArray,
    as_float,
    check_dtype,
    check_finite,
    check_type,
)
from numq.fast import View
from numq.formats import Format
from numq.granularity import Granularity, Shape, check_params, spread_out
from numq.packing import pack
from numq.qparams import Coded, QParams
from numq.rounding import ZeroPointOrder, fma32
from numq.rules import ONNX, NonFinite, QuantizeRule, ScaleOp


@dataclass(frozen=True, eq=False, repr=False)
class QTensor(Coded):
    """Codes with the parameters that give them a meaning; frozen.

    Attributes:
        codes: integers of `qparams.format.dtype`, the shape of the original, read-only; those of
            floats are their bits, those of tables the places in them.
        qparams: scale, zero point or offset, format, granularity.

    Raises:
        TypeError: codes that are not integers.
        ValueError: a code outside the format, or a scale whose shape does not fit the codes.
    """

    codes: IntArray
    qparams: QParams

    def __post_init__(self) -> None:
        """Check codes against the parameters, then freeze a copy."""
        check_type(self.qparams, QParams, "qparams")
        format = self.qparams.format
        codes = format.checked(self.codes, "codes")
        check_params(self.qparams.scale, self.qparams.granularity, codes.shape, "codes")
        frozen = np.array(codes, dtype=format.dtype)
        frozen.setflags(write=False)
        object.__setattr__(self, "codes", frozen)

    @classmethod
    def trusted(cls, codes: IntArray, qparams: QParams) -> QTensor:
        """A QTensor of codes that are known to be right and that nobody else will write to."""
        made = object.__new__(cls)
        codes.setflags(write=False)
        object.__setattr__(made, "codes", codes)
        object.__setattr__(made, "qparams", qparams)
        return made

    def with_codes(self, codes: IntArray) -> QTensor:
        """Other codes of the same meaning, checked."""
        return QTensor(codes, self.qparams)

    def __getstate__(self) -> tuple[IntArray, QParams]:
        """Codes and parameters."""
        return self.codes, self.qparams

    def __setstate__(self, state: tuple[IntArray, QParams]) -> None:
        """Frozen again."""
        codes, qparams = state
        codes.setflags(write=False)
        object.__setattr__(self, "codes", codes)
        object.__setattr__(self, "qparams", qparams)

    @property
    def shape(self) -> Shape:
        """Shape of the codes, and of what they stand for."""
        return self.codes.shape

    @property
    def scale(self) -> Array:
        """The scales, shaped as the granularity gives them."""
        return self.qparams.scale

    @property
    def zero_point(self) -> Array:
        """The zero points, int32, the shape of the scales."""
        return self.qparams.zero_point

    @property
    def offset(self) -> FloatArray | None:
        """The real offsets, the shape of the scales; None where nothing is added."""
        return self.qparams.offset

    @property
    def format(self) -> Format:
        """The format of the codes."""
        return self.qparams.format

    @property
    def granularity(self) -> Granularity:
        """Which elements share a scale."""
        return self.qparams.granularity

    @property
    def nbytes(self) -> int:
        """Bytes as stored: packed codes, scales, offsets, and zero points unless all are 0."""
        return self.format.packed_nbytes(self.codes.size) + self.qparams.nbytes

    def packed(self) -> Array:
        """The codes flattened and packed low bits first, uint8 (ONNX's layout)."""
        return pack(self.codes.ravel(), self.format)

    def dequantize(self, dtype: DTypeLike = np.float32) -> FloatArray:
        """The real numbers that the codes stand for; see `dequantize`."""
        return dequantize(self, dtype)

    def __array__(self, dtype: DTypeLike | None = None, copy: bool | None = None) -> Array:
        """No array by itself: TypeError that says which two there are."""
        raise TypeError(
            "a QTensor is no array; allowed are its .codes, the integers, and .dequantize(), the "
            "real numbers they stand for"
        )

    def __eq__(self, other: object) -> bool:
        """Equal codes and equal parameters."""
        if not isinstance(other, QTensor):
            return NotImplemented
        return self.qparams == other.qparams and np.array_equal(self.codes, other.codes)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        """Shape and bytes, parameters, and the first codes with their meaning."""
        plain = 4 * math.prod(self.shape)
        ratio = f", {plain / self.nbytes:.2f}x smaller than float32" if plain else ""
        first = ", ".join(map(str, self.codes.flat[:6])) or "none"
        more = ", …" if self.codes.size > 6 else ""
        return (
            f"QTensor(shape {self.shape}, {self.nbytes} bytes{ratio}\n"
            f"  {self.qparams!r}\n  codes {first}{more})"
        )


def quantize(
    x: ArrayLike,
    qparams: QParams,
    *,
    rule: QuantizeRule = ONNX,
    rng: np.random.Generator | None = None,
) -> QTensor:
    """Real numbers to codes, equation (1) or the rival that `rule` names.

    float32 data is computed in float32, narrower floats too; float64 data or scales in float64.
    A list of Python's numbers, and integers, are float64, as everywhere in NumPy: on a tie they may
    get another code than the float32 array of the same numbers, which backends see.

    >>> from numq.formats import INT8
    >>> tie, tenths = [0.15], QParams(0.1, 0, INT8)  # float32 divides to 1.5, float64 to 1.49999998
    >>> quantize(np.float32(tie), tenths).codes, quantize(tie, tenths).codes
    (array([2], dtype=int8), array([1], dtype=int8))

    Args:
        x: real numbers of any shape, empty included.
        qparams: scale, and zero point or offset; their shape must fit `x` under their granularity.
            Where a scale is 0, each element gets the code of 0.
        rule: the arithmetic; by default ONNX QuantizeLinear's, refusing NaN and infinities.
        rng: generator for stochastic rounding.

    Raises:
        TypeError: `x` is not real numbers.
        ValueError: NaN or infinity under `NonFinite.RAISE` (names the first), or a shape that
            does not fit.
        OverflowError: under `Overflow.RAISE`, a value outside the format.

    >>> from numq.formats import INT8
    >>> quantize([-1.0, 0.25, 0.75, 100.0], QParams(0.5, 0, INT8)).codes
    array([ -2,   0,   2, 127], dtype=int8)
    """
    check_type(qparams, QParams, "qparams")
    check_type(rule, QuantizeRule, "rule")
    x = as_float(x, "x")
    check_params(qparams.scale, qparams.granularity, x.shape, "x")
    if view := _view(x, qparams, rule):
        scale, zero_point = qparams.scale, qparams.zero_point
        codes, finite = fast.quantize(x, view, scale, zero_point, qparams.format)
        if not finite:
            check_finite(x, "x")
        return QTensor.trusted(codes, qparams)
    return QTensor.trusted(_quantize(x, qparams, rule, rng), qparams)


_NO_OFFSET = np.zeros((), np.int64)


def _view(x: FloatArray, qparams: QParams, rule: QuantizeRule) -> View | None:
    """How a kernel sees `x`, if one has the rule."""
    if x.dtype != np.float32 or (rule is not ONNX and rule != ONNX):
        return None
    view = fast.worthwhile(x, qparams.granularity, qparams.format, qparams.scale)
    return view if view and qparams.plain else None


def _quantize(
    x: FloatArray, qparams: QParams, rule: QuantizeRule, rng: np.random.Generator | None
) -> IntArray:
    """Equation (1) in NumPy, any rule."""
    missing = None
    if rule.non_finite is NonFinite.RAISE:
        check_finite(x, "x")
    elif rule.non_finite is NonFinite.KEEP:
        _check_nan(x, qparams.format)
    elif (missing := np.isnan(x)).any():
        instead = np.inf if rule.non_finite is NonFinite.NAN_AS_INFINITY else 0
        x = np.where(missing, x.dtype.type(instead), x)
    scale = spread_out(qparams.scale, qparams.granularity, x.shape)
    zero_point = spread_out(qparams.zero_point, qparams.granularity, x.shape)
    if qparams.plain:
        steps = _to_steps(x, scale, zero_point, rule)
    else:
        x = _moved(x, qparams)
        nothing = scale == 0
        steps = _to_steps(x, np.where(nothing, scale.dtype.type(1), scale), zero_point, rule)
        added = 0 if rule.order is ZeroPointOrder.ROUND_THEN_ADD else zero_point
        steps = np.where(nothing, added, steps).astype(steps.dtype)
    offset = zero_point if rule.order is ZeroPointOrder.ROUND_THEN_ADD else _NO_OFFSET
    codes = qparams.format.to_codes(steps, rule.rounding, rule.overflow, offset, rng)
    if missing is not None and rule.non_finite is not NonFinite.NAN_AS_INFINITY:
        codes = np.where(missing, _nan_code(rule, qparams.format, zero_point), codes)
    return codes.astype(qparams.format.dtype, copy=False)


def _moved(x: FloatArray, qparams: QParams) -> FloatArray:
    """`x` less the offset, in the wider precision of the two."""
    if qparams.offset is None:
        return x
    offset = spread_out(qparams.offset, qparams.granularity, x.shape)
    dtype = np.result_type(x.dtype, offset.dtype)
    with np.errstate(over="ignore"):  # beyond float32 is beyond every code
        return np.asarray(x.astype(dtype) - offset.astype(dtype))


def _to_steps(x: FloatArray, scale: Array, zero_point: Array, rule: QuantizeRule) -> FloatArray:
    """`x` in units of the scale, with the zero point if it is added before rounding."""
    dtype = np.result_type(x.dtype, scale.dtype)  # FLOAT64 scales make the arithmetic float64
    x, scale = x.astype(dtype, copy=False), scale.astype(dtype, copy=False)
    with np.errstate(over="ignore", under="ignore"):  # beyond float32 is beyond every code
        if rule.scale_op is ScaleOp.DIVIDE:
            steps = x / scale
        else:
            reciprocal = _reciprocal(scale)
            if rule.order is ZeroPointOrder.FUSED_ADD_THEN_ROUND:
                if dtype != np.float32:
                    raise ValueError(
                        f"x has dtype {dtype}; allowed for FUSED_ADD_THEN_ROUND is float32"
                    )
                return fma32(x, reciprocal, zero_point)
            steps = x * reciprocal
        if rule.order is ZeroPointOrder.ADD_THEN_ROUND:
            steps = steps + zero_point.astype(x.dtype)
    return steps


def _reciprocal(scale: FloatArray) -> FloatArray:
    reciprocal = 1 / scale
    if np.isinf(reciprocal).any():
        smallest = np.abs(scale).min()
        raise ValueError(
            f"scale is {smallest}, whose reciprocal overflows; allowed is what {scale.dtype} has "
            "a reciprocal for"
        )
    return reciprocal


def _check_nan(x: FloatArray, format: Format) -> None:
    if not format.has_nan and np.isnan(x).any():
        raise ValueError(
            f"x holds NaN, which has no code in {format.name}; allowed is another rule"
        )


def _nan_code(rule: QuantizeRule, format: Format, zero_point: Array) -> Array:
    """The code that the rule gives NaN: of an end of the grid, of zero, or the one next to 0."""
    if rule.non_finite is NonFinite.NAN_TO_CODE_ZERO:
        return np.array(min(max(0, format.codes.start), format.codes.stop - 1))
    stands_for: dict[NonFinite, ArrayLike] = {
        NonFinite.NAN_TO_QMIN: format.lowest,
        NonFinite.NAN_TO_QMAX: format.highest,
        NonFinite.NAN_TO_ZERO_POINT: zero_point,
    }
    return format.encode(stands_for[rule.non_finite])


def dequantize(q: QTensor, dtype: DTypeLike = np.float32) -> FloatArray:
    """Codes to real numbers, `scale · decode(code)`, equation (2).

    What a code stands for is exact (integers: code − zero_point); for integers of up to 16 bits
    and floats of up to 32, the product, or the product and the offset together, is rounded once, to
    `dtype`. INT32 codes with float32 out go
    through float64: 16777217 with scale 1 still becomes 16777216, the nearest float32; ask for
    float64 to keep it.

    Args:
        q: the tensor of codes.
        dtype: float32 or float64, the dtype of the result.

    Raises:
        TypeError: codes without their parameters, or another dtype.
    """
    check_type(q, QTensor, "q")
    check_dtype(dtype, (np.float32, np.float64), "dtype")
    return _dequantize(q.codes, q.qparams, np.dtype(dtype))


def _dequantize(codes: IntArray, qparams: QParams, dtype: np.dtype[Any]) -> FloatArray:
    """Equation (2)."""
    granularity, shape = qparams.granularity, codes.shape
    view = fast.worthwhile(codes, granularity, qparams.format, qparams.scale)
    if view and dtype == np.float32 and qparams.offset is None:
        return fast.dequantize(codes, view, qparams.scale, qparams.zero_point)
    scale = spread_out(qparams.scale, granularity, shape).astype(np.float64)
    zero_point = spread_out(qparams.zero_point, granularity, shape)
    with np.errstate(over="ignore", under="ignore"):
        values = qparams.format.to_values(codes) - zero_point
        if qparams.offset is None:
            return (values * scale).astype(dtype)
        offset = spread_out(qparams.offset, granularity, shape).astype(np.float64)
        whole = fma32(values, scale, offset) if dtype == np.float32 else values * scale + offset
        return whole.astype(dtype)


def fake_quantize(
    x: ArrayLike,
    qparams: QParams,
    *,
    rule: QuantizeRule = ONNX,
    rng: np.random.Generator | None = None,
) -> FloatArray:
    """What survives quantization: `dequantize(quantize(x))`, in the dtype `x` is computed in."""
    check_type(qparams, QParams, "qparams")
    check_type(rule, QuantizeRule, "rule")
    x = as_float(x, "x")
    check_params(qparams.scale, qparams.granularity, x.shape, "x")
    if view := _view(x, qparams, rule):
        back, finite = fast.fake_quantize(
            x, view, qparams.scale, qparams.zero_point, qparams.format
        )
        if finite:
            return back
    return _dequantize(_quantize(x, qparams, rule, rng), qparams, x.dtype)
