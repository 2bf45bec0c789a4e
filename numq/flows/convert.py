"""The three flows for a Sequential of Linear and ReLU: float model in, quantized network out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import reduce

import numpy as np
from numpy.typing import ArrayLike

from numq.arithmetic.requantize import Requantization
from numq.arrays import FloatArray, as_float32, check_type
from numq.autograd import Tensor, no_grad
from numq.flows.network import (
    DynamicLinear,
    Layer,
    Network,
    Relu,
    StaticNetwork,
    WeightOnlyLinear,
)
from numq.formats import INT8
from numq.granularity import PerChannel, PerTensor
from numq.nn import Linear, Module, ReLU, Sequential
from numq.observers import Observed
from numq.ops import PER_TOKEN_INT8, check_dynamic, prepare_static
from numq.quantizers import AffineQuantizer, Quantizer, SymmetricQuantizer

WEIGHTS_INT8 = SymmetricQuantizer(INT8, PerChannel(0))
"""The default for weights: symmetric, one scale for each output channel."""

PER_TENSOR_INT8 = AffineQuantizer(INT8, PerTensor())
"""The default for calibrated activations: affine, one range."""


def weight_only(model: Sequential, *, weights: Quantizer = WEIGHTS_INT8) -> Network:
    """Integer weights, everything else float: smaller, not faster.

    Args:
        model: Linear and ReLU layers.
        weights: any Quantizer, any granularity.
    """
    check_type(weights, Quantizer, "weights")
    return Network(
        tuple(
            WeightOnlyLinear(weights(layer.weight.data), layer.bias.data)
            if isinstance(layer, Linear)
            else Relu()
            for layer in _layers(model)
        )
    )


def dynamic(
    model: Sequential,
    *,
    weights: Quantizer = WEIGHTS_INT8,
    activations: Quantizer = PER_TOKEN_INT8,
) -> Network:
    """Integer products; the range of the activations is taken from each batch as it comes.

    Args:
        model: Linear and ReLU layers.
        weights: per tensor or per channel of axis 0, 8 bits or fewer.
        activations: per token or per tensor, 8 bits or fewer.
    """
    check_type(weights, Quantizer, "weights")
    check_dynamic(activations)

    def convert(layer: Linear | ReLU) -> Layer:
        if isinstance(layer, ReLU):
            return Relu()
        return DynamicLinear(weights(layer.weight.data), layer.bias.data, activations)

    return Network(tuple(convert(layer) for layer in _layers(model)))


def static(
    model: Sequential,
    calibration: Iterable[ArrayLike],
    *,
    weights: Quantizer = WEIGHTS_INT8,
    activations: Quantizer = PER_TENSOR_INT8,
    output: Quantizer = PER_TENSOR_INT8,
    how: Requantization = Requantization.GEMMLOWP_DOUBLE,
) -> StaticNetwork:
    """Integers from the quantized input to the logits, ranges calibrated beforehand.

    Args:
        model: Linear layers, each followed by a ReLU or not; a ReLU becomes a clamp.
        calibration: batches of (M, in) real numbers that stand for what will come.
        weights: per tensor or per channel of axis 0, 8 bits or fewer.
        activations: per tensor; of the input and between layers.
        output: per tensor; of the last layer.
        how: the arithmetic of requantization.

    Raises:
        TypeError: a layer that is neither Linear nor ReLU.
        ValueError: no calibration data, or a ReLU that follows no Linear.
    """
    check_type(weights, Quantizer, "weights")
    for name, quantizer in (("activations", activations), ("output", output)):
        check_type(quantizer, Quantizer, name)
        if not isinstance(quantizer.granularity, PerTensor) or quantizer.format.bits > 8:
            raise ValueError(f"{name} is {quantizer!r}; needed are PerTensor(), 8 bits or fewer")
    if isinstance(calibration, np.ndarray):
        raise TypeError("calibration is one array; pass an iterable of batches, such as [array]")
    stages = list(_stages(model))
    quantizers = [*[activations] * len(stages), output]
    params = [
        quantizer.qparams_of(state)
        for quantizer, state in zip(
            quantizers, _calibrate(stages, quantizers, calibration), strict=True
        )
    ]
    layers = tuple(
        prepare_static(x, weights(linear.weight.data), linear.bias.data, y, how, relu=relu)
        for (linear, relu), x, y in zip(stages, params[:-1], params[1:], strict=True)
    )
    return StaticNetwork(params[0], layers, params[-1], activations)


def _calibrate(
    stages: list[tuple[Linear, bool]],
    quantizers: list[Quantizer],
    calibration: Iterable[ArrayLike],
) -> list[Observed]:
    """What each quantizer observes: the input, then the output of every stage."""
    seen: list[list[Observed]] = []
    for batch in calibration:
        edges = [as_float32(batch, "calibration")]
        for linear, relu in stages:
            edges.append(_run(linear, relu, edges[-1]))
        seen.append([q.observe(edge) for q, edge in zip(quantizers, edges, strict=True)])
    if not seen:
        raise ValueError("calibration is empty; at least one non-empty batch is needed")
    columns = zip(*seen, strict=True)
    return [reduce(q.merge, states) for q, states in zip(quantizers, columns, strict=True)]


def _run(linear: Linear, relu: bool, x: FloatArray) -> FloatArray:
    with no_grad():
        y = linear(Tensor(x)).data
    return np.maximum(y, 0) if relu else y


def _layers(model: Sequential) -> Iterator[Linear | ReLU]:
    """The layers of the model, checked; a Sequential inside is walked through."""
    check_type(model, Sequential, "model")
    if not model.layers:
        raise ValueError("model is an empty Sequential; it needs at least one layer")
    for layer in model.layers:
        if isinstance(layer, Sequential):
            yield from _layers(layer)
        elif isinstance(layer, Linear | ReLU):
            yield layer
        else:
            raise _unknown(layer)


def _unknown(layer: Module) -> TypeError:
    return TypeError(f"model holds {layer!r}; this flow converts Linear, ReLU and Sequential")


def _stages(model: Sequential) -> Iterator[tuple[Linear, bool]]:
    """(Linear, whether a ReLU follows)."""
    waiting: Linear | None = None
    for layer in _layers(model):
        if isinstance(layer, ReLU):
            if waiting is None:
                raise ValueError("model has a ReLU that follows no Linear; it cannot be fused")
            yield waiting, True
            waiting = None
            continue
        if waiting is not None:
            yield waiting, False
        waiting = layer
    if waiting is not None:
        yield waiting, False
