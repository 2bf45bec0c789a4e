"""Clipping: gradients that are too large together, scaled to the norm that is allowed."""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np

from numq.arguments import is_number, shown
from numq.autograd import Tensor
from numq.optim.parameters import check_gradient, check_once, learnable


def clip_grad_norm(parameters: Iterable[Tensor], max_norm: float) -> float:
    """Scale all gradients so that their common Euclidean norm is at most `max_norm`.

    Args:
        parameters: those without a gradient are passed over.
        max_norm: above 0; infinity only measures.

    Returns:
        The norm before (Pascanu, Mikolov and Bengio 2013).

    Raises:
        TypeError: no parameters, but a module, names, arrays or a single tensor.
        ValueError: max_norm that is not above 0, no parameters, one that comes twice, or a gradient
            with NaN or infinity.
    """
    if not is_number(max_norm) or not max_norm > 0:
        raise ValueError(f"max_norm is {shown(max_norm)}; allowed are numbers above 0")
    given = learnable(parameters)
    check_once(given)
    norms = [_norm(p, f"parameters[{i}]") for i, p in enumerate(given)]
    norm = math.hypot(*norms)
    if norm > max_norm:
        for p in given:
            if p.grad is not None:
                p.grad = (p.grad * np.float64(max_norm / norm)).astype(p.grad.dtype)
    return norm


def _norm(p: Tensor, name: str) -> float:
    """Of the gradient, 0 without one; scaled, so that squares neither overflow nor vanish."""
    check_gradient(p, name)
    if p.grad is None or not p.grad.size:
        return 0.0
    g = p.grad.astype(np.float64).ravel()
    if not np.isfinite(g).all():
        raise ValueError(
            f"the gradient of {name} has NaN or infinite values; allowed are finite numbers"
        )
    largest = float(np.abs(g).max())
    return largest * float(np.linalg.norm(g / largest)) if largest else 0.0
