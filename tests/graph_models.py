"""Networks that graphs and flows are tested on."""

import numpy as np

from numq import nn
from numq.autograd import Tensor, add, concat, mean, parameter, relu


class Block(nn.Module):
    """A residual block: convolution, depthwise convolution, addition."""

    def __init__(self, rng):
        self.a = nn.Conv2d(8, 8, 3, padding=1, bias=False, rng=rng)
        self.norm = nn.BatchNorm(8)
        self.b = nn.Conv2d(8, 8, 3, padding=1, groups=8, rng=rng)

    def forward(self, x):
        return relu(add(self.b(relu(self.norm(self.a(x)))), x))


class Residual(nn.Module):
    """Every operator with an integer kernel, and functions called without a module."""

    def __init__(self, rng):
        self.stem = nn.Conv2d(1, 8, 3, padding=((1, 1), (0, 2)), rng=rng)
        self.block = Block(rng)
        self.out = nn.Linear(24, 10, rng=rng)

    def forward(self, x):
        x = nn.MaxPool2d(2)(self.block(relu(self.stem(x))))
        parts = [nn.GlobalAvgPool2d()(x), nn.Sigmoid()(nn.AvgPool2d(4)(x)), nn.AvgPool2d(4)(x)]
        return self.out(nn.Flatten()(concat(parts, 1)))


class Plain(nn.Module):
    """A product, an addition and a mean with tensors of one's own."""

    def __init__(self, rng):
        self.w = parameter(rng.normal(size=(6, 5)).astype(np.float32))
        self.b = parameter(rng.normal(size=5).astype(np.float32))

    def forward(self, x):
        return mean(relu(x @ self.w + self.b), 1, keepdims=True)


def pictures(rng, n=20):
    return rng.normal(0.3, 1, (n, 1, 8, 8)).astype(np.float32)


def settled(model, *inputs):
    """The model after some batches, so that its statistics are no longer 0 and 1; evaluating."""
    for _ in range(3):
        model(*inputs)
    return model.eval()


def floats(model, *inputs):
    return model(*map(Tensor, inputs)).data
