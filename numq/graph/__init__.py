"""One graph for training, quantization, export and import; nodes have ONNX operator names."""

from numq.graph.graph import Constant, Graph, Node
from numq.graph.run import Program, run, run_tensors
from numq.graph.show import draw, table
from numq.graph.store import load_graph, save_graph
from numq.graph.trace import trace

__all__ = [
    "Constant",
    "Graph",
    "Node",
    "Program",
    "draw",
    "load_graph",
    "run",
    "run_tensors",
    "save_graph",
    "table",
    "trace",
]
