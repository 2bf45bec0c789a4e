"""One graph for training, quantization and files; nodes are named by ONNX."""

from numq.graph.graph import Constant, Graph, Node
from numq.graph.inputs import Input, Numbers
from numq.graph.lower import is_lowered, lower
from numq.graph.run import Program, run, run_tensors
from numq.graph.schema import Attribute, Domain, Schema, Size
from numq.graph.schemas import SCHEMAS
from numq.graph.show import draw, table
from numq.graph.store import load_graph, save_graph
from numq.graph.trace import trace

__all__ = [
    "SCHEMAS",
    "Attribute",
    "Constant",
    "Domain",
    "Graph",
    "Input",
    "Node",
    "Numbers",
    "Program",
    "Schema",
    "Size",
    "draw",
    "is_lowered",
    "load_graph",
    "lower",
    "run",
    "run_tensors",
    "save_graph",
    "table",
    "trace",
]
