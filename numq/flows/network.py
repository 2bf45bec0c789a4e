"""A quantized network as a value: it runs on arrays, prints, is saved and loaded."""

from __future__ import annotations

from os import PathLike
from typing import Any

from numq.arrays import Array
from numq.graph import Graph, Node, Program, load_graph, run, save_graph
from numq.graph.inputs import arranged


class Network:
    """A quantized graph, ready to run.

    Attributes:
        graph: its nodes, constants and the meaning of its codes.
        program: the same with its weights laid out for this processor.
    """

    def __init__(self, graph: Graph) -> None:
        """Lay out the weights for this processor.

        Raises:
            ValueError: parameters that no kernel can use.
        """
        self.graph, self.program = graph, Program(graph)

    def __call__(self, *inputs: Any, **named: Any) -> Any:
        """Real numbers in, float32 out; several outputs come as a list.

        Args:
            inputs: as the model was called when it was recorded: arrays and Tensors, None, tuples
                of them; or one array for each input of the graph.
            named: the same by keyword.
        """
        return self.program(*inputs, **named)

    def edges(self, *inputs: Any, **named: Any) -> dict[str, Array]:
        """What every edge carries for these inputs, codes as codes."""
        seen: dict[str, Array] = {}
        run(self.program, arranged(self.graph, inputs, named), seen.__setitem__)
        return seen

    @property
    def islands(self) -> list[Node]:
        """The nodes of a static network that compute in float, as no kernel has them.

        Empty for weight-only and dynamic networks, whose edges are all float.
        """
        if not self.graph.qparams:
            return []
        doors = ("QuantizeLinear", "DequantizeLinear")
        return [
            node
            for node in self.graph
            if node.op not in doors and node.outputs[0] not in self.graph.qparams
        ]

    @property
    def nbytes(self) -> int:
        """Bytes of all constants, packed."""
        return self.graph.nbytes

    def save(self, path: str | PathLike[str]) -> int:
        """Write it to one safetensors file; returns its bytes. Errors: `numq.graph.save_graph`."""
        return save_graph(self.graph, path)

    @classmethod
    def load(cls, path: str | PathLike[str]) -> Network:
        """Read what `save` wrote; ValueError says what is wrong with a file that is not."""
        graph = load_graph(path)
        try:
            return cls(graph)
        except (ValueError, TypeError) as error:
            raise ValueError(
                f"path is {path}, whose graph cannot run: {error}; allowed are whole graphs that "
                "save has written"
            ) from error

    def __repr__(self) -> str:
        """A line for each node, then the float islands of a network that has codes."""
        text = repr(self.graph).replace("Graph(", "Network(", 1)
        if self.graph.qparams and self.islands:
            text += f"\nfloat islands: {', '.join(f'{n.name} ({n.op})' for n in self.islands)}"
        return text
