"""Normalization: by the batch, by fixed statistics, by the features of each example.

    y = γ·(x − μ)/√(σ² + ε) + β

With μ and σ² taken from x over n elements, and x̂ = (x − μ)/√(σ² + ε), the gradient is
∂x = (ĝ − mean(ĝ) − x̂·mean(ĝ·x̂))/√(σ² + ε) where ĝ = g·γ (Ioffe and Szegedy 2015).
"""

from __future__ import annotations

import numpy as np

from numq.arguments import flag, integer, number
from numq.arrays import FloatArray
from numq.autograd.operands import check_alike, floating
from numq.autograd.tensor import Operand, Tensor, as_tensor, record


def batch_norm(
    x: Operand,
    gamma: Operand,
    beta: Operand,
    mean: Operand,
    var: Operand,
    *,
    epsilon: float = 1e-5,
    momentum: float = 0.9,
    frozen: bool = False,
) -> Tensor:
    """With statistics that are given, as at inference; ONNX BatchNormalization.

    Args:
        x: (N, C, ...).
        gamma: (C,).
        beta: (C,).
        mean: (C,), a constant.
        var: (C,), a constant.
        epsilon: added to the variance.
        momentum: weight of the old statistics when the network trains, for whoever reads the tape.
        frozen: for the same, whether the statistics stay what they are when the network trains.

    Raises:
        TypeError: x of integers or bools, an epsilon that is no number.
        ValueError: shapes that do not fit; a mean or variance that wants a gradient, which it
            would not get; a variance that is negative, or 0 without an epsilon.
    """
    x = floating(x, "x")
    gamma, beta, mean, var = _channels(x, gamma=gamma, beta=beta, mean=mean, var=var)
    epsilon = number(epsilon, "epsilon", least=0)
    momentum = number(momentum, "momentum", least=0)
    noted = {"frozen": 1} if flag(frozen, "frozen") else {}
    for name, t in (("mean", mean), ("var", var)):
        if t.requires_grad:
            raise ValueError(
                f"{name} is a tensor that requires a gradient; allowed are constants (see detach)"
            )
    squared = var.data + epsilon
    if (squared <= 0).any():
        raise ValueError(f"var is {var.data.min()} and epsilon {epsilon}; allowed is a sum above 0")
    wide = np.result_type(x.dtype, np.float32)
    inverse = (1 / np.sqrt(squared)).astype(wide)
    hat = x.data - _column(mean.data.astype(wide), x)
    hat *= _column(inverse, x)

    def backward(g: FloatArray) -> tuple[FloatArray | None, ...]:
        g = g.astype(wide, copy=False)
        to_x = g * _column(gamma.data * inverse, x)
        return to_x, _per_channel(g * hat), _per_channel(g), None, None

    y = _scaled(hat, _column(gamma.data, x), _column(beta.data, x), x)
    inputs = (x, gamma, beta, mean, var)
    return record(
        "BatchNormalization", inputs, y, backward, epsilon=epsilon, momentum=momentum, **noted
    )


def batch_norm_train(
    x: Operand, gamma: Operand, beta: Operand, *, epsilon: float = 1e-5
) -> tuple[Tensor, FloatArray, FloatArray]:
    """With the statistics of the batch; ONNX BatchNormalization, training_mode = 1.

    Args:
        x: (N, C, ...), at least two values for each channel.
        gamma: (C,).
        beta: (C,).
        epsilon: added to the variance.

    Returns:
        The result, and the (C,) mean and biased variance of the batch; float16 is summed in
        float32.

    Raises:
        TypeError: x of integers or bools, an epsilon that is no number.
        ValueError: shapes that do not fit, one value for each channel, epsilon below 0.
    """
    x = floating(x, "x")
    gamma, beta = _channels(x, gamma=gamma, beta=beta)
    epsilon = number(epsilon, "epsilon", least=0)
    axes = _others(x.data)
    count = x.size // max(x.shape[1], 1)
    if count < 2:
        raise ValueError(
            f"x has shape {x.shape}; allowed are shapes with two values and more for each "
            "channel, which statistics need"
        )
    wide = np.result_type(x.dtype, np.float32)
    mean = x.data.mean(axis=axes, dtype=wide)
    hat = x.data - _column(mean, x)
    var = _per_channel(hat * hat) / wide.type(count)
    inverse = 1 / np.sqrt(var + wide.type(epsilon))
    hat *= _column(inverse, x)

    def backward(g: FloatArray) -> tuple[FloatArray, ...]:
        g = g.astype(wide, copy=False)
        to_gamma, to_beta = _per_channel(g * hat), _per_channel(g)
        to_x = hat * _column(to_gamma / wide.type(-count), x)
        to_x += g
        to_x -= _column(to_beta / wide.type(count), x)
        to_x *= _column(gamma.data * inverse, x)
        return to_x, to_gamma, to_beta

    y = _scaled(hat, _column(gamma.data, x), _column(beta.data, x), x)
    made = record(
        "BatchNormalization", (x, gamma, beta), y, backward,
        epsilon=epsilon, training_mode=1,
    )  # fmt: skip
    return made, mean, var


def layer_norm(
    x: Operand, gamma: Operand, beta: Operand, *, epsilon: float = 1e-5, axis: int = -1
) -> Tensor:
    """Each example by its own mean and variance over `axis` and those after it.

    ONNX LayerNormalization; Ba, Kiros and Hinton 2016.

    Args:
        x: (..., features).
        gamma: of the shape of the normalized axes.
        beta: the same.
        epsilon: added to the variance.
        axis: the first normalized axis.

    Raises:
        TypeError: x of integers or bools, an epsilon that is no number.
        ValueError: shapes that do not fit, nothing to normalize, epsilon below 0.
    """
    x, gamma, beta = floating(x, "x"), as_tensor(gamma, name="gamma"), as_tensor(beta, name="beta")
    check_alike(x=x, gamma=gamma, beta=beta)
    axis, epsilon = integer(axis, "axis"), number(epsilon, "epsilon", least=0)
    if not -x.ndim <= axis < x.ndim or 0 in x.shape[axis:]:
        raise ValueError(
            f"axis is {axis}; allowed are axes from which on x, of shape {x.shape}, has values to "
            "normalize"
        )
    inner = x.shape[axis:]
    if gamma.shape != inner or beta.shape != inner:
        raise ValueError(f"gamma has shape {gamma.shape}, beta {beta.shape}; allowed is {inner}")
    axes = tuple(range(axis % x.ndim, x.ndim))
    wide = np.result_type(x.dtype, np.float32)
    hat = x.data - x.data.mean(axis=axes, keepdims=True, dtype=wide)
    inverse = 1 / np.sqrt((hat * hat).mean(axis=axes, keepdims=True) + wide.type(epsilon))
    hat *= inverse

    def backward(g: FloatArray) -> tuple[FloatArray, ...]:
        outer = tuple(range(axes[0]))
        g = g.astype(wide, copy=False)
        inside, weighted = g * gamma.data, g * hat
        to_gamma, to_beta = weighted.sum(axis=outer), g.sum(axis=outer)
        weighted *= gamma.data
        inside -= inside.mean(axis=axes, keepdims=True)
        inside -= hat * weighted.mean(axis=axes, keepdims=True)
        inside *= inverse
        return inside, to_gamma, to_beta

    y = _scaled(hat, gamma.data, beta.data, x)
    inputs = (x, gamma, beta)
    return record("LayerNormalization", inputs, y, backward, axis=axes[0], epsilon=epsilon)


def _channels(x: Tensor, **params: Operand) -> tuple[Tensor, ...]:
    """The parameters as tensors, one number for each channel of x."""
    made = {name: as_tensor(value, name=name) for name, value in params.items()}
    check_alike(x=x, **made)
    needed = x.shape[1:2]
    for name, t in made.items():
        if t.shape != needed or not needed:
            raise ValueError(
                f"{name} has shape {t.shape}, x {x.shape}; allowed are (C,) and (N, C, ...)"
            )
    return tuple(made.values())


def _others(x: FloatArray) -> tuple[int, ...]:
    """All axes but the channels'."""
    return (0, *range(2, x.ndim))


def _per_channel(g: FloatArray) -> FloatArray:
    return g.sum(axis=_others(g))


def _scaled(hat: FloatArray, gamma: FloatArray, beta: FloatArray, x: Tensor) -> FloatArray:
    """`γ·x̂ + β` in the dtype of x."""
    y = hat * gamma
    y += beta
    return y.astype(x.dtype, copy=False)


def _column(values: FloatArray, x: Tensor) -> FloatArray:
    """(C,) as it broadcasts against (N, C, ...)."""
    return values.reshape(-1, *[1] * (x.ndim - 2))
