"""Small random networks in which parameters are moved, shared, tabulated and normalized.

Each is a list of steps on one tensor; a step that does not fit the tensor's shape is not offered.
Values stay near 1, so that 8 bits suffice and what is lost beyond that is a fault.
"""

from __future__ import annotations

import numpy as np

from numq import autograd as ag
from numq import nn
from numq.autograd import Tensor, parameter


def normal(rng, *shape, scale=1.0):
    return (scale * rng.normal(size=shape)).astype(np.float32)


class Step(nn.Module):
    """One layer made of plain functions; `shape` is what it makes, without the batch."""

    shape: tuple[int, ...]

    def forward(self, x):
        return self.apply(x)


def unit(rng, out, *inner):
    """Weights that keep the size of what they multiply."""
    return normal(rng, out, *inner, scale=1 / np.sqrt(np.prod(inner)))


class Dense(Step):
    """x·wᵀ + b as nn.Linear."""

    def __init__(self, rng, shape):
        out = int(rng.integers(3, 9))
        self.layer, self.shape = nn.Linear(shape[-1], out, rng=rng), (*shape[:-1], out)
        self.layer.weight.data = unit(rng, out, shape[-1])
        self.layer.bias.data = normal(rng, out, scale=0.3)

    def apply(self, x):
        return self.layer(x)


class MatMul(Step):
    """x·w, then + b."""

    def __init__(self, rng, shape):
        self.w = parameter(unit(rng, 5, shape[-1]).T.copy())
        self.b = parameter(normal(rng, 5, scale=0.3))
        self.shape = (*shape[:-1], 5)

    def apply(self, x):
        return x @ self.w + self.b


class Tied(Step):
    """Out and back through one matrix and its transpose."""

    def __init__(self, rng, shape):
        self.w = parameter(unit(rng, shape[-1], 7) * np.float32(1.3))
        self.shape = shape

    def apply(self, x):
        return (x @ self.w) @ ag.transpose(self.w)


class Factored(Step):
    """Weights that are made of parameters: g·v, reshaped."""

    def __init__(self, rng, shape):
        self.v = parameter(unit(rng, 6, shape[-1]).reshape(-1))
        self.g = parameter(np.abs(normal(rng, 6, 1)) + np.float32(0.5))
        self.shape = (*shape[:-1], 6)

    def apply(self, x):
        w = ag.reshape(self.v, (6, -1)) * self.g
        return x @ ag.transpose(w)


class Scale(Step):
    """LayerScale: x·γ, γ reshaped."""

    def __init__(self, rng, shape):
        axis = 0 if len(shape) == 3 else len(shape) - 1
        self.gamma = parameter(normal(rng, shape[axis], scale=0.2) + np.float32(1))
        self.form = tuple(n if i == axis else 1 for i, n in enumerate(shape))
        self.shape = shape

    def apply(self, x):
        return x * ag.reshape(self.gamma, self.form)


class Shift(Step):
    """x + f(p) for f among exp, sigmoid, abs, tanh: tables of parameters."""

    def __init__(self, rng, shape):
        self.p = parameter(normal(rng, *shape, scale=0.5))
        self.function = [ag.exp, ag.sigmoid, ag.absolute, ag.tanh][rng.integers(4)]
        self.shape = shape

    def apply(self, x):
        return x + self.function(self.p)


class Position(Step):
    """x + table[:T]: more rows than the sequence is long."""

    def __init__(self, rng, shape):
        self.table = parameter(normal(rng, shape[0] + 3, *shape[1:], scale=0.5))
        self.length, self.shape = shape[0], shape

    def apply(self, x):
        return x + self.table[: self.length]


class Norm(Step):
    """Batch normalization of axis 1, which is the features', the sequence's or the channels'."""

    def __init__(self, rng, shape):
        n = shape[0]
        self.layer, self.shape = nn.BatchNorm(n), shape
        self.layer.weight.data = np.abs(normal(rng, n, scale=0.2) + np.float32(1))
        self.layer.bias.data = normal(rng, n, scale=0.3)
        self.layer.running_mean.data = normal(rng, n, scale=0.3)
        self.layer.running_var.data = np.abs(normal(rng, n, scale=0.3) + np.float32(1))

    def apply(self, x):
        return self.layer(x)


class Function(Step):
    """An activation."""

    def __init__(self, rng, shape):
        self.function = [ag.relu, ag.sigmoid, ag.tanh, ag.gelu, ag.leaky_relu][rng.integers(5)]
        self.shape = shape

    def apply(self, x):
        return self.function(x)


class Residual(Step):
    """x + f(x), f a product of the same width."""

    def __init__(self, rng, shape):
        self.w = parameter(unit(rng, shape[-1], shape[-1]))
        self.shape = shape

    def apply(self, x):
        return x + ag.linear(ag.relu(x), self.w)


class Joined(Step):
    """x and tanh(x) side by side."""

    def __init__(self, rng, shape):
        self.shape = (2 * shape[0], *shape[1:])

    def apply(self, x):
        return ag.concat([x, ag.tanh(x)], 1)


class Turned(Step):
    """(N, T, F) as (N, F, T)."""

    def __init__(self, rng, shape):
        self.shape = shape[::-1]

    def apply(self, x):
        return ag.transpose(x, (0, 2, 1))


class Convolution(Step):
    """3×3, sometimes depthwise."""

    def __init__(self, rng, shape):
        c, groups = shape[0], shape[0] if rng.random() < 0.3 else 1
        out = c if groups > 1 else int(rng.integers(3, 7))
        self.layer = nn.Conv2d(c, out, 3, padding=1, groups=groups, rng=rng)
        self.layer.weight.data = unit(rng, out, c // groups, 3, 3)
        self.layer.bias.data = normal(rng, out, scale=0.3)
        self.shape = (out, *shape[1:])

    def apply(self, x):
        return self.layer(x)


class Pool(Step):
    """2×2, the largest or the mean."""

    def __init__(self, rng, shape):
        self.layer = [nn.MaxPool2d, nn.AvgPool2d][rng.integers(2)](2)
        self.shape = (shape[0], shape[1] // 2, shape[2] // 2)

    def apply(self, x):
        return self.layer(x)


ROWS = (Dense, MatMul, Tied, Factored, Scale, Shift, Norm, Function, Residual, Joined)
TOKENS = (*ROWS, Position, Turned)
PICTURES = (Convolution, Scale, Shift, Norm, Function, Joined, Pool)


class Net(nn.Module):
    """The steps one after the other, at least one product among them."""

    def __init__(self, rng, steps):
        self.steps = steps

    def forward(self, x):
        for step in self.steps:
            x = step(x)
        return x


def random_model(seed):
    """A network, its input and the names of its steps."""
    rng = np.random.default_rng(seed)
    square = int(rng.integers(4, 8))
    shape = [(6,), (square, square), (5, 6), (4, 8, 8)][rng.integers(4)]
    kinds = {1: ROWS, 2: TOKENS, 3: PICTURES}
    x = normal(rng, 48 if len(shape) < 3 else 12, *shape)
    made = []
    product = Convolution if len(shape) == 3 else Dense
    count = int(rng.integers(3, 7))
    for i in range(count):
        offered = [k for k in kinds[len(shape)] if k is not Pool or shape[-1] >= 4]
        step = (product if i == count // 2 else offered[rng.integers(len(offered))])(rng, shape)
        made.append(step)
        shape = step.shape
    net = Net(rng, made).eval()
    net(Tensor(x))
    return net, x, [type(step).__name__ for step in made]
