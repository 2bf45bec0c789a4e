"""Convolution and pooling layers."""

from __future__ import annotations

import numpy as np

from numq.arguments import flag, integer, integers
from numq.arrays import check_type
from numq.autograd import (
    Tensor,
    avg_pool2d,
    conv2d,
    global_avg_pool2d,
    max_pool2d,
    parameter,
)
from numq.nn.module import Module, check_sizes, uniform

Pair = tuple[int, int]
Border = int | Pair | tuple[Pair, Pair]


class Conv2d(Module):
    """Convolution, (N, in_channels, H, W) → (N, out_channels, out_h, out_w).

    Attributes:
        weight: (out_channels, in_channels / groups, kh, kw) float32, uniform in ±1/√fan_in at
            first, fan_in = in_channels / groups · kh · kw.
        bias: (out_channels,) float32, the same; or None.
        stride: (vertical, horizontal).
        padding: ((top, bottom), (left, right)).
        dilation: (vertical, horizontal).
        groups: parts that the channels are split into.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel: int | Pair,
        *,
        stride: int | Pair = 1,
        padding: Border = 0,
        dilation: int | Pair = 1,
        groups: int = 1,
        bias: bool = True,
        rng: np.random.Generator,
    ) -> None:
        """Draw the parameters from `rng`. A single number stands for both directions."""
        check_type(rng, np.random.Generator, "rng")
        in_channels, out_channels, groups = check_sizes(
            in_channels=in_channels, out_channels=out_channels, groups=groups
        )
        if in_channels % groups or out_channels % groups:
            raise ValueError(
                f"groups is {groups}; allowed are divisors of both {in_channels} and {out_channels}"
            )
        self.stride, self.dilation = _pair(stride, "stride"), _pair(dilation, "dilation")
        self.padding, self.groups = _border(padding), groups
        inputs, (kh, kw) = in_channels // groups, _pair(kernel, "kernel")
        bound = 1 / np.sqrt(inputs * kh * kw)
        self.weight = parameter(uniform(rng, bound, out_channels, inputs, kh, kw))
        self.bias = parameter(uniform(rng, bound, out_channels)) if flag(bias, "bias") else None

    def forward(self, x: Tensor) -> Tensor:
        """The convolution, plus the bias."""
        return conv2d(
            x, self.weight, self.bias, stride=self.stride, padding=self.padding,
            dilation=self.dilation, groups=self.groups,
        )  # fmt: skip

    def __repr__(self) -> str:
        """Sizes."""
        outputs, inputs, kh, kw = self.weight.shape
        groups = f", {self.groups} groups" if self.groups > 1 else ""
        return f"Conv2d({inputs * self.groups} -> {outputs}, {kh}x{kw}{groups})"


class MaxPool2d(Module):
    """The largest of each window; see `autograd.max_pool2d`."""

    def __init__(
        self, size: int | Pair, *, stride: int | Pair | None = None, padding: Border = 0
    ) -> None:
        """Windows touch unless a stride is given."""
        self.size, self.padding = _pair(size, "size"), _border(padding)
        self.stride = self.size if stride is None else _pair(stride, "stride")

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) → (N, C, out_h, out_w)."""
        return max_pool2d(x, self.size, stride=self.stride, padding=self.padding)


class AvgPool2d(Module):
    """The mean of each window, zeros of the border counted or not; see `autograd.avg_pool2d`."""

    def __init__(
        self,
        size: int | Pair,
        *,
        stride: int | Pair | None = None,
        padding: Border = 0,
        count_include_pad: bool = False,
    ) -> None:
        """Windows touch unless a stride is given."""
        self.size, self.padding = _pair(size, "size"), _border(padding)
        self.stride = self.size if stride is None else _pair(stride, "stride")
        self.count_include_pad = flag(count_include_pad, "count_include_pad")

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) → (N, C, out_h, out_w)."""
        return avg_pool2d(
            x, self.size, stride=self.stride, padding=self.padding,
            count_include_pad=self.count_include_pad,
        )  # fmt: skip


class GlobalAvgPool2d(Module):
    """The mean of each picture, (N, C, H, W) → (N, C, 1, 1)."""

    def forward(self, x: Tensor) -> Tensor:
        """The mean over height and width."""
        return global_avg_pool2d(x)


def _pair(value: int | Pair, name: str, least: int = 1) -> Pair:
    """A number for both directions, or one for each."""
    if isinstance(value, tuple | list):
        vertical, horizontal = integers(value, name, least, 2)
        return vertical, horizontal
    both = integer(value, name, least)
    return both, both


def _border(padding: Border) -> tuple[Pair, Pair]:
    """1, (1, 2) or ((top, bottom), (left, right)) as the last of them."""
    if isinstance(padding, tuple | list) and len(padding) == 2:
        return _pair(padding[0], "padding[0]", 0), _pair(padding[1], "padding[1]", 0)
    both = integer(padding, "padding", 0)
    return (both, both), (both, both)
