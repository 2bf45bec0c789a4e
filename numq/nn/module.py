"""Modules: things with parameters that map tensors to a tensor."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from os import PathLike
from typing import Any, Self

import numpy as np
from numpy.typing import DTypeLike

from numq.arrays import Array
from numq.autograd import Tensor
from numq.storage import load_arrays, save_arrays


class Module(ABC):
    """Base of the layers, and of networks of one's own.

    Parameters are attributes that are tensors requiring a gradient, buffers those that do not;
    both, and modules, may also stand in tuples, lists and dicts.

    Attributes:
        training: whether dropout drops and batch normalization looks at the batch.
        seen: shape and dtype of each tensor of the last call, which is what a recording of the
            network starts from.
    """

    training: bool = True
    seen: tuple[tuple[tuple[int, ...], DTypeLike], ...] = ()

    @abstractmethod
    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """What the module computes."""

    def __call__(self, *inputs: Any) -> Any:
        """The same as `forward`; arrays become tensors.

        Raises:
            TypeError: an input that is neither a Tensor nor an array (nor None, nor a tuple).
        """
        given = tuple(_tensor(x) for x in inputs)
        self.seen = tuple((x.shape, x.dtype) for x in given if isinstance(x, Tensor))
        return self.forward(*given)

    def train(self, mode: bool = True) -> Self:
        """This module and those inside learn (or, with False, are used as they are)."""
        for _, module in self.named_modules():
            module.training = mode
        return self

    def eval(self) -> Self:
        """The same as `train(False)`."""
        return self.train(False)

    def named_modules(self, prefix: str = "") -> Iterator[tuple[str, Module]]:
        """(name, module): this one under "", then those inside, names joined by dots."""
        yield prefix, self
        for name, member in _members(vars(self)):
            if isinstance(member, Module):
                yield from member.named_modules(f"{prefix}.{name}" if prefix else name)

    def named_parameters(self) -> Iterator[tuple[str, Tensor]]:
        """(name, parameter) of this module and of those inside.

        Each parameter comes once, under its first name, also where a layer is used twice.
        """
        return ((name, t) for name, t in self._tensors() if t.requires_grad)

    def named_buffers(self) -> Iterator[tuple[str, Tensor]]:
        """(name, tensor) of what is stored with the parameters but not learned."""
        return ((name, t) for name, t in self._tensors() if not t.requires_grad)

    def _tensors(self) -> Iterator[tuple[str, Tensor]]:
        seen: set[int] = set()
        for path, module in self.named_modules():
            for name, member in _members(vars(module)):
                if isinstance(member, Tensor) and id(member) not in seen:
                    seen.add(id(member))
                    yield f"{path}.{name}" if path else name, member

    def parameters(self) -> list[Tensor]:
        """The parameters without their names."""
        return [p for _, p in self.named_parameters()]

    def state_dict(self) -> dict[str, Array]:
        """The values of parameters and buffers by name."""
        return {name: t.data for name, t in self._tensors()}

    def load_state_dict(self, state: Mapping[str, Array]) -> None:
        """Take over values; all of them, or none.

        Raises:
            ValueError: entries missing, unknown, of another shape or dtype; lists every one.
        """
        own = dict(self._tensors())
        problems = [f"{name} is missing" for name in own if name not in state]
        problems += [f"{name} is unknown" for name in state if name not in own]
        for name in own.keys() & state.keys():
            came, needed = np.asarray(state[name]), own[name]
            if (came.shape, came.dtype) != (needed.shape, needed.dtype):
                problems.append(
                    f"{name} is {came.dtype} {came.shape}, needed is {needed.dtype} {needed.shape}"
                )
        if problems:
            raise ValueError(
                f"state does not fit, nothing was loaded: {'; '.join(sorted(problems))}"
            )
        for name, tensor in own.items():
            tensor.data = state[name]

    def save(self, path: str | PathLike[str]) -> int:
        """Write the state to a safetensors file; returns its bytes.

        Raises:
            ValueError: a path that ends like a file of another kind.
            OSError: a missing folder, no permission, no room; nothing is left behind.
        """
        return save_arrays(path, self.state_dict(), {"format": "numq state", "version": "1"})

    def load(self, path: str | PathLike[str]) -> None:
        """Read what `save` wrote, or any safetensors file with the same names.

        Raises:
            OSError: no such file, a folder, no permission.
            ValueError: a damaged file, a quantized network, or a state that does not fit; nothing
                is loaded then.
        """
        state, metadata = load_arrays(path)
        if metadata.get("format") == "numq graph":
            raise ValueError(f"path is {path}, which holds a graph; nq.flows.Network.load reads it")
        self.load_state_dict(state)

    def __repr__(self) -> str:
        """The modules inside, a line each, and how many parameters there are."""
        inside = [
            f"  {name}: {member!r}".replace("\n", "\n  ")
            for name, member in _members(vars(self))
            if isinstance(member, Module)
        ]
        count = sum(p.size for p in self.parameters())
        head = f"{type(self).__name__}({count} parameters"
        return "\n".join([f"{head}:", *inside, ")"]) if inside else f"{head})"


def _tensor(x: Any) -> Any:
    if isinstance(x, np.ndarray):
        return Tensor(x)
    if x is None or isinstance(x, Tensor | tuple):
        return x
    raise TypeError(f"x is {x!r}; allowed are Tensors and arrays")


def _members(attributes: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """(name, value) of the attributes, containers opened: `layers.0`, `heads.left`."""
    for name, value in attributes.items():
        if isinstance(value, tuple | list):
            yield from ((f"{name}.{i}", member) for i, member in enumerate(value))
        elif isinstance(value, dict):
            yield from ((f"{name}.{key}", member) for key, member in value.items())
        else:
            yield name, value


def uniform(rng: np.random.Generator, bound: float, *shape: int) -> Array:
    """float32 values, uniform in ±bound: what the layers start from (torch's defaults)."""
    return rng.uniform(-bound, bound, shape).astype(np.float32)


def check_sizes(**sizes: int) -> None:
    """Raise ValueError for the first size below 1."""
    for name, size in sizes.items():
        if size < 1:
            raise ValueError(f"{name} is {size}; allowed are integers from 1 on")
