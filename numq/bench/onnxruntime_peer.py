"""ONNX Runtime: a graph of one operator for each problem; weights are constants of the graph."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from numq.bench.peers import CHAINED, ONE_CODE, ONE_STEP, Contestant
from numq.bench.problems import (
    GROUP,
    SCALE,
    SHIFT,
    ZERO_POINT,
    Array,
    Call,
    ConvolutionArrays,
    ElementwiseArrays,
    GroupedArrays,
    Problem,
    ProductArrays,
)
from numq.bench.shapes import Form, Pass
from numq.extras import Extra, extra

if TYPE_CHECKING:
    import onnx

Constants = dict[str, Array]
ONE = np.array(1, np.float32)  #: input and weight scales; a multiplier is then 1 / output scale
MIDDLE = np.array(ZERO_POINT, np.uint8)


class OnnxRuntimePeer:
    """The CPU provider."""

    def __init__(self) -> None:
        """Both are needed: the graphs are made with onnx.

        Raises:
            MissingExtraError: onnxruntime or onnx is missing.
        """
        with extra(Extra.BENCH):
            import onnx  # noqa: F401
            import onnxruntime
        self._version = onnxruntime.__version__

    @property
    def name(self) -> str:
        """The library and its version."""
        return f"onnxruntime {self._version}"

    def contestants(self, given: Problem, threads: int) -> list[Contestant]:
        """The operator that does the same."""
        match given:
            case ProductArrays():
                return [_product(given, threads)]
            case GroupedArrays():
                return [_grouped(given, threads)]
            case ConvolutionArrays():
                return [_convolution(given, threads)]
            case ElementwiseArrays():
                return [_elementwise(given, threads)]
            case _:
                return []


@dataclass(frozen=True, eq=False)
class _Graph:
    """Nodes, constants, and the types of the results."""

    nodes: list[Any]
    constants: Constants
    results: dict[str, Any]

    def call(self, feed: Constants, threads: int) -> Call:
        """A session of so many threads."""
        import onnxruntime
        from onnx import helper, numpy_helper

        inputs = [
            helper.make_tensor_value_info(name, _kind(x.dtype), x.shape) for name, x in feed.items()
        ]
        outputs = [
            helper.make_tensor_value_info(name, _kind(dtype), None)
            for name, dtype in self.results.items()
        ]
        constants = [numpy_helper.from_array(x, name) for name, x in self.constants.items()]
        graph = helper.make_graph(self.nodes, "bench", inputs, outputs, constants)
        opsets = [helper.make_opsetid("", 19), helper.make_opsetid("com.microsoft", 1)]
        model = helper.make_model(graph, opset_imports=opsets, ir_version=9)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        session = onnxruntime.InferenceSession(
            model.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
        if len(self.results) > 1:
            return lambda: np.array(session.run(None, feed))
        return lambda: session.run(None, feed)[0]


def _kind(dtype: Any) -> int:
    from onnx import helper

    return int(helper.np_dtype_to_tensor_dtype(np.dtype(dtype)))


def _node(operator: str, inputs: str, output: str = "y", **attributes: Any) -> onnx.NodeProto:
    from onnx import helper

    return helper.make_node(operator, inputs.split(), [output], **attributes)


def _product(given: ProductArrays, threads: int) -> Contestant:
    if given.case.form is Form.LINEAR:
        return _linear(given, threads)
    constants: Constants = {"b": given.b} if given.case.form is Form.PACKED else {}
    feed = {"a": given.a} if constants else {"a": given.a, "b": given.b}
    graph = _Graph([_node("MatMulInteger", "a b")], constants, {"y": np.int32})
    return Contestant("ORT MatMulInteger", graph.call(feed, threads))


def _linear(given: ProductArrays, threads: int) -> Contestant:
    n = given.case.n
    constants: Constants = {
        "one": ONE, "z": MIDDLE, "b": given.b, "s": given.multiplier, "zeros": np.zeros(n, np.int8)
    }  # fmt: skip
    node = _node("QLinearMatMul", "a one z b s zeros one z")
    call = _Graph([node], constants, {"y": np.uint8}).call({"a": given.a}, threads)
    return Contestant("ORT QLinearMatMul", call, ONE_CODE)


def _grouped(given: GroupedArrays, threads: int) -> Contestant:
    """Accuracy level 4: activations are quantized to int8, as numq does."""
    k, n = given.codes.shape
    codes = (given.codes.T + 8).astype(np.uint8).reshape(n, k // GROUP, GROUP)
    packed = codes[..., 0::2] | codes[..., 1::2] << 4
    constants: Constants = {"b": packed, "s": np.ascontiguousarray(given.scales.T)}
    node = _node(
        "MatMulNBits", "x b s", domain="com.microsoft", K=k, N=n, bits=4, block_size=GROUP,
        accuracy_level=4,
    )  # fmt: skip
    call = _Graph([node], constants, {"y": np.float32}).call({"x": given.x}, threads)
    return Contestant("ORT MatMulNBits level 4", call, CHAINED, relative=True)


def _convolution(given: ConvolutionArrays, threads: int) -> Contestant:
    case = given.case
    constants: Constants = {
        "one": ONE, "z": MIDDLE, "w": given.w, "s": np.array(given.multiplier, np.float32),
        "zero": np.array(0, np.int8), "bias": given.bias,
    }  # fmt: skip
    node = _node(
        "QLinearConv", "x one z w s zero one z bias", group=case.groups,
        strides=[case.stride] * 2, pads=[case.padding] * 4,
    )  # fmt: skip
    call = _Graph([node], constants, {"y": np.uint8}).call({"x": given.x}, threads)
    return Contestant("ORT QLinearConv", call, ONE_CODE)


def _elementwise(given: ElementwiseArrays, threads: int) -> Contestant:
    constants: Constants = {"s": np.array(SCALE, np.float32), "z": np.array(SHIFT, np.int8)}
    match given.case.name:
        case Pass.QUANTIZE:
            graph = _Graph([_node("QuantizeLinear", "x s z")], constants, {"y": np.int8})
            return Contestant("ORT", graph.call({"x": given.x}, threads), ONE_CODE)
        case Pass.DEQUANTIZE:
            graph = _Graph([_node("DequantizeLinear", "x s z")], constants, {"y": np.float32})
            return Contestant("ORT", graph.call({"x": given.codes}, threads))
        case Pass.FAKE_QUANTIZE:
            nodes = [_node("QuantizeLinear", "x s z", "q"), _node("DequantizeLinear", "q s z")]
            graph = _Graph(nodes, constants, {"y": np.float32})
            return Contestant("ORT", graph.call({"x": given.x}, threads), ONE_STEP)
        case Pass.MIN_MAX:
            nodes = [_node(f"Reduce{end}", "x", end, keepdims=0) for end in ("Min", "Max")]
            graph = _Graph(nodes, {}, {"Min": np.float32, "Max": np.float32})
            return Contestant("ORT", graph.call({"x": given.x}, threads))
