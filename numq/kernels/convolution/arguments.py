"""What a convolution accepts, checked once."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from numpy.typing import NDArray

from numq.arguments import shown
from numq.kernels.convolution.shape import Layout, Shape
from numq.kernels.operands import checked_integer

MOST = 2**31 - 1  #: a stride, a border or a dilation


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
        raise TypeError(f"layout is {shown(layout)}; allowed: {', '.join(map(str, Layout))}")
    if x.ndim != 4:
        raise ValueError(f"x has shape {x.shape}; allowed are four axes, {layout.name}")
    stride, padding, dilation = steps
    if not isinstance(padding, tuple | list):
        raise TypeError(f"padding is {shown(padding)}; allowed: ((top, bottom), (left, right))")
    if len(padding) != 2:
        raise ValueError(f"padding is {shown(padding)}; allowed: ((top, bottom), (left, right))")
    whole = (
        _pair("stride", stride, 1),
        (_pair("padding[0]", padding[0], 0), _pair("padding[1]", padding[1], 0)),
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
            f"x has {channels} channels in shape {sizes} ({layout.name}); allowed is "
            f"{groups * weight[1]} for w of shape {weight} in {groups} groups"
        )
    outputs, _, kernel_h, kernel_w = weight
    strides: tuple[int, int] = steps[0]
    ((top, bottom), (left, right)) = steps[1]
    dilations: tuple[int, int] = steps[2]
    padded = height + top + bottom, width + left + right
    out_h = _out(padded[0], weight[2], strides[0], dilations[0], "height")
    out_w = _out(padded[1], weight[3], strides[1], dilations[1], "width")
    # A step beyond the picture is one out of it, however long; rows are laid out by its length.
    steps_h, steps_w = (min(step, max(n, 1)) for step, n in zip(strides, padded, strict=True))
    return Shape(
        batch, groups, weight[1], height, width, outputs // groups, kernel_h, kernel_w, steps_h,
        steps_w, *dilations, top, left, bottom, right, out_h, out_w,
    )  # fmt: skip


def _pair(name: str, value: Any, least: int) -> tuple[int, int]:
    if not isinstance(value, tuple | list):
        raise TypeError(f"{name} is {shown(value)}; allowed are pairs of integers")
    if len(value) != 2:
        raise ValueError(f"{name} is {shown(value)}; allowed are pairs of integers")
    first, second = (checked_integer(f"{name}[{i}]", v, least, MOST) for i, v in enumerate(value))
    return first, second


def _out(size: int, kernel: int, stride: int, dilation: int, axis: str) -> int:
    covered = dilation * (kernel - 1) + 1
    if covered > size:
        raise ValueError(
            f"x has a {axis} of {size} with padding; allowed are at least the {covered} that the "
            f"kernel covers ({kernel} with dilation {dilation})"
        )
    return (size - covered) // stride + 1
