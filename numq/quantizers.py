"""Quantizers: a format, a granularity and a way to choose the range, in one immutable value.

>>> from numq.formats import INT8
>>> quantizer = AffineQuantizer(INT8)
>>> q = quantizer([-1.0, 0.0, 0.55, 1.55])
>>> q.codes
array([-128,  -28,   27,  127], dtype=int8)
>>> q.dequantize()
array([-1.  ,  0.  ,  0.55,  1.55], dtype=float32)
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Set
from dataclasses import KW_ONLY, dataclass, fields
from functools import cached_property, reduce

import numpy as np
from numpy.typing import ArrayLike

from numq import fast
from numq.arguments import shown
from numq.arrays import FloatArray, as_float, check_finite, check_type
from numq.choose import choose_qparams
from numq.formats import FLOAT32, INT8, FloatFormat, Format
from numq.granularity import Granularity, PerTensor, PerToken, param_shape
from numq.metrics import ErrorReport, error_report
from numq.observers import MinMaxObserver, Observed, Observer
from numq.qparams import QParams
from numq.qtensor import QTensor, quantize
from numq.rounding import Rounding
from numq.rules import ONNX, NonFinite, QuantizeRule
from numq.scales import (
    NUMQ_FLOOR,
    Affine,
    Clip,
    Offset,
    ScaleFloor,
    Scheme,
    Symmetric,
    SymmetricRange,
    Target,
    ZeroPointRule,
)

_FIELD_TYPES = {
    "format": Format,
    "granularity": Granularity,
    "observer": Observer,
    "rule": QuantizeRule,
}


@dataclass(frozen=True, repr=False)
class Quantizer(ABC):
    """Base of the quantizers; a subclass says which scheme turns a range into parameters.

    Attributes:
        format: the codes.
        granularity: which elements share a scale.
        observer: chooses the range from the data.
        clip: (lo, hi) fixes either end of the range in place of the observer's; values outside
            become the bound. None leaves an end to the observer, 0.0 is a bound like any other.
        rule: the arithmetic of quantization.
        scale_format: what scales are stored in.
        scale_rounding: how they are rounded to it, by their magnitude: CEIL clips nothing.
        floor: what zero and tiny scales become.
        scales: quantizes the scales in turn, which are then codes under scales of their own, in
            place of `scale_format`. The observer sees exact scales.
    """

    format: Format = INT8
    granularity: Granularity = PerTensor()
    _: KW_ONLY
    observer: Observer = MinMaxObserver()
    clip: Clip = (None, None)
    rule: QuantizeRule = ONNX
    scale_format: FloatFormat = FLOAT32
    scale_rounding: Rounding = Rounding.HALF_EVEN
    floor: ScaleFloor = NUMQ_FLOOR
    scales: Quantizer | None = None

    def __post_init__(self) -> None:
        """Refuse fields of other types, and a clip that is not a range."""
        for name, kind in _FIELD_TYPES.items():
            check_type(getattr(self, name), kind, name)
        _check_inner(self.scales, "scales")
        if self.scales is not None and (self.scale_format, self.scale_rounding) != (
            FLOAT32, Rounding.HALF_EVEN
        ):  # fmt: skip
            raise ValueError(
                f"scale_format is {self.scale_format.name}, scale_rounding "
                f"{self.scale_rounding.name}; allowed beside scales is the default: scales says it"
            )
        object.__setattr__(self, "clip", self.target.clip)  # checks what a target has
        if self.target.signed_scale:
            _check_signs(self.scales, "scales")

    def __repr__(self) -> str:
        """Format and granularity, then the fields that differ from their defaults."""
        changed = [
            f"{f.name}={value.name if isinstance(value, Format) else value}"
            for f in fields(self)
            if f.name not in ("format", "granularity")
            and (value := getattr(self, f.name)) != f.default
        ]
        parts = [self.format.name, repr(self.granularity), *changed]
        return f"{type(self).__name__}({', '.join(parts)})"

    @property
    @abstractmethod
    def scheme(self) -> Scheme:
        """How a range becomes scale and zero point."""

    def __call__(
        self,
        x: ArrayLike,
        qparams: QParams | None = None,
        *,
        rng: np.random.Generator | None = None,
    ) -> QTensor:
        """Quantize `x`, with the parameters given or those that its own values lead to.

        An empty `x` has no values to observe: its parameters are those of the range [0, 0].

        Raises:
            TypeError: `x` is not real numbers.
            ValueError: `x` holds NaN or infinity (names the first; with `qparams` given the rule
                decides), or its shape does not fit the granularity.
        """
        x = self._clipped(x)
        if qparams is None and x.size >= fast.LARGE_ROWS and (made := self.by_rows(x)):
            params = QParams(*made[1:], self.format, self.granularity)
            return QTensor.trusted(made[0], params)
        given = self.qparams(x) if qparams is None else qparams
        return quantize(x, given, rule=self.rule, rng=rng)

    def by_rows(self, x: FloatArray) -> fast.Rows | None:
        """Codes, scales and zero points of a matrix, each row by its own min and max in one pass.

        None where a choice is not the default, and where NumPy has to: see `fast.rows_quantizer`.
        """
        return None if self._rows is None else self._rows(x)

    @cached_property
    def _rows(self) -> Callable[[FloatArray], fast.Rows | None] | None:
        """Quantizes rows, if each is by itself and all other choices are the defaults."""
        per_token = isinstance(self.granularity, PerToken)
        default = (self.rule, self.observer, self.scales) == (ONNX, MinMaxObserver(), None)
        usual = per_token and default and self.target in (
            Target(self.format), Target(self.format, Symmetric())
        )  # fmt: skip
        symmetric = isinstance(self.scheme, Symmetric)
        return fast.rows_quantizer(self.format, symmetric=symmetric) if usual else None

    def fake_quantize(
        self,
        x: ArrayLike,
        qparams: QParams | None = None,
        *,
        rng: np.random.Generator | None = None,
    ) -> FloatArray:
        """`x` with the error of quantization in it, float again, in the precision of `x`."""
        x = as_float(x, "x")
        return self(x, qparams, rng=rng).dequantize(x.dtype)

    def qparams(self, x: ArrayLike) -> QParams:
        """The parameters that the values of `x` lead to."""
        x = as_float(x, "x")
        if x.size == 0:
            lo, hi = (0.0 if end is None else end for end in self.clip)
            zero = np.zeros(param_shape(self.granularity, x.shape))
            return self.qparams_for(zero + min(lo, hi), zero + hi)
        return self.qparams_of(self.observe(x))

    def observe(self, x: ArrayLike) -> Observed:
        """What the observer remembers of `x` (after the clip); merge states with `merge`."""
        return self.observer.observe(self._clipped(x), self.granularity)

    def merge(self, a: Observed, b: Observed) -> Observed:
        """Two states as one, `a` first."""
        return self.observer.merge(a, b)

    def calibrate(self, batches: Iterable[ArrayLike]) -> QParams:
        """Parameters for all batches together.

        Raises:
            TypeError: batches that are no several arrays.
            ValueError: no value among them, NaN or infinity.
        """
        if isinstance(batches, str | bytes | Mapping | Set) or not isinstance(batches, Iterable):
            raise TypeError(f"batches is {shown(batches)}; allowed are arrays one after the other")
        arrays = (as_float(batch, f"batches[{i}]") for i, batch in enumerate(batches))
        states = [self.observe(batch) for batch in arrays]
        if not states:
            raise ValueError("batches is empty; allowed is one non-empty array and more")
        return self.qparams_of(reduce(self.merge, states))

    def qparams_of(self, state: Observed) -> QParams:
        """The parameters that what was observed leads to; ValueError if nothing was."""
        return self.qparams_for(*self.observer.range(state, self.target))

    def report(self, x: ArrayLike) -> ErrorReport:
        """The error that quantizing `x` makes, clipping included."""
        return error_report(x, self(x))

    @cached_property
    def target(self) -> Target:
        """What a range is wanted for, as observers ask for it."""
        stored = (self.scale_format, self.scale_rounding)
        return Target(self.format, self.scheme, *stored, self.floor, self.clip)

    def qparams_for(self, rmin: ArrayLike, rmax: ArrayLike) -> QParams:
        """The parameters for a range, of the shape that the granularity's scales have."""
        return self._chosen(rmin, rmax, None)

    def _chosen(self, rmin: ArrayLike, rmax: ArrayLike, offsets: Quantizer | None) -> QParams:
        return choose_qparams(
            rmin,
            rmax,
            self.format,
            scheme=self.scheme,
            granularity=self.granularity,
            scale_format=self.scale_format,
            scale_rounding=self.scale_rounding,
            floor=self.floor,
            scales=self.scales,
            offsets=offsets,
        )

    def _clipped(self, x: ArrayLike) -> FloatArray:
        x = as_float(x, "x")
        lo, hi = self.clip
        if lo is None and hi is None:
            return x
        if self.rule.non_finite is NonFinite.RAISE:
            check_finite(x, "x")  # before the bounds hide an infinity
        return np.clip(x, lo, hi)


@dataclass(frozen=True, repr=False)
class AffineQuantizer(Quantizer):
    """Scale and zero point: the codes cover exactly the range observed, extended to zero.

    Attributes:
        zero_point: how the zero point is rounded.
    """

    _: KW_ONLY
    zero_point: ZeroPointRule = ZeroPointRule.FROM_MIN

    @property
    def scheme(self) -> Scheme:
        """Affine."""
        return Affine(self.zero_point)


@dataclass(frozen=True, repr=False)
class SymmetricQuantizer(Quantizer):
    """Scale alone: zero sits in the middle of the codes, products need no correction.

    The one scheme of floats and tables, whose highest value the largest magnitude becomes. Floats
    as wide as bfloat16 need no scale: `quantize(x, QParams(1.0, 0, BFLOAT16))`.

    >>> from numq.formats import FLOAT4_E2M1
    >>> q = SymmetricQuantizer(FLOAT4_E2M1)([-1.5, 0.2, 0.6, 3.0])
    >>> q.codes, q.dequantize()
    (array([13,  1,  2,  7], dtype=uint8), array([-1.5 ,  0.25,  0.5 ,  3.  ], dtype=float32))

    Attributes:
        range: what the largest magnitude is divided by.
    """

    _: KW_ONLY
    range: SymmetricRange = SymmetricRange.RESTRICTED

    @property
    def scheme(self) -> Scheme:
        """Symmetric."""
        return Symmetric(self.range)


@dataclass(frozen=True, repr=False)
class OffsetQuantizer(Quantizer):
    """Scale and a real offset: the codes cover the range observed, which need not hold zero.

    The lowest code stands for the minimum (GGUF Q4_1 with UINT4 and float16 scales). Integer
    operators refuse offsets; a weight-only product dequantizes.

    Attributes:
        offsets: quantizes the offsets in turn, in place of `scale_format`.

    >>> from numq.formats import FLOAT16, UINT4
    >>> OffsetQuantizer(UINT4, scale_format=FLOAT16)([5.0, 6.5, 12.5]).codes
    array([ 0,  3, 15], dtype=uint8)
    """

    _: KW_ONLY
    offsets: Quantizer | None = None

    def __post_init__(self) -> None:
        """Refuse fields of other types."""
        _check_inner(self.offsets, "offsets")
        _check_signs(self.offsets, "offsets")
        super().__post_init__()

    @property
    def scheme(self) -> Scheme:
        """Offset."""
        return Offset()

    def qparams_for(self, rmin: ArrayLike, rmax: ArrayLike) -> QParams:
        """The parameters for a range, of the shape that the granularity's scales have."""
        return self._chosen(rmin, rmax, self.offsets)


def check_beside(quantizer: Quantizer, name: str) -> None:
    """Refuse a quantizer whose parameters have an offset: integer operators need zero points."""
    if isinstance(quantizer.scheme, Offset):
        raise ValueError(f"{name} is {quantizer!r}; allowed are zero points, not offsets")


def _check_inner(quantizer: Quantizer | None, name: str) -> None:
    """Refuse what cannot quantize scales or offsets."""
    check_type(quantizer, AffineQuantizer | SymmetricQuantizer | None, name)


def _check_signs(quantizer: Quantizer | None, name: str) -> None:
    """Refuse, for parameters that can be negative, codes that none of them fits."""
    if quantizer is None:
        return
    format = quantizer.format
    if len(format.zero_points) == 1 and format.lowest >= 0:
        raise ValueError(
            f"{name} is {quantizer!r}; allowed for what can be negative are formats with numbers "
            "below zero"
        )
