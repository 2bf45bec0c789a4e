"""Graphs made by hand that are wrong: each is refused by name, when it is made or at its first run.

A case is what is done, the error, and what it says: the node, edge, attribute or argument.
"""

import copy
import pickle

import numpy as np
import pytest

import numq as nq
from numq.autograd import Tensor
from numq.graph import Graph, Input, Node, Numbers, Program, Size, run, run_tensors
from numq.graph.operators import applied
from numq.requantization import Requantization

ONES = np.ones((2, 3), np.float32)
W = np.ones((4, 3), np.float32)
FILTER = np.ones((2, 1, 3, 3), np.float32)
CODES = nq.QParams(0.5, 0, nq.INT8)
OTHER = nq.QParams(0.25, 3, nq.INT8)
WEIGHT = nq.SymmetricQuantizer(nq.INT8, nq.PerChannel(0))(W)
PICTURE = nq.SymmetricQuantizer(nq.INT8)(FILTER)
HOW = {"requantization": Requantization.F32_EVEN}


def node(op="Relu", inputs=("x",), outputs=("y",), name="n", **attributes):
    return Node(op, name, inputs, outputs, attributes)


def graph(*nodes, inputs=("x",), outputs=("y",), **fields):
    return Graph(inputs, outputs, nodes or (node(),), **fields)


def constants(*nodes, **arrays):
    return graph(*nodes, constants=arrays)


def gemm(w=W, *bias, **attributes):
    made = {"w": w, **{f"c{i}": b for i, b in enumerate(bias)}}
    return constants(node("Gemm", ("x", *made), **attributes), **made)


def conv(w=FILTER, **attributes):
    return constants(node("Conv", ("x", "w"), **attributes), w=w)


def coded(op, inputs=("x",), qparams=None, outputs=("y",), arrays=(), **attributes):
    meanings = {"x": CODES, "y": CODES} if qparams is None else qparams
    return graph(node(op, inputs, outputs, **attributes), qparams=meanings, constants=dict(arrays))


def ran(made, *inputs):
    return Program(made)(*inputs)


def declared(shape, numbers=Numbers.REAL):
    return graph(declared={"x": Input(numbers, shape)})


MADE = {
    # Nodes
    "an unknown operator": (lambda: node("Rleu"), "op is 'Rleu', .*near it is Relu"),
    "an operator that is no text": (lambda: node(5), "op is 5"),
    "all dropped": (lambda: node("Dropout", ratio=1.0), "ratio is 1.0; .* from 0 on, below 1"),
    "more than all dropped": (lambda: node("Dropout", ratio=1.5), "ratio is 1.5"),
    "no name": (lambda: node(name=""), "name is empty"),
    "a name that is no text": (lambda: node(name=None), "name is None"),
    "inputs as a text": (lambda: node(inputs="x"), r"node n \(Relu\): inputs is 'x'"),
    "an input that is no text": (lambda: node(inputs=(1,)), "inputs has 1"),
    "too many inputs": (lambda: node(inputs=("x", "z")), "n .* has 2 inputs; allowed are 1"),
    "too few inputs": (lambda: node("Add"), r"n \(Add\): it has 1 inputs; allowed are 2"),
    "optional inputs beyond all": (lambda: node("Conv", tuple("abcd")), "4 inputs; .* 2 to 3"),
    "no inputs of a variadic operator": (lambda: node("Concat", (), axis=0), "0 inputs; .* 1 or"),
    "a missing input that is none": (lambda: node("Add", ("x", "")), "1 inputs; allowed are 2"),
    "an empty name inside": (lambda: node("Gemm", ("x", "", "c")), "inputs has an empty name"),
    "two outputs": (lambda: node(outputs=("y", "z")), "2 outputs; allowed are 1"),
    "no output": (lambda: node(outputs=()), "0 outputs; allowed are 1"),
    "attributes that are no mapping": (
        lambda: Node("Relu", "n", ("x",), ("y",), [1]), r"attributes is \[1\]"
    ),
    # Attributes
    "an unknown attribute": (lambda: gemm(alhpa=2.0), "attributes has 'alhpa', .*alpha, beta"),
    "an attribute of another operator": (lambda: node(axis=1), "'axis', .* allowed are none"),
    "a missing attribute": (lambda: node("Concat"), "attribute axis is missing"),
    "a float for an integer": (lambda: node("Flatten", axis=1.0), "axis is 1.0; .* an integer"),
    "a bool for an integer": (lambda: node("Flatten", axis=True), "axis is True; .* an integer"),
    "a text for a number": (lambda: gemm(alpha="2"), "alpha is '2'; allowed are a number"),
    "an integer of more than 64 bits": (lambda: node("Flatten", axis=2**63), "axis is 9223372"),
    "NaN": (lambda: gemm(alpha=float("nan")), "alpha is nan"),
    "None without a meaning": (lambda: gemm(transA=None), "transA is None"),
    "a flag of two": (lambda: gemm(transA=2), "transA is 2; allowed are 0 and 1"),
    "too few pads": (lambda: conv(pads=(1, 1)), r"pads is \(1, 1\); allowed are 4 integers"),
    "negative pads": (lambda: conv(pads=(0, 0, -1, 0)), "pads is .*-1.* from 0 on"),
    "strides of 0": (lambda: conv(strides=(0, 1)), "strides is .* from 1 on"),
    "group 0": (lambda: conv(group=0), "group is 0"),
    "an unknown padding": (lambda: conv(auto_pad="SAME"), "auto_pad is 'SAME'; .*SAME_UPPER"),
    "both paddings": (
        lambda: conv(auto_pad="VALID", pads=(1, 1, 1, 1)), "pads is .* beside auto_pad 'VALID'"
    ),
    "a kernel shape that lies": (
        lambda: conv(kernel_shape=(2, 2)), r"is \(2, 2\); allowed is that of the filter,"
    ),
    "a filter of three axes": (lambda: conv(FILTER[0]), r"shape \(1, 3, 3\); allowed is \(O,"),
    "a dilated pool": (
        lambda: node("MaxPool", kernel_shape=(2, 2), dilations=(2, 2)), r"dilations is \(2, 2\)"
    ),
    "a rounded-up pool": (
        lambda: node("AveragePool", kernel_shape=(2, 2), ceil_mode=1), "ceil_mode is 1"
    ),
    "a pool without a window": (lambda: node("MaxPool"), "kernel_shape is missing"),
    "reflection": (lambda: node("Pad", pads=(0, 0, 1, 1), mode="reflect"), "mode is 'reflect'"),
    "an odd number of pads": (lambda: node("Pad", pads=(0, 1, 1)), "pads is .* two for each axis"),
    "bounds that cross": (lambda: node("Clip", min=2.0, max=1.0), "min is 2.0, max 1.0"),
    "axes twice": (lambda: node("Squeeze", axes=(0, 0)), "axes is .*all different"),
    "no permutation": (lambda: node("Transpose", perm=(0, 2)), r"perm is \(0, 2\)"),
    "two lengths to find": (lambda: node("Reshape", shape=(-1, -1)), r"shape is \(-1, -1\)"),
    "a length of −2": (lambda: node("Reshape", shape=(-2,)), r"shape is \(-2,\)"),
    "a step of 0": (
        lambda: node("Slice", starts=(0,), ends=(1,), steps=(0,)), r"steps is \(0,\)"
    ),
    "starts without ends": (
        lambda: node("Slice", starts=(0, 0), ends=(1,)), "starts has 2, ends has 1"
    ),
    "an unknown activation": (lambda: gemm(activation="Tanh"), "activation is 'Tanh'; .* 'Relu'"),
    "a table of nothing": (lambda: node("Table"), "attribute function is missing"),
    "a table of what is no function of one element": (
        lambda: node("Table", function="Softmax"), "function is 'Softmax'; allowed"
    ),
    "a table with another function's attribute": (
        lambda: node("Table", function="Relu", alpha=1.0), "attributes has 'alpha'"
    ),
    "arithmetic by name": (
        lambda: node("QGemm", ("x", "w"), requantization="F32_EVEN"),
        "requantization is 'F32_EVEN'; allowed are a Requantization",
    ),
    "a transposed integer product": (
        lambda: node("QGemm", ("x", "w"), transA=1, transB=1, **HOW), "transA is 1; allowed are 0"
    ),
    "a training batch normalization": (
        lambda: node("BatchNormalization", tuple("xabcd"), training_mode=1), "training_mode is 1"
    ),
    # Names
    "an edge from nowhere": (lambda: graph(node(inputs=("z",))), r"n \(Relu\) has the input z, "),
    "an edge made later": (
        lambda: graph(node(inputs=("z",)), node(outputs=("z",), name="m")),
        r"has the input z, made only later, by node m \(Relu\)",
    ),
    "a cycle": (lambda: graph(node(inputs=("y",))), "has the input y, which it makes itself"),
    "an edge made twice": (
        lambda: graph(node(), node(name="m")), "a second time; allowed is each"
    ),
    "an input made again": (lambda: graph(node(outputs=("x",))), "a second time; allowed is each"),
    "an input twice": (lambda: graph(inputs=("x", "x")), "inputs has x a second time"),
    "a node's name twice": (
        lambda: graph(node(), node(outputs=("z",))), "nodes has n a second time"
    ),
    "an input that is a constant": (
        lambda: graph(constants={"x": ONES}), "inputs has x, which is a constant"
    ),
    "an output from nowhere": (lambda: graph(outputs=("z",)), "outputs has z, which nothing makes"),
    "outputs as a text": (lambda: graph(outputs="y"), "outputs is 'y'"),
    "a missing weight": (
        lambda: graph(node("Gemm", ("x", "w"))), r"n \(Gemm\) has the input w, .*constants"
    ),
    "a parameter that is no constant": (
        lambda: graph(parameters=frozenset(["w"])), "parameters has w, which is no constant"
    ),
    "a meaning of an unknown edge": (
        lambda: graph(qparams={"z": CODES}), "qparams has z, which is no edge"
    ),
    "a meaning that is none": (lambda: graph(qparams={"x": 0.5}), r"qparams\['x'\] is 0.5"),
    "a shape of an unknown edge": (
        lambda: graph(shapes={"z": (1,)}), "shapes has z, which is no edge"
    ),
    "a shape that is none": (lambda: graph(shapes={"x": 3}), r"shapes\['x'\] is 3"),
    "a declaration of no input": (
        lambda: graph(declared={"y": Input()}), "declared has y, which is no input"
    ),
    "a declaration that is none": (lambda: graph(declared={"x": (2, 3)}), r"declared\['x'\]"),
    "a negative length": (lambda: Input(shape=(-1,)), r"shape is \(-1,\)"),
    "a kind by name": (lambda: Input("REAL"), "numbers is 'REAL'"),
    "nodes that are none": (lambda: graph("Relu"), r"nodes\[0\] is 'Relu'"),
    "constants that are no mapping": (lambda: graph(constants=[ONES]), "constants is"),
    "a constant that is a list": (lambda: gemm([[1.0]]), "constant w is a list"),
    "a constant of objects": (
        lambda: gemm(np.array([None])), "constant w has dtype object; allowed are floats"
    ),
    "a masked constant": (lambda: gemm(np.ma.masked_array(W)), "constant w is a MaskedArray"),
    "a constant without a name": (lambda: constants(**{"": ONES}), "constants has an empty name"),
    "a length of no input": (
        lambda: graph(node("Expand", shape=(Size("z", 0), 3))), "as a length; allowed are axes of"
    ),
    "a length of an axis that is not there": (
        lambda: graph(node("Expand", shape=(Size("x", 2),)), declared={"x": Input(shape=("n", 3))}),
        r"plus=0\) as a length; allowed are axes of declared",
    ),
    # Codes
    "codes without a meaning": (
        lambda: coded("DequantizeLinear", qparams={}), "reads as codes; allowed are edges"
    ),
    "a quantized constant beside codes": (
        lambda: coded("QLinearAdd", ("x", "w"), arrays={"w": WEIGHT}),
        "reads as codes; allowed are edges",
    ),
    "a quantized constant as the codes of a product": (
        lambda: coded("QGemm", ("w", "w"), arrays={"w": WEIGHT}, transB=1, **HOW),
        "reads as codes; allowed are edges",
    ),
    "an array for a quantized constant": (
        lambda: coded("DequantizeLinear", ("w",), {}, arrays={"w": W}),
        "reads as codes; allowed are edges",
    ),
    "codes made without a meaning": (
        lambda: coded("QuantizeLinear", qparams={}), "makes as codes; allowed are edges"
    ),
    "codes read as numbers": (
        lambda: coded("Relu", qparams={"x": CODES}), "it carries codes; allowed are"
    ),
    "numbers with a meaning of codes": (
        lambda: coded("Relu", qparams={"y": CODES}), "as real numbers; allowed are"
    ),
    "codes that change their meaning on the way": (
        lambda: coded("Flatten", qparams={"x": CODES, "y": OTHER}), "moves x to y, .* the same"
    ),
    "codes that lose their meaning on the way": (
        lambda: coded("Flatten", qparams={"x": CODES}), "moves x to y, .* None for the other"
    ),
    "a weight that is no QTensor": (
        lambda: coded("QGemm", ("x", "w"), arrays={"w": W}, transB=1, **HOW),
        r"n \(QGemm\) has the input w; allowed is a quantized constant",
    ),
    "an integer product whose codes mean nothing": (
        lambda: coded("QGemm", ("x", "w"), {"x": CODES}, arrays={"w": WEIGHT}, transB=1, **HOW),
        "makes as codes; allowed are edges",
    ),
    "parts of no length and no number": (
        lambda: node("Split", outputs=("y", "z")), "split is None, num_outputs None"
    ),
    "a weight that is an edge": (
        lambda: coded("QGemm", ("x", "x"), transB=1, **HOW), "has the input x; allowed is a"
    ),
    "a bias of integers": (
        lambda: coded("QGemm", ("x", "w", "b"), arrays={"w": WEIGHT, "b": np.arange(4)},
                      transB=1, **HOW),
        "has the input b; allowed is a constant array of floats",
    ),
    "an integer product of pictures as a matrix": (
        lambda: ran(coded("QGemm", ("x", "w"), arrays={"w": PICTURE}, transB=1, **HOW), ONES),
        r"node n \(QGemm\): w is",
    ),
}  # fmt: skip

RUN = {
    "no inputs": (lambda: ran(graph()), "has 0 arrays; allowed are x"),
    "too many": (lambda: ran(graph(), ONES, ONES), "has 2 arrays; allowed are x"),
    "text": (lambda: ran(graph(), "abc"), "x has dtype"),
    "bools": (lambda: ran(graph(), ONES > 0), "x has dtype bool"),
    "NaN": (lambda: ran(graph(), ONES * np.nan), r"NaN or infinite\); allowed are"),
    "another rank": (lambda: ran(declared(("n", 3)), ONES[0]), r"x has shape \(3,\); .*\(n, 3\)"),
    "another length": (
        lambda: ran(declared(("n", 3)), ONES.T), r"x has shape \(3, 2\); .* 3 along axis 1"
    ),
    "no bools": (lambda: ran(declared(None, Numbers.BOOL), ONES), "x has dtype float32; .*bools"),
    "no integers": (lambda: ran(declared(None, Numbers.INTEGER), ONES), "x has dtype float32"),
    "floats as indices": (
        lambda: ran(constants(node("Gather", ("w", "x")), w=W), ONES), "x has dtype float32"
    ),
    "indices out of range": (
        lambda: ran(constants(node("Gather", ("w", "x")), w=W), [9]), r"n \(Gather\): .*9"
    ),
    "shapes that do not fit": (lambda: ran(gemm(), ONES.T), r"n \(Gemm\): x has shape \(3, 2\)"),
    "a bias that does not fit": (
        lambda: ran(gemm(W, np.ones(5, np.float32), transB=1), ONES), r"n \(Gemm\): "
    ),
    "a weight of three axes": (lambda: ran(gemm(W[None], transB=1), ONES), r"n \(Gemm\): "),
    "a transposed batch": (
        lambda: ran(gemm(transA=1), ONES[None]), r"n \(Gemm\): A has shape \(1, 2, 3\)"
    ),
    "a variance of integers": (
        lambda: ran(constants(node("BatchNormalization", tuple("xgbmv")), g=W[0], b=W[0], m=W[0],
                              v=np.ones(3, int)), ONES),
        r"n \(BatchNormalization\): var has dtype int64",
    ),
    "a zero point of floats": (
        lambda: ran(constants(node("MatMulInteger", tuple("xwz")), w=np.ones((3, 2), np.int8),
                              z=np.full((), 1.5)), ONES.astype(np.uint8)),
        r"n \(MatMulInteger\): a zero point has dtype float",
    ),
    "a zero point that is no code": (
        lambda: ran(constants(node("MatMulInteger", tuple("xwz")), w=np.ones((3, 2), np.int8),
                              z=np.array(300)), ONES.astype(np.uint8)),
        r"n \(MatMulInteger\): x_zero_point is 300, .* uint8 codes are 0 to 255",
    ),
    "a zero point of a filter that is no code": (
        lambda: ran(constants(node("ConvInteger", tuple("xwzv")), w=np.ones((1, 1, 1, 1), np.int8),
                              z=np.array(0), v=np.array(200)), np.ones((1, 1, 2, 2), np.uint8)),
        r"n \(ConvInteger\): w_zero_point is 200, .* int8 codes are -128 to 127",
    ),
    "a filter of rows": (
        lambda: ran(graph(node("Conv", ("x", "w")), inputs=("x", "w")), np.ones((1, 3, 5, 5)),
                    np.ones((4, 3, 3))),
        r"n \(Conv\): w has shape \(4, 3, 3\); allowed are filters \(F, C/group, kh, kw\)",
    ),
    "another kernel than the filter's": (
        lambda: ran(graph(node("Conv", ("x", "w"), kernel_shape=(2, 2)), inputs=("x", "w")),
                    np.ones((1, 3, 5, 5)), np.ones((4, 3, 3, 3))),
        r"n \(Conv\): kernel_shape is \(2, 2\); allowed are \(3, 3\), of w with",
    ),
    "no picture": (lambda: ran(conv(), ONES), r"n \(Conv\): x has shape \(2, 3\)"),
    "a filter of other channels": (
        lambda: ran(conv(), np.ones((1, 2, 5, 5))), r"n \(Conv\): x has 2 channels"
    ),
    "an axis that is not there": (
        lambda: ran(graph(node("Softmax", axis=5)), ONES), r"n \(Softmax\): axis"
    ),
    "an axis to reduce that is not there": (
        lambda: ran(graph(node("ReduceSum", axes=(4,))), ONES), r"n \(ReduceSum\): ax"
    ),
    "an axis to search that is not there": (
        lambda: ran(graph(node("ArgMax", axis=2)), ONES), r"n \(ArgMax\): axis is 2"
    ),
    "an axis to join that is not there": (
        lambda: ran(graph(node("Concat", ("x", "x"), axis=2)), ONES), r"n \(Concat\): .*axis 2"
    ),
    "an axis to cut that is not there": (
        lambda: ran(graph(node("Slice", starts=(0,), ends=(1,), axes=(2,))), ONES),
        r"n \(Slice\): axes is \(2,\)",
    ),
    "another number of elements": (
        lambda: ran(graph(node("Reshape", shape=(5,))), ONES), r"n \(Reshape\): shape is \(5,\)"
    ),
    "a length kept of no axis": (
        lambda: ran(graph(node("Reshape", shape=(1, 1, 0))), ONES), r"n \(Reshape\): shape is"
    ),
    "what does not broadcast": (
        lambda: ran(graph(node("Expand", shape=(5, 2))), ONES), r"n \(Expand\): shape is \(5, 2\)"
    ),
    "a permutation of other axes": (
        lambda: ran(graph(node("Transpose", perm=(0, 1, 2))), ONES), r"n \(Transpose\): ax"
    ),
    "an axis of length 3 squeezed": (
        lambda: ran(graph(node("Squeeze", axes=(1,))), ONES), r"n \(Squeeze\): axes"
    ),
    "an exponent for each element": (
        lambda: ran(graph(node("Pow", ("x", "x"))), ONES), r"n \(Pow\): the exponent has shape"
    ),
    "arrays for Tensors": (lambda: run_tensors(graph(), [ONES]), "x, of inputs, is .*Tensors"),
    "codes on Tensors": (
        lambda: run_tensors(coded("DequantizeLinear", qparams={"x": CODES}), [Tensor(ONES)]),
        r"node n \(DequantizeLinear\) has codes",
    ),
    "an array for all inputs": (lambda: run(Program(graph()), ONES), "inputs is .* allowed is"),
    "a graph for a program": (lambda: run(graph(), [ONES]), "program is"),
    "a module for a graph": (lambda: Program(nq.nn.ReLU()), "graph is"),
}  # fmt: skip


def cast(values, to):
    return applied(node("Cast", to=to), [Tensor(np.asarray(values))])[0].data


@pytest.mark.parametrize(
    ("values", "to", "words"),
    [
        ([1.0, np.inf], "int8", "the value inf; allowed are"),
        ([-np.inf, 3.0], "int64", "the value -inf; allowed are"),
        ([np.nan, 3.0], "uint8", "the value nan; allowed are"),
        ([300.0], "uint8", r"from 300\.0 to 300\.0; allowed in uint8"),
        ([300], "int8", "from 300 to 300; allowed in int8"),
        ([-1.0], "uint8", r"-1\.0 to -1\.0; allowed in uint8"),
        ([128.0], "int8", "-128 to 127"),
        (np.float32([2.0**63]), "int64", "allowed in int64 are"),
        (np.uint64([2**63]), "int64", "allowed in int64 are"),
    ],
)
def test_integers_are_not_cast_from_what_they_cannot_hold(values, to, words):
    with pytest.raises(ValueError, match=words):
        cast(values, to)


def test_a_cast_holds_its_ends():
    assert cast([127.9, -128.9, -0.5], "int8").tolist() == [127, -128, 0]
    assert cast([255.5, -0.9], "uint8").tolist() == [255, 0]
    assert cast(np.float32([-(2.0**63)]), "int64").tolist() == [-(2**63)]
    assert cast([70000.0, -70000.0, np.nan], "float16").tolist()[:2] == [np.inf, -np.inf]
    assert cast([True, False], "int8").tolist() == [1, 0]
    assert cast(np.zeros(0), "int8").shape == (0,)
    with pytest.raises(ValueError, match=r"from 1\.0 to 300\.0; allowed in int8 are"):
        ran(graph(node("Cast", to="int8")), [1.0, 300.0])


@pytest.mark.parametrize("name", MADE)
def test_refused_when_made(name):
    action, words = MADE[name]
    with pytest.raises((ValueError, TypeError), match=words) as caught:
        action()
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize("name", RUN)
def test_refused_when_run(name):
    action, words = RUN[name]
    with pytest.raises((ValueError, TypeError, IndexError), match=words) as caught:
        action()
    assert len(str(caught.value)) < 400


def test_omitted_inputs_and_attributes_are_onnxs():
    made = node("Gemm", ["x", "w", ""])
    assert made.inputs == ("x", "w")
    assert (made.attributes["alpha"], made.attributes["transB"]) == (1.0, 0)
    pads = node("Conv", ("x", "w"), pads=np.array([1, 0, 1, 0])).attributes["pads"]
    assert pads == (1, 0, 1, 0)
    assert all(type(n) is int for n in pads)


def test_a_node_stays_what_it_was():
    made = node("Flatten", axis=2)
    with pytest.raises(TypeError):
        made.attributes["axis"] = 7
    for again in (copy.deepcopy(made), copy.copy(made), pickle.loads(pickle.dumps(made))):
        assert (again.op, again.name, again.inputs, again.outputs) == (
            "Flatten",
            "n",
            ("x",),
            ("y",),
        )
        assert again.attributes == {"axis": 2}
    with pytest.raises(ValueError, match="'axsi'"):
        made.having(axsi=1)
    assert node("AveragePool", kernel_shape=(2, 2)).turned("QLinearAveragePool", **HOW).schema.op


def test_a_meaning_may_be_moved_and_a_constant_may_be_an_output():
    made = coded("Flatten")
    assert Program(graph(node(), constants={"w": W}, outputs=("y", "w")))(ONES)[1] is W
    assert Program(made).graph.qparams == {"x": CODES, "y": CODES}


PARAMETERS = "scales and zero points stand in Graph.qparams"


@pytest.mark.parametrize(
    ("op", "inputs", "attributes", "words"),
    [
        ("QuantizeLinear", 3, {}, f"it has 3 inputs; allowed are 1; {PARAMETERS}$"),
        ("DequantizeLinear", 3, {}, f"it has 3 inputs; allowed are 1; {PARAMETERS}$"),
        ("QLinearConv", 9, HOW, f"allowed are 2 to 3; {PARAMETERS}, those of a weight in its QT"),
        ("QGemm", 9, HOW, f"allowed are 2 to 3; {PARAMETERS}, those of a weight in its QT"),
        ("Reshape", 2, {}, "allowed are 1; shape is an attribute here$"),
        ("Clip", 3, {}, "allowed are 1; min, max are attributes here$"),
        ("Pad", 2, {}, "allowed are 1; pads, value are attributes here$"),
        ("ReduceSum", 2, {}, "allowed are 1; axes is an attribute here$"),
        ("Slice", 5, {}, "starts, ends, axes, steps are attributes here$"),
        ("Relu", 2, {}, "it has 2 inputs; allowed are 1$"),
        ("Reshape", 0, {}, "it has 0 inputs; allowed are 1$"),
        ("Cast", 1, {"to": 1}, r"to is 1; allowed are 'float16' .* \(NumPy's names for ONNX's num"),
        ("Reshape", 1, {"shape": (0, -1), "allowzero": 1}, "none of them 0 beside it with allowze"),
        ("Reshape", 1, {"shape": (-1, -1)}, "one of them -1 for what is left$"),
    ],
)
def test_what_onnx_has_as_an_input_is_said_to_stand_elsewhere(op, inputs, attributes, words):
    with pytest.raises((ValueError, TypeError), match=words):
        node(op, tuple(f"x{i}" for i in range(inputs)), **attributes)


def test_a_scalar_of_numpy_is_a_constant_of_rank_0():
    made = constants(node("Mul", ("x", "c")), c=np.float32(2))
    assert isinstance(made.constants["c"], np.ndarray)
    assert ran(made, ONES).tolist() == (2 * ONES).tolist()
    with pytest.raises(TypeError, match=r"^constant c is a float; allowed are arrays"):
        constants(node("Mul", ("x", "c")), c=2.0)


@pytest.mark.parametrize("op", ["Softmax", "LogSoftmax"])
def test_a_row_that_allows_nothing_is_refused(op):
    masked = graph(
        node("Where", ("m", "x", "c"), ("s",), name="mask"), node(op, ("s",), axis=1, name="here"),
        inputs=("x", "m"), constants={"c": np.array(-np.inf, np.float32)},
    )  # fmt: skip
    allowed = np.array([[True, False, True], [False, True, False]])
    assert not np.isnan(ran(masked, ONES, allowed)).any()
    allowed[1] = False
    with pytest.raises(ValueError, match=rf"^node here \({op}\): x has a row of -inf alone"):
        ran(masked, ONES, allowed)
    with pytest.raises(ValueError, match="of False alone; allowed are rows"):
        run_tensors(masked, [Tensor(ONES), Tensor(allowed)])


def test_a_tensor_where_an_array_is_needed_is_told_once():
    with pytest.raises(TypeError, match=r"^x is a Tensor; allowed are arrays of real"):
        nq.SymmetricQuantizer(nq.INT8)(Tensor(ONES))


def test_a_model_that_gives_its_input_has_nothing_to_record():
    with pytest.raises(
        ValueError, match=r"^the result is the input, so that nothing was recorded; allowed are"
    ):
        nq.graph.trace(lambda x: x, ONES)
    with pytest.raises(ValueError, match=r"^the result is independent of the input"):
        nq.graph.trace(lambda x: Tensor(ONES), ONES)


def test_an_axis_as_long_as_another_is_said_to_be_tied():
    with pytest.raises(ValueError, match=r"depends on it, or on another axis .* that all differ$"):
        ran(declared((8, 8)), np.ones((4, 8), np.float32))
    with pytest.raises(ValueError, match=r"depends on it; record the model with such an input$"):
        ran(declared((8, 3)), np.ones((4, 3), np.float32))
