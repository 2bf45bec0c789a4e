"""Quantized networks as values: they run on arrays, and know what has to be stored."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike

from numq.arrays import Array, FloatArray, IntArray, as_float32
from numq.ops import (
    StaticLinear,
    check_dynamic,
    check_weight,
    linear_dynamic,
    linear_static,
    linear_weight_only,
)
from numq.packing import pack
from numq.qparams import QParams
from numq.qtensor import QTensor
from numq.quantizers import Quantizer
from numq.storage import save_arrays


class Layer(ABC):
    """Base of the layers that take and give float arrays."""

    @abstractmethod
    def __call__(self, x: FloatArray) -> FloatArray:
        """(M, in) float32 to (M, out) float32."""

    @abstractmethod
    def arrays(self) -> dict[str, Array]:
        """What has to be stored, as stored."""


@dataclass(frozen=True, eq=False, repr=False)
class WeightOnlyLinear(Layer):
    """Integer weights, float arithmetic."""

    w: QTensor
    bias: FloatArray

    def __repr__(self) -> str:
        """Sizes and weights."""
        outputs, inputs = self.w.shape
        return f"WeightOnlyLinear({inputs} -> {outputs}, {self.w.qparams!r})"

    def __call__(self, x: FloatArray) -> FloatArray:
        """Weights are dequantized, then multiplied."""
        return linear_weight_only(x, self.w, self.bias)

    def arrays(self) -> dict[str, Array]:
        """Packed weights, their scales, float bias."""
        return _weight_arrays(self.w) | {"bias": self.bias}


@dataclass(frozen=True, eq=False, repr=False)
class DynamicLinear(Layer):
    """Integer weights; activations are quantized when they come."""

    w: QTensor
    bias: FloatArray
    quantizer: Quantizer

    def __post_init__(self) -> None:
        """Refuse now what the first call would refuse."""
        check_weight(self.w)
        check_dynamic(self.quantizer)

    def __repr__(self) -> str:
        """Sizes, weights, and how activations are quantized."""
        outputs, inputs = self.w.shape
        return f"DynamicLinear({inputs} -> {outputs}, {self.w.qparams!r}, {self.quantizer!r})"

    def __call__(self, x: FloatArray) -> FloatArray:
        """Integer product, float result."""
        return linear_dynamic(x, self.w, self.bias, quantizer=self.quantizer)

    def arrays(self) -> dict[str, Array]:
        """Packed weights, their scales, float bias."""
        return _weight_arrays(self.w) | {"bias": self.bias}


@dataclass(frozen=True)
class Relu(Layer):
    """`max(x, 0)` in float."""

    def __call__(self, x: FloatArray) -> FloatArray:
        """`max(x, 0)`."""
        return np.maximum(x, 0)

    def arrays(self) -> dict[str, Array]:
        """Nothing."""
        return {}


def _weight_arrays(w: QTensor) -> dict[str, Array]:
    arrays = {"weight": w.packed(), "scale": w.scale}
    zero_points = pack(w.zero_point.ravel(), w.format)
    return arrays | ({"zero_point": zero_points} if w.zero_point.any() else {})


@dataclass(frozen=True, eq=False, repr=False)
class Network:
    """Layers one after the other, float between them (weight-only and dynamic)."""

    layers: tuple[Layer, ...]

    def __repr__(self) -> str:
        """A line for each layer."""
        return "\n".join(["Network(", *(f"  {layer!r}" for layer in self.layers), ")"])

    def __call__(self, x: ArrayLike) -> FloatArray:
        """(M, in) real numbers to (M, out) float32."""
        y = as_float32(x, "x")
        for layer in self.layers:
            y = layer(y)
        return y

    def save(self, path: str | Path) -> int:
        """Store weights, scales and biases in one safetensors file; returns its bytes."""
        arrays = {
            f"{i}.{k}": v for i, layer in enumerate(self.layers) for k, v in layer.arrays().items()
        }
        return save_arrays(path, arrays, {"format": "numq network", "version": "1"})


@dataclass(frozen=True, eq=False, repr=False)
class StaticNetwork:
    """Layers of integers only, between a quantized input and quantized logits.

    Attributes:
        input: parameters of the input, per tensor.
        layers: each layer's codes are the next one's input.
        output: parameters of the last layer's codes.
        quantizer: how real inputs become codes.
    """

    input: QParams
    layers: tuple[StaticLinear, ...]
    output: QParams
    quantizer: Quantizer

    def __repr__(self) -> str:
        """The two doors and a line for each layer."""
        lines = [f"  {_summary(layer)}" for layer in self.layers]
        doors = f"  input  {self.input!r}", f"  output {self.output!r}"
        return "\n".join(["StaticNetwork(", doors[0], *lines, doors[1], ")"])

    def __call__(self, x: ArrayLike) -> FloatArray:
        """(M, in) real numbers to (M, out) float32: float only at the two doors."""
        codes = self.integers(self.quantizer(x, self.input).codes)
        return QTensor(codes, self.output).dequantize()

    def integers(self, codes: IntArray) -> IntArray:
        """(M, in) codes of `input` to (M, out) codes of `output`, integers all the way."""
        for layer in self.layers:
            codes = linear_static(codes, layer)
        return codes

    def save(self, path: str | Path) -> int:
        """Store the integers of all layers in one safetensors file; returns its bytes."""
        ends = {
            f"{name}.{key}": array
            for name, params in (("input", self.input), ("output", self.output))
            for key, array in (("scale", params.scale), ("zero_point", params.zero_point))
        }
        arrays = {
            f"{i}.{k}": v for i, layer in enumerate(self.layers) for k, v in _static(layer).items()
        }
        return save_arrays(path, ends | arrays, {"format": "numq static network", "version": "1"})


def _summary(layer: StaticLinear) -> str:
    outputs, inputs = layer.w.shape
    r = layer.requantizer
    relu = ", no output below zero" if r.qmin == r.zero_point else ""
    codes = f"{layer.x_format.name} x {layer.w_format.name} -> {r.format.name}"
    return f"StaticLinear({inputs} -> {outputs}, {codes}, {r.how.name}{relu})"


def _static(layer: StaticLinear) -> dict[str, Array]:
    r = layer.requantizer
    arrays = {
        "weight": pack(layer.w.ravel(), layer.w_format),
        "bias": layer.bias,
        "multiplier": r.multiplier,
        "shift": r.shift.astype(np.int8),
        "range": np.array([layer.z_x, r.zero_point, r.qmin, r.qmax], np.int32),
    }
    zero_points = pack(layer.z_w.ravel(), layer.w_format)
    return arrays | ({"weight_zero_point": zero_points} if layer.z_w.any() else {})
