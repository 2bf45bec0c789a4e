"""Static Conv2d: integers in, integers out; every scale is used up beforehand."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Self

import numpy as np
from numpy.typing import ArrayLike

from numq.arguments import integer
from numq.arguments import integers as checked_integers
from numq.arrays import Frozen, IntArray, as_float32, check_type
from numq.formats import IntFormat, integer_format, small_integers
from numq.granularity import PerChannel, PerTensor
from numq.integer.bias import static_bias
from numq.integer.convolve import NO_PADDING, Pair
from numq.integer.linear import check_codes, check_input, check_output, checked_border
from numq.integer.requantize import Requantizer, prepare_requantizer
from numq.kernels import PackedConvWeight, pack_conv_weight
from numq.kernels.convolution.prepared import PreparedConv
from numq.kernels.convolution.prepared import prepare_conv2d as prepare_kernel
from numq.kernels.product.ways import WayOut, integers
from numq.qparams import QParams, check_plain
from numq.qtensor import QTensor
from numq.requantization import Requantization


@dataclass(frozen=True, eq=False)
class Conv2d(Frozen):
    """A convolution that is integers from end to end, prepared by `prepare_conv2d`.

    Attributes:
        x_format: the codes it takes.
        w: (O, C/groups, kh, kw) codes.
        w_format: what they are packed as when stored.
        x_zero_point: zero point of the input, which also fills the border.
        w_zero_point: zero points of the weight, () or (O,).
        bias: (O,) int32 in units of s_x·s_w.
        requantizer: the way back to the codes of the output.
        stride: (vertical, horizontal).
        padding: ((top, bottom), (left, right)).
        dilation: (vertical, horizontal).
        groups: parts of the channels.
    """

    x_format: IntFormat
    w: IntArray
    w_format: IntFormat
    x_zero_point: int
    w_zero_point: IntArray
    bias: IntArray
    requantizer: Requantizer
    stride: Pair
    padding: tuple[Pair, Pair]
    dilation: Pair
    groups: int

    def __call__(self, codes: ArrayLike) -> IntArray:
        """(N, C, H, W) codes to (N, O, out_h, out_w) codes.

        Raises:
            TypeError: codes of another dtype than the layer's input format.
            ValueError: codes outside that format, or a shape that does not fit.
        """
        x = check_codes(codes, self.x_format)
        if x.ndim != 4:
            raise ValueError(f"codes has shape {x.shape}; allowed is (N, C, H, W)")
        return self.run(x)

    def run(self, codes: IntArray) -> IntArray:
        """The same for codes that are known to be good; C-contiguous in and out, without a copy."""
        made = self._kernel(codes)
        if self._way is not None:
            return made
        last = np.moveaxis(made, 1, -1)  # where a multiplier per channel runs
        return np.ascontiguousarray(np.moveaxis(self.requantizer.in_numpy(last), -1, 1))

    def prepared(self) -> Self:
        """Itself, laid out for this processor now and not when it first runs."""
        _ = self._kernel
        return self

    @cached_property
    def _packed(self) -> PackedConvWeight:
        return pack_conv_weight(self.w, groups=self.groups)

    @cached_property
    def _way(self) -> WayOut | None:
        """Requantized while the sums are in the cache; None: no kernel has the rule."""
        return self.requantizer.way(len(self.bias))

    @cached_property
    def _kernel(self) -> PreparedConv:
        return prepare_kernel(
            self._packed, self._way or integers(), x_dtype=self.x_format.dtype,
            stride=self.stride, padding=self.padding, dilation=self.dilation,
            x_zero_point=self.x_zero_point, bias=self.bias,
            w_zero_point=np.broadcast_to(self.w_zero_point, len(self.bias)),
        )  # fmt: skip

    def __repr__(self) -> str:
        """Three lines: shapes and formats, how the window moves, the way out."""
        return (
            f"Conv2d({self.x_format.name}, weights {self.w_format.name} {self.w.shape}\n"
            f"  stride {self.stride}, padding {self.padding}, dilation {self.dilation}, "
            f"groups {self.groups}\n  {self.requantizer!r})"
        )


def prepare_conv2d(
    x: QParams,
    w: QTensor,
    bias: ArrayLike | None,
    out: QParams,
    *,
    requantization: Requantization = Requantization.FIXED_SINGLE_UP,
    stride: Pair = (1, 1),
    padding: tuple[Pair, Pair] = NO_PADDING,
    dilation: Pair = (1, 1),
    groups: int = 1,
    relu: bool = False,
) -> Conv2d:
    """The offline half of a static convolution (ONNX QLinearConv).

    Args:
        x: parameters of the input, per tensor.
        w: (O, C / groups, kh, kw) quantized weights, per tensor or per channel of axis 0;
            channels that are all zero get the scale of `rescale_dead_channels`.
        bias: (O,) real numbers, or None.
        out: parameters of the output, per tensor.
        requantization: the arithmetic of requantization.
        stride: (vertical, horizontal).
        padding: ((top, bottom), (left, right)), which stands for real zeros.
        dilation: (vertical, horizontal).
        groups: parts that the channels are split into.
        relu: fuse a ReLU: clamp at the output's zero point.

    Raises:
        ValueError: parameters that an integer convolution cannot use, a bias too large for its
            unit, or channels whose accumulator could leave int32.
    """
    check_input(x)
    check_conv_weight(w)
    real = np.zeros(w.shape[0]) if bias is None else as_float32(bias, "bias")
    if real.shape != w.shape[:1]:
        raise ValueError(
            f"bias has shape {real.shape}; allowed is {w.shape[:1]} for w of shape {w.shape}"
        )
    check_output(out)
    w, int_bias = static_bias(w, real, x, out)
    requantizer = prepare_requantizer(
        x.scale, w.scale, out, requantization=requantization, relu=relu
    )
    groups = integer(groups, "groups", 1)
    sh, sw = checked_integers(stride, "stride", 1, 2)
    dh, dw = checked_integers(dilation, "dilation", 1, 2)
    formats = integer_format(x.format, "x.format"), integer_format(w.format, "w.format")
    return Conv2d(
        formats[0], w.codes, formats[1], int(x.zero_point), w.zero_point, int_bias, requantizer,
        (sh, sw), checked_border(padding), (dh, dw), groups,
    ).prepared()  # fmt: skip


def check_conv_weight(w: QTensor) -> None:
    """Refuse weights that an integer convolution cannot use; the error says why."""
    check_type(w, QTensor, "w")
    check_plain(w.qparams, "w")
    g = w.granularity
    kept = isinstance(g, PerTensor) or (isinstance(g, PerChannel) and g.axis in (0, -4))
    if len(w.shape) != 4 or not kept or not small_integers(w.format):
        raise ValueError(
            f"w is {w.format.name} {g} of shape {w.shape}; allowed in an integer convolution are "
            "(O, C/groups, kh, kw), integers of 8 bits or fewer, PerTensor() or PerChannel(0)"
        )
