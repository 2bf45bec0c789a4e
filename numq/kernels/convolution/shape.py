"""The sizes of a convolution, and how its work is cut into jobs.

Both are named tuples of integers, which compiled code reads by name too.
"""

from __future__ import annotations

from enum import Enum
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from numq.kernels.machine.jit import inlined
from numq.kernels.machine.numba_private import to_fixed_tuple
from numq.kernels.machine.parallel import tasks_for


class Layout(Enum):
    """The order of an image's axes, of the input and the output alike."""

    NCHW = "nchw"  #: batch, channels, height, width: that of ONNX and torch
    NHWC = "nhwc"  #: batch, height, width, channels


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
    def pointwise(self) -> bool:
        """A plain matrix product: 1 x 1, stride 1, no border."""
        steps = (self.kernel_h, self.kernel_w, self.stride_h, self.stride_w)
        return steps == (1, 1, 1, 1) and not self.bordered

    @property
    def depthwise(self) -> bool:
        """One input channel in each of several groups."""
        return self.channels == 1 and self.groups > 1

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


fixed: Any = to_fixed_tuple  # (array, length); Numba adds the first parameter that it declares
SHAPE, PLAN = 18, 5  #: how many numbers each is
START = SHAPE + PLAN  #: where a kernel's own numbers follow


def flattened(*parts: tuple[int, ...]) -> NDArray[np.int64]:
    """A ``Shape``, a ``Plan`` and a kernel's own numbers as one array, as compiled code gets them.

    Numba's threads take arrays, but no tuples.
    """
    flat = np.array([number for part in parts for number in part], np.int64)
    flat.flags.writeable = False
    return flat


@inlined
def sizes_in(sizes: Any) -> tuple[Shape, Plan]:
    """The ``Shape`` and the ``Plan`` that begin ``sizes``."""
    return Shape(*fixed(sizes, SHAPE)), Plan(*fixed(sizes[SHAPE:], PLAN))


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
