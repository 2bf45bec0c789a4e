"""One node as ONNX Runtime runs it."""

import numpy as np
import pytest

MICROSOFT = {"QLinearAdd", "QLinearConcat", "QLinearGlobalAveragePool", "QLinearAveragePool"}
INT32 = {"MatMulInteger", "ConvInteger"}  #: what these give; all others give the type they take


def run_node(op, constants, *given, **attributes):
    """Its answer to `given`, of one type; None among the inputs, the constants, where they go."""
    onnx, ort = pytest.importorskip("onnx"), pytest.importorskip("onnxruntime")
    helper, kind = onnx.helper, onnx.helper.np_dtype_to_tensor_dtype
    names = [f"i{k}" for k in range(len(constants))]
    free = [n for n, c in zip(names, constants, strict=True) if c is None]
    inits = [onnx.numpy_helper.from_array(np.asarray(c), n)
             for n, c in zip(names, constants, strict=True) if c is not None]  # fmt: skip
    infos = [
        helper.make_tensor_value_info(n, kind(x.dtype), x.shape)
        for n, x in zip(free, given, strict=True)
    ]
    domain = "com.microsoft" if op in MICROSOFT else ""
    node = helper.make_node(op, names, ["y"], domain=domain, **attributes)
    made = np.dtype(np.int32) if op in INT32 else given[0].dtype
    result = helper.make_tensor_value_info("y", kind(made), None)
    graph = helper.make_graph([node], "g", infos, [result], inits)
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid("com.microsoft", 1)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=8)
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, dict(zip(free, given, strict=True)))[0]
