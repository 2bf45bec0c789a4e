"""What a flow starts from: the graph of a model, recorded if need be."""

from __future__ import annotations

from inspect import Parameter, signature

from numpy.typing import ArrayLike

from numq.autograd import as_tensor
from numq.flows.batches import REFUSALS, Batch, count, needs, told
from numq.flows.faithful import check_values, other_values
from numq.graph import Graph, trace
from numq.graph.trace import call_of
from numq.nn import Module
from numq.nn.call import Call


def as_graph(
    model: object, *examples: ArrayLike, training: bool = False, where: str | None = None
) -> Graph:
    """The model's graph; a module is recorded with the examples, or as it was called last.

    A module that was called with None, tuples or keywords is recorded so again: the examples take
    the places of the tensors of that call, if they are as many and of their kinds.

    Args:
        model: a graph, or a module.
        examples: one for each input; none for a graph, or a module that has been called before.
        training: keep the Dropout of a module in it, which does nothing when the graph is run.
        where: what the examples are called, for the errors of the model on them.

    Raises:
        TypeError: `model` is neither.
        ValueError: another number of examples than the model has inputs; none, and the module was
            never called; a module that gives other values than its recording.
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
    call = _as_called(model, examples)
    if call is None and examples:
        check_call(model, examples, where or "examples")
    call = call or Call(examples)
    try:
        used = call_of(model, call.args, call.kwargs)
        graph = trace(model, *call.args, dropout=training, **call.kwargs)
    except REFUSALS as error:
        if where is None:
            raise
        raise told(error, where) from error
    where = where or "examples"
    check_values(model, graph, used, where)
    check_values(model, graph, other_values(graph, used), f"{where}, changed")
    return graph


def check_batch(model: Module, graph: Graph, given: Batch, where: str) -> None:
    """ValueError unless the recording does on these arrays what the model does."""
    call = _as_called(model, given) or Call(given)
    check_values(model, graph, call_of(model, call.args, call.kwargs), where)


def _as_called(model: Module, given: Batch) -> Call | None:
    """The last call with these arrays in it, if it was more than arrays and they fit."""
    explicit = any(x is None or isinstance(x, tuple) for x in given)
    if explicit or model.seen is None or model.seen.is_plain:
        return None
    return model.seen.filled([as_tensor(x, name="examples").data for x in given])


def check_call(model: Module, given: Batch, name: str) -> None:
    """ValueError unless the module's forward takes so many inputs, or was called with them."""
    if _as_called(model, given):
        return
    parameters = signature(model.forward).parameters.values()
    kinds = (Parameter.POSITIONAL_ONLY, Parameter.POSITIONAL_OR_KEYWORD)
    places = [p for p in parameters if p.kind in kinds]
    least = sum(p.default is Parameter.empty for p in places)
    most = len(given) if any(p.kind is Parameter.VAR_POSITIONAL for p in parameters) else 0
    if not least <= len(given) <= max(most, len(places)):
        inputs = [p.name for p in places]
        raise ValueError(f"{name} is {count(given)}; allowed is {needs(len(inputs), inputs)}")
