"""How a network is quantized, as a value: the choices for all nodes, and those for some of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any, TypeAlias, TypeVar

from numq.arrays import check_type
from numq.formats import INT8, small_integers
from numq.granularity import PerChannel, PerTensor
from numq.graph import Node
from numq.quantizers import AffineQuantizer, Quantizer, SymmetricQuantizer, check_beside
from numq.requantization import Requantization
from numq.rounding import Rounding
from numq.scales import Symmetric

C = TypeVar("C", bound=Any)
Check: TypeAlias = Callable[[object, str], object]

WEIGHTS_INT8 = SymmetricQuantizer(INT8, PerChannel(0))
"""The default for weights: symmetric, one scale for each output channel."""

PER_TENSOR_INT8 = AffineQuantizer(INT8, PerTensor())
"""The default for calibrated activations: affine, one range."""


@dataclass(frozen=True, kw_only=True)
class Override:
    """Other choices for some nodes: the one of a name, or all of an operator.

    A choice that none of the nodes has, as no kernel has them or others decide, is refused by the
    flow, with what is in its way.

    Attributes:
        node: the name of a node in the fused graph, such as "conv1"; or
        operator: an ONNX operator's name, such as "Gemm". One of the two is given.
        weights: in place of the recipe's, for the weights that the nodes read; as the others, None
            leaves what the recipe says.
        activations: of the edge that a Conv or Gemm reads.
        others: of the edge that the nodes make, unless a Conv or Gemm reads it.
        requantization: the arithmetic of requantization.
        stay_float: the nodes compute in float; nothing else can be chosen for them then.

    Raises:
        TypeError: a field of another type.
        ValueError: both or neither of node and operator; nothing chosen; choices for nodes that
            stay float.
    """

    node: str | None = None
    operator: str | None = None
    weights: Quantizer | None = None
    activations: Quantizer | None = None
    others: Quantizer | None = None
    requantization: Requantization | None = None
    stay_float: bool = False

    def __post_init__(self) -> None:
        """Refuse what says nothing, or two things at once."""
        for name in ("node", "operator"):
            check_type(getattr(self, name), str | None, name)
        for name in ("weights", "activations", "others"):
            check_type(getattr(self, name), Quantizer | None, name)
        check_type(self.requantization, Requantization | None, "requantization")
        check_type(self.stay_float, bool, "stay_float")
        if (self.node is None) == (self.operator is None):
            raise ValueError(
                f"node is {self.node!r}, operator {self.operator!r}; allowed is exactly one of them"
            )
        if bool(self.chosen) == self.stay_float:
            said = ", ".join(self.chosen) or "nothing"
            raise ValueError(
                f"override of {self.target} has {said}, and stay_float is {self.stay_float}; "
                "allowed are weights, activations, others, requantization, or stay_float=True alone"
            )

    @property
    def target(self) -> str:
        """The node or operator, for messages."""
        return f"node {self.node!r}" if self.node is not None else f"operator {self.operator!r}"

    @property
    def chosen(self) -> tuple[str, ...]:
        """The names of the choices that differ from the recipe's."""
        names = ("weights", "activations", "others", "requantization")
        return tuple(name for name in names if getattr(self, name) is not None)

    def check(self, weights: Check, edges: Check) -> None:
        """Let the flow that uses it look at the quantizers chosen."""
        for name, look in (("weights", weights), ("activations", edges), ("others", edges)):
            quantizer = getattr(self, name)
            if quantizer is not None:
                look(quantizer, f"{name} of {self.target}")

    def meets(self, node: Node) -> bool:
        """Whether the node is one of those; Conv means the normalized Conv of training, too."""
        if self.operator is None:
            return node.name == self.node
        return node.op.removeprefix("Normalized") == self.operator


@dataclass(frozen=True)
class Recipe:
    """How a network is quantized statically.

    Attributes:
        weights: per tensor or per channel of axis 0, 8 bits or fewer.
        activations: per tensor, 8 bits or fewer; of the edges that a Conv or Gemm reads, which is
            where few bits save work.
        others: the same, of all other edges: what is added, pooled or looked up, and the outputs.
        requantization: its arithmetic. One rounding by default: codes of few bits make
            small accumulators, of which the first of two roundings leaves little (with 2-bit codes
            9 % of a layer's results came out one code higher).
        overrides: other choices for some nodes; of two for one node the later counts.

    The rule of a quantizer is the arithmetic of the codes that are made from real numbers: the
    weights, the inputs, what comes from a float island, and the answers in tables. Codes that a
    product or a sum makes are rounded as `requantization` says.

    Raises:
        TypeError: a field of another type.
        ValueError: a quantizer that an integer network cannot use.
    """

    weights: Quantizer = WEIGHTS_INT8
    activations: Quantizer = PER_TENSOR_INT8
    others: Quantizer = PER_TENSOR_INT8
    requantization: Requantization = Requantization.FIXED_SINGLE_UP
    overrides: tuple[Override, ...] = ()

    def __post_init__(self) -> None:
        """Refuse what an integer network cannot use."""
        check_type(self.requantization, Requantization, "requantization")
        check_overrides(self.overrides)
        _check_weights(self.weights, "weights")
        _check_edges(self.activations, "activations")
        _check_edges(self.others, "others")
        for override in self.overrides:
            override.check(_check_weights, _check_edges)

    def of(self, node: Node) -> Recipe | None:
        """The choices for one node; None if it stays float."""
        return chosen(self, self.overrides, node)


def chosen(base: C, overrides: Iterable[Override], node: Node) -> C | None:
    """The choices with what the overrides say of a node; None if the last of them says float."""
    found: C | None = base
    for override in overrides:
        if not override.meets(node):
            continue
        if override.stay_float:
            found = None
        else:
            changes = {name: getattr(override, name) for name in override.chosen}
            found = replace(found or base, **changes)
    return found


def check_overrides(overrides: object) -> tuple[Override, ...]:
    """The overrides, if they are a tuple of them; TypeError says what came."""
    if not isinstance(overrides, tuple):
        raise TypeError(
            f"overrides is a {type(overrides).__name__}; allowed is a tuple of Override, such as "
            "(Override(node='conv1', stay_float=True),)"
        )
    for i, override in enumerate(overrides):
        check_type(override, Override, f"overrides[{i}]")
    return overrides


def check_quantizer(quantizer: object, name: str) -> Quantizer:
    """A quantizer whose rule needs no generator of random numbers."""
    check_type(quantizer, Quantizer, name)
    assert isinstance(quantizer, Quantizer)
    if quantizer.rule.rounding is Rounding.STOCHASTIC:
        raise ValueError(
            f"{name} has rounding STOCHASTIC; allowed is any other Rounding, as a network is not "
            "random"
        )
    return quantizer


def _check_integer(quantizer: object, name: str) -> Quantizer:
    """A quantizer whose scales are positive, as integer kernels need them."""
    known = check_quantizer(quantizer, name)
    check_beside(known, name)
    if known.target.signed_scale:
        raise ValueError(
            f"the range of {name} is SIGNED_MAX, whose scales may be negative; allowed is every "
            "other SymmetricRange, as integer kernels need positive scales"
        )
    return known


def _check_weights(quantizer: object, name: str) -> None:
    known = _check_integer(quantizer, name)
    kept = isinstance(known.granularity, PerTensor | PerChannel)
    if not kept or not small_integers(known.format):
        raise ValueError(
            f"{name} is {known!r}; allowed are PerTensor() or PerChannel(0), integers of 8 bits or "
            "fewer"
        )


def _check_edges(quantizer: object, name: str) -> None:
    known = _check_integer(quantizer, name)
    if not isinstance(known.granularity, PerTensor) or not small_integers(known.format):
        raise ValueError(
            f"{name} is {known!r}; allowed are PerTensor(), integers of 8 bits or fewer"
        )
    lo, hi = known.clip
    if (lo is not None and lo > 0) or (hi is not None and hi < 0):
        raise ValueError(
            f"the clip of {name} is {known.clip}; allowed is lo <= 0 <= hi, as codes of an edge "
            "reach 0"
        )
    mirrored = lo is None or hi is None or lo == -hi
    if isinstance(known.scheme, Symmetric) and not mirrored:
        raise ValueError(
            f"the clip of {name} is {known.clip}; allowed is (-hi, hi), as symmetric codes reach "
            "as far on both sides, or an AffineQuantizer"
        )
