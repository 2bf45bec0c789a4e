"""Finite differences against backward, for every element: the check for operations of one's own."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from numq.arrays import FloatArray, check_type
from numq.autograd.tensor import Tensor, no_grad, parameter

STEP = 2.0**-17
"""h of the central difference: its error, h²·f'''/6, meets that of rounding, 2⁻⁵³·f/h, there."""


class GradientError(AssertionError):
    """A gradient that is not the slope of its function."""


def gradcheck(
    function: Callable[..., Tensor], *inputs: Tensor, tolerance: float = 2.0**-24
) -> None:
    """Compare every element of every gradient with a central difference in float64.

    The function's result is weighted by fixed random numbers and summed; the gradient of that sum
    with respect to each element of each floating input must be
    `(f(x + h) − f(x − h))/2h` to within `tolerance·(1 + |slope|)`. With h = 2⁻¹⁷, sums of up to
    about 2000 and third derivatives up to about 500 stay below the default. Keep away from kinks:
    at max, relu or clip the slope is not defined.

    Args:
        function: tensors in, one tensor out, without randomness.
        inputs: float64 tensors; integers and bools are passed on as they are.
        tolerance: relative to 1 + |gradient|.

    Raises:
        TypeError: an input that is no Tensor, or of another floating dtype.
        GradientError: names the input, the element, the gradient and the slope.
    """
    for i, tensor in enumerate(inputs):
        check_type(tensor, Tensor, f"inputs[{i}]")
        if tensor.dtype.kind == "f" and tensor.dtype != np.float64:
            raise TypeError(f"inputs[{i}] has dtype {tensor.dtype}; differences need float64")
    arrays = [t.data for t in inputs]
    leaves = [parameter(a) if a.dtype.kind == "f" else Tensor(a) for a in arrays]
    y = function(*leaves)
    weights = np.random.default_rng(0).uniform(0.5, 1.5, y.shape)
    y.backward(weights)
    for which, leaf in enumerate(leaves):
        if not leaf.requires_grad:
            continue
        gradient = np.zeros(leaf.shape) if leaf.grad is None else leaf.grad
        for place, slope in _slopes(function, arrays, which, weights):
            if not abs(gradient[place] - slope) <= tolerance * (1 + abs(slope)):
                raise GradientError(
                    f"inputs[{which}]{list(place)}: the gradient is {gradient[place]:.12g}, "
                    f"the slope {slope:.12g}"
                )


def _slopes(
    function: Callable[..., Tensor], arrays: list[FloatArray], which: int, weights: FloatArray
) -> Iterator[tuple[tuple[int, ...], float]]:
    """(place, central difference) for every element of one input."""
    for place in np.ndindex(arrays[which].shape):
        sums = []
        for h in (STEP, -STEP):
            moved = arrays[which].copy()
            moved[place] += h
            given = [moved if i == which else a for i, a in enumerate(arrays)]
            with no_grad():
                sums.append((weights * function(*map(Tensor, given)).data).sum())
        yield place, float((sums[0] - sums[1]) / (2 * STEP))
