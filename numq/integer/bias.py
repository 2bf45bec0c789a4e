"""The bias of a static layer: int32 in units of s_x·s_w, added to the accumulator.

A channel whose weights are all zero has a scale that means nothing: codes equal to the zero point
stand for 0 on any scale. Taken for the unit of the bias, that placeholder (1, in the default floor)
may be hundreds of output steps wide, or so small that the bias leaves int32. So the scale of such a
channel follows what the layer needs instead, a unit that is fine beside a step of the output:

    s_x·s_w = s_y · 2^−12                                                                 (1)

Its bias is then held to 2^−13 of an output step, and up to 2^18 steps, beyond which every output of
16 bits or fewer is saturated, it fits int32.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from numq.arrays import Array, FloatArray, IntArray, as_float, check_finite, check_type, frozen
from numq.fixedpoint import INT32_MAX
from numq.granularity import PerChannel, PerTensor
from numq.qparams import QParams, check_plain
from numq.qtensor import QTensor
from numq.rounding import Rounding
from numq.scales import store_scale

_FINE = 2.0**-12  # of an output step
_SATURATED = 2.0**18  # output steps


def static_bias(w: QTensor, bias: FloatArray, x: QParams, out: QParams) -> tuple[QTensor, IntArray]:
    """The weights with a scale for every channel that its bias can be told in, and the bias in it.

    Both read-only, as what is prepared of them has one answer.

    Raises:
        ValueError: a bias too large for its unit, or channels whose accumulator could leave int32.
    """
    w = rescale_dead_channels(w, x, out)
    limit = np.where(_dead(w), _SATURATED * float(out.scale), np.inf)
    int_bias = quantize_bias(np.clip(bias, -limit, limit), x.scale, w.scale)
    check_sums(x, w, int_bias)
    return w, frozen(int_bias)


def rescale_dead_channels(w: QTensor, x: QParams, out: QParams) -> QTensor:
    """The same weights, their all-zero channels on the scale of equation (1).

    The numbers that the weights stand for do not change. Doing it twice gives the same as once.

    Args:
        w: (out, …) quantized weights, per tensor (rescaled where all of them are zero) or per
            channel of axis 0.
        x: parameters of the input, per tensor.
        out: parameters of the output, per tensor.

    Raises:
        TypeError: what is no QTensor, no QParams.
        ValueError: other granularities.
    """
    check_type(w, QTensor, "w")
    for name, params in (("w", w.qparams), ("x", x), ("out", out)):
        check_type(params, QParams, name)
        check_plain(params, name)
    for name, params in (("x", x), ("out", out)):
        if params.scale.ndim:
            raise ValueError(f"{name} has scales of shape {params.scale.shape}; allowed is one")
    if not (isinstance(w.granularity, PerTensor) or w.granularity == PerChannel(0)):
        raise ValueError(f"w is {w.granularity}; allowed are PerTensor() and PerChannel(0)")
    dead = _dead(w)
    if not w.scale.ndim:
        dead = np.asarray(dead.all())
    if not dead.any():
        return w
    wanted = _storable(float(out.scale) * _FINE / float(x.scale), w.qparams)
    scale = np.where(dead, wanted, w.scale)
    q = w.qparams
    params = QParams(scale, q.zero_point, q.format, q.granularity, q.scale_format, q.signed_scale)
    return QTensor(w.codes, params)


def _dead(w: QTensor) -> Array:
    """(out,) whether all weights of a channel are zero."""
    steps = w.codes != w.zero_point.reshape(-1, *(1 for _ in w.shape[1:]))
    return ~steps.any(axis=tuple(range(1, len(w.shape))))


def _storable(scale: float, params: QParams) -> FloatArray:
    """`scale` as the weights' scales are stored, held among the normal numbers of that format."""
    info, kept = np.finfo(params.scale.dtype), params.scale_format
    largest = float(info.max) / (2 * params.format.levels)  # so that no code leaves the format
    narrow = kept.bits < 16
    held = np.clip(scale, max(float(info.tiny), kept.smallest if narrow else 0), largest)
    rounding = Rounding.CEIL if narrow else Rounding.HALF_EVEN
    return store_scale(np.minimum(held, kept.highest), kept, rounding)


def quantize_bias(bias: ArrayLike, x_scale: ArrayLike, w_scale: ArrayLike) -> IntArray:
    """int32 `rint(bias / (s_x·s_w))`, zero point 0: what is added to the accumulator.

    Args:
        bias: (out,) real numbers.
        x_scale: scale of the input, a scalar.
        w_scale: scale of the weight, a scalar or (out,); `rescale_dead_channels` first.

    Raises:
        ValueError: shapes that do not fit, or a bias beyond int32; the latter names the channels.
            The remedy is a larger scale, of the input or of their weights.
    """
    real = as_float(bias, "bias").astype(np.float64)
    check_finite(real, "bias")
    s_x, s_w = _positive(x_scale, "x_scale"), _positive(w_scale, "w_scale")
    unit = s_x * s_w
    if real.ndim != 1:
        raise ValueError(f"bias has shape {real.shape}; allowed is (out,)")
    if unit.shape not in ((), real.shape):
        raise ValueError(f"w_scale has shape {unit.shape}; allowed are () and {real.shape}")
    with np.errstate(over="ignore"):
        steps = np.rint(real / unit)
    at_risk = np.flatnonzero(np.abs(steps) > INT32_MAX)
    if at_risk.size:
        raise ValueError(
            f"bias of channel(s) {at_risk[:8].tolist()} is {real[at_risk[0]]:g}, which is "
            f"{steps[at_risk[0]]:.3g} steps of x_scale · w_scale; allowed is what int32 holds: "
            "raise the scale of the input or of these weights, in a flow by a wider `clip` or a "
            "larger `floor` of the quantizer of `activations` or of `weights`"
        )
    return steps.astype(np.int32)


def _positive(scale: ArrayLike, name: str) -> FloatArray:
    given = as_float(scale, name).astype(np.float64)
    check_finite(given, name)
    if (given <= 0).any():
        raise ValueError(f"{name} is {given.min():g}; allowed are positive numbers")
    return given


def check_sums(x: QParams, w: QTensor, bias: IntArray) -> None:
    """Refuse channels whose accumulator, bias included, could leave int32 for some input."""
    reach = max(x.format.qmax - int(x.zero_point), int(x.zero_point) - x.format.qmin)
    rows = tuple(range(1, len(w.shape)))
    zero_point = w.zero_point.reshape(-1, *(1 for _ in rows)).astype(np.int64)
    sizes = np.abs(w.codes.astype(np.int64) - zero_point)
    worst = reach * sizes.sum(axis=rows) + np.abs(bias.astype(np.int64))
    at_risk = np.flatnonzero(worst > INT32_MAX)
    if at_risk.size:
        raise ValueError(
            f"the accumulator of channel(s) {at_risk[:8].tolist()} has a reach of "
            f"{worst[at_risk[0]]}, bias included; allowed is what int32 holds: split the layer "
            "along its inputs, or raise the weight scale, in a flow by a wider `clip` of "
            "`weights`"
        )
