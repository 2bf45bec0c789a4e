"""Which tensors an optimizer may change, and whether they and their gradients will do."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from numq.arguments import number, shown
from numq.autograd import Tensor


@dataclass(frozen=True)
class Group:
    """Parameters that learn at a pace of their own, such as the scales of quantizers.

    Attributes:
        parameters: what is updated; may be none.
        lr_scale: factor on the optimizer's learning rate, above 0.
        weight_decay: in place of the optimizer's, if given, from 0 on.

    Raises:
        TypeError: no parameters, but a module, names, arrays or a single tensor.
        ValueError: a factor or decay out of range.
    """

    parameters: Iterable[Tensor]
    lr_scale: float = 1.0
    weight_decay: float | None = None

    def __post_init__(self) -> None:
        """Check, and keep the parameters of an iterator."""
        object.__setattr__(self, "parameters", learnable(self.parameters))
        number(self.lr_scale, "lr_scale", above=0)
        if self.weight_decay is not None:
            number(self.weight_decay, "weight_decay", least=0)


def iterated(parameters: object) -> list[Any]:
    """What is in a list or iterator; a module, a tensor or a dict is none of parameters."""
    if isinstance(parameters, Tensor | Mapping | str) or not isinstance(parameters, Iterable):
        raise TypeError(
            f"parameters is {shown(parameters)}; allowed are lists of parameters, such as "
            "model.parameters()"
        )
    return list(parameters)


def learnable(parameters: object) -> tuple[Tensor, ...]:
    """The parameters, each a leaf that wants a gradient."""
    given = iterated(parameters)
    for i, p in enumerate(given):
        if not isinstance(p, Tensor):
            raise TypeError(
                f"parameters[{i}] is {shown(p)}; allowed are parameters, such as those of "
                "model.parameters()"
            )
        if p.node is not None:
            raise ValueError(
                f"parameters[{i}] is the result of {p.node.op}; allowed are leaves, as only these "
                "learn"
            )
        if not p.requires_grad:
            raise ValueError(
                f"parameters[{i}] has no requires_grad, so that it would never change; allowed "
                "are tensors with it"
            )
    return tuple(given)


def check_once(parameters: Sequence[Tensor]) -> None:
    """Raise ValueError for no parameter, or for one that comes twice."""
    if not parameters:
        raise ValueError("parameters is empty; allowed is one parameter and more")
    first: dict[int, int] = {}
    for i, p in enumerate(parameters):
        if first.setdefault(id(p), i) != i:
            raise ValueError(
                f"parameters[{i}] is parameters[{first[id(p)]}] again; allowed is each once"
            )


def check_gradient(p: Tensor, name: str) -> None:
    """Raise unless the gradient is None, or an array of floats of the parameter's shape."""
    g = p.grad
    if g is None:
        return
    if not isinstance(g, (np.ndarray, np.floating)) or g.dtype.kind != "f":
        raise TypeError(f"the gradient of {name} is {shown(g)}; allowed are arrays of floats")
    if g.shape != p.shape:
        raise ValueError(
            f"the gradient of {name} has shape {g.shape}; allowed is its own, {p.shape}"
        )
