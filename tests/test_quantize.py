"""Quantize, dequantize, fake-quantize: oracle, properties, and the rules of real backends."""

import itertools
import warnings

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from peers import followed
from strategies import FLOAT32_MAX, NEAREST, finite32, formats, near_ties, scales, small_formats

from numq import rules
from numq.formats import FLOAT64, INT8, INT32, UINT8, IntFormat
from numq.granularity import PerChannel, PerTensor
from numq.qparams import QParams
from numq.qtensor import QTensor, dequantize, fake_quantize, quantize
from numq.rounding import Overflow, Rounding, ZeroPointOrder
from numq.rules import NonFinite, QuantizeRule, ScaleOp
from numq.verify import oracle

FUSED = rules.TORCH_PER_TENSOR_FUSED_ADD_THEN_ROUND
ALL_RULES = [
    QuantizeRule(scale_op, order, rounding, overflow, NonFinite.NAN_TO_QMIN)
    for scale_op, order, rounding, overflow in itertools.product(
        ScaleOp,
        ZeroPointOrder,
        NEAREST,
        [o for o in INT8.overflows if o not in (Overflow.RAISE, Overflow.WRAP)],
    )
    if order is not ZeroPointOrder.FUSED_ADD_THEN_ROUND or scale_op is ScaleOp.MULTIPLY_RECIPROCAL
]


@st.composite
def cases(draw, fmts=formats):
    """(x, QParams): values on and beside the ties of a scale."""
    format, scale = draw(fmts), draw(scales)
    zero_point = draw(st.integers(format.qmin, format.qmax))
    x = draw(st.lists(near_ties(scale), min_size=1, max_size=12))
    return np.array(x, np.float32), QParams(scale, zero_point, format)


@given(case=cases(), rule=st.sampled_from(ALL_RULES))
def test_every_rule_equals_the_oracle(case, rule):
    x, qparams = case
    scale, zero_point = float(qparams.scale), int(qparams.zero_point)
    if rule.scale_op is ScaleOp.MULTIPLY_RECIPROCAL:
        assume(np.isfinite(np.float32(1) / qparams.scale))
    codes = quantize(x, qparams, rule=rule).codes
    assert codes.tolist() == [
        oracle.quantize(float(v), scale, zero_point, qparams.format, rule) for v in x
    ]


@given(case=cases(), rule=st.sampled_from([rules.ONNX, rules.LITERT_REFERENCE]))
def test_float64_data_is_computed_in_float64(case, rule):
    x, qparams = case
    wide = x.astype(np.float64) * 1.0000001
    scale, zero_point = float(qparams.scale), int(qparams.zero_point)
    assert quantize(wide, qparams, rule=rule).codes.tolist() == [
        oracle.quantize(float(v), scale, zero_point, qparams.format, rule, FLOAT64) for v in wide
    ]


@given(cases())
def test_dequantize_is_the_exact_product_rounded_once(case):
    x, qparams = case
    q = quantize(x, qparams)
    for code, value in zip(q.codes.tolist(), q.dequantize(), strict=True):
        exact = oracle.dequantize(code, float(qparams.scale), int(qparams.zero_point))
        assert float(value) == float(oracle.nearest_float(exact))


@pytest.mark.parametrize(
    "stride", [211, pytest.param(1, marks=pytest.mark.slow)], ids=["sampled", "exhaustive"]
)
@pytest.mark.parametrize("rule", [rules.ONNXRUNTIME, FUSED, rules.ONNX_REFERENCE])
def test_every_float16_value(stride, rule):
    halves = np.arange(0, 2**16, stride, dtype=np.uint16).view(np.float16)
    for scale, zero_point, format in ((0.0078125, 3, INT8), (0.3, 100, UINT8)):
        qparams = QParams(scale, zero_point, format)
        codes = quantize(halves, qparams, rule=rule).codes
        assert codes.tolist() == [
            oracle.quantize(float(h), float(qparams.scale), zero_point, format, rule)
            for h in halves
        ]


def test_int32_codes_survive_in_float64():
    q = QTensor(np.array([16777217, 2**31 - 1]), QParams(1.0, 0, INT32))
    assert q.dequantize(np.float64).tolist() == [16777217.0, 2147483647.0]
    assert q.dequantize().tolist() == [16777216.0, 2147483648.0]


# Properties that any uniform quantizer has.


@given(cases())
def test_error_is_at_most_half_a_step_inside_the_range(case):
    x, qparams = case
    low, high = qparams.range
    wide = x.astype(np.float64)
    inside = (wide >= low) & (wide <= high)
    error = np.abs(wide - quantize(x, qparams).dequantize(np.float64))
    # x/s is rounded to float32 before it is rounded to an integer: off by up to 2^-24 of itself.
    slack = 2.0**-24 * np.abs(wide)
    assert (error <= qparams.scale.astype(np.float64) / 2 + slack)[inside].all()


@given(cases())
def test_fake_quantize_is_idempotent_to_the_bit(case):
    x, qparams = case
    assume(np.isfinite(qparams.range).all() and max(np.abs(qparams.range)) < FLOAT32_MAX)
    once = fake_quantize(x, qparams)
    assert fake_quantize(once, qparams).tobytes() == once.tobytes()


@given(case=cases(), rule=st.sampled_from([r for r in ALL_RULES if r.overflow.name == "SATURATE"]))
def test_quantize_is_monotone(case, rule):
    x, qparams = case
    if rule.scale_op is ScaleOp.MULTIPLY_RECIPROCAL:
        assume(np.isfinite(np.float32(1) / qparams.scale))
    codes = quantize(np.sort(x), qparams, rule=rule).codes.astype(int)
    assert (np.diff(codes) >= 0).all()


@given(cases())
def test_zero_is_exact(case):
    _, qparams = case
    q = quantize([0.0, -0.0], qparams)
    assert (q.codes == qparams.zero_point).all()
    assert q.dequantize().tolist() == [0.0, 0.0]


@given(
    format=small_formats,
    scale=scales,
    shape=st.tuples(st.integers(0, 4), st.integers(0, 4)),
    axis=st.integers(-2, 1),
)
def test_equal_channels_are_one_tensor(format, scale, shape, axis):
    assume(scale < FLOAT32_MAX / 16)
    x = (np.arange(shape[0] * shape[1]).reshape(shape) * (scale / 2)).astype(np.float32)
    count = shape[axis]
    each = QParams(np.full(count, scale), np.full(count, format.qmin), format, PerChannel(axis))
    one = QParams(scale, format.qmin, format)
    assert (quantize(x, each).codes == quantize(x, one).codes).all()


@given(st.integers(0, 5), st.integers(0, 5), st.integers(0, 2**32 - 1))
def test_transposition_commutes(rows, columns, seed):
    x = np.random.default_rng(seed).normal(size=(rows, columns)).astype(np.float32)
    scale = np.linspace(0.01, 0.1, rows)
    by_row = quantize(x, QParams(scale, 3, INT8, PerChannel(0)))
    by_column = quantize(x.T, QParams(scale, 3, INT8, PerChannel(1)))
    assert (by_column.codes == by_row.codes.T).all()


# Rivals: data on which each rule is told from its neighbours.


def codes(rule, x, scale=1.0, zero_point=0, format=INT8):
    return quantize(np.float32(x), QParams(scale, zero_point, format), rule=rule).codes.tolist()


def test_adding_the_zero_point_first_moves_ties():
    first = QuantizeRule(order=ZeroPointOrder.ADD_THEN_ROUND)
    assert codes(rules.ONNX, [0.5, 1.5, 2.5], zero_point=1) == [1, 3, 3]
    assert codes(first, [0.5, 1.5, 2.5], zero_point=1) == [2, 2, 4]


def test_multiplying_by_the_reciprocal_moves_half_grid_points():
    scale = np.float32(0.3)
    half_grid = (np.arange(-127, 127) + 0.5) * scale
    divide = np.array(codes(rules.ONNX, half_grid, scale))
    multiply = np.array(codes(rules.TORCHAO, half_grid, scale))
    assert np.abs(divide - multiply).max() == 1


def test_fused_add_sees_what_two_roundings_hide():
    scale = np.float32(0.3)
    x = ((np.arange(-200, 200) + 0.5) * scale).astype(np.float32)
    two = QuantizeRule(ScaleOp.MULTIPLY_RECIPROCAL, ZeroPointOrder.ADD_THEN_ROUND)
    fused = codes(FUSED, x, scale, 3)
    assert fused != codes(two, x, scale, 3)
    assert fused == [oracle.quantize(float(v), float(scale), 3, INT8, FUSED) for v in x]


def test_stochastic_quantization_needs_and_uses_its_generator():
    rule = QuantizeRule(rounding=Rounding.STOCHASTIC)
    qparams = QParams(1.0, 0, INT8)
    with pytest.raises(ValueError, match="rng is None"):
        quantize([0.5], qparams, rule=rule)
    rng = np.random.default_rng(0)
    assert set(quantize(np.full(100, 0.5), qparams, rule=rule, rng=rng).codes.tolist()) == {0, 1}


SPECIAL = [np.nan, np.inf, -np.inf, 3e9, -3e9, 1e38, -1e38, 0.5, 1.5, -0.5, 127.4]


def torch_codes(torch, x, scale, zero_point, format):
    """(quantize_per_tensor's codes, those of quantize_per_channel with one channel)."""
    x, dtype = torch.tensor(x), torch.qint8 if format.signed else torch.quint8
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch deprecates its quantized dtypes
        whole = torch.quantize_per_tensor(x, scale, zero_point, dtype)
        one, zero = torch.tensor([scale], dtype=torch.float64), torch.tensor([zero_point])
        channel = torch.quantize_per_channel(x[None], one, zero, 0, dtype)
    return whole.int_repr().numpy(), channel.int_repr().numpy()[0]


def torch_rules(torch):
    """The rules of quantize_per_tensor and quantize_per_channel that this release follows."""
    ties, found = np.float32([0.5, 1.5, 2.5]), []
    answers = torch_codes(torch, ties, 1.0, 1, INT8)
    for kind, first, answer in zip(
        ("PER_TENSOR", "PER_CHANNEL"), ("FUSED_ADD", "ADD"), answers, strict=True
    ):
        names = f"TORCH_{kind}_{first}_THEN_ROUND", f"TORCH_{kind}_ROUND_THEN_ADD"
        known = {name: codes(getattr(rules, name), ties, 1.0, 1) for name in names}
        what = f"torch {torch.__version__}, quantize_{kind.lower()}"
        found.append(getattr(rules, followed(what, answer, known)))
    return found


@pytest.mark.parametrize(
    ("format", "zero_point"),
    [(INT8, 0), (INT8, 5), (INT8, -5), (INT8, -128), (UINT8, 0), (UINT8, 5), (UINT8, 200)],
)
def test_special_values_as_torch_quantizes_them(format, zero_point):
    torch = pytest.importorskip("torch", reason="torch is an optional peer")
    per_tensor, per_channel = torch_rules(torch)
    for scale in (1.0, 0.003):
        ties = ((np.arange(-300, 300) + 0.5) * scale).astype(np.float32)
        values = np.concatenate([np.float32(SPECIAL), ties])
        tensor, channel = torch_codes(torch, values, scale, zero_point, format)
        assert codes(per_tensor, values, scale, zero_point, format) == tensor.tolist()
        assert codes(per_channel, values, scale, zero_point, format) == channel.tolist()
    x, ends = torch.tensor(SPECIAL, dtype=torch.float32), (format.qmin, format.qmax)
    one, zero = torch.tensor([1.0]), torch.tensor([zero_point])
    fake = torch.fake_quantize_per_tensor_affine(x, 1.0, zero_point, *ends)
    fakes = torch.fake_quantize_per_channel_affine(x[None], one, zero.int(), 0, *ends)[0]
    qparams = QParams(1.0, zero_point, format)
    ours = fake_quantize(np.float32(SPECIAL), qparams, rule=rules.TORCH_FAKE_QUANTIZE)
    assert ours.tolist() == fake.tolist()
    ours = fake_quantize(np.float32(SPECIAL), qparams, rule=rules.TORCH_FAKE_QUANTIZE_PER_CHANNEL)
    assert ours.tolist() == fakes.tolist()


def onnx_quantize(x, scale, zero_point, format):
    """(onnxruntime's codes, onnx.reference's codes)."""
    onnx = pytest.importorskip("onnx", reason="onnx builds the model")
    ort = pytest.importorskip("onnxruntime", reason="onnxruntime is the peer")
    from onnx.reference import ReferenceEvaluator

    kind = onnx.TensorProto.INT8 if format.signed else onnx.TensorProto.UINT8
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node("QuantizeLinear", ["x", "s", "z"], ["y"])],
        "quantize",
        [onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [None])],
        [onnx.helper.make_tensor_value_info("y", kind, [None])],
        [
            onnx.helper.make_tensor("s", onnx.TensorProto.FLOAT, [], [scale]),
            onnx.helper.make_tensor("z", kind, [], [zero_point]),
        ],
    )
    opset = onnx.helper.make_opsetid("", 13)
    model = onnx.helper.make_model(graph, opset_imports=[opset], ir_version=8)
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    with np.errstate(all="ignore"):
        reference = ReferenceEvaluator(model).run(None, {"x": x})[0]
    return session.run(None, {"x": x})[0], reference


@pytest.mark.parametrize(
    ("format", "zero_point"), [(INT8, 0), (INT8, 5), (INT8, -5), (UINT8, 0), (UINT8, 5)]
)
@pytest.mark.parametrize("scale", [1.0, 0.1, 0.003])
def test_onnxruntime_and_the_onnx_reference_on_ties_and_special_values(format, zero_point, scale):
    half_grid = ((np.arange(-300, 300) + 0.5) * scale).astype(np.float32)
    x = np.concatenate([half_grid, np.nextafter(half_grid, np.float32(0)), np.float32(SPECIAL)])
    runtime, reference = onnx_quantize(x, scale, zero_point, format)
    assert codes(rules.ONNXRUNTIME, x, scale, zero_point, format) == runtime.tolist()
    assert codes(rules.ONNX_REFERENCE, x, scale, zero_point, format) == reference.tolist()


def test_non_finite_policies():
    x = [np.nan, np.inf, -np.inf]
    policy = {
        NonFinite.NAN_TO_QMIN: [-128, 127, -128],
        NonFinite.NAN_TO_QMAX: [127, 127, -128],
        NonFinite.NAN_TO_ZERO_POINT: [7, 127, -128],
        NonFinite.NAN_TO_CODE_ZERO: [0, 127, -128],
        NonFinite.NAN_AS_INFINITY: [127, 127, -128],
    }
    for non_finite, expected in policy.items():
        assert codes(QuantizeRule(non_finite=non_finite), x, zero_point=7) == expected
    with pytest.raises(ValueError, match=r"x\[0\] is nan \(3 of 3"):
        codes(QuantizeRule(), x)


def test_fused_order_is_refused_where_no_hardware_has_it():
    with pytest.raises(ValueError, match="with it is scale_op MULTIPLY_RECIPROCAL"):
        QuantizeRule(order=ZeroPointOrder.FUSED_ADD_THEN_ROUND)
    with pytest.raises(ValueError, match="dtype float64; allowed for"):
        quantize(np.ones(1), QParams(1.0, 0, INT8), rule=FUSED)


def test_a_reciprocal_that_overflows_is_an_error():
    qparams = QParams(1e-40, 0, INT8)
    with pytest.raises(ValueError, match="whose reciprocal overflows"):
        quantize(np.float32([1.0]), qparams, rule=rules.TORCHAO)
    assert quantize(np.float32([1.0, 2e-40]), qparams).codes.tolist() == [127, 2]


@given(finite32)
def test_qtensor_is_frozen(value):
    q = quantize([value], QParams(1.0, 0, INT8))
    with pytest.raises(ValueError, match="read-only"):
        q.codes[0] = 1
    with pytest.raises(AttributeError):
        q.codes = None


def test_qtensor_refuses_what_does_not_belong_together():
    with pytest.raises(ValueError, match=r"from 0 to 300; allowed is int8 \[-128,"):
        QTensor(np.array([0, 300]), QParams(1.0, 0, INT8))
    with pytest.raises(TypeError, match="codes has dtype float64"):
        QTensor(np.array([0.0]), QParams(1.0, 0, INT8))
    with pytest.raises(ValueError, match=r"is \(3,\)"):
        QTensor(np.zeros((3, 2), np.int8), QParams([1.0, 2.0], 0, INT8, PerChannel(0)))


def test_qtensor_knows_its_real_size_and_teaches():
    q = QTensor(np.zeros((3, 5), np.int8), QParams(0.5, 0, IntFormat(4)))
    assert q.nbytes == 8 + 4  # fifteen nibbles, one scale, no zero point
    assert q.packed().nbytes == 8
    assert QTensor(np.zeros(15, np.int8), QParams(0.5, 1, IntFormat(4))).nbytes == 8 + 4 + 1
    text = repr(q)
    for part in ("shape (3, 5)", "12 bytes", "5.00x smaller", "int4", "scale 0.5", "[-4, 3.5]"):
        assert part in text
    assert "shape (0,)" in repr(QTensor(np.zeros(0, np.int8), QParams(0.5, 0, INT8)))
    assert q == QTensor(np.zeros((3, 5), np.int8), QParams(0.5, 0, IntFormat(4)))
    assert q != QTensor(np.zeros((3, 5), np.int8), QParams(0.25, 0, IntFormat(4)))
    assert PerTensor() == PerTensor()


def test_dequantize_refuses_other_dtypes():
    with pytest.raises(TypeError, match="dtype is float16"):
        dequantize(QTensor(np.zeros(1, np.int8), QParams(0.5, 0, INT8)), np.float16)
