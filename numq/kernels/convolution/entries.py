"""What of convolution is compiled: a function for each instruction set, when first asked for."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

from numba import types

from numq.kernels.convolution.columns import columns_kernel
from numq.kernels.convolution.depthwise import channels_kernel, planes_kernel
from numq.kernels.convolution.rows import rows_kernel
from numq.kernels.machine.cpu import KernelPath
from numq.kernels.machine.jit import made_once, njit
from numq.kernels.machine.parallel import Task
from numq.kernels.machine.tile import ISAS, TILES
from numq.kernels.product.entries import FLOAT, INT, ROOM, WORDS, row

FLAT = row(types.int8)
OUT = types.Array(types.int8, 1, "C")

#: mode, scale, bias, zero point, qmin, qmax, out, room
WAY_OUT = (INT, row(FLOAT), row(FLOAT), INT, INT, INT, OUT, ROOM)


@cache
def conv_kernels(isa: KernelPath) -> ConvKernels:
    """The compiled functions of one instruction set."""
    return ConvKernels(isa)


class ConvKernels:
    """The functions of one instruction set; reading an attribute compiles it, or loads it."""

    def __init__(self, isa: KernelPath) -> None:
        """Prepare, without compiling anything."""
        self.isa, self.tile = isa, TILES[isa]

    def _task(self, factory: Callable[[int], Callable[..., None]], *signature: Any) -> Task:
        return Task(njit(factory(ISAS.index(self.isa))), (*signature, INT))

    @made_once
    def columns(self) -> Task:
        """Convolution of NCHW images: see `conv_columns`."""
        weight = types.Array(types.int8, 4, "C", readonly=True)
        given = (FLAT, INT, INT, weight, WORDS, WORDS, INT, row(INT))
        return self._task(columns_kernel, *given, *WAY_OUT)

    @made_once
    def rows(self) -> Task:
        """Convolution of NHWC images: see `conv_rows`."""
        weight = types.Array(types.int8, 3, "C", readonly=True)
        given = (FLAT, INT, INT, weight, WORDS, WORDS, row(INT))
        return self._task(rows_kernel, *given, *WAY_OUT)

    @made_once
    def planes(self) -> Task:
        """Depthwise convolution of NCHW images: see `conv_depthwise`."""
        return self._task(planes_kernel, *DEPTHWISE, *WAY_OUT)

    @made_once
    def channels(self) -> Task:
        """Depthwise convolution of NHWC images."""
        return self._task(channels_kernel, *DEPTHWISE, *WAY_OUT)


#: x, sign, border, weight (taps, channels), terms, sizes
DEPTHWISE = (FLAT, INT, INT, WORDS, WORDS, row(INT))
