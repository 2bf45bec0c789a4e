"""The sizes of a convolution, and how its work is cut into jobs.

What a convolution accepts is checked here: its steps when it is prepared, the image's shape when it
is first seen. Sizes are named tuples of integers, which compiled code reads by name too.
"""

# mypy: disable-error-code="no-untyped-def,no-untyped-call"

from __future__ import annotations

from enum import Enum
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from numq.arguments import shown
from numq.kernels.machine.jit import inlined
from numq.kernels.machine.numba_private import to_fixed_tuple
from numq.kernels.machine.parallel import tasks_for
from numq.kernels.operands import checked_integer

Integers = NDArray[np.integer[Any]]
Floats = NDArray[np.float32]
Pair = tuple[int, int]
Padding = tuple[Pair, Pair]
NO_PADDING: Padding = ((0, 0), (0, 0))
MOST = 2**31 - 1  #: a stride, a border or a dilation


class Layout(Enum):
    """The order of an image's axes, of the input and the output alike."""

    NCHW = "nchw"  #: batch, channels, height, width: that of ONNX and torch
    NHWC = "nhwc"  #: batch, height, width, channels


class Steps(NamedTuple):
    """How a kernel moves over an image."""

    stride: Pair
    padding: Padding
    dilation: Pair


class Shape(NamedTuple):
    """A convolution; channels are those of one group."""

    batch: int
    groups: int
    channels: int  #: of the input, per group
    height: int
    width: int
    outputs: int  #: channels of the output, per group
    kernel_h: int
    kernel_w: int
    stride_h: int
    stride_w: int
    dilation_h: int
    dilation_w: int
    top: int  #: rows of border above
    left: int  #: columns of border to the left
    bottom: int
    right: int
    out_h: int
    out_w: int

    @property
    def pixels(self) -> int:
        """Of one output image."""
        return self.out_h * self.out_w

    @property
    def depth(self) -> int:
        """Products in one sum."""
        return self.kernel_h * self.kernel_w * self.channels

    @property
    def bordered(self) -> bool:
        """Whether any side has a border."""
        return (self.top, self.left, self.bottom, self.right) != (0, 0, 0, 0)

    @property
    def macs(self) -> int:
        """Multiplications in all."""
        return self.batch * self.groups * self.outputs * self.pixels * self.depth


class Plan(NamedTuple):
    """Jobs: (image, group, part of the output channels, part of the pixels), in this order."""

    tasks: int
    jobs: int
    down: int  #: parts that the output channels are split into
    across: int  #: parts that the pixels are split into
    block: int  #: pixels packed at a time


class Given(NamedTuple):
    """What a convolution brings along, whatever the image."""

    sign: int  #: of the pixels: 0x80 for int8, 0 for uint8
    border: int  #: a pixel of border, as it is staged
    uniform: int  #: whether all channels have the same factor
    group_bytes: int  #: of the packed weight, from one group to the next
    block_bytes: int  #: of the packed weight, from one panel or block of k to the next
    item: int  #: bytes of a result


def checked_steps(stride: Any, padding: Any, dilation: Any) -> Steps:
    """Stride, padding and dilation.

    Raises:
        TypeError: one is no pair, or no pair of pairs, of integers.
        ValueError: a number lies outside its range.
    """
    rows, columns = _two("padding", padding, "((top, bottom), (left, right))")
    border = _pair("padding[0]", rows, 0), _pair("padding[1]", columns, 0)
    return Steps(_pair("stride", stride, 1), border, _pair("dilation", dilation, 1))


def _pair(name: str, value: Any, least: int) -> Pair:
    first, second = _two(name, value, "pairs of integers")
    if type(first) is type(second) is int and least <= first <= MOST and least <= second <= MOST:
        return first, second
    one, two = (checked_integer(f"{name}[{i}]", v, least, MOST) for i, v in enumerate(value))
    return one, two


def _two(name: str, value: Any, allowed: str) -> tuple[Any, Any]:
    if not isinstance(value, tuple | list):
        raise TypeError(f"{name} is {shown(value)}; allowed is {allowed}")
    if len(value) != 2:
        raise ValueError(f"{name} is {shown(value)}; allowed is {allowed}")
    return value[0], value[1]


def shape_of(
    sizes: tuple[int, ...], weight: tuple[int, ...], groups: int, steps: Steps, layout: Layout
) -> Shape:
    """The sizes of a convolution of an image of shape ``sizes``.

    Raises:
        ValueError: it does not fit a weight of shape ``weight``.
    """
    if len(sizes) != 4:
        raise ValueError(f"x has shape {sizes}; allowed are four axes, {layout.name}")
    axes = sizes if layout is Layout.NCHW else tuple(sizes[i] for i in (0, 3, 1, 2))
    batch, channels, height, width = axes
    if channels != groups * weight[1]:
        raise ValueError(
            f"x has {channels} channels in shape {sizes} ({layout.name}); allowed is "
            f"{groups * weight[1]} for w of shape {weight} in {groups} groups"
        )
    outputs, _, kernel_h, kernel_w = weight
    strides, ((top, bottom), (left, right)), dilations = steps
    padded = height + top + bottom, width + left + right
    out_h = _out(padded[0], kernel_h, strides[0], dilations[0], "height")
    out_w = _out(padded[1], kernel_w, strides[1], dilations[1], "width")
    # A step beyond the picture is one out of it, however long; rows are laid out by its length.
    steps_h, steps_w = (min(step, max(n, 1)) for step, n in zip(strides, padded, strict=True))
    return Shape(
        batch, groups, weight[1], height, width, outputs // groups, kernel_h, kernel_w, steps_h,
        steps_w, *dilations, top, left, bottom, right, out_h, out_w,
    )  # fmt: skip


def _out(size: int, kernel: int, stride: int, dilation: int, axis: str) -> int:
    covered = dilation * (kernel - 1) + 1
    if covered > size:
        raise ValueError(
            f"x has a {axis} of {size} with padding; allowed are at least the {covered} that the "
            f"kernel covers ({kernel} with dilation {dilation})"
        )
    return (size - covered) // stride + 1


def plan_of(shape: Shape, block: int, panel: int) -> Plan:
    """Split what one thread should not do alone.

    Images and groups come first. Pixels are split where there are enough of them: each part then
    packs only its own. Few pixels are all packed by each of the parts of the output channels.
    """
    tasks = max(1, tasks_for(shape.macs))
    whole = shape.batch * shape.groups
    parts = 1 if tasks == 1 or whole % tasks == 0 else tasks
    by_pixels = shape.pixels >= 8 * panel * parts
    down, across = (1, parts) if by_pixels else (parts, 1)
    return Plan(min(tasks, whole * parts), whole * parts, down, across, block)


fixed: Any = to_fixed_tuple  # (array, length); Numba adds the first parameter that it declares
SHAPE, PLAN, GIVEN = 18, 5, 6  #: how many numbers each is
START = SHAPE + PLAN  #: where the sections of a task's room follow


@inlined
def sizes_in(sizes, given):
    """The ``Shape`` and the ``Plan`` that begin ``sizes``, and what ``given`` is."""
    shape, plan = Shape(*fixed(sizes, SHAPE)), Plan(*fixed(sizes[SHAPE:], PLAN))
    return shape, plan, Given(*fixed(given, GIVEN))


@inlined
def share(count, unit, number, parts):
    """Where the ``number``-th of ``parts`` parts of ``count`` begins and ends: whole units."""
    units = (count + unit - 1) // unit
    return units * number // parts * unit, min(count, units * (number + 1) // parts * unit)


@inlined
def part_of(plan, job):
    """The image and group, the part of the output channels and the part of the pixels of a job."""
    across, rest = job % plan.across, job // plan.across
    return rest // plan.down, rest % plan.down, across
