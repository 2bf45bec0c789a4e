"""Modules made of modules."""

from __future__ import annotations

from collections.abc import Iterator

from numq.arguments import integer
from numq.arrays import check_type
from numq.autograd import Tensor
from numq.nn.module import Module


class Sequential(Module):
    """Layers one after the other; parameters are named by the layer's number: `0.weight`."""

    def __init__(self, *layers: Module) -> None:
        """Keep the layers in order."""
        for i, layer in enumerate(layers):
            check_type(layer, Module, f"layers[{i}]")
            setattr(self, str(i), layer)
        self._count = len(layers)

    @property
    def layers(self) -> tuple[Module, ...]:
        """The layers in order."""
        return tuple(getattr(self, str(i)) for i in range(self._count))

    def forward(self, x: Tensor) -> Tensor:
        """Each layer's output is the next one's input."""
        for layer in self.layers:
            x = layer(x)
        return x

    def __iter__(self) -> Iterator[Module]:
        """The layers in order."""
        return iter(self.layers)

    def __len__(self) -> int:
        """How many there are."""
        return self._count

    def __getitem__(self, i: int) -> Module:
        """One of them; IndexError for a number that none has."""
        i = integer(i, "i")
        if not -self._count <= i < self._count:
            raise IndexError(
                f"i is {i}; allowed are {-self._count} to {self._count - 1}, of {self._count} "
                "layers"
            )
        return self.layers[i]
