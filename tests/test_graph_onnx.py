"""Every float operator of a graph made by hand is what ONNX's reference says, or is refused."""

import re
from itertools import product

import numpy as np
import pytest

from numq import flows, sqnr_db
from numq.autograd import Tensor
from numq.graph import SCHEMAS, Domain, Graph, Node, Program, draw, lower, run_tensors

onnx = pytest.importorskip("onnx")
reference = pytest.importorskip("onnx.reference")

OPSET = 21
# Sums of up to 200 float32 products in another order, and functions good to a few units.
TOLERANCE = 200 * 2.0**-24


def values(*shape, low=-2.0, high=2.0):
    return np.random.default_rng(sum(shape)).uniform(low, high, shape).astype(np.float32)


TIES = np.array([[1, 3, 3, 0], [2, 2, -1, 2], [0, 0, 0, 0]], np.float32)
X, Y, V = values(3, 4), values(3, 4), values(4)
IMAGE, FILTER = values(2, 4, 7, 6), values(6, 4, 3, 2)
CUBE = values(2, 3, 4)
BYTES = np.random.default_rng(1).integers(0, 256, (6, 7)).astype(np.uint8)
CODES = np.random.default_rng(2).integers(-128, 128, (6, 7)).astype(np.int8)
LABELS = np.array([3, 0, 1])
MASK = np.array([[True], [False], [True]])


def each(**choices):
    """Every combination of the attributes; one that is `...` is left out."""
    for chosen in product(*choices.values()):
        yield {k: v for k, v in zip(choices, chosen, strict=True) if v is not ...}


def unary(*ops, x=X):
    return {op: [((x,), {})] for op in ops}


CONV = list(each(
    auto_pad=[..., "NOTSET", "VALID", "SAME_UPPER", "SAME_LOWER"], strides=[..., (2, 1), (3, 2)],
    dilations=[..., (2, 1)], kernel_shape=[..., (3, 2)], pads=[..., (1, 0, 2, 1)],
))  # fmt: skip
POOL = [
    *each(auto_pad=[..., "NOTSET", "VALID", "SAME_UPPER", "SAME_LOWER"],
          strides=[..., (2, 1), (3, 2)], kernel_shape=[(3, 2), (2, 3)], pads=[..., (1, 0, 2, 1)],
          dilations=[..., (1, 1)]),
    *({"kernel_shape": (3, 2), **a} for a in ({"ceil_mode": 1}, {"dilations": (2, 1)})),
]  # fmt: skip
REDUCE = list(each(
    axes=[..., (), (1,), (0, -1)], keepdims=[..., 0, 1], noop_with_empty_axes=[..., 1],
))  # fmt: skip
NORM = (values(2, 3, 4, 2), V[:3], V[1:], V[:3] / 9, np.abs(V[1:]))

# Inputs and attributes of each operator.
CASES = {
    **{op: [((X, Y), {}), ((X, V), {})] for op in ("Add", "Sub", "Mul", "Div", "Greater", "Less")},
    **{op: [((X,), {}), ((X, V), {}), ((X, V, Y), {})] for op in ("Max", "Min")},
    **unary("Neg", "Abs", "Exp", "Tanh", "Sigmoid", "Relu", "Erf", "GlobalAveragePool", x=IMAGE),
    **unary("Log", "Sqrt", x=np.abs(X)),
    "Round": [((np.array([-2.5, -1.5, -0.5, 0.5, 1.5, 2.4], np.float32),), {})],
    "Pow": [((np.abs(X), np.float32(k)), {}) for k in (0.0, 0.5, 2.0, -1.0)]
    + [((X, np.array([2.0, 3.0, 1.0, 0.0], np.float32)), {})],
    "LeakyRelu": [((X,), a) for a in each(alpha=[..., 0.0, 0.3])],
    "Gelu": [((X,), a) for a in each(approximate=[..., "none", "tanh"])],
    "Clip": [((X,), a) for a in each(min=[..., -1.0, 1.5], max=[..., 0.5, -2.0])],
    "Where": [((MASK, X, V), {})],
    "Cast": [((X,), {"to": to}) for to in ("float32", "int32", "int64", "float64", "bool")]
    + [((LABELS,), {"to": "float32"})],
    "MatMul": [((X, Y.T), {}), ((CUBE, Y.T), {}), ((V, Y.T), {}), ((X, V), {}), ((V, V), {}),
               ((CUBE, V), {}), ((V, CUBE.transpose(0, 2, 1)), {})],
    "Gemm": [
        ((X.T if a.get("transA") else X, W.T if a.get("transB") else W, *c), a)
        for W in [values(4, 5)]
        for c in [(), (values(5),), (values(3, 1),), (np.float32(2),), (values(3, 5),)]
        for a in each(alpha=[..., 0.5], beta=[..., 2.0, 0.0], transA=[..., 0, 1],
                      transB=[..., 0, 1])
    ],
    "MatMulInteger": [
        ((a, CODES[:4, :5], *z), {}) for a in (BYTES[:3, :4], BYTES[None, :2, :4])
        for z in [(), (np.uint8(7),), (np.uint8(7), np.int8(-3)), (np.uint8(0), CODES[0, :5])]
    ],
    "ConvInteger": [
        ((BYTES[None, None], CODES[None, None, :3, :2], *z), a)
        for z in [(), (np.uint8(7),), (np.uint8(7), np.int8(-3))]
        for a in each(pads=[..., (1, 0, 2, 1)], strides=[..., (2, 1)])
    ],
    "Conv": [((IMAGE, FILTER, *b), a) for b in [(), (values(6),)] for a in CONV]
    + [((IMAGE, values(4, 2, 2, 2)), {"group": 2}), ((IMAGE, values(4, 1, 2, 2)), {"group": 4})],
    **{op: [((CUBE,), a) for a in REDUCE]
       for op in ("ReduceSum", "ReduceMean", "ReduceMax", "ReduceMin")},
    "ArgMax": [((TIES,), a) for a in each(axis=[..., 0, 1, -1], keepdims=[..., 0, 1],
                                          select_last_index=[..., 0, 1])],
    "MaxPool": [((IMAGE,), a) for a in [*POOL, {"kernel_shape": (2, 2), "storage_order": 1}]],
    "AveragePool": [((IMAGE,), {**a, **c}) for a in POOL for c in each(count_include_pad=[..., 1])],
    **{op: [((CUBE,), a) for a in each(axis=[..., 0, 1, -1])] for op in ("Softmax", "LogSoftmax")},
    "BatchNormalization": [(NORM, a) for a in each(epsilon=[..., 1e-2], momentum=[..., 0.5],
                                                   training_mode=[..., 0])],
    "LayerNormalization": [
        ((CUBE, values(*shape), *([values(*shape) + 1] if b else [])), {**at, **a})
        for shape, at in [((4,), {}), ((4,), {"axis": 2}), ((3, 4), {"axis": 1})]
        for b in (0, 1) for a in each(epsilon=[..., 1e-2], stash_type=[..., 1])
    ],
    "SoftmaxCrossEntropyLoss": [((X, LABELS), a) for a in each(
        reduction=[..., "mean", "sum", "none"], ignore_index=[..., 3])],
    "Reshape": [((CUBE,), a) for a in each(
        shape=[(6, 4), (0, -1), (-1,), (0, 0, 2, 2), (2, 0, -1), (4, 6)], allowzero=[..., 0, 1])]
    + [((np.zeros((0, 3), np.float32),), {"shape": (3, 0), "allowzero": 1})],
    "Flatten": [((CUBE,), a) for a in each(axis=[..., 0, 1, 3, -1, -2])],
    "Transpose": [((CUBE,), a) for a in each(perm=[..., (2, 0, 1), (0, 2, 1)])],
    "Unsqueeze": [((X,), a) for a in each(axes=[(0,), (-1,), (0, 2), (1, -1)])],
    "Squeeze": [((values(1, 3, 1, 2),), a) for a in each(axes=[..., (0,), (0, 2), (-2,)])],
    "Expand": [((V[:, None],), a) for a in each(shape=[(4, 3), (1, 3), (2, 4, 3), (4, 1), (1,)])],
    "Concat": [((CUBE, CUBE + 1, CUBE), a) for a in each(axis=[0, 1, -1])] + [((X,), {"axis": 0})],
    "Pad": [((X,), a) for a in each(pads=[(0, 1, 2, 0), (1, 1, 1, 1)], value=[..., 3.0],
                                    mode=[..., "constant", "reflect", "edge", "wrap"])],
    "Slice": [((CUBE,), a) for a in each(
        starts=[(0, -1), (1, -3), (-100, 5)], ends=[(2, 4), (-1, 2**63 - 1), (100, -100)],
        axes=[..., (0, 2), (-1, 1)], steps=[..., (1, 2), (1, -1), (-1, -2)])],
    "Gather": [((CUBE, i), a) for i in (np.array([1, 0, -1]), np.array(1), np.array([[0, 1]]))
               for a in each(axis=[..., 1, -1])],
    "GatherND": [((CUBE, np.array(i)), a) for i in ([[0, 2], [1, -1]], [[1], [0]], [[[0, 1, 2]]])
                 for a in each(batch_dims=[..., 0, 1])],
    "Dropout": [((X,), a) for a in each(ratio=[..., 0.25])],
}  # fmt: skip

# Whatever is refused is one of these: the operator, and what the error names.
REFUSED = {
    "Pow": "exponent", "Clip": "min is", "Conv": "pads is", "MaxPool": "pads is|ceil_mode|dilations"
    "|storage_order|padding", "AveragePool": "pads is|ceil_mode|dilations|padding",
    "SoftmaxCrossEntropyLoss": "reduction|ignore_index", "Pad": "mode", "GatherND": "batch_dims",
    "Reshape": "shape is",
}  # fmt: skip


def test_every_operator_on_real_numbers_is_here():
    ours = {op for op, row in SCHEMAS.items() if row.domain is Domain.ONNX}
    coded = {"QuantizeLinear", "DequantizeLinear", "QLinearConv"}
    assert ours - set(CASES) == {*coded, "Split"}


def hand_made(op, inputs, attributes):
    """A graph of one node, its first input given and the others constants."""
    names = tuple(f"i{i}" for i in range(len(inputs)))
    node = Node(op, "node", names, ("y",), attributes)
    constants = dict(zip(names[1:], map(np.asarray, inputs[1:]), strict=True))
    return Graph(names[:1], ("y",), (node,), constants)


def by_onnx(op, inputs, attributes, outputs=1):
    """The same node by ONNX's reference; attributes that are inputs there are passed as such.

    Pools by ONNX Runtime: of auto_pad the reference makes other shapes than ONNX says (1.23).
    """
    row = SCHEMAS[op]
    edges = [f"y{i}" for i in range(outputs)]
    feeds = {f"i{i}": np.asarray(x) for i, x in enumerate(inputs)}
    names, plain = list(feeds), {}
    for name, value in attributes.items():
        place = row.attributes[name].place
        if place is None:
            plain[name] = getattr(onnx.TensorProto, NAMES[value]) if op == "Cast" else value
            continue
        names += [""] * (place + 1 - len(names))
        names[place] = name
        whole = isinstance(value, tuple)
        feeds[name] = np.array(value, np.int64 if whole else np.float32)
    node = onnx.helper.make_node(op, names, edges, **plain)
    types = [
        onnx.helper.make_tensor_value_info(
            name, onnx.helper.np_dtype_to_tensor_dtype(x.dtype), x.shape
        )
        for name, x in feeds.items()
    ]
    graph = onnx.helper.make_graph([node], "g", types, [onnx.ValueInfoProto(name=e) for e in edges])
    opsets = [onnx.helper.make_opsetid("", OPSET)]
    model = onnx.helper.make_model(graph, opset_imports=opsets, ir_version=10)
    if op in ("MaxPool", "AveragePool"):
        runtime = pytest.importorskip("onnxruntime")
        return runtime.InferenceSession(model.SerializeToString()).run(None, feeds)[0]
    made = reference.ReferenceEvaluator(model).run(None, feeds)
    return made[0] if outputs == 1 else made


NAMES = {"float32": "FLOAT", "float64": "DOUBLE", "int32": "INT32", "int64": "INT64",
         "bool": "BOOL"}  # fmt: skip


def refusal(op, inputs, attributes):
    """The message, if the node is refused when it is made or when it meets these inputs."""
    try:
        Program(hand_made(op, inputs, attributes))(inputs[0])
    except (ValueError, TypeError) as error:
        return str(error)
    return None


@pytest.mark.parametrize("op", CASES)
def test_right_or_refused(op):
    right = 0
    for inputs, attributes in CASES[op]:
        told = f"{op} {attributes} of {[np.shape(x) for x in inputs]}"
        if message := refusal(op, inputs, attributes):
            assert op in REFUSED, f"{told}: {message}"
            assert re.search(rf"^node node \({op}\): .*({REFUSED[op]})", message), message
            continue
        got = Program(hand_made(op, inputs, attributes))(inputs[0])
        want = by_onnx(op, inputs, attributes)
        assert (got.shape, got.dtype) == (want.shape, want.dtype), told
        np.testing.assert_allclose(got, want, rtol=TOLERANCE, atol=TOLERANCE, err_msg=told)
        right += 1
    assert right > len(CASES[op]) / 5


@pytest.mark.parametrize(
    ("attributes", "outputs"),
    [
        ({"num_outputs": 3}, 3), ({"num_outputs": 2, "axis": 1}, 2),
        ({"split": (1, 0, 2), "axis": 1}, 3), ({"split": (2,), "axis": 0}, 1),
        ({"num_outputs": 2, "axis": -1}, 2),
    ],
)  # fmt: skip
def test_several_outputs(attributes, outputs):
    x = values(2, 3, 4)[:, :3] if outputs < 3 else values(3, 3, 4)
    edges = tuple(f"y{i}" for i in range(outputs))
    graph = Graph(("x",), edges, (Node("Split", "s", ("x",), edges, attributes),))
    got, want = Program(graph)(x), by_onnx("Split", (x,), attributes, outputs)
    for mine, theirs in zip(
        [got] if outputs == 1 else got, want if outputs > 1 else [want], strict=True
    ):
        assert mine.shape == theirs.shape
        assert (mine == theirs).all()


def test_several_outputs_in_the_flows():
    arrays = {"w": values(6, 4), "v": values(2, 3)}
    nodes = (
        Node("Gemm", "g", ("x", "w"), ("y",), {"transB": 1}),
        Node("Split", "s", ("y",), ("a", "b"), {"axis": 1, "num_outputs": 2}),
        Node("Mul", "m", ("a", "b"), ("c",)),
        Node("Gemm", "h", ("c", "v"), ("z",), {"transB": 1}),
    )
    graph, x = Graph(("x",), ("z", "b"), nodes, arrays, frozenset(arrays)), values(5, 4)
    want = Program(graph)(x)
    assert (want[1] == (x @ arrays["w"].T)[:, 3:]).all()
    trained = flows.prepare_qat(graph)
    trained(Tensor(x))
    networks = [flows.weight_only(graph), flows.dynamic(graph), flows.static(graph, [x]),
                flows.convert(trained.eval())]  # fmt: skip
    for network in networks:
        for made, right in zip(network(x), want, strict=True):
            assert sqnr_db(right, made) > 30
        assert flows.compare(graph, network, x)
        assert draw(network.graph).count("<rect") == 1 + len(network.graph.nodes)
        assert (Program(lower(network.graph))(x)[1] == network(x)[1]).all()
    assert [y.shape for y in run_tensors(graph, [Tensor(x)])] == [(5, 2), (5, 3)]
    with pytest.raises(ValueError, match=r"node s \(Split\): split is .*2 parts of 5"):
        Program(
            Graph(
                ("x",),
                ("a",),
                (nodes[1].having(split=(2, 2), num_outputs=None).turned("Split", inputs=("x",)),),
            )
        )(values(1, 5))


@pytest.mark.parametrize("pad", ["SAME_UPPER", "SAME_LOWER", "VALID"])
def test_borders_left_to_the_picture_in_the_flows(pad):
    arrays = {"w": values(4, 2, 3, 2), "v": values(3, 4)}
    window = {"kernel_shape": (3, 2), "strides": (2, 1), "auto_pad": pad}
    nodes = (
        Node("Conv", "conv", ("x", "w"), ("y",), {"strides": (2, 2), "auto_pad": pad}),
        Node("MaxPool", "largest", ("y",), ("a",), window),
        Node("AveragePool", "mean", ("a",), ("b",), {**window, "strides": (1, 1)}),
        Node("GlobalAveragePool", "all", ("b",), ("c",)),
        Node("Flatten", "flat", ("c",), ("d",)),
        Node("Gemm", "out", ("d", "v"), ("z",), {"transB": 1}),
    )
    graph = Graph(("x",), ("z", "b"), nodes, arrays, frozenset(arrays))
    inputs = values(2, 2, 15, 12), values(3, 2, 16, 13)
    trained = flows.prepare_qat(graph)
    for x in inputs:
        trained(Tensor(x))
    networks = [flows.weight_only(graph), flows.dynamic(graph), flows.convert(trained.eval()),
                flows.static(graph, inputs)]  # fmt: skip
    for x in inputs:
        want = Program(graph)(x)
        for network in networks:
            for made, right in zip(network(x), want, strict=True):
                assert made.shape == right.shape
                assert sqnr_db(right, made) > 18
