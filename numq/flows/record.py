"""What a flow starts from: the graph of a model, recorded if need be."""

from __future__ import annotations

from inspect import Parameter, signature

from numpy.typing import ArrayLike

from numq.flows.batches import count, needs
from numq.graph import Graph, trace
from numq.nn import Module


def as_graph(model: object, *examples: ArrayLike, training: bool = False) -> Graph:
    """The model's graph; a module is recorded with the examples, or as it was called last.

    Args:
        model: a graph, or a module.
        examples: one for each input; none for a graph, or a module that has been called before.
        training: keep the Dropout of a module in it, which does nothing when the graph is run.

    Raises:
        TypeError: `model` is neither.
        ValueError: another number of examples than the model has inputs; none, and the module was
            never called.
    """
    if isinstance(model, Graph):
        return model
    from numq.flows.qat_network import QATNetwork

    if isinstance(model, QATNetwork):
        raise TypeError(
            "model is a QATNetwork, which convert turns into integers; allowed are the model that "
            "it was made from, and its graph"
        )
    if not isinstance(model, Module):
        kind = type(model)
        raise TypeError(
            f"model is a {kind.__module__}.{kind.__qualname__}; allowed are numq.nn.Module and "
            "numq.graph.Graph"
        )
    if examples:
        check_call(model, examples, "examples")
    return trace(model, *examples, dropout=training)


def check_call(model: Module, given: tuple[object, ...], name: str) -> None:
    """ValueError unless the module's forward takes so many inputs."""
    parameters = signature(model.forward).parameters.values()
    kinds = (Parameter.POSITIONAL_ONLY, Parameter.POSITIONAL_OR_KEYWORD)
    places = [p for p in parameters if p.kind in kinds]
    least = sum(p.default is Parameter.empty for p in places)
    most = len(given) if any(p.kind is Parameter.VAR_POSITIONAL for p in parameters) else 0
    if not least <= len(given) <= max(most, len(places)):
        inputs = [p.name for p in places]
        raise ValueError(f"{name} is {count(given)}; {needs(len(inputs), inputs)}")
