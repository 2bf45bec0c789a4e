"""`QParams`: the numbers that give codes a meaning.

    real = scale · (code − zero_point)            integers
    real = scale · decode(code) [ + offset ]      any format; the offset is a real number

Scales and offsets are kept as floats of a format, or as codes with a meaning of their own: two
levels, a small scale for a few numbers and a larger one for many of those.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

from numq.arguments import flag
from numq.arrays import (
    Array,
    FloatArray,
    IntArray,
    as_float,
    as_int,
    check_finite,
    check_type,
    frozen,
)
from numq.formats import FLOAT16, FLOAT32, FLOAT64, FloatFormat, Format
from numq.granularity import Granularity, PerTensor
from numq.scales import scale_dtype


class Coded(ABC):
    """Numbers kept as codes: what a `QTensor` is to the parameters that it may itself serve in."""

    if TYPE_CHECKING:  # fields of a QTensor

        @property
        def codes(self) -> IntArray: ...  # noqa: D102

        @property
        def qparams(self) -> QParams: ...  # noqa: D102

    @property
    @abstractmethod
    def nbytes(self) -> int:
        """Bytes as stored."""

    @abstractmethod
    def dequantize(self, dtype: DTypeLike = np.float32) -> FloatArray:
        """The real numbers that the codes stand for."""

    @abstractmethod
    def with_codes(self, codes: IntArray) -> Coded:
        """Other codes of the same meaning."""


Kept: TypeAlias = Array | Coded
"""Floats, or codes that stand for some."""


@dataclass(frozen=True, eq=False)
class QParams:
    """Scale, and zero point or offset, of a tensor: frozen, checked, with read-only arrays.

    Attributes:
        scale: the scales as floats, finite and positive; shape as the granularity gives it: () per
            tensor, (C,) per channel. float16 or float64 if that is how they are stored, else
            float32. Those given as codes may be 0 (GGUF has such): the block reads as zeros.
        zero_point: int32 of the same shape (a scalar is broadcast), within the format's codes; 0
            for floats and tables, and where there is an offset.
        format: the codes.
        granularity: which elements each scale belongs to.
        scale_format: what scales and offsets are stored in. One that is given is rounded to
            float32; to float16 only if that costs no more than half a unit of its 11 bits; any
            narrower format must hold it.
        signed_scale: allow negative scales, as GGUF Q4_0 has (`SymmetricRange.SIGNED_MAX`).
        offset: the offsets as floats, of the same shape (a scalar is broadcast); None: there are
            none.
        stored_scale: what is stored: floats of `scale_format`, or the `QTensor` that was given as
            `scale`, whose numbers `scale` then has, rounded once to float32.
        stored_offset: the same of the offsets.

    Raises:
        TypeError: a zero point that is not an integer, a scale that is not a number.
        ValueError: any of the rules above; the message names the value and what is allowed.

    >>> from numq.formats import INT8, UINT4
    >>> QParams(0.5, 3, INT8)
    QParams(int8, per tensor, scale 0.5, zero_point 3, covers [-65.5, 62])
    >>> QParams(0.5, 0, UINT4, scale_format=FLOAT16, offset=-1.0)
    QParams(uint4, per tensor, scale 0.5 as float16 (2 bytes), offset -1 as float16 (2 bytes), \
covers [-1, 6.5])
    """

    scale: Array
    zero_point: Array
    format: Format
    granularity: Granularity = PerTensor()
    scale_format: FloatFormat = FLOAT32
    signed_scale: bool = False
    offset: Array | None = None
    stored_scale: Kept = field(init=False)
    stored_offset: Kept | None = field(init=False)

    def __init__(
        self,
        scale: ArrayLike | Coded,
        zero_point: ArrayLike,
        format: Format,
        granularity: Granularity = PerTensor(),
        scale_format: FloatFormat = FLOAT32,
        signed_scale: bool = False,
        offset: ArrayLike | Coded | None = None,
    ) -> None:
        """Check everything, then freeze."""
        check_type(format, Format, "format")
        check_type(granularity, Granularity, "granularity")
        check_type(scale_format, FloatFormat, "scale_format")
        signed_scale = flag(signed_scale, "signed_scale")
        scales = _checked_scale(scale, scale_format, signed_scale)
        offsets = None if offset is None else _checked_offset(offset, scale_format, scales.shape)
        zeros = _checked_zero_point(zero_point, format, scales.shape)
        if offsets is not None and zeros.any():
            raise ValueError(f"zero_point is {span(zeros)}; allowed beside an offset is 0")
        if granularity.scale_ndim not in (None, scales.ndim):
            raise ValueError(
                f"scale has shape {scales.shape}; allowed for {granularity} are "
                f"{granularity.scale_ndim} axes"
            )
        if isinstance(scale, Coded) and scale_format != FLOAT32:
            raise ValueError(
                f"scale_format is {scale_format.name}; allowed for scales that are codes is "
                f"{FLOAT32.name}: how they are stored is theirs"
            )
        fields = {
            "scale": scales,
            "zero_point": zeros,
            "format": format,
            "granularity": granularity,
            "scale_format": scale_format,
            "signed_scale": signed_scale,
            "offset": offsets,
            "stored_scale": scale if isinstance(scale, Coded) else scales,
            "stored_offset": offset if isinstance(offset, Coded) else offsets,
        }
        for name, value in fields.items():
            object.__setattr__(self, name, value)

    @property
    def plain(self) -> bool:
        """Whether there is no offset and no scale of 0: what kernels and integers compute with."""
        coded = isinstance(self.stored_scale, Coded)
        return self.offset is None and not (coded and bool((self.scale == 0).any()))

    @property
    def range(self) -> tuple[FloatArray, FloatArray]:
        """The smallest and the largest real number each block can hold, float64."""
        scale = self.scale.astype(np.float64)
        zero_point = self.zero_point.astype(np.int64)
        moved = 0 if self.offset is None else self.offset.astype(np.float64)
        ends = [
            scale * (end - zero_point) + moved for end in (self.format.lowest, self.format.highest)
        ]
        return np.minimum(*ends), np.maximum(*ends)

    @property
    def nbytes(self) -> int:
        """Bytes of scales and offsets as stored, and of packed zero points unless all are 0."""
        zeros = self.format.packed_nbytes(self.zero_point.size) if self.zero_point.any() else 0
        offsets = 0 if self.stored_offset is None else self._bytes_of(self.stored_offset)
        return self._bytes_of(self.stored_scale) + zeros + offsets

    def _bytes_of(self, kept: Kept) -> int:
        if isinstance(kept, Coded):
            return kept.nbytes
        return self.scale_format.packed_nbytes(kept.size)

    def over(self, granularity: Granularity) -> QParams:
        """The same of a tensor in another shape, whose scales are laid out in the same way."""
        kept = (self.stored_scale, self.zero_point, self.format, granularity)
        return QParams(*kept, self.scale_format, self.signed_scale, self.stored_offset)

    def __eq__(self, other: object) -> bool:
        """Equal in every field, arrays by value."""
        if not isinstance(other, QParams):
            return NotImplemented
        mine = (self.format, self.granularity, self.scale_format, self.signed_scale)
        theirs = (other.format, other.granularity, other.scale_format, other.signed_scale)
        return (
            mine == theirs
            and np.array_equal(self.zero_point, other.zero_point)
            and _same(self.stored_scale, other.stored_scale)
            and _same(self.stored_offset, other.stored_offset)
        )

    __hash__ = None  # type: ignore[assignment]

    def __reduce__(self) -> tuple[type[QParams], tuple[object, ...]]:
        """What is copied or unpickled is checked and frozen as anything else."""
        given = (self.stored_scale, self.zero_point, self.format, self.granularity)
        return QParams, (*given, self.scale_format, self.signed_scale, self.stored_offset)

    def __repr__(self) -> str:
        """One line: format, granularity, scales, zero points or offsets, range covered."""
        low, high = self.range
        covers = f"[{low.min():.6g}, {high.max():.6g}]" if low.size else "nothing"
        name = "per tensor" if isinstance(self.granularity, PerTensor) else repr(self.granularity)
        if self.offset is None:
            beside = f"zero_point {span(self.zero_point)}"
        else:
            beside = f"offset {span(self.offset)}{self._how(self.stored_offset)}"
        return (
            f"QParams({self.format.name}, {name}, scale {span(self.scale)}"
            f"{self._how(self.stored_scale)}, {beside}, covers {covers})"
        )

    def _how(self, kept: Kept | None) -> str:
        """` as uint6 × float16 (10 bytes)`, level by level; nothing for float32."""
        names, level = [], kept
        own = self
        while isinstance(level, Coded):
            own = level.qparams
            names.append(own.format.name)
            level = own.stored_scale
        if kept is None or (not names and own.scale_format == FLOAT32):
            return ""
        names.append(own.scale_format.name)
        return f" as {' × '.join(names)} ({self._bytes_of(kept)} bytes)"


def check_plain(params: QParams, name: str) -> None:
    """Refuse what is more than scale · (code − zero_point): offsets, and scales of 0."""
    if not params.plain:
        what = "scales of 0" if params.offset is None else "an offset"
        raise ValueError(f"{name} has {what}; allowed are zero points, and scales other than 0")


def _same(a: Kept | None, b: Kept | None) -> bool:
    """Equal as what is stored."""
    if isinstance(a, np.ndarray) and isinstance(b, np.ndarray):
        return np.array_equal(a, b)
    return type(a) is type(b) and bool(a == b)


def span(values: Array) -> str:
    """`0.5` for a scalar, `(64,) in 0.1…0.3` for an array."""
    if not values.size:
        return f"{values.shape}"
    show = "{:d}" if values.dtype.kind in "iu" else "{:.6g}"
    low, high = show.format(values.min()), show.format(values.max())
    if values.ndim == 0:
        return low
    return f"{values.shape} " + (f"= {low}" if low == high else f"in {low}…{high}")


def _checked_scale(scale: ArrayLike | Coded, scale_format: FloatFormat, signed: bool) -> Array:
    coded = isinstance(scale, Coded)
    given, stored = _as_kept(scale, scale_format, "scale")
    good = np.isfinite(stored) & ((stored != 0) | coded) & ((stored >= 0) | signed)
    if not good.all():
        allowed = "finite" if coded and signed else "finite and not 0" if signed else (
            "finite and not negative" if coded else "finite and positive"
        )  # fmt: skip
        bad = given[~good].flat[0] if given.ndim else given
        raise ValueError(f"scale is {bad} as {scale_format.name}; allowed is {allowed}")
    if not coded:
        _check_held(given, stored, scale_format, "scale")
    return frozen(stored)


def _checked_offset(
    offset: ArrayLike | Coded, scale_format: FloatFormat, shape: tuple[int, ...]
) -> Array:
    given, stored = _as_kept(offset, scale_format, "offset")
    if given.shape != shape and (given.ndim or isinstance(offset, Coded)):
        raise ValueError(f"offset has shape {given.shape}; allowed is that of the scale, {shape}")
    if not np.isfinite(stored).all():
        raise ValueError(
            f"offset is {span(given)} as {scale_format.name}; allowed are finite numbers"
        )
    if not isinstance(offset, Coded):
        _check_held(given, stored, scale_format, "offset")
    return frozen(np.broadcast_to(stored, shape))


def _as_kept(
    values: ArrayLike | Coded, scale_format: FloatFormat, name: str
) -> tuple[FloatArray, FloatArray]:
    """Finite numbers as they were given, and in the dtype that they are computed with."""
    if isinstance(values, Coded):
        real = values.dequantize()
        check_finite(real, name)
        return real, real
    given = as_float(values, name)
    check_finite(given, name)
    with np.errstate(over="ignore", under="ignore"):
        return given, given.astype(scale_dtype(scale_format))


def _check_held(given: Array, stored: Array, scale_format: FloatFormat, name: str) -> None:
    """Refuse numbers that the format cannot hold well enough."""
    if scale_format in (FLOAT32, FLOAT64):
        return
    if scale_format == FLOAT16:
        lost = np.abs(stored.astype(np.float64) - given) > 2.0**-11 * np.abs(given)
        if lost.any():
            raise ValueError(
                f"{name} is {span(given)}, which float16 holds only as {span(stored)}; allowed is "
                "what it holds"
            )
    elif (scale_format.nearest(given.astype(np.float64)) != given).any():
        raise ValueError(
            f"{name} is {span(given)}; allowed are the numbers of {scale_format.name} only"
        )


def _checked_zero_point(zero_point: ArrayLike, format: Format, shape: tuple[int, ...]) -> Array:
    given = as_int(zero_point, "zero_point")
    if given.shape not in ((), shape):
        raise ValueError(
            f"zero_point has shape {given.shape}; allowed is that of the scale, {shape}"
        )
    allowed = format.zero_points
    if given.size and (given.min() < allowed.start or given.max() >= allowed.stop):
        which = (
            repr(format) if len(allowed) > 1 else f"0 for {format.name}, which has no zero point"
        )
        raise ValueError(f"zero_point is {span(given)}; allowed is {which}")
    return frozen(np.broadcast_to(given, shape).astype(np.int32))
