"""Which elements share a scale: one mechanism, a block shape, under every name of the field.

A granularity turns a tensor's shape into a block shape; the tensor is tiled by such blocks from
index 0 on, the last block of an axis may be ragged, and each block has one scale.

| | block of a (4, 6) tensor | scales |
|---|---|---|
| PerTensor() | (4, 6) | () |
| PerChannel(axis=0) | (1, 6) | (4,) |
| PerToken() | (1, 6) | (4,) |
| PerGroup(axis=1, size=4) | (1, 4) | (4, 2), the second group of a row has 2 elements |
| PerBlock((2, 3)) | (2, 3) | (2, 2) |
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from numq.arguments import integer, integers
from numq.arrays import Array, FloatArray, as_data, check_type

Shape: TypeAlias = tuple[int, ...]


class Granularity(ABC):
    """Base of the granularities: says which block shape tiles a tensor."""

    @abstractmethod
    def block_shape(self, shape: Shape) -> Shape:
        """The block that tiles a tensor of `shape`; raises ValueError if it cannot be tiled."""

    @abstractmethod
    def kept_axes(self, ndim: int) -> Shape:
        """The axes of the tensor along which the scale array extends."""

    @property
    @abstractmethod
    def scale_ndim(self) -> int | None:
        """Dimensions of the scale array; None where they follow the tensor."""


@dataclass(frozen=True)
class PerTensor(Granularity):
    """One scale for everything; the scale is 0-dimensional."""

    def block_shape(self, shape: Shape) -> Shape:
        """The tensor itself."""
        return _lengths(shape)

    def kept_axes(self, ndim: int) -> Shape:
        """None."""
        return ()

    @property
    def scale_ndim(self) -> int | None:
        """A scalar."""
        return 0


@dataclass(frozen=True)
class PerChannel(Granularity):
    """A scale for each index of `axis`, the axis *kept*; (C,) scales, as ONNX stores them."""

    axis: int = 0

    def __post_init__(self) -> None:
        """Refuse what is no axis."""
        object.__setattr__(self, "axis", integer(self.axis, "axis"))

    def block_shape(self, shape: Shape) -> Shape:
        """One along the axis, everything else whole."""
        shape = _lengths(shape)
        kept = _axis(self, self.axis, len(shape))
        return tuple(1 if i == kept else n for i, n in enumerate(shape))

    def kept_axes(self, ndim: int) -> Shape:
        """The channel axis alone."""
        return (_axis(self, self.axis, ndim),)

    @property
    def scale_ndim(self) -> int | None:
        """A vector."""
        return 1


@dataclass(frozen=True)
class PerToken(Granularity):
    """A scale for each vector along the last axis: (..., K) has (...) scales."""

    def block_shape(self, shape: Shape) -> Shape:
        """The last axis whole, all others one."""
        shape = _lengths(shape)
        _axis(self, -1, len(shape))
        return (1,) * (len(shape) - 1) + shape[-1:]

    def kept_axes(self, ndim: int) -> Shape:
        """All but the last."""
        return tuple(range(ndim - 1))

    @property
    def scale_ndim(self) -> int | None:
        """One fewer than the tensor."""
        return None


@dataclass(frozen=True)
class PerGroup(Granularity):
    """A scale for each run of `size` elements along `axis`, separately for every other index.

    The last group is shorter if `size` does not divide the axis. (O, K) with groups of g along
    axis 1 has (O, ceil(K/g)) scales (ONNX blocked quantization).
    """

    axis: int
    size: int

    def __post_init__(self) -> None:
        """Refuse empty groups."""
        object.__setattr__(self, "axis", integer(self.axis, "axis"))
        object.__setattr__(self, "size", integer(self.size, "size", 1))

    def block_shape(self, shape: Shape) -> Shape:
        """`size` along the axis, one elsewhere."""
        shape = _lengths(shape)
        grouped = _axis(self, self.axis, len(shape))
        return tuple(_within(self.size, n) if i == grouped else 1 for i, n in enumerate(shape))

    def kept_axes(self, ndim: int) -> Shape:
        """All of them."""
        return tuple(range(ndim))

    @property
    def scale_ndim(self) -> int | None:
        """As many as the tensor."""
        return None


@dataclass(frozen=True)
class PerBlock(Granularity):
    """A scale for each block of the given shape, one extent per axis of the tensor."""

    shape: Shape

    def __post_init__(self) -> None:
        """Refuse empty blocks."""
        object.__setattr__(self, "shape", integers(self.shape, "shape", 1))

    def block_shape(self, shape: Shape) -> Shape:
        """The given shape."""
        shape = _lengths(shape)
        if len(shape) != len(self.shape):
            raise ValueError(
                f"the tensor has shape {shape}; allowed for {self} are {len(self.shape)} axes"
            )
        return tuple(map(_within, self.shape, shape))

    def kept_axes(self, ndim: int) -> Shape:
        """All of them."""
        return tuple(range(ndim))

    @property
    def scale_ndim(self) -> int | None:
        """As many as the block."""
        return len(self.shape)


def _lengths(shape: Shape) -> Shape:
    """`shape` as a tuple of lengths."""
    return integers(shape, "shape", 0)


def _within(block: int, extent: int) -> int:
    """A block longer than the axis is as long as the axis."""
    return max(1, min(block, extent))


def _axis(granularity: Granularity, axis: int, ndim: int) -> int:
    """`axis` counted from the front; ValueError if the tensor does not have it."""
    if not -ndim <= axis < ndim:
        raise ValueError(
            f"the tensor has {ndim} axes; allowed for {granularity} are shapes with an axis {axis}"
        )
    return axis % ndim


def grid_shape(granularity: Granularity, shape: Shape) -> Shape:
    """How many blocks lie along each axis: ceil(extent / block)."""
    check_type(granularity, Granularity, "granularity")
    shape = _lengths(shape)
    return _grid(granularity.block_shape(shape), shape)


def _grid(block: Shape, shape: Shape) -> Shape:
    # An axis that a block covers whole has one block, also when it is empty.
    return tuple([1 if b == n else -(-n // b) for n, b in zip(shape, block, strict=True)])


def param_shape(granularity: Granularity, shape: Shape) -> Shape:
    """The shape of the scales of a tensor of `shape`: the grid along the kept axes."""
    grid = grid_shape(granularity, shape)
    return tuple([grid[i] for i in granularity.kept_axes(len(shape))])


def check_params(params: Array, granularity: Granularity, shape: Shape, name: str) -> None:
    """Raise ValueError if `params` has not the shape that a tensor of that name and shape needs."""
    expected = param_shape(granularity, shape)
    if params.shape != expected:
        raise ValueError(
            f"scale and zero_point have shape {params.shape}; allowed for {granularity} on {name} "
            f"of shape {shape} is {expected}"
        )


def expand(params: Array, granularity: Granularity, shape: Shape) -> Array:
    """`params` (of `param_shape`) arranged so that they broadcast against a tensor of `shape`.

    Raises:
        ValueError: if `params` has not the shape that the granularity gives such a tensor.
    """
    params = as_data(params, "params")
    check_params(params, granularity, shape, "a tensor")
    return spread_out(params, granularity, shape)


def spread_out(params: Array, granularity: Granularity, shape: Shape) -> Array:
    """The same where `check_params` has been asked before."""
    block = granularity.block_shape(shape)
    spread = params.reshape(_grid(block, shape))
    for axis, (n, b) in enumerate(zip(shape, block, strict=True)):
        if b not in (1, n):
            spread = np.repeat(spread, b, axis)[(slice(None),) * axis + (slice(n),)]
    return spread


def block_rows(x: FloatArray, granularity: Granularity) -> FloatArray:
    """The elements of each block as one row: (blocks, elements in a whole block).

    Blocks are in C order of the grid. What a ragged block lacks is NaN; `x` itself must be finite.
    """
    block = granularity.block_shape(x.shape)
    grid = grid_shape(granularity, x.shape)
    pairs = list(zip(grid, block, strict=True))
    missing = [(0, g * b - n) for (g, b), n in zip(pairs, x.shape, strict=True)]
    if any(after for _, after in missing):
        x = np.pad(x, missing, constant_values=np.nan)
    tiles = x.reshape([extent for pair in pairs for extent in pair])
    grid_first = [*range(0, tiles.ndim, 2), *range(1, tiles.ndim, 2)]
    return tiles.transpose(grid_first).reshape(math.prod(grid), math.prod(block))
