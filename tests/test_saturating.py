"""Sums that saturate in pairs: by hand, by the oracle, by recordings, and by the peers themselves.

Each comparison with a peer is made on every processor, with what the peer does on this one.
"""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx_node import run_node
from processors import ort_saturates, torch_linear, torch_saturates
from strategies import golden

import numq as nq
from numq import Requantization
from numq.formats import INT8, UINT8
from numq.verify import oracle
from numq.verify.saturating import saturating_conv2d, saturating_matmul

RECORDS = [
    pytest.param(meta, data, id=f"{i}-{meta['op']}-{meta.get('engine', 'ort')}")
    for i, (meta, data) in enumerate(golden("saturate"))
]
ENGINES = ["x86", "fbgemm", "onednn", "qnnpack"]


def exact_matmul(a, b, z_a=0, z_b=0):
    return (a.astype(np.int32) - z_a) @ (b.astype(np.int32) - z_b)


def requantized(sums, s_x, s_w, s_y, z_y):
    """Accumulators as the uint8 codes that the float32 way of torch and ONNX Runtime gives."""
    out = nq.QParams(np.float32(s_y), int(z_y), UINT8)
    requantization = nq.prepare_requantizer(
        s_x, np.float32(s_w), out, requantization=Requantization.F32_EVEN
    )
    return nq.requantize(sums, requantization)


def test_by_hand():
    a = np.uint8([[255, 255, 255, 255, 255], [255, 1, 0, 9, 200]])
    b = np.int8([[127, -128], [127, -128], [127, -128], [-128, 127], [127, 1]])
    # 64770 is cut to 32767, −65280 to −32768; the odd tail of 255·127 stands alone.
    assert saturating_matmul(a, b).tolist() == [
        [32767 - 255 + 32385, -32768 - 255 + 255],
        [32512 - 1152 + 25400, -32768 + 1143 + 200],
    ]
    # 3·(−4) + 3·(−4) = −24; pairs of small products are exact.
    assert saturating_matmul(np.uint8([[5, 5]]), np.int8([[-3], [-3]]), 2, 1).item() == -24
    assert saturating_matmul(np.zeros((0, 3), np.uint8), np.zeros((3, 2), np.int8)).shape == (0, 2)
    assert not saturating_matmul(np.zeros((2, 0), np.uint8), np.zeros((0, 2), np.int8)).any()


@given(
    st.lists(st.tuples(st.integers(200, 255), st.integers(-128, 127)), min_size=1, max_size=7),
    st.integers(0, 255),
    st.integers(-128, 127),
)
def test_it_is_the_definition(products, z_a, z_b):
    a, b = zip(*products, strict=True)
    pairs = [sum(x * w for x, w in products[k : k + 2]) for k in range(0, len(products), 2)]
    wanted = sum(oracle.clamp(pair, nq.INT16) for pair in pairs)
    wanted += len(a) * z_a * z_b - z_a * sum(b) - z_b * sum(a)
    y = saturating_matmul(np.uint8([a]), np.int8(b)[:, None], z_a, z_b)
    assert (y.dtype, y.item()) == (np.int32, wanted)


@pytest.mark.parametrize(
    ("action", "error", "message"),
    [
        (lambda: saturating_matmul(np.int8([[1]]), np.int8([[1]])), TypeError,
         "a has dtype int8; allowed is uint8"),
        (lambda: saturating_matmul(np.uint8([[1]]), np.uint8([[1]])), TypeError, "b has dtype uin"),
        (lambda: saturating_matmul(np.uint8([[1]]), np.int8([[1], [1]])), ValueError,
         r"a has shape \(1, 1\), b \(2, 1\)"),
        (lambda: saturating_conv2d(np.zeros((1, 2, 3, 3), np.uint8), np.zeros((1, 1, 2, 2), np.int8
                                                                              )), ValueError,
         r"x has shape \(1, 2, 3, 3\), w \(1, 1, 2, 2\)"),
    ],
)  # fmt: skip
def test_errors(action, error, message):
    with pytest.raises(error, match=message):
        action()


def emulated(meta, data):
    """The accumulators of a record, by the sums that its backend has without VNNI."""
    if meta["op"] == "int8_matmul":
        a, b = data["a"], data["b"]
        saturates = (a.dtype, b.dtype) == (np.uint8, np.int8)
        return (saturating_matmul if saturates else exact_matmul)(a, b)
    x_zero_point, w_zero_point = int(data["zx"]), int(data.get("zw", 0))
    if meta["op"] == "qlinear_matmul":
        return saturating_matmul(data["a"], data["b"], x_zero_point, w_zero_point)
    if meta["op"] == "qlinear":
        product = exact_matmul if meta["engine"] == "qnnpack" else saturating_matmul
        return product(data["x"], data["w"].T, x_zero_point, w_zero_point)
    top, left, bottom, right = meta["pads"]
    padding = (top, bottom), (left, right)
    if meta["op"] == "qlinear_conv":
        return saturating_conv2d(data["x"], data["w"], x_zero_point, w_zero_point, padding=padding)
    groups = meta.get("group", 1)
    return nq.conv2d_int8(
        data["x"], data["w"], x_zero_point=x_zero_point, padding=padding, groups=groups
    )


@pytest.mark.parametrize(("meta", "data"), RECORDS)
def test_recordings_without_vnni(meta, data):
    y = emulated(meta, data)
    if "sy" in data:
        y = requantized(y, data["sx"], data["sw"], data["sy"], data["zy"])
    np.testing.assert_array_equal(y, data["y"])


def test_the_recordings_tell_both_ways_apart():
    """Each operation that saturates has a record on which the exact sums fail."""
    ops = {(m["op"], m.get("engine")) for m, _ in golden("saturate")}
    told = set()
    for meta, data in golden("saturate"):
        a, b = data.get("a", data.get("x")), data.get("b", data.get("w"))
        if a.ndim == 4:
            padding = ((meta["pads"][0],) * 2, (meta["pads"][1],) * 2)
            w_zero_point = np.full(len(b), data.get("zw", 0))
            y = nq.conv2d_int8(
                a, b, x_zero_point=int(data["zx"]), w_zero_point=w_zero_point, padding=padding,
                groups=meta.get("group", 1),
            )  # fmt: skip
        else:
            right = b.T if meta["op"] == "qlinear" else b
            y = exact_matmul(a, right, int(data.get("zx", 0)), int(data.get("zw", 0)))
        if "sy" in data:
            y = requantized(y, data["sx"], data["sw"], data["sy"], data["zy"])
        if (y != data["y"]).any():
            told.add((meta["op"], meta.get("engine")))
    assert told == ops - {("conv_integer", None), ("qlinear", "qnnpack")}


def drawn(m, k, n):
    """Full-range codes, on which most sums without VNNI are wrong."""
    rng = np.random.default_rng(k)
    a = rng.integers(0, 256, (m, k)).astype(np.uint8)
    return a, rng.integers(-128, 128, (k, n)).astype(np.int8)


@pytest.mark.parametrize("shape", [(1, 2, 1), (3, 7, 5), (4, 64, 16), (5, 257, 33)])
def test_matmul_integer_of_onnxruntime(shape):
    a, b = drawn(*shape)
    product = saturating_matmul if ort_saturates() else exact_matmul
    zeros = np.uint8(131), np.int8(-7)
    assert (run_node("MatMulInteger", [None, b], a) == product(a, b)).all()
    assert (run_node("MatMulInteger", [None, b, *zeros], a) == product(a, b, 131, -7)).all()
    low = a % 128  # no pair can saturate
    assert (run_node("MatMulInteger", [None, b], low) == exact_matmul(low, b)).all()


@pytest.mark.parametrize("shape", [(3, 7, 5), (4, 64, 16), (5, 257, 33)])
def test_qlinear_matmul_of_onnxruntime(shape):
    a, b = drawn(*shape)
    product = saturating_matmul if ort_saturates() else exact_matmul
    s_x, s_w, s_y, x_zero_point, z_y = (
        *np.float32([0.5, 0.25, 2.0**7]),
        np.uint8(128),
        np.uint8(120),
    )
    given = [None, s_x, x_zero_point, b, s_w, np.int8(0), s_y, z_y]
    theirs = run_node("QLinearMatMul", given, a)
    assert (theirs == requantized(product(a, b, 128), s_x, s_w, s_y, z_y)).all()


@pytest.mark.parametrize("padding", [0, 1])
@pytest.mark.parametrize("channels", [3, 8])
def test_qlinear_conv_of_onnxruntime(channels, padding):
    x, w = drawn(channels, 49, 8 * channels * 9 // 49 + 1)
    x, w = x.reshape(1, channels, 7, 7), w.ravel()[: 8 * channels * 9].reshape(8, channels, 3, 3)
    pads = ((padding,) * 2,) * 2
    s_x, s_w, s_y, x_zero_point, z_y = (
        *np.float32([0.5, 0.25, 2.0**7]),
        np.uint8(128),
        np.uint8(120),
    )
    theirs = run_node(
        "QLinearConv",
        [None, s_x, x_zero_point, w, s_w, np.int8(0), s_y, z_y],
        x,
        pads=[padding] * 4,
    )
    if ort_saturates():
        sums = saturating_conv2d(x, w, 128, padding=pads)
    else:
        sums = nq.conv2d_int8(x, w, x_zero_point=128, padding=pads)
    assert (theirs == requantized(sums, s_x, s_w, s_y, z_y)).all()


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("shape", [(9, 64, 16), (3, 130, 7)])
def test_quantized_linear_of_torch(shape, engine):
    torch = pytest.importorskip("torch")
    if engine not in torch.backends.quantized.supported_engines:
        pytest.skip(f"this torch has no engine {engine}")
    a, b = drawn(*shape)
    product = saturating_matmul if torch_saturates(engine) else exact_matmul
    s_w, s_y = np.float32(0.25), 2.0**8
    theirs = torch_linear(a, 128, b.T, s_w, s_y, 120, engine)
    assert (theirs == requantized(product(a, b, 128), 1.0, s_w, s_y, 120)).all()
    low = a % 128
    theirs = torch_linear(low, 64, b.T, s_w, s_y, 120, engine)
    assert (theirs == requantized(exact_matmul(low, b, 64), 1.0, s_w, s_y, 120)).all()


def test_formats_that_never_saturate():
    a, b = drawn(4, 64, 16)
    signed = (a.astype(np.int16) - 128).astype(np.int8)
    unsigned = (b.astype(np.int16) + 128).astype(np.uint8)
    assert INT8.dtype == signed.dtype
    for left, right in ((signed, b), (a, unsigned)):
        theirs = run_node("MatMulInteger", [None, right], left)
        assert (theirs == exact_matmul(left, right)).all()
