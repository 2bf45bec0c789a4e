"""Static Conv2d: integers in, integers out; every scale is used up beforehand."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from numq.arguments import integer, integers
from numq.arrays import Frozen, IntArray, as_float32, check_type
from numq.formats import IntFormat, integer_format, small_integers
from numq.granularity import PerChannel, PerTensor
from numq.integer.bias import static_bias
from numq.integer.convolve import NO_PADDING, Pair, conv2d_int8
from numq.integer.linear import check_codes, check_input, check_output, checked_border
from numq.integer.requantize import (
    Requantizer,
    prepare_requantizer,
    requantize,
)
from numq.kernels import PackedConvWeight, conv2d_requantized, pack_conv_weight
from numq.qparams import QParams
from numq.qtensor import QTensor
from numq.requantization import Requantization


@dataclass(frozen=True, eq=False)
class StaticConv2d(Frozen):
    """A convolution that is integers from end to end, prepared by `prepare_static_conv2d`.

    Attributes:
        x_format: the codes it takes.
        operand: the (O, C/groups, kh, kw) codes of the weight, laid out for the kernel.
        z_x: zero point of the input, which also fills the border.
        z_w: zero points of the weight, () or (O,).
        bias: (O,) int32 in units of s_x·s_w.
        requantizer: the way back to the codes of the output.
        stride: (vertical, horizontal).
        padding: ((top, bottom), (left, right)).
        dilation: (vertical, horizontal).
        groups: parts of the channels.
    """

    x_format: IntFormat
    operand: PackedConvWeight
    z_x: int
    z_w: IntArray
    bias: IntArray
    requantizer: Requantizer
    stride: Pair
    padding: tuple[Pair, Pair]
    dilation: Pair
    groups: int

    def __repr__(self) -> str:
        """Three lines: shapes and formats, how the window moves, the way out."""
        return (
            f"StaticConv2d({self.x_format.name}, weights {self.operand.values.shape}\n"
            f"  stride {self.stride}, padding {self.padding}, dilation {self.dilation}, "
            f"groups {self.groups}\n  {self.requantizer!r})"
        )


def prepare_static_conv2d(
    x: QParams,
    w: QTensor,
    bias: ArrayLike | None,
    out: QParams,
    how: Requantization = Requantization.FIXED_SINGLE_UP,
    *,
    stride: Pair = (1, 1),
    padding: tuple[Pair, Pair] = NO_PADDING,
    dilation: Pair = (1, 1),
    groups: int = 1,
    relu: bool = False,
) -> StaticConv2d:
    """The offline half of a static convolution (ONNX QLinearConv).

    Args:
        x: parameters of the input, per tensor.
        w: (O, C / groups, kh, kw) quantized weights, per tensor or per channel of axis 0;
            channels that are all zero get the scale of `rescale_dead_channels`.
        bias: (O,) real numbers, or None.
        out: parameters of the output, per tensor.
        how: the arithmetic of requantization.
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
        raise ValueError(f"bias has shape {real.shape}; w of shape {w.shape} needs {w.shape[:1]}")
    check_output(out)
    w, int_bias = static_bias(w, real, x, out)
    requantizer = prepare_requantizer(x.scale, w.scale, out, how, relu=relu)
    groups = integer(groups, "groups", 1)
    sh, sw = integers(stride, "stride", 1, 2)
    dh, dw = integers(dilation, "dilation", 1, 2)
    operand = pack_conv_weight(w.codes, groups=groups)
    z_x, z_w = int(x.zero_point), w.zero_point
    return StaticConv2d(
        integer_format(x.format, "x.format"), operand, z_x, z_w, int_bias, requantizer, (sh, sw),
        checked_border(padding), (dh, dw), groups,
    )  # fmt: skip


def conv2d_static(codes: ArrayLike, layer: StaticConv2d) -> IntArray:
    """The run-time half: (N, C, H, W) codes to (N, O, out_h, out_w) codes.

    Raises:
        TypeError: codes of another dtype than the layer's input format.
        ValueError: codes outside that format, or a shape that does not fit.
    """
    check_type(layer, StaticConv2d, "layer")
    x, r = check_codes(codes, layer.x_format), layer.requantizer
    if x.ndim != 4:
        raise ValueError(f"codes has shape {x.shape}; allowed is (N, C, H, W)")
    moves: dict[str, Any] = {
        "stride": layer.stride,
        "padding": layer.padding,
        "dilation": layer.dilation,
    }
    if r.how == Requantization.F32_EVEN and r.format.bits <= 8:
        return conv2d_requantized(  # one pass: requantized while the sums are in the cache
            x, layer.operand, groups=layer.groups, x_zero_point=layer.z_x,
            w_zero_point=layer.z_w if layer.z_w.ndim else int(layer.z_w), bias=layer.bias,
            multiplier=r.multiplier, zero_point=r.zero_point, qmin=r.qmin, qmax=r.qmax,
            dtype=r.format.dtype.type, **moves,
        )  # fmt: skip
    sums = conv2d_int8(
        x,
        layer.operand,
        groups=layer.groups,
        x_zero_point=layer.z_x,
        w_zero_point=layer.z_w,
        **moves,
    )
    channels_last = np.moveaxis(sums, 1, -1) + layer.bias  # where a multiplier per channel runs
    return np.moveaxis(requantize(channels_last, r), -1, 1)


def check_conv_weight(w: QTensor) -> None:
    """Refuse weights that an integer convolution cannot use; the error says why."""
    check_type(w, QTensor, "w")
    g = w.granularity
    kept = isinstance(g, PerTensor) or (isinstance(g, PerChannel) and g.axis in (0, -4))
    if len(w.shape) != 4 or not kept or not small_integers(w.format):
        raise ValueError(
            f"w is {w.format.name} {g} of shape {w.shape}; an integer convolution needs "
            "(O, C/groups, kh, kw), integers of 8 bits or fewer, PerTensor() or PerChannel(0)"
        )
