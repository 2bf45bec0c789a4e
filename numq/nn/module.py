"""Modules: things with parameters that map tensors to a tensor."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from os import PathLike
from reprlib import recursive_repr
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike

from numq.arguments import flag, integer
from numq.arrays import Array, as_data, check_type
from numq.autograd import Tensor
from numq.nn.call import Call, Seen
from numq.nn.members import PLAIN, opened
from numq.storage import load_arrays, save_arrays


class Module(ABC):
    """Base of the layers, and of networks of one's own.

    Parameters are attributes that are tensors requiring a gradient, buffers those that do not; the
    result of an operation is neither. All of them, and modules, may also stand in tuples, lists
    and dicts, nested to any depth; in a set, or anything else without places to name, they raise
    TypeError.

    Attributes:
        training: whether dropout drops and batch normalization looks at the batch.
        seen: the last call, with shape and dtype in place of each tensor: what a recording of the
            network starts from; None before.
        resting: set while a recording is made, on what stays in evaluation when the rest trains.
    """

    training: bool = True
    resting: bool = False
    seen: Call | None = None

    @abstractmethod
    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """What the module computes."""

    def __call__(self, *inputs: Any, **options: Any) -> Any:
        """The same as `forward`; arrays become tensors.

        Raises:
            TypeError: an input by position that is neither a Tensor nor an array (nor None, nor a
                tuple).
        """
        if not options and (plain := Call.plain(inputs)):
            self.seen = plain
            return self.forward(*inputs)
        call = Call.of(inputs, options, type(self).forward)
        self.seen = call.mapped(lambda t: Seen(t.data.shape, t.dtype))
        return self.forward(*call.args, **call.kwargs)

    def train(self, mode: bool = True) -> Self:
        """This module and those inside learn (or, with False, are used as they are)."""
        mode = flag(mode, "mode")
        for _, module in self.named_modules():
            module.training = mode
        return self

    def eval(self) -> Self:
        """The same as `train(False)`."""
        return self.train(False)

    def named_modules(self, prefix: str = "") -> Iterator[tuple[str, Module]]:
        """(name, module): this one under "", then those inside, names joined by dots.

        Each module comes once, under its first name, also where it is used twice.
        """
        return _modules(self, prefix, set())

    def named_parameters(self) -> Iterator[tuple[str, Tensor]]:
        """(name, parameter) of this module and of those inside.

        Each parameter comes once, under its first name, also where a layer is used twice.

        Raises:
            ValueError: two tensors of one name, such as under the keys 1 and "1" of a dict.
        """
        return ((name, t) for name, t in self._tensors() if t.requires_grad)

    def named_buffers(self) -> Iterator[tuple[str, Tensor]]:
        """(name, tensor) of what is stored with the parameters but not learned."""
        return ((name, t) for name, t in self._tensors() if not t.requires_grad)

    def _tensors(self) -> Iterator[tuple[str, Tensor]]:
        seen: set[int] = set()
        names: set[str] = set()
        for path, module in self.named_modules():
            for name, member in members(module):
                if isinstance(member, Tensor) and _is_kept(member) and id(member) not in seen:
                    full = f"{path}.{name}" if path else name
                    if full in names:
                        raise ValueError(
                            f"two tensors have the name {full}; allowed is a name for each: "
                            "rename one of them"
                        )
                    seen.add(id(member))
                    names.add(full)
                    yield full, member

    def parameters(self) -> list[Tensor]:
        """The parameters without their names."""
        return [p for _, p in self.named_parameters()]

    def state_dict(self) -> dict[str, Array]:
        """The values of parameters and buffers by name."""
        return {name: t.data for name, t in self._tensors()}

    def load_state_dict(self, state: Mapping[str, Array]) -> None:
        """Take over values; all of them, or none.

        Floats of another precision, such as the float64 of a checkpoint, are rounded to the dtype
        of the parameter. `num_batches_tracked`, which torch counts in its batch normalizations and
        which no layer here has, is passed over.

        Args:
            state: arrays by name.

        Raises:
            TypeError: no mapping.
            ValueError: entries missing, unknown, of another shape or kind, or that overflow the
                dtype of the parameter; lists every one.
        """
        check_type(state, Mapping, "state")
        own = dict(self._tensors())
        given = {k: v for k, v in state.items() if k in own or not _counter(k)}
        problems = [f"{name} is missing" for name in own if name not in given]
        problems += [f"{name} is unknown" for name in given if name not in own]
        values: dict[str, Array] = {}
        for name in own.keys() & given.keys():
            try:
                values[name] = _fitted(given[name], own[name])
            except (TypeError, ValueError) as error:
                problems.append(f"{name} {error}")
        if problems:
            raise ValueError(
                f"state has tensors that do not fit, nothing was loaded: "
                f"{'; '.join(sorted(problems))}; allowed are the names, shapes and dtypes of "
                "the module"
            )
        for name, tensor in own.items():
            tensor.data = values[name]

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
            raise ValueError(
                f"path is {path}, which holds a graph; allowed is what save has written: "
                "nq.flows.Network.load reads a graph"
            )
        self.load_state_dict(state)

    @recursive_repr()
    def __repr__(self) -> str:
        """The modules inside, a line each, and how many parameters there are."""
        inside = [
            f"  {name}: {member!r}".replace("\n", "\n  ")
            for name, member in members(self)
            if isinstance(member, Module)
        ]
        count = sum(p.size for p in self.parameters())
        head = f"{type(self).__name__}({count} parameters"
        return "\n".join([f"{head}:", *inside, ")"]) if inside else f"{head})"


def _modules(module: Module, name: str, seen: set[int]) -> Iterator[tuple[str, Module]]:
    if id(module) in seen:
        return
    seen.add(id(module))
    yield name, module
    for key, member in members(module):
        if isinstance(member, Module):
            yield from _modules(member, f"{name}.{key}" if name else key, seen)


_KINDS = (Tensor, Module)


def members(module: Module) -> Iterator[tuple[str, Module | Tensor]]:
    """(name, value) of the modules and tensors of a module itself; what comes twice, twice."""
    for name, value in vars(module).items():
        if isinstance(value, _KINDS):
            yield name, value
        elif type(value) not in PLAIN:
            yield from opened(name, value, _KINDS)


def _is_kept(tensor: Tensor) -> bool:
    """Whether it is a leaf, or the copy of one in another precision that stands for it."""
    node = tensor.node
    return node is None or (node.op == "Cast" and node.inputs[0].node is None)


def _counter(name: object) -> bool:
    return isinstance(name, str) and name.split(".")[-1] == "num_batches_tracked"


def _fitted(value: ArrayLike | Tensor, tensor: Tensor) -> Array:
    """The value in the dtype of the tensor; ValueError that goes on after its name."""
    try:
        came = as_data(value.data if isinstance(value, Tensor) else value, "it")
    except (TypeError, ValueError, RuntimeError) as error:
        raise ValueError(f"is no array of real numbers ({error})") from None
    floats = came.dtype.kind == tensor.dtype.kind == "f"
    if came.shape != tensor.shape or not (floats or came.dtype == tensor.dtype):
        raise ValueError(f"is {came.dtype} {came.shape}, allowed is {tensor.dtype} {tensor.shape}")
    with np.errstate(over="ignore", under="ignore"):
        made = came.astype(tensor.dtype)
    if floats and not np.array_equal(np.isfinite(made), np.isfinite(came)):
        raise ValueError(f"overflows {tensor.dtype}")
    return made


def uniform(rng: np.random.Generator, bound: float, *shape: int) -> Array:
    """float32 values, uniform in ±bound: what the layers start from (torch's defaults)."""
    return rng.uniform(-bound, bound, shape).astype(np.float32)


def check_sizes(**sizes: int) -> tuple[int, ...]:
    """The sizes as ints; raises for the first that is no integer or below 1."""
    return tuple(integer(size, name, 1) for name, size in sizes.items())
