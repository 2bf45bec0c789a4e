"""The hostile table of numbers, parameters and tensors."""

import numpy as np
import pytest
from hostile_engine import case
from hostile_known import assert_table

import numq as nq
from numq import codec

X = np.array([[0.5, -1.0, 0.25], [2.0, 0.125, -0.75]], np.float32)
CODES = np.array([[1, -2, 3], [4, 5, -6]], np.int8)
P = nq.QParams(0.25, 3, nq.INT8)
ROWS = nq.QParams([0.5, 0.25], [0, 0], nq.INT8, nq.PerChannel(0))
TOKENS = nq.QParams([0.5, 0.25], [0, 0], nq.INT8, nq.PerToken())
Q = nq.QTensor(CODES, P)
RNG = np.random.default_rng(0)
OBSERVED = nq.MinMaxObserver().observe(X, nq.PerTensor())
REQUANTIZER = nq.prepare_requantizer(0.5, 0.25, P)
STOCHASTIC = nq.QuantizeRule(rounding=nq.Rounding.STOCHASTIC)


def finite(*names):
    return {"finite": names}


def legal(argument, *values, answer=lambda _: True):
    """Values that are none too hostile for this argument, and what the answer must then be."""
    return {"right": {(argument, value): answer for value in values}}


def rows_times(x, w):
    """What a convolution of whole rows gives: their products, (channel, row)."""
    expected = w.astype(int) @ x.astype(int).T
    return lambda answer: np.array_equal(answer[0, :, :, 0], expected)


def code_of(expected):
    return lambda bits: bits.code == expected


CASES = [
    # formats
    case(nq.IntFormat, bits=8),
    case(nq.IntFormat(8).packed_nbytes, count=5),
    case(nq.FloatFormat, name="mine", exponent_bits=4, mantissa_bits=3,
         specials=nq.Specials.NAN_ONLY, bias=7, signed=True),
    case(nq.TableFormat, name="mine", values=(-1.0, 0.0, 1.0)),
    # bits
    case(nq.inspect_float, value=1.5, format=nq.FLOAT16, settings={"right": {
        ("value", "nan"): code_of(0x7E00), ("value", "inf"): code_of(0x7C00),
        ("value", "-inf"): code_of(0xFC00), ("value", "digits"): code_of(0x3800)}}),
    case(nq.inspect_int, value=5, format=nq.INT8,
         settings=legal("value", "-99", answer=code_of(256 - 99))),
    case(codec.encode_float, value=1.5, format=nq.FLOAT16, settings={"right": {
        ("value", "nan"): lambda a: a == 0x7E00, ("value", "inf"): lambda a: a == 0x7C00,
        ("value", "-inf"): lambda a: a == 0xFC00}}),
    case(nq.inspect_table, value=1.5, format=nq.NF4,
         settings=legal("value", "digits", answer=code_of(12))),
    case(nq.inspect_code, code=15, format=nq.FLOAT16), case(nq.format_named, name="bf16"),
    case(codec.decode_float, code=15, format=nq.FLOAT16),
    # rounding
    case(nq.round_values, x=X, rounding=nq.Rounding.STOCHASTIC, rng=RNG),
    case(nq.INT8.encode, values=X, rounding=nq.Rounding.STOCHASTIC, rng=RNG, settings={
        **finite("values"), "right": {
            ("values", "inf"): lambda a: a[1, 0] == 127,
            ("values", "-inf"): lambda a: a[1, 0] == -128,
            ("offset", "-99"): lambda a: a[1, 0] == 2 - 99,
            ("offset", "in a list"): lambda a: a[1, 0] == 2}}),
    # packing
    case(nq.pack, codes=CODES, format=nq.INT4),
    case(nq.unpack, packed=np.array([33, 67], np.uint8), format=nq.UINT4, count=3),
    # granularity
    case(nq.PerChannel, axis=1, settings=legal("axis", "-99")),
    case(nq.PerGroup, axis=1, size=2, settings=legal("axis", "-99")),
    case(nq.PerBlock, shape=(1, 3), settings=legal("shape", "one more")),
    # scales and parameters
    case(nq.Affine), case(nq.Symmetric), case(nq.Offset), case(nq.QuantizeRule),
    case(nq.ScaleFloor, minimum=1e-30, replacement=1e-30, all_zero=1.0),
    case(nq.Target, format=nq.INT8),
    case(nq.QParams, scale=np.array([0.5, 0.25], np.float32), zero_point=np.array([1, 2]),
         format=nq.INT8, granularity=nq.PerChannel(0), settings=finite("scale")),
    case(nq.QParams, "QParams with an offset", scale=np.array([0.5, 0.25], np.float32),
         zero_point=0, format=nq.UINT4, granularity=nq.PerChannel(0),
         offset=np.array([-1.0, 2.0], np.float32),
         settings={**finite("scale", "offset"), "only": ("scale", "offset"),
                   "right": {("offset", "None"): lambda _: True}}),
    case(nq.choose_qparams, rmin=np.float32(-1.0), rmax=np.float32(1.5), format=nq.INT8,
         settings=finite("rmin", "rmax")),

    case(nq.quantize_multiplier, real_multiplier=np.array([0.3, 0.004]),
         settings=finite("real_multiplier")),
    case(nq.multiply_by_quantized_multiplier, x=np.array([100, -7]), multiplier=np.array(1 << 30),
         shift=np.array(-1)),
    case(nq.rounding_divide_by_pot, x=np.array([100, -7]), exponent=np.array(2)),
    case(nq.rounding_shift_right, x=np.array([100, -7]), exponent=np.array(2)),
    case(nq.saturating_rounding_doubling_high_mul, a=np.array([100, -7]), b=np.array(1 << 30)),
    # tensors
    case(nq.QTensor, codes=CODES, qparams=P),
    case(nq.quantize, x=X, qparams=P, rule=STOCHASTIC, rng=RNG, settings=finite("x")),
    case(nq.fake_quantize, x=X, qparams=P, settings=finite("x")),
    case(nq.dequantize, "dequantize", q=Q, settings={"only": ("q",)}),
    case(nq.quantize, "quantize per channel", x=X, qparams=ROWS,
         settings={"finite": ("x",), "ranked": ("x",), "only": ("x",),
                   "alias": {"x": r"x\b|a tensor of shape"}}),
    # observers
    case(nq.MovingAverageObserver, momentum=0.5), case(nq.PercentileObserver, percent=99.0),
    case(nq.MinMaxObserver().observe, "MinMaxObserver().observe", x=X, granularity=nq.PerTensor(),
         settings=finite("x")),
    case(nq.MSEObserver().observe, "MSEObserver().observe", x=X, granularity=nq.PerChannel(1),
         settings=finite("x")),
    case(nq.MinMaxObserver().merge, a=OBSERVED, b=OBSERVED),
    case(nq.MinMaxObserver().range, state=OBSERVED, target=nq.Target(nq.INT8)),
    # metrics
    case(nq.sqnr_db, signal=X, approximation=X + np.float32(0.125),
         settings={"finite": ("signal", "approximation"), "ranked": ("approximation",)}),
    case(nq.error_report, x=X, q=Q, settings={"finite": ("x",), "ranked": ("x",)}),
    # quantizers
    *(case(kind, kind.__name__, format=nq.INT8, granularity=nq.PerChannel(0), clip=(None, 4.0))
      for kind in (nq.AffineQuantizer, nq.SymmetricQuantizer, nq.OffsetQuantizer)),
    case(nq.AffineQuantizer().__call__, "AffineQuantizer()", x=X, settings=finite("x")),
    case(nq.AffineQuantizer().qparams, "AffineQuantizer().qparams", x=X, settings=finite("x")),
    case(nq.integer.PER_TOKEN_INT8.__call__, "PER_TOKEN_INT8()", x=X, qparams=TOKENS,
         settings={"finite": ("x",), "right": {("qparams", "None"): lambda q: q.shape == X.shape}}),
    # integer arithmetic
    case(nq.max_depth, a_low=-128, a_high=127, b_low=-128, b_high=127, settings={"right": {
        (f"{n}_{end}", "-99"): lambda a: a > 0 for n in "ab" for end in ("low", "high")}}),
    case(nq.matmul_int8, a=CODES, b=CODES.T, settings={"sized": ("a", "b"), "right": {
        ("a", "longer"): lambda c: c.shape == (3, 2),
        ("b", "longer at the end"): lambda c: c.shape == (2, 3)}}),
    case(nq.accumulate, x=CODES, x_zero_point=np.array(3), w=CODES.T, w_zero_point=np.array([1, 2]),
         settings={"ranked": ("x", "w", "x_zero_point")}),
    case(nq.conv2d_int8, x=CODES.reshape(1, 1, 2, 3), w=CODES.reshape(2, 1, 1, 3),
         settings={"ranked": ("x", "w"), "right": {
             ("x_zero_point", "-99"): rows_times(CODES.astype(int) + 99, CODES),
             ("w_zero_point", "-99"): rows_times(CODES, CODES.astype(int) + 99),
             ("w_zero_point", "array of two"): rows_times(CODES, CODES)}}),
    case(nq.prepare_requantizer, x_scale=np.float32(0.5), w_scale=np.array([0.25, 0.5], np.float32),
         out=P, settings=finite("x_scale", "w_scale")),
    case(nq.Requantization, multiplier=nq.Multiplier.Q31, rounding=nq.Rounding.HALF_UP),
    case(nq.Requantizer, requantization=nq.Requantization.FIXED_SINGLE_UP, zero_point=3,
         qmin=-128, qmax=127,
         multiplier=np.array(2**30, np.int32), shift=np.array(3, np.int32), format=nq.INT8,
         settings={"right": {(name, "-99"): lambda r: -99 in (r.zero_point, r.qmin, r.qmax)
                             for name in ("zero_point", "qmin", "qmax")}}),
    case(nq.requantize, acc=np.array([[100, -7]]), requantizer=REQUANTIZER),
]  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=lambda c: c.name)
def test_numbers(case):
    assert_table(case)
