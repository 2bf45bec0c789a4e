"""PyTorch: its int8 product, its prepacked quantized layers, its elementwise passes."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

from numq.bench.peers import ONE_CODE, ONE_STEP, Contestant
from numq.bench.problems import (
    SCALE,
    SHIFT,
    ZERO_POINT,
    Array,
    Call,
    ConvolutionArrays,
    ElementwiseArrays,
    Problem,
    ProductArrays,
)
from numq.bench.shapes import Form, Pass
from numq.bench.training import TrainingArrays, torch_epoch
from numq.extras import Extra, extra

ENGINE = "x86"  #: picks oneDNN or FBGEMM by itself, whichever PyTorch holds to be faster


class TorchPeer:
    """The CPU kernels; the quantized ones by the engine for x86 where there is one."""

    def __init__(self) -> None:
        """Choose the engine.

        Raises:
            MissingExtraError: torch is missing.
        """
        with extra(Extra.TORCH):
            import torch
        self._torch = torch
        if ENGINE in torch.backends.quantized.supported_engines:
            torch.backends.quantized.engine = ENGINE

    @property
    def name(self) -> str:
        """The library and its version."""
        return f"torch {self._torch.__version__}"

    def contestants(self, given: Problem, threads: int) -> list[Contestant]:
        """``threads`` was set for the whole process."""
        torch = self._torch
        with warnings.catch_warnings():  # quantized tensors are on their way out of PyTorch
            warnings.simplefilter("ignore")
            match given:
                case ProductArrays() if given.case.form is Form.S8S8:
                    a, b = torch.from_numpy(given.a), torch.from_numpy(given.b)
                    return [Contestant("torch _int_mm", lambda: torch._int_mm(a, b))]
                case ProductArrays() if given.case.form is Form.LINEAR:
                    return [
                        Contestant("torch linear", _linear(torch, given), ONE_CODE, read=_codes)
                    ]
                case ConvolutionArrays():
                    return [
                        Contestant(
                            "torch conv2d", _convolution(torch, given), ONE_CODE, read=_codes
                        )
                    ]
                case ElementwiseArrays():
                    return [_elementwise(torch, given)]
                case TrainingArrays():  # 20 steps let the roundings of float32 grow
                    torch_epoch(given.head())  # its first step loads much, once in a process
                    return [Contestant("torch", lambda: torch_epoch(given), 1e-3, relative=True)]
                case _:
                    return []


def _codes(tensor: Any) -> Array:
    return np.asarray(tensor.int_repr())


def _activation(torch: Any, x: Array) -> Any:
    """Scale 1: the weight's scale is then the multiplier, the output's 1."""
    return torch._make_per_tensor_quantized_tensor(torch.from_numpy(x), 1.0, ZERO_POINT)


def _linear(torch: Any, given: ProductArrays) -> Call:
    n = given.case.n
    weight = torch._make_per_channel_quantized_tensor(
        torch.from_numpy(np.ascontiguousarray(given.b.T)),
        torch.from_numpy(given.multiplier.astype(np.float64)),
        torch.zeros(n, dtype=torch.int64),
        0,
    )
    packed, x = torch.ops.quantized.linear_prepack(weight, None), _activation(torch, given.a)
    return lambda: torch.ops.quantized.linear(x, packed, 1.0, ZERO_POINT)


def _convolution(torch: Any, given: ConvolutionArrays) -> Call:
    case = given.case
    weight = torch._make_per_tensor_quantized_tensor(torch.from_numpy(given.w), given.multiplier, 0)
    bias = torch.from_numpy((given.bias * given.multiplier).astype(np.float32))
    packed = torch.ops.quantized.conv2d_prepack(
        weight, bias, [case.stride] * 2, [case.padding] * 2, [1, 1], case.groups
    )
    x = _activation(torch, given.x)
    return lambda: torch.ops.quantized.conv2d(x, packed, 1.0, ZERO_POINT)


def _elementwise(torch: Any, given: ElementwiseArrays) -> Contestant:
    x, scale = torch.from_numpy(given.x), SCALE
    match given.case.name:
        case Pass.QUANTIZE:

            def quantize() -> Any:
                return torch.quantize_per_tensor(x, scale, SHIFT, torch.qint8)

            quantize()  # warns at its first call, which here nobody hears
            return Contestant("torch", quantize, ONE_CODE, read=_codes)
        case Pass.DEQUANTIZE:
            codes = torch._make_per_tensor_quantized_tensor(
                torch.from_numpy(given.codes), scale, SHIFT
            )
            # One multiplication and one addition where numq subtracts integers: rounded twice.
            return Contestant("torch", codes.dequantize, 1e-6, relative=True)
        case Pass.FAKE_QUANTIZE:
            return Contestant(
                "torch",
                lambda: torch.fake_quantize_per_tensor_affine(x, scale, SHIFT, -128, 127),
                ONE_STEP,
            )
        case Pass.MIN_MAX:
            return Contestant("torch", lambda: torch.aminmax(x), read=_ends)


def _ends(pair: Any) -> Array:
    return np.array([float(end) for end in pair], np.float32)
