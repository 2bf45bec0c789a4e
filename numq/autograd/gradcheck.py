"""Finite differences against backward, for every element: the check for operations of one's own."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TypeAlias

import numpy as np

from numq.arguments import check_callable, number
from numq.arrays import Array, FloatArray, check_type
from numq.autograd.tape import GradientError, no_grad
from numq.autograd.tensor import Tensor, parameter

Function: TypeAlias = Callable[..., Tensor]

STEP = 2.0**-17
"""h of the central difference: its error, h²·f'''/6, meets that of rounding, 2⁻⁵³·f/h, there."""


def gradcheck(function: Function, *inputs: Tensor, tolerance: float = 2.0**-24) -> None:
    """Compare every element of every gradient with a central difference in float64.

    The function's result is weighted by fixed random numbers and summed to F; the gradient of F
    with respect to each element of each floating input must be
    `(F(x + h) − F(x − h)) / 2h` to within `tolerance·(1 + |slope|)`, with h = 2⁻¹⁷·max(1, |x|).

    The default tolerance is derived for |x| up to 1 and slopes up to 1, half of it for each error:
    the difference errs by h²/6·F''', which allows third derivatives up to 3000; n results that
    depend on x, each wrong by 2⁻⁵³·|f|, make n·2⁻³⁶·|f|, which allows n·|f| up to 2000. Give a
    larger one for functions beyond, and keep away from kinks: at those of max, relu or clip there
    is no slope.

    Args:
        function: tensors in, one float64 tensor out, without randomness.
        inputs: float64 tensors; integers and bools are passed on as they are.
        tolerance: relative to 1 + |slope|.

    Raises:
        TypeError: an input that is no Tensor, or of another floating dtype; a result of another.
        ValueError: no input to differentiate by, or a result without a gradient.
        GradientError: names the input, the element, the gradient and the slope; or a gradient of a
            shape other than its input's.

    >>> from numq.autograd import sigmoid
    >>> gradcheck(lambda a: a * sigmoid(a), Tensor([-1.0, 0.0, 2.0]))
    """
    check_callable(function, "function")
    _check_inputs(inputs)
    tolerance = number(tolerance, "tolerance", above=0)
    arrays = [t.data for t in inputs]
    leaves = [parameter(a) if a.dtype.kind == "f" else Tensor(a) for a in arrays]
    y = _checked(function(*leaves))
    weights = np.random.default_rng(0).uniform(0.5, 1.5, y.shape)
    y.backward(weights)
    for which, leaf in enumerate(leaves):
        if leaf.requires_grad:
            gradient = np.zeros(leaf.shape) if leaf.grad is None else leaf.grad
            slopes = _slopes(function, arrays, which, weights)
            _compare(gradient, slopes, f"inputs[{which}]", tolerance)


def _compare(
    gradient: FloatArray,
    slopes: Iterator[tuple[tuple[int, ...], float]],
    name: str,
    tolerance: float,
) -> None:
    """Raise GradientError at the first element that differs."""
    for place, slope in slopes:
        if not abs(gradient[place] - slope) <= tolerance * (1 + abs(slope)):
            raise GradientError(
                f"{name}[{', '.join(map(str, place))}]: the gradient is {gradient[place]:.12g}, "
                f"the slope {slope:.12g}"
            )


def _slopes(
    function: Function, arrays: Sequence[Array], which: int, weights: FloatArray
) -> Iterator[tuple[tuple[int, ...], float]]:
    """(place, central difference) for every element of one input."""
    x = arrays[which]
    for place in np.ndindex(x.shape):
        h = STEP * max(1.0, abs(float(x[place])))
        low, high = x.copy(), x.copy()
        low[place] -= h
        high[place] += h
        results = []
        for moved in (low, high):
            given = [moved if i == which else a for i, a in enumerate(arrays)]
            with no_grad():
                results.append(function(*map(Tensor, given)).data)
        # Subtracted before they are summed, so that what does not depend on x adds no rounding;
        # and not divided by 2h, as x ± h was rounded.
        rise = (weights * (results[1] - results[0])).sum()
        yield place, float(rise / (high[place] - low[place]))


def _check_inputs(inputs: Sequence[Tensor]) -> None:
    for i, tensor in enumerate(inputs):
        check_type(tensor, Tensor, f"inputs[{i}]")
        if tensor.dtype.kind == "f" and tensor.dtype != np.float64:
            raise TypeError(
                f"inputs[{i}] has dtype {tensor.dtype}; allowed is float64, which differences need"
            )
    if not any(t.dtype.kind == "f" for t in inputs):
        raise ValueError(
            "inputs has no float64 tensor; allowed is one and more, to differentiate by"
        )


def _checked(y: Tensor) -> Tensor:
    """The function's result; TypeError unless it is a float64 tensor."""
    check_type(y, Tensor, "the function's result")
    if y.dtype != np.float64:
        raise TypeError(
            f"the function's result has dtype {y.dtype}; allowed is float64, which differences need"
        )
    return y
