"""What a convolution accepts, checked once."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from numq.kernels.conv_shape import Layout, Shape
from numq.kernels.operands import per_column


def checked_shape(
    x: NDArray[Any],
    weight: tuple[int, ...],
    groups: int,
    steps: tuple[Any, Any, Any],
    layout: Layout,
) -> Shape:
    """The sizes of a convolution.

    Args:
        x: the image.
        weight: shape of the weight.
        groups: of the weight.
        steps: stride, padding, dilation.
        layout: of ``x``.

    Raises:
        TypeError: ``layout`` is not a ``Layout``.
        ValueError: something does not fit.
    """
    if not isinstance(layout, Layout):
        raise TypeError(f"layout: got {layout!r}, allowed: {', '.join(map(str, Layout))}")
    if x.ndim != 4:
        raise ValueError(f"x: got shape {x.shape}, expected four axes, {layout.name}")
    stride, padding, dilation = steps
    if not isinstance(padding, tuple | list) or len(padding) != 2:
        raise ValueError(f"padding: got {padding!r}, expected ((top, bottom), (left, right))")
    whole = (
        _pair("stride", stride, 1),
        (_pair("padding", padding[0], 0), _pair("padding", padding[1], 0)),
        _pair("dilation", dilation, 1),
    )
    return _shape(x.shape, weight, groups, whole, layout)


@lru_cache
def _shape(
    sizes: tuple[int, ...],
    weight: tuple[int, ...],
    groups: int,
    steps: tuple[Any, Any, Any],
    layout: Layout,
) -> Shape:
    axes = sizes if layout is Layout.NCHW else tuple(sizes[i] for i in (0, 3, 1, 2))
    batch, channels, height, width = axes
    if channels != groups * weight[1]:
        raise ValueError(
            f"x: got {channels} channels in shape {sizes} ({layout.name}), expected "
            f"{groups * weight[1]} for w of shape {weight} in {groups} groups"
        )
    outputs, _, kernel_h, kernel_w = weight
    strides: tuple[int, int] = steps[0]
    ((top, bottom), (left, right)) = steps[1]
    dilations: tuple[int, int] = steps[2]
    out_h = _out(height + top + bottom, weight[2], strides[0], dilations[0], "height")
    out_w = _out(width + left + right, weight[3], strides[1], dilations[1], "width")
    return Shape(
        batch, groups, weight[1], height, width, outputs // groups, kernel_h, kernel_w, *strides,
        *dilations, top, left, bottom, right, out_h, out_w,
    )  # fmt: skip


def _pair(name: str, value: Any, least: int) -> tuple[int, int]:
    whole = isinstance(value, tuple | list) and len(value) == 2
    if not whole or not all(isinstance(v, int | np.integer) and v >= least for v in value):
        raise ValueError(f"{name}: got {value!r}, expected pairs of integers, at least {least}")
    return int(value[0]), int(value[1])


def _out(size: int, kernel: int, stride: int, dilation: int, axis: str) -> int:
    covered = dilation * (kernel - 1) + 1
    if covered > size:
        raise ValueError(
            f"x: got a {axis} of {size} with padding, expected at least the {covered} that the "
            f"kernel covers ({kernel} with dilation {dilation})"
        )
    return (size - covered) // stride + 1


def checked_zero(name: str, value: Any, dtype: np.dtype[Any]) -> None:
    """A zero point is a code: the border is made of it.

    Raises:
        TypeError: it is not an integer.
        ValueError: ``dtype`` does not hold it.
    """
    limits = np.iinfo(dtype)
    if not isinstance(value, int | np.integer):
        raise TypeError(f"{name}: got {value!r}, allowed: an integer")
    if not limits.min <= value <= limits.max:
        raise ValueError(f"{name}: got {value}, allowed {limits.min} to {limits.max} ({dtype})")


def per_channel(name: str, value: Any, count: int, dtype: type[np.generic]) -> NDArray[Any]:
    """``per_column``, without its cost for what fits already.

    Raises:
        TypeError: an array of another type.
        ValueError: an array of another length.
    """
    if type(value) is np.ndarray and value.dtype == dtype:
        if value.shape == (count,) and value.flags.c_contiguous:
            return value
    elif type(value) is dtype:
        return np.full(count, value, dtype)
    return per_column(name, value, count, dtype)
