"""Modules: things with parameters that map a Tensor to a Tensor."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator

import numpy as np

from numq.arrays import check_type
from numq.autograd import Tensor, add, matmul, parameter, relu, transpose


class Module(ABC):
    """Base of the layers. Parameters are attributes that are tensors requiring a gradient."""

    @abstractmethod
    def forward(self, x: Tensor) -> Tensor:
        """What the layer computes."""

    def __call__(self, x: Tensor) -> Tensor:
        """The same as `forward`; arrays must be wrapped in a Tensor first."""
        check_type(x, Tensor, "x")
        return self.forward(x)

    def named_parameters(self) -> Iterator[tuple[str, Tensor]]:
        """(name, parameter) of this module and of those inside, names joined by dots.

        Each parameter comes once, under its first name, also where a layer is used twice.
        """
        seen: set[int] = set()
        for name, tensor in self._walk(""):
            if id(tensor) not in seen:
                seen.add(id(tensor))
                yield name, tensor

    def _walk(self, prefix: str) -> Iterator[tuple[str, Tensor]]:
        for name, value in vars(self).items():
            members = enumerate(value) if isinstance(value, tuple) else [(name, value)]
            for key, member in members:
                if isinstance(member, Module):
                    yield from member._walk(f"{prefix}{key}.")
                elif isinstance(member, Tensor) and member.requires_grad:
                    yield f"{prefix}{key}", member

    def parameters(self) -> list[Tensor]:
        """The parameters without their names."""
        return [p for _, p in self.named_parameters()]


class Linear(Module):
    """`y = x·Wᵀ + b`, (N, in_features) → (N, out_features).

    Attributes:
        weight: (out_features, in_features) float32, uniform in ±1/√in_features at first.
        bias: (out_features,) float32, the same.
    """

    def __init__(self, in_features: int, out_features: int, *, rng: np.random.Generator) -> None:
        """Draw the parameters from `rng`."""
        check_type(rng, np.random.Generator, "rng")
        if in_features < 1 or out_features < 1:
            raise ValueError(
                f"in_features is {in_features}, out_features {out_features}; both are at least 1"
            )
        bound = 1 / np.sqrt(in_features)
        weight = rng.uniform(-bound, bound, (out_features, in_features))
        self.weight = parameter(weight.astype(np.float32))
        self.bias = parameter(rng.uniform(-bound, bound, out_features).astype(np.float32))

    def forward(self, x: Tensor) -> Tensor:
        """`x·Wᵀ + b`."""
        return add(matmul(x, transpose(self.weight)), self.bias)

    def __repr__(self) -> str:
        """Sizes."""
        outputs, inputs = self.weight.shape
        return f"Linear({inputs} -> {outputs})"


class ReLU(Module):
    """`max(x, 0)`."""

    def forward(self, x: Tensor) -> Tensor:
        """`max(x, 0)`."""
        return relu(x)

    def __repr__(self) -> str:
        """The name."""
        return "ReLU()"


class Sequential(Module):
    """Layers one after the other."""

    def __init__(self, *layers: Module) -> None:
        """Keep the layers in order."""
        self.layers = layers

    def forward(self, x: Tensor) -> Tensor:
        """Each layer's output is the next one's input."""
        for layer in self.layers:
            x = layer(x)
        return x

    def __repr__(self) -> str:
        """The layers."""
        return f"Sequential({', '.join(map(repr, self.layers))})"
