"""What calibration has seen on the edges of a plan.

`prepare` makes the plan, `calibrate` runs batches and lets an observer look at each edge with a
range of its own, `edge_qparams` says what the codes will mean. All of it is values: calibrating
again gives another Prepared.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from numq.arrays import Array, check_type
from numq.flows.batches import REFUSALS, Batches, arrays, checked, told
from numq.flows.plan import Plan, plan
from numq.flows.recipe import Recipe
from numq.graph import Graph, Program, run
from numq.observers import Observed
from numq.qparams import QParams
from numq.quantizers import Quantizer


@dataclass(frozen=True, eq=False, repr=False)
class Prepared:
    """A float graph with observers on its edges.

    Attributes:
        graph: what runs, in float.
        plan: which edges will be codes, and which nodes run on them.
        seen: what the observers remember so far.
    """

    graph: Graph
    plan: Plan
    seen: Mapping[str, Observed] = field(default_factory=dict)

    @property
    def edges(self) -> Mapping[str, Quantizer]:
        """The edges with a range of their own, and what chooses it."""
        return self.plan.quantizers

    def __repr__(self) -> str:
        """The edges and whether they have been calibrated."""
        lines = [f"  {e}: {q!r}{self._state(e)}" for e, q in self.edges.items()]
        return "\n".join(["Prepared(", *lines, ")"])

    def _state(self, edge: str) -> str:
        if edge in self.plan.fixed:
            return ", known"
        return ", seen" if edge in self.seen else ""


def prepare(graph: Graph, recipe: Recipe = Recipe()) -> Prepared:
    """Mark the edges that will carry codes: whatever an integer kernel reads or makes.

    Args:
        graph: a float graph, fused or not.
        recipe: quantizers and arithmetic.

    Raises:
        ValueError: nothing in the graph has an integer kernel, or overrides that do not fit it.
    """
    check_type(graph, Graph, "graph")
    check_type(recipe, Recipe, "recipe")
    return Prepared(graph, plan(graph, recipe))


def calibrate(prepared: Prepared, batches: Batches) -> Prepared:
    """Run the batches in float and let every observer see its edge; states are merged.

    Args:
        prepared: from `prepare`, or from an earlier `calibrate`.
        batches: inputs that stand for what will come, arrays or Tensors; a tuple for a graph with
            several inputs.

    Raises:
        TypeError: one array in place of batches, or a batch that is neither array nor tuple.
        ValueError: no batches, or one without values; another number of inputs, or shapes that the
            graph does not take; NaN or infinity on an edge.
        IndexError: indices outside of what a node takes them from.
    """
    return calibrated(prepared, batches, "batches")


def calibrated(prepared: Prepared, batches: Batches, argument: str) -> Prepared:
    """The same, for batches that the caller knows as `argument`."""
    check_type(prepared, Prepared, "prepared")
    program, seen = Program(prepared.graph), dict(prepared.seen)
    wanted = {e: q for e, q in prepared.edges.items() if e not in prepared.plan.fixed}

    def visit(edge: str, values: Array) -> None:
        if edge not in wanted:
            return
        try:
            state = wanted[edge].observe(values)
        except REFUSALS as error:
            raise told(error, f"edge {edge}") from error
        seen[edge] = wanted[edge].merge(seen[edge], state) if edge in seen else state

    for i, given in enumerate(checked(batches, argument, prepared.graph.inputs)):
        try:
            with np.errstate(over="ignore", invalid="ignore"):  # told by the edge's observer
                run(program, arrays(given), visit)
        except REFUSALS as error:
            raise told(error, f"{argument}[{i}]") from error
    return replace(prepared, seen=seen)


def edge_qparams(prepared: Prepared) -> dict[str, QParams]:
    """What the codes of every edge will mean.

    Sigmoid, Tanh and Softmax have ranges known in advance; an operator that only moves codes about
    gives what it got; everything else is what its observer has seen.

    Raises:
        ValueError: an edge that has not been calibrated.
    """
    own = dict(prepared.plan.fixed)
    for edge, quantizer in prepared.edges.items():
        if edge in own:
            continue
        if edge not in prepared.seen:
            raise ValueError(
                f"edge {edge} is not calibrated; allowed are edges that calibrate has seen "
                "batches of"
            )
        try:
            own[edge] = quantizer.qparams_of(prepared.seen[edge])
        except ValueError as error:
            raise told(error, f"edge {edge}") from error
    return prepared.plan.meanings(own)
