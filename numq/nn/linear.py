"""Linear layers."""

from __future__ import annotations

import numpy as np

from numq.arguments import flag
from numq.arrays import check_type
from numq.autograd import Tensor, as_tensor, gather, linear, parameter
from numq.nn.module import Module, check_sizes, uniform


class Linear(Module):
    """`y = x·Wᵀ + b`, (..., in_features) → (..., out_features).

    Attributes:
        weight: (out_features, in_features) float32, uniform in ±1/√in_features at first.
        bias: (out_features,) float32, the same; or None.
    """

    def __init__(
        self, in_features: int, out_features: int, bias: bool = True, *, rng: np.random.Generator
    ) -> None:
        """Draw the parameters from `rng`."""
        check_type(rng, np.random.Generator, "rng")
        in_features, out_features = check_sizes(in_features=in_features, out_features=out_features)
        bound = 1 / np.sqrt(in_features)
        self.weight = parameter(uniform(rng, bound, out_features, in_features))
        self.bias = parameter(uniform(rng, bound, out_features)) if flag(bias, "bias") else None

    def forward(self, x: Tensor) -> Tensor:
        """`x·Wᵀ + b`."""
        return linear(x, self.weight, self.bias)

    def __repr__(self) -> str:
        """Sizes."""
        outputs, inputs = self.weight.shape
        return f"Linear({inputs} -> {outputs}{', no bias' if self.bias is None else ''})"


class Embedding(Module):
    """A vector for each number: integers of any shape (...) → (..., dim).

    Attributes:
        weight: (count, dim) float32, normal with variance 1 at first.
    """

    def __init__(self, count: int, dim: int, *, rng: np.random.Generator) -> None:
        """Draw the vectors from `rng`."""
        check_type(rng, np.random.Generator, "rng")
        count, dim = check_sizes(count=count, dim=dim)
        self.weight = parameter(rng.standard_normal((count, dim), np.float32))

    def forward(self, ids: Tensor) -> Tensor:
        """Row `ids` of the weight; IndexError names what is out of range."""
        return gather(self.weight, as_tensor(ids, name="ids"))

    def __repr__(self) -> str:
        """Sizes."""
        return f"Embedding({self.weight.shape[0]} of {self.weight.shape[1]})"
