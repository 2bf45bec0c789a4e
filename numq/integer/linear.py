"""Static Linear: integers in, integers out; every scale is used up beforehand."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from numq.arguments import integers as checked_integers
from numq.arrays import Frozen, IntArray, as_int, check_type
from numq.formats import IntFormat, integer_format, small_integers
from numq.integer.bias import static_bias
from numq.integer.operands import check_weight, float_bias
from numq.integer.requantize import Requantizer, prepare_requantizer
from numq.kernels import PackedWeight, pack_weight
from numq.kernels.product.prepared import PreparedProduct, prepare_product
from numq.kernels.product.ways import WayOut, integers
from numq.qparams import QParams, check_plain
from numq.qtensor import QTensor
from numq.requantization import Requantization

Border = tuple[tuple[int, int], tuple[int, int]]


@dataclass(frozen=True, eq=False)
class Linear(Frozen):
    """A Linear layer that is integers from end to end, prepared by `prepare_linear`.

    Attributes:
        x_format: the codes it takes.
        w: (out, in) codes.
        w_format: what they are packed as when stored.
        x_zero_point: zero point of the input.
        w_zero_point: zero points of the weights, () or (out,).
        bias: (out,) int32 in units of s_x·s_w, zero point 0.
        requantizer: the way back to the codes of the output.
    """

    x_format: IntFormat
    w: IntArray
    w_format: IntFormat
    x_zero_point: int
    w_zero_point: IntArray
    bias: IntArray
    requantizer: Requantizer

    def __call__(self, codes: ArrayLike) -> IntArray:
        """(M, in) codes to (M, out) codes, integers only (with fixed point).

        Raises:
            TypeError: codes of another dtype than the layer's input format.
            ValueError: codes outside that format, or a shape other than (M, in).
        """
        return self.run(self._checked(codes))

    def run(self, codes: IntArray) -> IntArray:
        """The same for (..., in) codes that are known to be good."""
        if codes.ndim != 2:
            flat = codes.reshape(-1, codes.shape[-1])
            return self.run(flat).reshape(*codes.shape[:-1], len(self.w))
        if self._fused is None:
            return self.requantizer.in_numpy(self._sums(codes))
        return self._fused(codes)

    def accumulators(self, codes: ArrayLike) -> NDArray[np.int32]:
        """(M, out) int32, `Σ (x − z_x)(w − z_w) + bias`: what is requantized; errors as above."""
        return self._sums(self._checked(codes))

    def _checked(self, codes: ArrayLike) -> IntArray:
        x, depth = check_codes(codes, self.x_format), self.w.shape[1]
        if x.ndim != 2 or x.shape[1] != depth:
            raise ValueError(f"codes has shape {x.shape}; allowed is (M, {depth})")
        return x

    def prepared(self) -> Self:
        """Itself, laid out for this processor now and not when it first runs."""
        _ = self._fused or self._sums
        return self

    @cached_property
    def _packed(self) -> PackedWeight:
        return pack_weight(self.w.T)

    @cached_property
    def _fused(self) -> PreparedProduct | None:
        """One pass: requantized while the sums are in the cache; None: no kernel has the rule."""
        way = self.requantizer.way(len(self.w))
        return None if way is None else self._prepared(way)

    @cached_property
    def _sums(self) -> PreparedProduct:
        return self._prepared(integers())

    def _prepared(self, way: WayOut) -> PreparedProduct:
        return prepare_product(
            self._packed, way, a_dtype=self.x_format.dtype, a_zero_point=self.x_zero_point,
            b_zero_point=np.broadcast_to(self.w_zero_point, len(self.w)), bias=self.bias,
        )  # fmt: skip

    def __repr__(self) -> str:
        """Two lines: shapes and formats, then the way out."""
        outputs, inputs = self.w.shape
        return (
            f"Linear({inputs} x {self.x_format.name} to {outputs}, weights "
            f"{self.w_format.name}\n  {self.requantizer!r})"
        )


def prepare_linear(
    x: QParams,
    w: QTensor,
    bias: ArrayLike | None,
    out: QParams,
    *,
    requantization: Requantization = Requantization.FIXED_SINGLE_UP,
    relu: bool = False,
) -> Linear:
    """The offline half of a static Linear layer (com.microsoft QGemm): all that has a scale in it.

    Args:
        x: parameters of the input, per tensor.
        w: (out, in) quantized weights, per tensor or per channel of axis 0; channels that are all
            zero get the scale of `rescale_dead_channels`.
        bias: (out,) real numbers, or None.
        out: parameters of the output, per tensor.
        requantization: the arithmetic of requantization.
        relu: fuse a ReLU: clamp at the output's zero point.

    Raises:
        ValueError: parameters that an integer layer cannot use, a bias too large for its unit, or
            channels whose accumulator could leave int32; the last two name the channels.
    """
    check_input(x)
    check_weight(w)
    real = np.zeros(w.shape[0]) if bias is None else float_bias(bias, w)
    check_output(out)
    w, int_bias = static_bias(w, real, x, out)
    requantizer = prepare_requantizer(
        x.scale, w.scale, out, requantization=requantization, relu=relu
    )
    formats = integer_format(x.format, "x.format"), integer_format(w.format, "w.format")
    layer = Linear(
        formats[0], w.codes, formats[1], int(x.zero_point), w.zero_point, int_bias, requantizer
    )
    return layer.prepared()


def check_input(x: QParams, name: str = "x") -> None:
    """Refuse parameters of activations that an integer kernel cannot use."""
    check_type(x, QParams, name)
    check_plain(x, name)
    if x.scale.ndim:
        raise ValueError(f"{name} has scales of shape {x.scale.shape}; allowed is one, per tensor")
    if not small_integers(x.format):
        raise ValueError(
            f"{name} is {x.format.name}; allowed in an integer kernel are integers of 8 bits or "
            "fewer"
        )


def check_output(out: QParams) -> None:
    """Refuse parameters that a requantization cannot lead to."""
    check_type(out, QParams, "out")
    check_plain(out, "out")
    if out.scale.ndim:
        raise ValueError(f"out has scales of shape {out.scale.shape}; allowed is one, per tensor")


def checked_border(padding: Border) -> Border:
    """Padding as ((top, bottom), (left, right)) of ints from 0 on."""
    check_type(padding, tuple | list, "padding")
    if len(padding) != 2:
        raise ValueError(f"padding is {padding}; allowed is ((top, bottom), (left, right))")
    (t, b), (left, r) = (checked_integers(p, f"padding[{i}]", 0, 2) for i, p in enumerate(padding))
    return (t, b), (left, r)


def check_codes(codes: ArrayLike, format: IntFormat, name: str = "codes") -> IntArray:
    """The codes as an array of the format's dtype, all of them within it."""
    x = as_int(codes, name)
    if x.dtype != format.dtype:
        raise TypeError(
            f"{name} has dtype {x.dtype}; allowed is {format.dtype}, which the layer was prepared "
            "for"
        )
    # A format that fills its dtype has nothing to check: that would be a pass over all codes.
    fills = format.qmax - format.qmin == 2 ** (8 * x.dtype.itemsize) - 1
    if not fills and x.size and (x.min() < format.qmin or x.max() > format.qmax):
        raise ValueError(f"{name} has values from {x.min()} to {x.max()}; allowed is {format!r}")
    return x
