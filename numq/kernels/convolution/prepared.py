"""A convolution prepared once and run on many images.

With ``real = scale * (value - zero_point)`` on both sides the accumulator is

    accumulator[o] = sum over (c, i, j) of (x - x_zero) * (w - w_zero[o]) + bias[o]     modulo 2**32

The border holds the zero point, so it contributes nothing. Zero points and bias are folded as those
of a product, see `zeros`; what is added to pixels and weights where they are stored depends on the
*form* that a convolution has.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from functools import cache, lru_cache
from typing import Any, NamedTuple

import numpy as np
from numba import types
from numpy.typing import NDArray

from numq.arguments import shown
from numq.arrays import frozen
from numq.kernels.convolution.columns import columns_kernel, columns_layout
from numq.kernels.convolution.depthwise import (
    channels_kernel,
    channels_layout,
    planes_kernel,
    planes_layout,
)
from numq.kernels.convolution.rows import rows_kernel, rows_layout
from numq.kernels.convolution.shape import (
    NO_PADDING,
    Integers,
    Layout,
    Padding,
    Pair,
    Plan,
    Shape,
    Steps,
    checked_steps,
    shape_of,
)
from numq.kernels.convolution.weights import PackedConvWeight, packed_conv_weight
from numq.kernels.machine.cpu import Isa, KernelPath
from numq.kernels.machine.jit import get_threads, njit
from numq.kernels.machine.numba_private import compiler_lock
from numq.kernels.machine.parallel import Task
from numq.kernels.machine.tile import ISAS, TILES, Tile
from numq.kernels.machine.workspace import room
from numq.kernels.operands import (
    EIGHT_BIT_LIMITS,
    INT8,
    SIGNS,
    checked_array,
    checked_integer,
    integers_of,
    limits_of,
)
from numq.kernels.product.entries import ROOM, WORDS, row
from numq.kernels.product.rules import Mode
from numq.kernels.product.ways import WayOut
from numq.kernels.product.zeros import NO_INTS, folded, stored_as_a, stored_as_b

MOST_PLANS = 64  #: shapes of images that a prepared convolution remembers


class Form(Enum):
    """How the sums are made: the axes' order, the kernel, how its work is planned."""

    COLUMNS = (Layout.NCHW, columns_kernel, columns_layout)  #: the weight as A, patches as B
    ROWS = (Layout.NHWC, rows_kernel, rows_layout)  #: patches as A, the weight as B
    PLANES = (Layout.NCHW, planes_kernel, planes_layout)  #: depthwise
    CHANNELS = (Layout.NHWC, channels_kernel, channels_layout)  #: depthwise, as many come out

    def __init__(
        self,
        layout: Layout,
        kernel: Callable[[int], Callable[..., None]],
        planned: Callable[[Shape, Tile], tuple[Plan, tuple[int, ...]]],
    ) -> None:
        """``planned`` gives the jobs and a task's room, its size last."""
        self.layout, self.kernel, self.planned = layout, kernel, planned

    @classmethod
    def of(cls, weight: PackedConvWeight, layout: Layout) -> Form:
        """That of a weight's convolutions."""
        outputs, channels = weight.values.shape[:2]
        if channels == 1 and weight.groups > 1 and layout is Layout.NCHW:
            return cls.PLANES
        if channels == 1 and weight.groups > 1 and outputs == weight.groups:
            return cls.CHANNELS
        return cls.COLUMNS if layout is Layout.NCHW else cls.ROWS


@dataclass(frozen=True, eq=False, slots=True)
class PreparedConv:
    """A convolution that knows all but the image; made by ``prepare_conv2d``.

    Calling it does nothing in Python but find the plan for the image's shape, make the result and
    run the compiled task. Plans of the last few shapes are kept.
    """

    weight: PackedConvWeight
    way: WayOut  #: what becomes of the sums
    form: Form
    x_dtype: np.dtype[Any]  #: int8 or uint8
    steps: Steps
    x_zero_point: int
    w_zero_point: NDArray[np.int32]  #: (O,), read-only; empty for zeros
    bias: NDArray[np.int32]  #: (O,), read-only; empty for zeros
    operands: tuple[NDArray[Any], ...]  #: of compiled code: weight, terms, factors, numbers
    plans: dict[Any, Found] = field(default_factory=dict, repr=False)

    def __call__(self, x: NDArray[Any]) -> NDArray[Any]:
        """Convolve.

        Args:
            x: (N, C, H, W) or (N, H, W, C) of ``x_dtype``, any strides; contiguous is fastest.

        Returns:
            (N, O, out_h, out_w) or (N, out_h, out_w, O), C-contiguous, of the way out's dtype, with
            ``out = (in + padding - dilation * (kernel - 1) - 1) // stride + 1`` along each axis.

        Raises:
            TypeError: ``x`` is no array of that type.
            ValueError: its shape does not fit.
        """
        known = type(x) is np.ndarray and x.dtype is self.x_dtype
        found = self.plans.get((x.shape, get_threads())) if known else None
        if found is None:
            found = self._find(x)
        if found.task is None:
            return self._in_numpy(x, found.shape)
        if not x.flags.c_contiguous:
            x = np.ascontiguousarray(x)
        out = np.empty(found.result, self.way.dtype)
        found.task.run_all(
            found.tasks, x.view(INT8), *self.operands, found.sizes, self.way.record, out.view(INT8),
            room(found.tasks, found.room),
        )  # fmt: skip
        return out

    def _find(self, x: NDArray[Any]) -> Found:
        """Check the image and plan for its shape."""
        checked_array("x", x, (self.x_dtype,))
        weight, threads = self.weight, get_threads()
        given = (x.shape, weight.values.shape, weight.groups, self.steps)
        found = _found(self.form, weight.isa, *given, threads)
        if len(self.plans) >= MOST_PLANS:
            self.plans.clear()
        self.plans[x.shape, threads] = found
        return found

    def _in_numpy(self, x: NDArray[Any], shape: Shape) -> NDArray[Any]:
        """The definition, and the form without JIT or without any product."""
        image = x if self.form.layout is Layout.NCHW else x.transpose(0, 3, 1, 2)
        sums = conv2d_numpy(image, self.weight.values, shape, self.x_zero_point, self.w_zero_point)
        last = sums.transpose(0, 2, 3, 1) + (self.bias if self.bias.size else np.int32(0))
        flat = last.reshape(shape.batch * shape.pixels, self.weight.outputs)
        result = self.way.numpy(flat).reshape(last.shape)
        if self.form.layout is Layout.NCHW:
            result = result.transpose(0, 3, 1, 2)
        return np.ascontiguousarray(result)


class Found(NamedTuple):
    """What a shape of image leads to."""

    shape: Shape
    result: tuple[int, ...]  #: shape of the result
    task: Task | None  #: None: NumPy
    tasks: int
    room: int  #: bytes for each
    sizes: NDArray[np.int64]  #: the ``Shape``, the ``Plan`` and the sections of a task's room


def prepare_conv2d(
    w: NDArray[Any] | PackedConvWeight,
    way: WayOut,
    *,
    x_dtype: type[np.int8] | type[np.uint8] | np.dtype[Any],
    stride: Pair = (1, 1),
    padding: Padding = NO_PADDING,
    dilation: Pair = (1, 1),
    groups: int = 1,
    layout: Layout = Layout.NCHW,
    x_zero_point: int = 0,
    w_zero_point: int | Integers = 0,
    bias: Integers | None = None,
    isa: KernelPath | None = None,
) -> PreparedConv:
    """Check all but the image, and work out what does not depend on it.

    Args:
        w: (O, C / groups, kh, kw) int8 or uint8, or packed.
        way: what becomes of the sums: `integers`, `requantized` or `dequantized`, of O channels.
        x_dtype: of the images, int8 or uint8.
        stride: (vertical, horizontal).
        padding: ((top, bottom), (left, right)), filled with the zero point.
        dilation: (vertical, horizontal).
        groups: as for ``pack_conv_weight``; a packed weight brings its own.
        layout: of the axes of the image and of the result.
        x_zero_point: of the image, a code of its type.
        w_zero_point: of ``w``, within int32, or (O,) int32 of its output channels.
        bias: (O,) int32.
        isa: the kernel; None takes ``NUMQ_ISA`` or the best. A packed weight brings its own.

    Raises:
        TypeError: an argument has a type that is not listed.
        ValueError: an argument has a shape or a value that does not fit.
    """
    # A zero point of x is a code: the border is made of it.
    x_zero = checked_integer("x_zero_point", x_zero_point, *limits_of(x_dtype, EIGHT_BIT_LIMITS))
    dtype, weight = np.dtype(x_dtype), packed_conv_weight(w, groups, isa)
    steps = checked_steps(stride, padding, dilation)
    if not isinstance(layout, Layout):
        raise TypeError(f"layout is {shown(layout)}; allowed are {', '.join(map(str, Layout))}")
    no_zero = type(w_zero_point) is int and not w_zero_point
    zeros = NO_INTS if no_zero else integers_of("w_zero_point", w_zero_point, weight.outputs)
    added = NO_INTS if bias is None else integers_of("bias", bias, weight.outputs)
    zeros, added = frozen(zeros), frozen(added)
    if way.mode is not Mode.INTEGERS and way.channels != weight.outputs:
        raise ValueError(f"way has {way.channels} channels; allowed are {weight.outputs}")
    form, item = Form.of(weight, layout), way.dtype.itemsize
    operands = _operands(weight, form, SIGNS[dtype], x_zero, zeros, added, item)
    return PreparedConv(weight, way, form, dtype, steps, x_zero, zeros, added, operands)


def _operands(
    weight: PackedConvWeight,
    form: Form,
    sign: int,
    x_zero: int,
    w_zero: NDArray[np.int32],
    bias: NDArray[np.int32],
    item: int,
) -> tuple[NDArray[Any], ...]:
    """Of compiled code: the packed weight, terms, factors (none if all are 0), numbers."""
    if weight.isa is Isa.NUMPY:
        return ()
    packed: NDArray[Any]
    shift, border, w_sign = TILES[weight.isa].shift, x_zero, SIGNS[weight.values.dtype]
    match form:
        case Form.COLUMNS:
            packed = weight.rows
            x_stored, w_stored = stored_as_b(sign), stored_as_a(w_sign, shift)
            border = x_zero + x_stored
        case Form.ROWS:
            packed = weight.panels
            x_stored, w_stored = stored_as_a(sign, shift), stored_as_b(w_sign)
        case _:
            packed = weight.taps_less(w_zero)
            x_stored, w_stored = sign, 0
    fold = folded(
        weight.sums, weight.depth, x_zero=x_zero, w_zero=w_zero, bias=bias, x_stored=x_stored,
        w_stored=w_stored,
    )  # fmt: skip
    uniform = fold.factors.size and (not w_zero.size or (w_zero == w_zero[0]).all())
    strides = packed.strides[:2] if packed.ndim > 1 else (0, 0)
    given = np.array((sign, border, int(uniform), *strides, item), np.int64)
    return packed.reshape(-1).view(INT8), fold.terms, fold.factors, given


@lru_cache(maxsize=512)
def _found(
    form: Form,
    isa: KernelPath,
    sizes: tuple[int, ...],
    weight: tuple[int, ...],
    groups: int,
    steps: Steps,
    _threads: int,
) -> Found:
    """The plan for images of shape ``sizes``."""
    shape = shape_of(sizes, weight, groups, steps, form.layout)
    result = (shape.batch, weight[0], shape.out_h, shape.out_w)
    if form.layout is Layout.NHWC:
        result = (shape.batch, shape.out_h, shape.out_w, weight[0])
    if isa is Isa.NUMPY or not shape.macs:
        return Found(shape, result, None, 0, 0, np.empty(0, np.int64))
    plan, at = form.planned(shape, TILES[isa])
    numbers = np.array((*shape, *plan, *at), np.int64)
    numbers.flags.writeable = False
    return Found(shape, result, task_of(form, isa), plan.tasks, at[-1], numbers)


#: x, weight, terms, factors, numbers, sizes, the way out's record, out, room, task
SIGNATURE = (
    types.Array(types.int8, 4, "C", readonly=True), row(types.int8), WORDS, WORDS,
    row(types.int64), row(types.int64), row(types.int8), types.Array(types.int8, 4, "C"), ROOM,
    types.int64,
)  # fmt: skip


def task_of(form: Form, isa: KernelPath) -> Task:
    """The task of a form for an instruction set, compiled once, by whichever thread asks first."""
    with compiler_lock:
        return _task(form, isa)


@cache
def _task(form: Form, isa: KernelPath) -> Task:
    return Task(njit(form.kernel(ISAS.index(isa))), SIGNATURE)


def conv2d_numpy(
    x: NDArray[Any], w: NDArray[Any], shape: Shape, x_zero: int, w_zero: NDArray[np.int32]
) -> NDArray[np.int32]:
    """``sum over (c, i, j) of (x[c, i, j] - x_zero) * (w[o, c, i, j] - w_zero[o])``.

    One product for each position of the kernel: a strided view of the (N, C, H, W) image times one
    (O, C) slice of the weight. Without its zero point the border is 0. ``w_zero`` is (O,), or empty
    for zeros; the sums are (N, O, out_h, out_w), modulo 2**32.
    """
    border = ((0, 0), (0, 0), (shape.top, shape.bottom), (shape.left, shape.right))
    image = np.pad(x.astype(np.int32) - np.int32(x_zero), border)
    image = image.reshape(shape.batch, shape.groups, shape.channels, *image.shape[2:])
    weight = w.astype(np.int32) - (w_zero[:, None, None, None] if w_zero.size else np.int32(0))
    weight = weight.reshape(shape.groups, shape.outputs, *w.shape[1:])
    sums = np.zeros((shape.batch, shape.groups, shape.outputs, shape.out_h, shape.out_w), np.int32)
    for i in range(shape.kernel_h):
        for j in range(shape.kernel_w):
            seen = image[..., _taps(i, shape.dilation_h, shape.stride_h, shape.out_h), :]
            seen = seen[..., _taps(j, shape.dilation_w, shape.stride_w, shape.out_w)]
            for group in range(shape.groups):
                slice_ = weight[group, :, :, i, j]
                sums[:, group] += np.tensordot(seen[:, group], slice_, (1, 1)).transpose(0, 3, 1, 2)
    return sums.reshape(shape.batch, shape.groups * shape.outputs, shape.out_h, shape.out_w)


def _taps(tap: int, dilation: int, stride: int, count: int) -> slice:
    """Where one kernel position looks, for all outputs along an axis."""
    return slice(tap * dilation, tap * dilation + (count - 1) * stride + 1, stride)
