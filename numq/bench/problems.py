"""The arrays of each workload, and numq's way to answer it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from numq.bench.shapes import Case, Convolution, Elementwise, Form, Pass, Product, Training
from numq.bench.training import TrainingArrays, epoch, training_arrays

Array = NDArray[Any]
Call = Callable[[], Any]

ZERO_POINT = 128  #: of uint8 activations and results
SCALE, SHIFT = float(np.float32(0.1)), 3  #: scale and zero point of the elementwise passes
GROUP = 32  #: k's that share a scale in the int4 weight
GAUSS = 73.9  #: standard deviation of a code, if all are as likely
SPREAD = 40.0  #: of the requantized results: most within 8 bits, some clamped


@dataclass(frozen=True, eq=False)
class ProductArrays:
    """``a @ b``; of a layer also the real multiplier per column."""

    case: Product
    a: Array
    b: Array
    multiplier: NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class GroupedArrays:
    """float32 activations, and codes -8 to 7 with a scale for each ``GROUP`` along k."""

    case: Product
    x: NDArray[np.float32]
    codes: NDArray[np.int8]
    scales: NDArray[np.float32]

    def weight(self) -> NDArray[np.float32]:
        """The (k, n) real weight."""
        return self.codes.astype(np.float32) * np.repeat(self.scales, GROUP, axis=0)


@dataclass(frozen=True, eq=False)
class ConvolutionArrays:
    """uint8 (1, C, H, W) with zero point 128, int8 (F, C / groups, kh, kw)."""

    case: Convolution
    x: NDArray[np.uint8]
    w: NDArray[np.int8]
    bias: NDArray[np.int32]
    multiplier: float


@dataclass(frozen=True, eq=False)
class ElementwiseArrays:
    """Real numbers, some of them beyond the codes, and codes."""

    case: Elementwise
    x: NDArray[np.float32]
    codes: NDArray[np.int8]


Problem = ProductArrays | GroupedArrays | ConvolutionArrays | ElementwiseArrays | TrainingArrays


def problem(case: Case, rng: np.random.Generator) -> Problem:
    """Arrays for ``case``, every code as likely."""
    match case:
        case Product(form=Form.INT4):
            x = rng.standard_normal((case.m, case.k), np.float32)
            codes = rng.integers(-8, 8, (case.k, case.n)).astype(np.int8)
            scales = rng.uniform(0.01, 0.02, (case.k // GROUP, case.n)).astype(np.float32)
            return GroupedArrays(case, x, codes, scales)
        case Product():
            left = np.int8 if case.form is Form.S8S8 else np.uint8
            a, b = _codes(rng, left, case.m, case.k), _codes(rng, np.int8, case.k, case.n)
            scales = rng.uniform(0.7, 1.4, case.n) * SPREAD / (GAUSS**2 * np.sqrt(case.k))
            return ProductArrays(case, a, b, scales.astype(np.float32))
        case Convolution():
            inputs = case.channels // case.groups
            image = _codes(rng, np.uint8, 1, case.channels, case.size, case.size)
            w = _codes(rng, np.int8, case.filters, inputs, case.kernel, case.kernel)
            # FBGEMM adds pairs of products in int16 here, and asks for weights of 7 bits.
            w = w >> 1 if case.groups > 1 else w
            bias = rng.integers(-10_000, 10_000, case.filters).astype(np.int32)
            scale = SPREAD / (GAUSS**2 * np.sqrt(inputs * case.kernel**2))
            return ConvolutionArrays(case, image, w, bias, float(np.float32(scale)))
        case Elementwise():
            reals = 10 * rng.standard_normal(case.count, np.float32)
            return ElementwiseArrays(case, reals, _codes(rng, np.int8, case.count))
        case Training():
            return training_arrays(case, rng)


def _codes(rng: np.random.Generator, dtype: type[np.integer[Any]], *shape: int) -> Array:
    limits = np.iinfo(dtype)
    return rng.integers(limits.min, limits.max, shape, dtype, endpoint=True)


def ours(given: Problem) -> Call:
    """Numq's call, its weight packed beforehand where the case says so.

    Raises:
        ModuleNotFoundError: this numq has no kernel for the case.
    """
    match given:
        case ProductArrays():
            return _product(given)
        case GroupedArrays():
            return _grouped(given)
        case ConvolutionArrays():
            return _convolution(given)
        case ElementwiseArrays():
            return _elementwise(given)
        case TrainingArrays():
            return lambda: epoch(given)


def _product(given: ProductArrays) -> Call:
    from numq.integer.accumulate import matmul_int8
    from numq.kernels.product import ways
    from numq.kernels.product.prepared import prepare_product
    from numq.requantization import Requantization

    match given.case.form:
        case Form.LINEAR:
            way = ways.requantized(
                Requantization.F32_EVEN, given.multiplier, channels=given.case.n,
                zero_point=ZERO_POINT, qmin=0, qmax=255, dtype=np.uint8,
            )  # fmt: skip
            linear = prepare_product(given.b, way, a_dtype=np.uint8, a_zero_point=ZERO_POINT)
            return lambda: linear(given.a)
        case Form.PACKED:
            product = prepare_product(given.b, ways.integers(), a_dtype=np.uint8)
            return lambda: product(given.a)
        case _:
            return lambda: matmul_int8(given.a, given.b)


def _grouped(given: GroupedArrays) -> Call:
    from numq.kernels.grouped.weight_only import matmul_integer
    from numq.kernels.grouped.weights import pack_grouped_weight

    weight = pack_grouped_weight(given.codes, given.scales, bits=4, group=GROUP)
    return lambda: matmul_integer(given.x, weight)


def _convolution(given: ConvolutionArrays) -> Call:
    from numq.kernels.convolution.prepared import prepare_conv2d
    from numq.kernels.product import ways
    from numq.requantization import Requantization

    case = given.case
    way = ways.requantized(
        Requantization.F32_EVEN, given.multiplier, channels=len(given.w), zero_point=ZERO_POINT,
        qmin=0, qmax=255, dtype=np.uint8,
    )  # fmt: skip
    layer = prepare_conv2d(
        given.w, way, x_dtype=np.uint8, stride=(case.stride,) * 2,
        padding=((case.padding,) * 2,) * 2, groups=case.groups, x_zero_point=ZERO_POINT,
        bias=given.bias,
    )  # fmt: skip
    return lambda: layer(given.x)


def _elementwise(given: ElementwiseArrays) -> Call:
    from numq.kernels.passes.elementwise import dequantize, fake_quantize, quantize
    from numq.kernels.passes.ranges import min_max

    x, codes = given.x, given.codes
    match given.case.name:
        case Pass.QUANTIZE:
            return lambda: quantize(x, SCALE, SHIFT, qmin=-128, qmax=127)[0]
        case Pass.DEQUANTIZE:
            return lambda: dequantize(codes, SCALE, SHIFT)
        case Pass.FAKE_QUANTIZE:
            return lambda: fake_quantize(x, SCALE, SHIFT, qmin=-128, qmax=127)[0]
        case Pass.MIN_MAX:
            return lambda: np.array(min_max(x)[:2])
